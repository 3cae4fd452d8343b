//! Packets of one connection that came together are given to the kernel as one,
//! as its own receive offload does (`tcp_gro_receive`).

use std::net::IpAddr;

use super::checksum;
use super::offload::{Kind, Offload};
use super::packet::{Ip, TCP, UDP, V4_HEADER, V6_HEADER, set_length, set_u16, u16_at, u32_at};

const PSH: u8 = 0x08;
const ACK: u8 = 0x10;

/// The longest headers that are looked into: IPv6 and TCP with all options.
const MOST_HEADERS: usize = V6_HEADER + 60;

/// Connections that are open at once in a batch; of more, packets come one by
/// one.
const MOST_OPEN: usize = 16;

/// Packets for the kernel, in order.
#[derive(Debug)]
pub(super) struct Merger<'a> {
    pieces: Vec<Piece<'a>>,
    merges_udp: bool,
}

/// A packet, or several of one connection.
#[derive(Debug)]
pub(super) struct Piece<'a> {
    header: [u8; MOST_HEADERS],
    header_length: usize,
    payloads: Vec<&'a [u8]>,
    flow: Option<Flow>,
    /// More can follow.
    is_open: bool,
    /// The first packet's checksum is right.
    is_verified: bool,
    bytes: usize,
}

/// A connection's packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Flow {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    ports: u32,
    /// Where the transport's header begins.
    transport: usize,
    /// The payload of the first packet: of all but the last.
    size: usize,
}

impl<'a> Merger<'a> {
    pub(super) const fn new(merges_udp: bool) -> Self {
        Self {
            pieces: Vec::new(),
            merges_udp,
        }
    }

    /// Takes a packet, of which `ip` is the header; `hops` are what is left of
    /// its hops, and not yet in it.
    pub(super) fn take(&mut self, packet: &'a [u8], ip: &Ip) {
        let piece = Piece::of(packet, ip, self.merges_udp);
        if let Some(flow) = &piece.flow {
            let recent = self.pieces.iter_mut().rev().take(MOST_OPEN);
            let mut same = recent.filter(|held| held.flow.is_some_and(|held| held.is_same(flow)));
            if let Some(held) = same.next() {
                if held.append(&piece) {
                    return;
                }
                held.is_open = false;
            }
        }
        self.pieces.push(piece);
    }

    /// What there is to write, in order.
    pub(super) fn finish(self) -> impl Iterator<Item = Piece<'a>> {
        self.pieces.into_iter().map(|mut piece| {
            piece.seal();
            piece
        })
    }
}

impl Flow {
    fn is_same(&self, other: &Self) -> bool {
        self.ports == other.ports
            && self.source == other.source
            && self.destination == other.destination
            && self.protocol == other.protocol
    }
}

impl<'a> Piece<'a> {
    fn of(packet: &'a [u8], ip: &Ip, merges_udp: bool) -> Self {
        let packet = &packet[..ip.length];
        let transport = transport_header(packet, ip);
        let header_length = transport.unwrap_or(ip.header).min(packet.len());
        let mut header = [0; MOST_HEADERS];
        header[..header_length].copy_from_slice(&packet[..header_length]);
        ip.age(&mut header);
        let payload = &packet[header_length..];
        let flow = transport.map(|_| Flow {
            source: ip.source,
            destination: ip.destination,
            protocol: ip.protocol,
            ports: u32_at(packet, ip.header),
            transport: ip.header,
            size: payload.len(),
        });
        let own = &packet[ip.header..header_length];
        let can_merge = match ip.protocol {
            // Nothing but data: what else there is has to be seen by itself.
            TCP => transport.is_some() && own[13] == ACK,
            UDP => transport.is_some() && merges_udp && own[6..8] != [0, 0],
            _ => false,
        };
        Self {
            header,
            header_length,
            payloads: vec![payload],
            flow,
            is_open: can_merge && !payload.is_empty(),
            is_verified: false,
            bytes: packet.len(),
        }
    }

    /// Takes in another packet of the flow. Whether it could.
    fn append(&mut self, next: &Self) -> bool {
        let (Some(flow), [payload]) = (self.flow, next.payloads.as_slice()) else {
            return false;
        };
        let fits = self.is_open
            && !payload.is_empty()
            && payload.len() <= flow.size
            && self.bytes + payload.len() <= 65_535
            && self.is_followed_by(next, &flow);
        if !fits || !self.verify() || !next.has_right_checksum() {
            return false;
        }
        self.bytes += payload.len();
        self.payloads.push(payload);
        let pushed = next.header[flow.transport + 13] & PSH;
        if flow.protocol == TCP {
            self.header[flow.transport + 13] |= pushed;
        }
        let is_pushed = flow.protocol == TCP && pushed != 0;
        self.is_open = payload.len() == flow.size && !is_pushed;
        true
    }

