//! The attributes of `linux/ip_vs.h`. Numbers are in the machine's order, ports
//! and addresses in that of the network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::{RealServer, Scheduling, Timeouts, VirtualServer};
use crate::iptables::Family;
use crate::netlink::{Attribute, Attributes};

pub(super) const SERVICE: u16 = 1;
pub(super) const DESTINATION: u16 = 2;
const TIMEOUT_TCP: u16 = 4;
const TIMEOUT_TCP_FIN: u16 = 5;
const TIMEOUT_UDP: u16 = 6;

/// Of a virtual server.
mod service {
    pub(super) const FAMILY: u16 = 1;
    pub(super) const PROTOCOL: u16 = 2;
    pub(super) const ADDRESS: u16 = 3;
    pub(super) const PORT: u16 = 4;
    pub(super) const MARK: u16 = 5;
    pub(super) const SCHEDULER: u16 = 6;
    pub(super) const FLAGS: u16 = 7;
    pub(super) const TIMEOUT: u16 = 8;
    pub(super) const NETMASK: u16 = 9;
}

/// Of a real server.
mod destination {
    pub(super) const ADDRESS: u16 = 1;
    pub(super) const PORT: u16 = 2;
    pub(super) const METHOD: u16 = 3;
    pub(super) const WEIGHT: u16 = 4;
    pub(super) const UPPER: u16 = 5;
    pub(super) const LOWER: u16 = 6;
    pub(super) const ACTIVE: u16 = 7;
    pub(super) const INACTIVE: u16 = 8;
    pub(super) const FAMILY: u16 = 11;
}

const PERSISTENT: u32 = 0x1;
const FLAG_1: u32 = 0x8;
const FLAG_2: u32 = 0x10;
/// What we set or clear; the kernel keeps flags of its own beside.
const OUR_FLAGS: u32 = PERSISTENT | FLAG_1 | FLAG_2;

/// `IP_VS_CONN_F_MASQ`: the kernel translates.
const TRANSLATE: u32 = 0;

pub(super) fn put_server(
    out: &mut Attributes<'_>,
    server: &VirtualServer,
    scheduling: Option<&Scheduling>,
) {
    out.nest(SERVICE, |out| {
        put_half(out, service::FAMILY, family_number(server.family()));
        match server {
            VirtualServer::Address { protocol, address } => {
                put_half(out, service::PROTOCOL, u16::from(*protocol));
                out.bytes(service::ADDRESS, &union_of(address.ip()))
                    .bytes(service::PORT, &address.port().to_be_bytes());
            }
            VirtualServer::Mark { mark, .. } => put_word(out, service::MARK, *mark),
        }
        if let Some(scheduling) = scheduling {
            put_scheduling(out, server.family(), scheduling);
        }
    });
}

fn put_scheduling(out: &mut Attributes<'_>, family: Family, scheduling: &Scheduling) {
    let persistent = if scheduling.persistence.is_some() {
        PERSISTENT
    } else {
        0
    };
    let flags = persistent
        | if scheduling.flag_1 { FLAG_1 } else { 0 }
        | if scheduling.flag_2 { FLAG_2 } else { 0 };
    let mut both = flags.to_ne_bytes().to_vec();
    both.extend_from_slice(&OUR_FLAGS.to_ne_bytes());
    out.text(service::SCHEDULER, &scheduling.scheduler)
        .bytes(service::FLAGS, &both);
    let time = scheduling.persistence.map_or(0, seconds);
    put_word(out, service::TIMEOUT, time);
    // One client is one address, also where nothing is persistent: the kernel
    // asks for a mask in any case. IPv4 has a mask, IPv6 a length.
    let mask = match family {
        Family::V4 => u32::MAX,
        Family::V6 => 128,
    };
    put_word(out, service::NETMASK, mask);
}

pub(super) fn put_real(out: &mut Attributes<'_>, real: SocketAddr, weight: Option<u32>) {
    out.nest(DESTINATION, |out| {
        let family = if real.is_ipv4() {
            Family::V4
        } else {
            Family::V6
        };
        put_half(out, destination::FAMILY, family_number(family));
        out.bytes(destination::ADDRESS, &union_of(real.ip()))
            .bytes(destination::PORT, &real.port().to_be_bytes());
        if let Some(weight) = weight {
            for (kind, value) in [
                (destination::METHOD, TRANSLATE),
                (destination::WEIGHT, weight),
                (destination::UPPER, 0),
                (destination::LOWER, 0),
            ] {
                put_word(out, kind, value);
            }
        }
    });
}

