use std::net::Ipv6Addr;

use super::{FrameError, MacAddress};
use crate::reader::Reader;

/// All nodes of the link.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

const IPV6_HEADER: usize = 40;
const ICMPV6: u8 = 58;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// RFC 4861 section 7.1: nothing that passed a router has it.
const HOP_LIMIT: u8 = 255;
const OPTION_SOURCE_LINK: u8 = 1;
const OPTION_TARGET_LINK: u8 = 2;
const FLAG_SOLICITED: u32 = 1 << 30;
const FLAG_OVERRIDE: u32 = 1 << 29;

/// The group that whoever looks for an address asks (RFC 4291 section 2.7.1).
#[must_use]
pub const fn solicited_node_group(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::new(
        0xff02,
        0,
        0,
        0,
        0,
        1,
        0xff00 | a as u16,
        (b as u16) << 8 | c as u16,
    )
}

/// The link address of an IPv6 group (RFC 2464 section 7).
#[must_use]
pub const fn group_mac(group: Ipv6Addr) -> MacAddress {
    let [.., a, b, c, d] = group.octets();
    MacAddress([0x33, 0x33, a, b, c, d])
}

/// A valid neighbour solicitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Solicitation {
    /// Who asks; unspecified when it checks whether an address is free
    /// (RFC 4862 section 5.4).
    pub source: Ipv6Addr,
    /// The address asked for.
    pub target: Ipv6Addr,
    /// Where the answer is to go; the frame's source where it is absent.
    pub source_mac: Option<MacAddress>,
}

impl Solicitation {
    /// Reads an IPv6 packet. The checks are those of RFC 4861 section 7.1.1.
    /// Extension headers are not looked behind: no host sends them here.
    ///
    /// # Errors
    /// Where it is anything else, or not valid.
    pub fn decode(packet: &[u8]) -> Result<Self, FrameError> {
        let (source, destination, message) = icmp(packet, SOLICITATION)?;
        let mut reader = Reader::new(message);
        let code = reader
            .take(4)
            .map(|header| header[1])
            .ok_or(FrameError::Truncated)?;
        if code != 0 {
            return Err(FrameError::Invalid("its code is not 0"));
        }
        reader.u32().ok_or(FrameError::Truncated)?;
        let target = Ipv6Addr::from(reader.array::<16>().ok_or(FrameError::Truncated)?);
        if target.is_multicast() {
            return Err(FrameError::Invalid("its target is a group"));
        }
        let source_mac = option(reader, OPTION_SOURCE_LINK)?;
        if source.is_unspecified() {
            if destination != solicited_node_group(target) {
                return Err(FrameError::Invalid(
                    "no source, and not to the target's group",
                ));
            }
            if source_mac.is_some() {
                return Err(FrameError::Invalid("a link address without a source"));
            }
        }
        Ok(Self {
            source,
            target,
            source_mac,
        })
    }

    /// The IPv6 packet, as a host sends it to the target's group.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut body = vec![0; 4];
        body.extend(self.target.octets());
        if let Some(mac) = self.source_mac {
            body.extend([OPTION_SOURCE_LINK, 1]);
            body.extend(mac.0);
        }
        packet(
            self.source,
            solicited_node_group(self.target),
            SOLICITATION,
            &body,
        )
    }
}

/// A neighbour advertisement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advertisement {
    /// The sender's own address on the link.
    pub source: Ipv6Addr,
    /// To whom; all nodes where nobody asked.
    pub destination: Ipv6Addr,
    /// The address it is about.
    pub target: Ipv6Addr,
    /// Where that address is.
    pub target_mac: MacAddress,
    /// It answers a solicitation.
    pub solicited: bool,
    /// It replaces what the receiver has cached.
    pub overrides: bool,
}

