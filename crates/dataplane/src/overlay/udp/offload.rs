//! What the kernel leaves to be done with a packet, or has to do itself: the
//! header before each packet of a TUN device.

use podway_kernel::tun;

use super::checksum;

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM` of linux/virtio_net.h.
const NEEDS_CHECKSUM: u8 = 1;
/// `VIRTIO_NET_HDR_GSO_ECN`, a flag beside the kind.
const ECN: u8 = 0x80;

/// A packet that is many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    TcpV4,
    TcpV6,
    Udp,
}

/// A packet's header for the kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Offload {
    /// Where the transport's header begins, and where its checksum is in it:
    /// the field has the pseudo-header's sum so far.
    pub(super) checksum: Option<(usize, usize)>,
    /// The packet is many of this payload, the last shorter.
    pub(super) split: Option<(Kind, usize)>,
}

/// A header that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unknown;

impl Offload {
    /// Reads a header; the packet follows it.
    pub(super) fn read(bytes: &[u8; tun::HEADER]) -> Result<Self, Unknown> {
        let number = |at: usize| usize::from(u16::from_ne_bytes([bytes[at], bytes[at + 1]]));
        let checksum = (bytes[0] & NEEDS_CHECKSUM != 0).then(|| (number(6), number(8)));
        let kind = match bytes[1] & !ECN {
            0 => None,
            1 => Some(Kind::TcpV4),
            4 => Some(Kind::TcpV6),
            5 => Some(Kind::Udp),
            _ => return Err(Unknown),
        };
        let split = kind.map(|kind| (kind, number(4)));
        match (split, checksum) {
            (Some((_, 0)), _) | (Some(_), None) => Err(Unknown),
            _ => Ok(Self { checksum, split }),
        }
    }

    /// Writes a header for a packet whose headers are `headers` bytes long.
    pub(super) fn write(&self, headers: usize) -> [u8; tun::HEADER] {
        let mut bytes = [0; tun::HEADER];
        let mut set = |at: usize, number: usize| {
            let number = u16::try_from(number).unwrap_or(u16::MAX);
            bytes[at..at + 2].copy_from_slice(&number.to_ne_bytes());
        };
        if let Some((start, offset)) = self.checksum {
            set(6, start);
            set(8, offset);
        }
        if let Some((_, size)) = self.split {
            set(2, headers);
            set(4, size);
        }
        bytes[0] = if self.checksum.is_some() {
            NEEDS_CHECKSUM
        } else {
            0
        };
        bytes[1] = match self.split {
            None => 0,
            Some((Kind::TcpV4, _)) => 1,
            Some((Kind::TcpV6, _)) => 4,
            Some((Kind::Udp, _)) => 5,
        };
        bytes
    }
}

/// Does what is left of a packet's checksum.
pub(super) fn complete(packet: &mut [u8], (start, offset): (usize, usize)) -> Result<(), Unknown> {
    let at = start + offset;
    if at + 2 > packet.len() {
        return Err(Unknown);
    }
    let sum = checksum::add(0, &packet[start..]);
    checksum::write(packet, at, sum);
    // RFC 768: zero would say that there is none. TCP reads both as the same.
    if packet[at..at + 2] == [0, 0] {
        packet[at..at + 2].fill(0xff);
    }
    Ok(())
}