pub(super) fn put_timeouts(out: &mut Attributes<'_>, timeouts: Timeouts) {
    put_word(out, TIMEOUT_TCP, seconds(timeouts.tcp));
    put_word(out, TIMEOUT_TCP_FIN, seconds(timeouts.tcp_fin));
    put_word(out, TIMEOUT_UDP, seconds(timeouts.udp));
}

/// Reads what follows a message's header; `None` for what is no virtual server
/// that we could name.
pub(super) fn read_server(body: &[u8]) -> Option<(VirtualServer, Scheduling)> {
    let mut top = crate::netlink::attributes(body);
    let found = top.find(|attribute| attribute.kind == SERVICE)?;
    let family = read_family(&found.find(service::FAMILY)?)?;
    let server = match found.find(service::MARK) {
        Some(mark) => VirtualServer::Mark {
            family,
            mark: read_word(&mark)?,
        },
        None => VirtualServer::Address {
            protocol: u8::try_from(read_half(&found.find(service::PROTOCOL)?)?).ok()?,
            address: SocketAddr::new(
                read_union(&found.find(service::ADDRESS)?, family)?,
                read_port(&found.find(service::PORT)?)?,
            ),
        },
    };
    let flags = read_word(&found.find(service::FLAGS)?)?;
    let time = found.find(service::TIMEOUT).and_then(|t| read_word(&t));
    let scheduling = Scheduling {
        scheduler: found.find(service::SCHEDULER)?.text().into(),
        persistence: (flags & PERSISTENT != 0)
            .then(|| Duration::from_secs(time.unwrap_or(0).into())),
        flag_1: flags & FLAG_1 != 0,
        flag_2: flags & FLAG_2 != 0,
    };
    Some((server, scheduling))
}

pub(super) fn read_real(body: &[u8], family: Family) -> Option<(SocketAddr, RealServer)> {
    let mut top = crate::netlink::attributes(body);
    let found = top.find(|attribute| attribute.kind == DESTINATION)?;
    let family = match found.find(destination::FAMILY) {
        Some(family) => read_family(&family)?,
        None => family,
    };
    let address = read_union(&found.find(destination::ADDRESS)?, family)?;
    let port = read_port(&found.find(destination::PORT)?)?;
    let word = |kind| found.find(kind).and_then(|word| read_word(&word));
    let real = RealServer {
        weight: word(destination::WEIGHT)?,
        active: word(destination::ACTIVE).unwrap_or(0),
        inactive: word(destination::INACTIVE).unwrap_or(0),
    };
    Some((SocketAddr::new(address, port), real))
}

pub(super) fn read_timeouts(body: &[u8]) -> Option<Timeouts> {
    let time = |kind| {
        let mut top = crate::netlink::attributes(body);
        let found = top.find(|attribute| attribute.kind == kind)?;
        Some(Duration::from_secs(read_word(&found)?.into()))
    };
    Some(Timeouts {
        tcp: time(TIMEOUT_TCP)?,
        tcp_fin: time(TIMEOUT_TCP_FIN)?,
        udp: time(TIMEOUT_UDP)?,
    })
}

fn put_half(out: &mut Attributes<'_>, kind: u16, value: u16) {
    out.bytes(kind, &value.to_ne_bytes());
}

fn put_word(out: &mut Attributes<'_>, kind: u16, value: u32) {
    out.bytes(kind, &value.to_ne_bytes());
}

fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}

const fn family_number(family: Family) -> u16 {
    match family {
        Family::V4 => libc::AF_INET as u16,
        Family::V6 => libc::AF_INET6 as u16,
    }
}

/// `union nf_inet_addr`: always 16 bytes.
fn union_of(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&address.octets());
            bytes
        }
        IpAddr::V6(address) => address.octets(),
    }
}