impl Advertisement {
    /// The IPv6 packet.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut flags = 0;
        if self.solicited {
            flags |= FLAG_SOLICITED;
        }
        if self.overrides {
            flags |= FLAG_OVERRIDE;
        }
        let mut body = flags.to_be_bytes().to_vec();
        body.extend(self.target.octets());
        body.extend([OPTION_TARGET_LINK, 1]);
        body.extend(self.target_mac.0);
        packet(self.source, self.destination, ADVERTISEMENT, &body)
    }

    /// Reads an IPv6 packet.
    ///
    /// # Errors
    /// Where it is anything else, or without a link address.
    pub fn decode(packet: &[u8]) -> Result<Self, FrameError> {
        let (source, destination, message) = icmp(packet, ADVERTISEMENT)?;
        let mut reader = Reader::new(message);
        let mut read = || {
            reader.u32()?;
            let flags = reader.u32()?;
            let target = Ipv6Addr::from(reader.array::<16>()?);
            Some((flags, target))
        };
        let (flags, target) = read().ok_or(FrameError::Truncated)?;
        let target_mac = option(reader, OPTION_TARGET_LINK)?
            .ok_or(FrameError::Invalid("no link address of its target"))?;
        Ok(Self {
            source,
            destination,
            target,
            target_mac,
            solicited: flags & FLAG_SOLICITED != 0,
            overrides: flags & FLAG_OVERRIDE != 0,
        })
    }
}

/// Source, destination and message of an ICMPv6 packet of one type that came
/// from this link.
fn icmp(packet: &[u8], kind: u8) -> Result<(Ipv6Addr, Ipv6Addr, &[u8]), FrameError> {
    let mut reader = Reader::new(packet);
    let mut read = || {
        let version = reader.u32()? >> 28;
        let length = reader.u16()?;
        let next_header = reader.u8()?;
        let hop_limit = reader.u8()?;
        let source = Ipv6Addr::from(reader.array::<16>()?);
        let destination = Ipv6Addr::from(reader.array::<16>()?);
        Some((version, length, next_header, hop_limit, source, destination))
    };
    let (version, length, next_header, hop_limit, source, destination) =
        read().ok_or(FrameError::Truncated)?;
    let message = reader
        .take(usize::from(length))
        .ok_or(FrameError::Truncated)?;
    if version != 6 || next_header != ICMPV6 || message.first() != Some(&kind) {
        return Err(FrameError::NotNeighbourDiscovery);
    }
    if hop_limit != HOP_LIMIT {
        return Err(FrameError::HopLimit(hop_limit));
    }
    if checksum(source, destination, message) != 0 {
        return Err(FrameError::Checksum);
    }
    Ok((source, destination, message))
}

/// The link address in the option of a kind, where it is there.
fn option(mut options: Reader<'_>, wanted: u8) -> Result<Option<MacAddress>, FrameError> {
    let mut found = None;
    while !options.is_empty() {
        let kind = options.u8().ok_or(FrameError::Truncated)?;
        let units = options.u8().ok_or(FrameError::Truncated)?;
        // RFC 4861 section 7.1.1: an option of length 0 makes the packet void.
        let length = (usize::from(units) * 8)
            .checked_sub(2)
            .ok_or(FrameError::Invalid("an option without a length"))?;
        let mut body = Reader::new(options.take(length).ok_or(FrameError::Truncated)?);
        if kind == wanted {
            found = body.array().map(MacAddress);
        }
    }
    Ok(found)
}

fn packet(source: Ipv6Addr, destination: Ipv6Addr, kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0];
    message.extend(body);
    let sum = checksum(source, destination, &message).to_be_bytes();
    message[2..4].copy_from_slice(&sum);
    let mut bytes = Vec::with_capacity(IPV6_HEADER + message.len());
    bytes.extend([0x60, 0, 0, 0]);
    let length = u16::try_from(message.len()).expect("neighbour discovery messages are short");
    bytes.extend(length.to_be_bytes());
    bytes.extend([ICMPV6, HOP_LIMIT]);
    bytes.extend(source.octets());
    bytes.extend(destination.octets());
    bytes.extend(message);
    bytes
}

/// The internet checksum with the pseudo header of RFC 8200 section 8.1; zero
/// over a message that already holds the right one.
fn checksum(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> u16 {
    let words = |bytes: &[u8]| -> u32 {
        bytes
            .chunks(2)
            .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)))
            .sum()
    };
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut sum = words(&source.octets())
        + words(&destination.octets())
        + words(message)
        + (length >> 16)
        + (length & 0xffff)
        + u32::from(ICMPV6);
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !u16::try_from(sum).expect("the sum was folded to 16 bits")
}
