//! First packets of connections, byte by byte: as everybody sends them, and in
/// the shapes in which a filter that looks at fixed offsets does not find the
/// port.
use std::net::{IpAddr, SocketAddr};

use podway_model::Protocol;

/// Next headers (RFC 8200 section 4).
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;

/// What a packet looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Plain,
    /// IPv4: with options in its header.
    Options,
    /// IPv6: with these headers before the segment.
    Headers(&'static [u8]),
    /// In two fragments, of which only the first has the ports.
    Fragments,
    /// The same, the second one first.
    FragmentsBackwards,
}

/// Shapes that a family has, and what they are called.
pub(super) const OF_IPV4: [Shape; 3] =
    [Shape::Options, Shape::Fragments, Shape::FragmentsBackwards];
pub(super) const OF_IPV6: [Shape; 7] = [
    Shape::Headers(&[HOP_BY_HOP]),
    Shape::Headers(&[DESTINATION]),
    Shape::Headers(&[ROUTING]),
    // RFC 6946: a fragment that is the whole packet.
    Shape::Headers(&[FRAGMENT]),
    Shape::Headers(&[HOP_BY_HOP, DESTINATION, ROUTING, DESTINATION]),
    Shape::Fragments,
    Shape::FragmentsBackwards,
];

impl Shape {
    /// The IP packets of a connection's first segment.
    pub(super) fn packets(
        self,
        protocol: Protocol,
        from: SocketAddr,
        to: SocketAddr,
    ) -> Vec<Vec<u8>> {
        let data = match self {
            Self::Fragments | Self::FragmentsBackwards => 64,
            _ => 0,
        };
        let segment = first_segment(protocol, from, to, data);
        let mut packets = match self {
            Self::Fragments | Self::FragmentsBackwards => fragments(&segment, protocol, from, to),
            _ => vec![self.packet(&segment, protocol, from, to)],
        };
        if self == Self::FragmentsBackwards {
            packets.reverse();
        }
        packets
    }

    fn packet(
        self,
        segment: &[u8],
        protocol: Protocol,
        from: SocketAddr,
        to: SocketAddr,
    ) -> Vec<u8> {
        let ends = (from.ip(), to.ip());
        let number = protocol.number();
        match self {
            // NOP three times, and end of options.
            Self::Options => ip(ends, number, 0, &[1, 1, 1, 0], segment),
            Self::Headers(headers) => {
                let mut bytes = Vec::new();
                for (index, header) in headers.iter().enumerate() {
                    bytes.push(headers.get(index + 1).copied().unwrap_or(number));
                    bytes.extend(match *header {
                        // Type 4 (RFC 8754) with nothing left to do.
                        ROUTING => [0, 4, 0, 0, 0, 0, 0],
                        FRAGMENT => [0, 0, 0, 0, 0, 0, 1],
                        // PadN over all of it.
                        _ => [0, 1, 4, 0, 0, 0, 0],
                    });
                }
                bytes.extend(segment);
                ip(ends, headers[0], 0, &[], &bytes)
            }
            _ => ip(ends, number, 0, &[], segment),
        }
    }
}

/// Two of them: fragments are cut at multiples of eight bytes.
fn fragments(segment: &[u8], protocol: Protocol, from: SocketAddr, to: SocketAddr) -> Vec<Vec<u8>> {
    const CUT: usize = 40;
    let (first, second) = segment.split_at(CUT);
    let ends = (from.ip(), to.ip());
    let units = u16::try_from(CUT / 8).expect("small");
    [(first, 0, true), (second, units, false)]
        .into_iter()
        .map(|(part, offset, more)| match ends.0 {
            IpAddr::V4(_) => ip(
                ends,
                protocol.number(),
                offset | (u16::from(more) << 13),
                &[],
                part,
            ),
            IpAddr::V6(_) => {
                let mut bytes = vec![protocol.number(), 0];
                bytes.extend(((offset << 3) | u16::from(more)).to_be_bytes());
                bytes.extend(u32::from(from.port()).to_be_bytes());
                bytes.extend(part);
                ip(ends, FRAGMENT, 0, &[], &bytes)
            }
        })
        .collect()
}