fn read_union(attribute: &Attribute<'_>, family: Family) -> Option<IpAddr> {
    Some(match family {
        Family::V4 => Ipv4Addr::from(*attribute.value.first_chunk::<4>()?).into(),
        Family::V6 => Ipv6Addr::from(*attribute.value.first_chunk::<16>()?).into(),
    })
}

fn read_family(attribute: &Attribute<'_>) -> Option<Family> {
    let number = read_half(attribute)?;
    Family::ALL
        .into_iter()
        .find(|family| family_number(*family) == number)
}

fn read_half(attribute: &Attribute<'_>) -> Option<u16> {
    Some(u16::from_ne_bytes(*attribute.value.first_chunk()?))
}

fn read_word(attribute: &Attribute<'_>) -> Option<u32> {
    Some(u32::from_ne_bytes(*attribute.value.first_chunk()?))
}

fn read_port(attribute: &Attribute<'_>) -> Option<u16> {
    Some(u16::from_be_bytes(*attribute.value.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(fill: impl FnOnce(&mut Attributes<'_>)) -> Vec<u8> {
        let mut bytes = Vec::new();
        fill(&mut Attributes::new(&mut bytes));
        bytes
    }

    #[test]
    fn virtual_servers_come_back_as_they_were_written() {
        let addresses = ["10.96.0.1:80", "[fd00:10:96::1]:53"];
        let addresses = addresses.map(|address| VirtualServer::Address {
            protocol: 6,
            address: address.parse().unwrap(),
        });
        let marks = Family::ALL.map(|family| VirtualServer::Mark {
            family,
            mark: 0x5000_4001,
        });
        let sticky = Scheduling {
            persistence: Some(Duration::from_secs(10_800)),
            flag_2: true,
            ..Scheduling::by("mh")
        };
        for server in addresses.into_iter().chain(marks) {
            for scheduling in [Scheduling::by("rr"), sticky.clone()] {
                let bytes = written(|out| put_server(out, &server, Some(&scheduling)));
                assert_eq!(read_server(&bytes), Some((server, scheduling)), "{server}");
            }
        }
    }

    #[test]
    fn a_virtual_server_has_the_bytes_that_the_kernel_reads() {
        let server = VirtualServer::Address {
            protocol: 17,
            address: "10.96.0.10:53".parse().unwrap(),
        };
        let bytes = written(|out| put_server(out, &server, Some(&Scheduling::by("rr"))));
        let expected: &[&[u8]] = &[
            &[84, 0, 1, 0x80],
            &[6, 0, 1, 0, 2, 0, 0, 0],
            &[6, 0, 2, 0, 17, 0, 0, 0],
            &[
                20, 0, 3, 0, 10, 96, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            ],
            &[6, 0, 4, 0, 0, 53, 0, 0],
            &[7, 0, 6, 0, b'r', b'r', 0, 0],
            &[12, 0, 7, 0, 0, 0, 0, 0, 0x19, 0, 0, 0],
            &[8, 0, 8, 0, 0, 0, 0, 0],
            &[8, 0, 9, 0, 255, 255, 255, 255],
        ];
        assert_eq!(bytes, expected.concat());
    }

    #[test]
    fn real_servers_come_back_as_they_were_written() {
        for (address, family) in [
            ("10.244.1.5:8080", Family::V4),
            ("[fd00:10:244:1::5]:8080", Family::V6),
        ] {
            let real = address.parse().unwrap();
            let bytes = written(|out| put_real(out, real, Some(100)));
            let expected = RealServer {
                weight: 100,
                active: 0,
                inactive: 0,
            };
            assert_eq!(read_real(&bytes, family), Some((real, expected)));
        }
    }

    #[test]
    fn what_is_cut_off_is_nothing() {
        let server = VirtualServer::Address {
            protocol: 6,
            address: "[fd00::1]:80".parse().unwrap(),
        };
        let whole = written(|out| put_server(out, &server, Some(&Scheduling::by("rr"))));
        let real = written(|out| put_real(out, "[fd00::2]:80".parse().unwrap(), Some(1)));
        for length in 0..whole.len() {
            assert_eq!(read_server(&whole[..length]), None, "{length}");
        }
        for length in 0..real.len() {
            assert_eq!(read_real(&real[..length], Family::V6), None, "{length}");
        }
        assert_eq!(read_timeouts(&[]), None);
    }
}
