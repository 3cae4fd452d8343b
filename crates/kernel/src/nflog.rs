//! Copies of packets that rules log (`log group N`), over netlink.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::netlink::{self, Attributes, Bus, Message, Socket, attributes};

const SUBSYSTEM: u16 = 4;
const PACKET: u16 = SUBSYSTEM << 8;
const CONFIGURE: u16 = SUBSYSTEM << 8 | 1;

const COMMAND: u16 = 1;
const MODE: u16 = 2;
const TIMEOUT: u16 = 4;
const BIND: u8 = 1;
const COPY_PACKET: u8 = 2;

const PAYLOAD: u16 = 9;
const PREFIX: u16 = 10;

/// How long the kernel collects packets before it tells of them, in 1/100 s.
const COLLECT: u32 = 10;

/// Why packets could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody else may listen to the group, and the kernel must have the module.
    #[error("log group {group}: not to be had (another listener, or no nfnetlink_log?)")]
    Bind {
        /// The group.
        group: u16,
        /// Why not.
        #[source]
        source: netlink::Error,
    },
    /// The socket failed.
    #[error("log group {group}: reading failed")]
    Read {
        /// The group.
        group: u16,
        /// How.
        #[source]
        source: netlink::Error,
    },
}

/// A packet that a rule logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedPacket {
    /// The rule's prefix.
    pub prefix: String,
    /// Where it came from.
    pub source: IpAddr,
    /// Where it was going.
    pub destination: IpAddr,
    /// The transport protocol, by IANA number.
    pub protocol: u8,
    /// Source and destination port, where the protocol has them (TCP, UDP,
    /// SCTP) and the copy reaches so far.
    pub ports: Option<(u16, u16)>,
}

/// The listener of a group, in the network namespace in which it was opened.
#[derive(Debug)]
pub struct LogReader {
    socket: Socket,
    group: u16,
}

impl LogReader {
    /// Becomes the listener of a group.
    ///
    /// # Errors
    /// [`Error::Bind`].
    pub fn open(group: u16) -> Result<Self, Error> {
        let bind = |source| Error::Bind { group, source };
        let mut socket = Socket::open(Bus::Netfilter).map_err(bind)?;
        let mut body = vec![0, 0];
        body.extend_from_slice(&group.to_be_bytes());
        // struct nfulnl_msg_config_mode: how much, how, padding.
        let mode = [0, 0, 0xff, 0xff, COPY_PACKET, 0];
        Attributes::new(&mut body)
            .bytes(COMMAND, &[BIND])
            .bytes(MODE, &mode)
            .number(TIMEOUT, COLLECT);
        socket.request(CONFIGURE, 0, &body).map_err(bind)?;
        Ok(Self { socket, group })
    }

    /// What was logged since the last call, without waiting. Packets that are
    /// neither IPv4 nor IPv6 are left out, and so is what was lost because
    /// nobody read it.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn packets(&mut self) -> Result<Vec<LoggedPacket>, Error> {
        let group = self.group;
        let read = |source| Error::Read { group, source };
        let Some(messages) = self.socket.notifications().map_err(read)? else {
            return Ok(Vec::new());
        };
        let packets = messages.iter().filter(|message| message.kind == PACKET);
        Ok(packets.filter_map(|message| packet(&message)).collect())
    }
}

fn packet(message: &Message<'_>) -> Option<LoggedPacket> {
    let body = message.body.get(4..)?;
    let find = |kind| attributes(body).find(|attribute| attribute.kind == kind);
    let prefix = find(PREFIX).map_or("", |prefix| prefix.text());
    let payload = find(PAYLOAD)?.value;
    let (source, destination, protocol, transport) = match payload.first()? >> 4 {
        4 => ipv4(payload)?,
        6 => ipv6(payload)?,
        _ => return None,
    };
    Some(LoggedPacket {
        prefix: prefix.to_owned(),
        source,
        destination,
        protocol,
        ports: ports(protocol, transport),
    })
}

/// Source, destination, protocol and what follows the headers.
type Headers<'a> = (IpAddr, IpAddr, u8, &'a [u8]);

fn ipv4(packet: &[u8]) -> Option<Headers<'_>> {
    let address = |at: usize| {
        let octets: &[u8; 4] = packet.get(at..)?.first_chunk()?;
        Some(IpAddr::V4(Ipv4Addr::from(*octets)))
    };
    let length = usize::from(packet.first()? & 0xf) * 4;
    let transport = packet.get(length..).unwrap_or_default();
    Some((address(12)?, address(16)?, *packet.get(9)?, transport))
}

/// RFC 8200 section 4: extension headers say their length in units of 8 bytes.
fn ipv6(packet: &[u8]) -> Option<Headers<'_>> {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const DESTINATION: u8 = 60;
    let address = |at: usize| {
        let octets: &[u8; 16] = packet.get(at..)?.first_chunk()?;
        Some(IpAddr::V6(Ipv6Addr::from(*octets)))
    };
    let mut next = *packet.get(6)?;
    let mut rest = packet.get(40..).unwrap_or_default();
    while let (HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION, [following, units, ..]) = (next, rest)
    {
        let length = match next {
            FRAGMENT => 8,
            _ => 8 + 8 * usize::from(*units),
        };
        next = *following;
        rest = rest.get(length..).unwrap_or_default();
    }
    Some((address(8)?, address(24)?, next, rest))
}

fn ports(protocol: u8, transport: &[u8]) -> Option<(u16, u16)> {
    const WITH_PORTS: [u8; 3] = [6, 17, 132];
    let [a, b, c, d] = *transport.first_chunk::<4>()?;
    let ports = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    WITH_PORTS.contains(&protocol).then_some(ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(payload: &[u8]) -> Option<LoggedPacket> {
        let mut body = vec![0; 4];
        Attributes::new(&mut body)
            .text(PREFIX, "ingress")
            .bytes(PAYLOAD, payload);
        packet(&Message {
            kind: PACKET,
            flags: 0,
            sequence: 0,
            port: 0,
            body: &body,
        })
    }

    fn six(next: u8, rest: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 0, 0, next, 64];
        packet.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        packet.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        packet.extend(rest);
        packet
    }

    #[test]
    fn headers_are_read_as_far_as_they_go() {
        let four = [
            0x46, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 1, 1, 1, 1, 0, 7, 0,
            53,
        ];
        let fragment = [17, 0, 0, 1, 0, 0, 0, 9, 60, 0];
        let options = [
            6, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x1f, 0x90, 0, 80,
        ];
        let cases: [(&[u8], &str); 7] = [
            (&four, "17 Some((7, 53))"),
            (&four[..26], "17 None"),
            (&four[..10], "nothing"),
            (&six(60, &options), "6 Some((8080, 80))"),
            (&six(44, &fragment), "17 None"),
            (&six(58, &[128, 0, 1, 2]), "58 None"),
            (&[0x50, 0], "nothing"),
        ];
        for (payload, expected) in cases {
            let found = read(payload).map_or_else(
                || "nothing".to_owned(),
                |packet| format!("{} {:?}", packet.protocol, packet.ports),
            );
            assert_eq!(found, expected, "{payload:?}");
        }
        let packet = read(&four).expect("a packet");
        let ends = [packet.source, packet.destination].map(|end| end.to_string());
        assert_eq!(
            (ends, &*packet.prefix),
            (["10.0.0.1".into(), "10.0.0.2".into()], "ingress")
        );
    }
}