/// A packet; `fragment` is IPv4's flags and offset.
fn ip(ends: (IpAddr, IpAddr), next: u8, fragment: u16, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).expect("a short packet");
    let mut packet = Vec::with_capacity(192);
    match ends {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let header = u8::try_from(20 + options.len()).expect("a short header");
            packet.extend([0x40 | (header / 4), 0]);
            packet.extend((length + u16::from(header)).to_be_bytes());
            // All fragments of a packet have its number. The one before is whole
            // when the next is sent, so that one number serves all.
            packet.extend([0, 1]);
            let fragment = if fragment == 0 { 0x4000 } else { fragment };
            packet.extend(fragment.to_be_bytes());
            packet.extend([64, next, 0, 0]);
            packet.extend(source.octets());
            packet.extend(destination.octets());
            packet.extend(options);
            let sum = checksum(&packet).to_be_bytes();
            packet[10..12].copy_from_slice(&sum);
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            packet.extend([0x60, 0, 0, 0]);
            packet.extend(length.to_be_bytes());
            packet.extend([next, 64]);
            packet.extend(source.octets());
            packet.extend(destination.octets());
        }
        _ => panic!("{ends:?} are of different families"),
    }
    packet.extend(payload);
    packet
}

/// SYN, a datagram, or INIT: what conntrack takes for the begin of a connection.
/// With so many bytes of data.
fn first_segment(protocol: Protocol, from: SocketAddr, to: SocketAddr, data: u16) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(32);
    bytes.extend(from.port().to_be_bytes());
    bytes.extend(to.port().to_be_bytes());
    let checksum_at = match protocol {
        Protocol::Tcp => {
            bytes.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0x20, 0, 0, 0, 0, 0]);
            16
        }
        Protocol::Udp => {
            bytes.extend((8 + data).to_be_bytes());
            bytes.extend([0, 0]);
            6
        }
        Protocol::Sctp => {
            // Verification tag 0 and an INIT chunk; its CRC stays wrong, which
            // makes the packet invalid to conntrack and as new to our rules.
            bytes.extend([0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 20]);
            bytes.extend([0, 0, 0, 1, 0, 0, 0x10, 0, 0, 1, 0, 1, 0, 0, 0, 1]);
            bytes.resize(bytes.len() + usize::from(data), 0);
            return bytes;
        }
    };
    bytes.resize(bytes.len() + usize::from(data), 0);
    let mut pseudo = Vec::with_capacity(64);
    for address in [from.ip(), to.ip()] {
        match address {
            IpAddr::V4(address) => pseudo.extend(address.octets()),
            IpAddr::V6(address) => pseudo.extend(address.octets()),
        }
    }
    let length = u32::try_from(bytes.len()).expect("a short segment");
    pseudo.extend(length.to_be_bytes());
    pseudo.extend([0, 0, 0, protocol.number()]);
    pseudo.extend(&bytes);
    let sum = checksum(&pseudo).to_be_bytes();
    bytes[checksum_at..checksum_at + 2].copy_from_slice(&sum);
    bytes
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded")
}

/// The source port of a frame, behind whatever headers it has; `None` where it
/// has none.
pub(super) fn source_port(frame: &[u8]) -> Option<&[u8]> {
    const ETHERNET: usize = 14;
    match frame.get(12..ETHERNET)? {
        [0x08, 0x00] => {
            let begin = ETHERNET + usize::from(frame.get(ETHERNET)? & 0xf) * 4;
            let is_first = frame.get(ETHERNET + 6)? & 0x1f == 0 && *frame.get(ETHERNET + 7)? == 0;
            is_first.then(|| frame.get(begin..begin + 2))?
        }
        [0x86, 0xdd] => {
            let (mut next, mut begin) = (*frame.get(ETHERNET + 6)?, ETHERNET + 40);
            while [HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION].contains(&next) {
                let (offset, length) = (frame.get(begin + 2..begin + 4)?, *frame.get(begin + 1)?);
                if next == FRAGMENT && (offset[0] != 0 || offset[1] & 0xf8 != 0) {
                    return None;
                }
                let length = if next == FRAGMENT {
                    0
                } else {
                    usize::from(length)
                };
                next = *frame.get(begin)?;
                begin += 8 + length * 8;
            }
            frame.get(begin..begin + 2)
        }
        _ => None,
    }
}
