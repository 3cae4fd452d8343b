//! IP headers, as far as a tunnel looks at them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::checksum;

pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const ICMP: u8 = 1;
pub(super) const ICMPV6: u8 = 58;

/// Length of an IPv4 header without options.
pub(super) const V4_HEADER: usize = 20;
/// Length of an IPv6 header.
pub(super) const V6_HEADER: usize = 40;

/// What an IP header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ip {
    /// The header's length: with IPv4's options, without IPv6's extensions.
    pub(super) header: usize,
    /// The packet's length.
    pub(super) length: usize,
    /// What follows the header.
    pub(super) protocol: u8,
    /// How many more routers it may pass.
    pub(super) hops: u8,
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    /// A piece of a packet, and not the first one.
    pub(super) is_later_fragment: bool,
    /// A piece of a packet, which one ever.
    pub(super) is_fragment: bool,
}

impl Ip {
    /// Reads the header of a packet; `None` for what is none, or is cut off.
    pub(super) fn read(packet: &[u8]) -> Option<Self> {
        match packet.first()? >> 4 {
            4 => Self::read_v4(packet),
            6 => Self::read_v6(packet),
            _ => None,
        }
    }

    fn read_v4(packet: &[u8]) -> Option<Self> {
        let fixed: &[u8; V4_HEADER] = packet.first_chunk()?;
        let header = usize::from(fixed[0] & 0xf) * 4;
        let length = usize::from(u16_at(fixed, 2));
        if header < V4_HEADER || header > length || length > packet.len() {
            return None;
        }
        let fragment = u16_at(fixed, 6);
        Some(Self {
            header,
            length,
            protocol: fixed[9],
            hops: fixed[8],
            source: Ipv4Addr::new(fixed[12], fixed[13], fixed[14], fixed[15]).into(),
            destination: Ipv4Addr::new(fixed[16], fixed[17], fixed[18], fixed[19]).into(),
            is_later_fragment: fragment & 0x1fff != 0,
            is_fragment: fragment & 0x3fff != 0,
        })
    }

    fn read_v6(packet: &[u8]) -> Option<Self> {
        const FRAGMENT: u8 = 44;
        let fixed: &[u8; V6_HEADER] = packet.first_chunk()?;
        let length = V6_HEADER + usize::from(u16_at(fixed, 4));
        if length > packet.len() {
            return None;
        }
        let is_fragment = fixed[6] == FRAGMENT;
        let offset = packet.get(42..44).map_or(0, |field| u16_at(field, 0) >> 3);
        Some(Self {
            header: V6_HEADER,
            length,
            protocol: fixed[6],
            hops: fixed[7],
            source: address_v6(fixed, 8),
            destination: address_v6(fixed, 24),
            is_later_fragment: is_fragment && offset != 0,
            is_fragment,
        })
    }

    pub(super) const fn is_v4(&self) -> bool {
        self.source.is_ipv4()
    }

    /// Takes one hop off, as a router does. Whether one is left; where none is,
    /// the packet stays as it was.
    pub(super) fn age(&self, packet: &mut [u8]) -> bool {
        if self.hops <= 1 {
            return false;
        }
        if !self.is_v4() {
            packet[7] -= 1;
            return true;
        }
        let word = |packet: &[u8], at| u64::from(u16::from_ne_bytes([packet[at], packet[at + 1]]));
        let before = word(packet, 8);
        packet[8] -= 1;
        // RFC 1624, 3: HC' = ~(~HC + ~m + m')
        let sum = (word(packet, 10) ^ 0xffff) + (before ^ 0xffff) + word(packet, 8);
        checksum::write(packet, 10, sum);
        true
    }
}

/// Writes the length of a whole packet into its header, and IPv4's checksum.
pub(super) fn set_length(header: &mut [u8], is_v4: bool, length: usize) {
    if is_v4 {
        set_u16(header, 2, length);
        let own = usize::from(header[0] & 0xf) * 4;
        header[10..12].fill(0);
        let sum = checksum::add(0, &header[..own]);
        checksum::write(header, 10, sum);
    } else {
        set_u16(header, 4, length - V6_HEADER);
    }
}

pub(super) const fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// Writes a number, which is one of 16 bits: lengths of packets are.
pub(super) fn set_u16(bytes: &mut [u8], at: usize, number: usize) {
    let number = u16::try_from(number).unwrap_or(u16::MAX);
    bytes[at..at + 2].copy_from_slice(&number.to_be_bytes());
}

pub(super) const fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn address_v6(bytes: &[u8], at: usize) -> IpAddr {
    let mut octets = [0; 16];
    octets.copy_from_slice(&bytes[at..at + 16]);
    Ipv6Addr::from(octets).into()
}