    /// Whether the next packet's headers say what follows from these.
    fn is_followed_by(&self, next: &Self, flow: &Flow) -> bool {
        if self.header_length != next.header_length || !self.is_same_network(next, flow) {
            return false;
        }
        let own = &self.header[flow.transport..self.header_length];
        let other = &next.header[flow.transport..self.header_length];
        if flow.protocol == UDP {
            return true;
        }
        let sent = u32::try_from(self.bytes - self.header_length).unwrap_or(0);
        u32_at(other, 4) == u32_at(own, 4).wrapping_add(sent)
            && own[8..13] == other[8..13]
            && own[13] & !PSH == other[13] & !PSH
            && own[14..16] == other[14..16]
            && own[18..] == other[18..]
    }

    /// Whether the network's headers are those of one packet's parts.
    fn is_same_network(&self, next: &Self, flow: &Flow) -> bool {
        const DO_NOT_FRAGMENT: u8 = 0x40;
        let (own, other) = (&self.header, &next.header);
        if flow.source.is_ipv6() {
            // Version, class and label; what follows; hops.
            return own[..4] == other[..4] && own[6..8] == other[6..8];
        }
        let parts = u16::try_from(self.payloads.len()).unwrap_or(0);
        let is_next = u16_at(other, 4) == u16_at(own, 4).wrapping_add(parts);
        own[..2] == other[..2]
            && own[6..10] == other[6..10]
            && (own[6] & DO_NOT_FRAGMENT != 0 || is_next)
    }

    /// Whether the first packet's checksum is right, which is asked when a
    /// second one comes: together they would get a new one.
    fn verify(&mut self) -> bool {
        if !self.is_verified {
            self.is_verified = self.has_right_checksum();
            self.is_open = self.is_verified;
        }
        self.is_verified
    }

    fn has_right_checksum(&self) -> bool {
        let Some(flow) = self.flow else { return false };
        let transport = &self.header[flow.transport..self.header_length];
        let payload = self.payloads[0];
        let length = transport.len() + payload.len();
        let sum = checksum::pseudo(flow.source, flow.destination, flow.protocol, length);
        checksum::fold(checksum::add(checksum::add(sum, transport), payload)) == 0xffff
    }

    /// Makes the headers those of all together.
    fn seal(&mut self) {
        let Some(flow) = self.flow.filter(|_| self.payloads.len() > 1) else {
            return;
        };
        let header = &mut self.header[..self.header_length];
        set_length(header, flow.source.is_ipv4(), self.bytes);
        let length = self.bytes - flow.transport;
        let own = &mut header[flow.transport..];
        if flow.protocol == UDP {
            set_u16(own, 4, length);
        }
        let field = checksum_field(flow.protocol);
        let sum = checksum::pseudo(flow.source, flow.destination, flow.protocol, length);
        own[field..field + 2].copy_from_slice(&checksum::fold(sum).to_ne_bytes());
    }

    /// What the kernel has to do with it, the headers and the payloads.
    pub(super) fn parts(&self) -> (Offload, &[u8], &[&'a [u8]]) {
        let header = &self.header[..self.header_length];
        let offload = match self.flow.filter(|_| self.payloads.len() > 1) {
            None => Offload::default(),
            Some(flow) => Offload {
                checksum: Some((flow.transport, checksum_field(flow.protocol))),
                split: Some((kind_of(&flow), flow.size)),
            },
        };
        (offload, header, &self.payloads)
    }
}

const fn checksum_field(protocol: u8) -> usize {
    if protocol == TCP { 16 } else { 6 }
}

const fn kind_of(flow: &Flow) -> Kind {
    match (flow.protocol, flow.source) {
        (TCP, IpAddr::V4(_)) => Kind::TcpV4,
        (TCP, IpAddr::V6(_)) => Kind::TcpV6,
        _ => Kind::Udp,
    }
}

/// Where the payload of a whole TCP or UDP packet without options of IP begins.
fn transport_header(packet: &[u8], ip: &Ip) -> Option<usize> {
    let plain = if ip.is_v4() { V4_HEADER } else { V6_HEADER };
    if ip.is_fragment || ip.header != plain {
        return None;
    }
    let own = packet.get(ip.header..)?;
    let length = match ip.protocol {
        TCP => usize::from(own.get(12)? >> 4) * 4,
        UDP if own.len() >= 8 && usize::from(u16_at(own, 4)) == own.len() => 8,
        _ => return None,
    };
    let is_sound = own.len() >= length && (ip.protocol == UDP || length >= 20);
    is_sound.then_some(ip.header + length)
}
