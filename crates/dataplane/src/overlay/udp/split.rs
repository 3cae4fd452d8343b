//! One large packet of the kernel becomes the packets that travel.

use super::checksum;
use super::offload::{Kind, Offload, Unknown};
use super::packet::{Ip, TCP, UDP, set_length, set_u16, u16_at, u32_at};

const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

/// The packets that one is split into: their headers are in a buffer one after
/// the other, each of the same length, and their payloads in the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segments {
    /// Where the first header is in the buffer.
    pub(super) first: usize,
    /// The length of each header; in the packet, the payload begins there.
    pub(super) header: usize,
    /// The length of each payload but the last.
    pub(super) size: usize,
    /// The packet's length.
    pub(super) length: usize,
}

impl Segments {
    /// Where each packet's header is in the buffer, and its payload in the
    /// packet.
    pub(super) fn ranges(
        self,
    ) -> impl Iterator<Item = (std::ops::Range<usize>, std::ops::Range<usize>)> {
        let payloads = (self.header..self.length).step_by(self.size);
        payloads.enumerate().map(move |(number, at)| {
            let header = self.first + number * self.header;
            let end = (at + self.size).min(self.length);
            (header..header + self.header, at..end)
        })
    }
}

/// Writes the headers of the packets that `packet` is, behind what the buffer
/// has.
///
/// # Errors
/// Lengths and offsets that do not fit the packet.
pub(super) fn split(
    packet: &[u8],
    ip: &Ip,
    offload: &Offload,
    headers: &mut Vec<u8>,
) -> Result<Segments, Unknown> {
    let (Some((kind, size)), Some((transport, _))) = (offload.split, offload.checksum) else {
        return Err(Unknown);
    };
    let length = match kind {
        Kind::Udp => 8,
        _ => usize::from(packet.get(transport + 12).ok_or(Unknown)? >> 4) * 4,
    };
    let header = transport + length;
    let is_sound = transport >= ip.header && length >= 8 && header < ip.length && size > 0;
    if !is_sound {
        return Err(Unknown);
    }
    let segments = Segments {
        first: headers.len(),
        header,
        size,
        length: ip.length,
    };
    let count = (ip.length - header).div_ceil(size);
    for (number, (own, payload)) in segments.ranges().enumerate() {
        headers.extend_from_slice(&packet[..header]);
        let place = Place {
            number,
            is_last: number + 1 == count,
            size,
            transport,
        };
        place.write(&mut headers[own], &packet[payload], ip, kind);
    }
    Ok(segments)
}

/// Where a packet is among those of a split.
struct Place {
    number: usize,
    is_last: bool,
    size: usize,
    transport: usize,
}

impl Place {
    /// Makes the header, a copy of the large packet's, this packet's.
    fn write(&self, header: &mut [u8], payload: &[u8], ip: &Ip, kind: Kind) {
        if ip.is_v4() {
            let id = usize::from(u16_at(header, 4)) + self.number;
            set_u16(header, 4, id & 0xffff);
        }
        set_length(header, ip.is_v4(), header.len() + payload.len());
        let (network, own) = header.split_at_mut(self.transport);
        let length = own.len() + payload.len();
        debug_assert!(network.len() >= ip.header, "checked before");
        let (protocol, field) = match kind {
            Kind::Udp => {
                set_u16(own, 4, length);
                (UDP, 6)
            }
            Kind::TcpV4 | Kind::TcpV6 => {
                self.write_tcp(own);
                (TCP, 16)
            }
        };
        own[field..field + 2].fill(0);
        let sum = checksum::pseudo(ip.source, ip.destination, protocol, length);
        let sum = checksum::add(checksum::add(sum, own), payload);
        checksum::write(own, field, sum);
        if own[field..field + 2] == [0, 0] {
            own[field..field + 2].fill(0xff);
        }
    }

    fn write_tcp(&self, header: &mut [u8]) {
        let before = u32::try_from(self.number * self.size).unwrap_or(0);
        let sequence = u32_at(header, 4).wrapping_add(before);
        header[4..8].copy_from_slice(&sequence.to_be_bytes());
        if !self.is_last {
            header[13] &= !(FIN | PSH);
        }
        // RFC 3168, 6.1.2: said once.
        if self.number > 0 {
            header[13] &= !CWR;
        }
    }
}
