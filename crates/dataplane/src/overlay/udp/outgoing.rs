//! From the device to other nodes.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::Range;

use podway_kernel::socket::tunnel::{self, MOST_BYTES, MOST_SEGMENTS, Train};
use podway_kernel::tun::{self, Queue};

use super::icmp::{self, Reason};
use super::offload::{self, Offload};
use super::packet::Ip;
use super::split::{self, Segments};

/// How many packets of the device one round takes at most.
const MOST_PACKETS: usize = 64;

/// A packet of this length is many: it is sent before another is read, while
/// it is in the processor's cache.
const LARGE: usize = 16 << 10;

/// Room for packets as they come from the device.
const ROOM: usize = 4 * tun::MOST;

/// Buffers for one round, used again and again.
#[derive(Debug)]
pub(super) struct Outgoing {
    packets: Box<[u8]>,
    headers: Vec<u8>,
    items: Vec<Item>,
    /// Answers to the pods' own packets.
    pub(super) answers: Vec<Vec<u8>>,
}

/// A packet to send.
#[derive(Debug)]
struct Item {
    to: SocketAddr,
    /// Where it is in the buffer.
    at: Range<usize>,
    segments: Option<Segments>,
}

impl Outgoing {
    pub(super) fn new() -> Self {
        Self {
            packets: vec![0; ROOM].into_boxed_slice(),
            headers: Vec::new(),
            items: Vec::new(),
            answers: Vec::new(),
        }
    }

    /// Reads what is there and sends it. Whether there was anything.
    ///
    /// # Errors
    /// The device is gone.
    pub(super) fn round(
        &mut self,
        queue: &Queue,
        socket: &UdpSocket,
        directory: impl Fn(IpAddr) -> Option<SocketAddr>,
        own: IpAddr,
    ) -> io::Result<bool> {
        self.headers.clear();
        self.items.clear();
        self.answers.clear();
        let mut free = 0;
        let mut count = 0;
        while count < MOST_PACKETS && free + tun::MOST <= self.packets.len() {
            let length = match queue.read(&mut self.packets[free..free + tun::MOST]) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            count += 1;
            let at = free..free + length;
            free = at.end;
            self.prepare(at, &directory, own);
            if length > LARGE {
                break;
            }
        }
        self.send(socket);
        Ok(count > 0)
    }

    /// Looks at a packet as a router: where it goes, and what has to be done
    /// with it. What cannot go on is dropped.
    fn prepare(
        &mut self,
        at: Range<usize>,
        directory: &impl Fn(IpAddr) -> Option<SocketAddr>,
        own: IpAddr,
    ) {
        let Some((header, packet)) =
            self.packets[at.clone()].split_first_chunk_mut::<{ tun::HEADER }>()
        else {
            return;
        };
        let (Ok(offload), Some(ip)) = (Offload::read(header), Ip::read(packet)) else {
            return;
        };
        let Some(to) = directory(ip.destination) else {
            self.answers
                .extend(icmp::answer(packet, &ip, own, Reason::NoRoute));
            return;
        };
        if !ip.age(packet) {
            self.answers
                .extend(icmp::answer(packet, &ip, own, Reason::TimeExceeded));
            return;
        }
        let packet = &mut packet[..ip.length];
        let segments = match (offload.split, offload.checksum) {
            (Some(_), _) => match split::split(packet, &ip, &offload, &mut self.headers) {
                Ok(segments) => Some(segments),
                Err(offload::Unknown) => return,
            },
            (None, Some(field)) => {
                if offload::complete(packet, field).is_err() {
                    return;
                }
                None
            }
            (None, None) => None,
        };
        let start = at.start + tun::HEADER;
        self.items.push(Item {
            to,
            at: start..start + ip.length,
            segments,
        });
    }

    fn send(&self, socket: &UdpSocket) {
        let mut trains = Trains::default();
        for item in &self.items {
            let packet = &self.packets[item.at.clone()];
            match item.segments {
                None => trains.add(item.to, &[packet]),
                Some(segments) => {
                    for (header, payload) in segments.ranges() {
                        trains.add(item.to, &[&self.headers[header], &packet[payload]]);
                    }
                }
            }
        }
        trains.send(socket);
    }
}

/// Datagrams, those of one length to one node in one piece.
#[derive(Debug, Default)]
struct Trains<'a> {
    parts: Vec<IoSlice<'a>>,
    trains: Vec<Joined>,
}

#[derive(Debug)]
struct Joined {
    to: SocketAddr,
    parts: Range<usize>,
    /// The length of each datagram but the last.
    segment: usize,
    count: usize,
    bytes: usize,
    is_open: bool,
}

impl<'a> Trains<'a> {
    fn add(&mut self, to: SocketAddr, datagram: &[&'a [u8]]) {
        let length: usize = datagram.iter().map(|part| part.len()).sum();
        let first = self.parts.len();
        self.parts
            .extend(datagram.iter().map(|part| IoSlice::new(part)));
        let end = self.parts.len();
        if let Some(last) = self.trains.last_mut()
            && last.is_open
            && last.to == to
            && length <= last.segment
            && last.count < MOST_SEGMENTS
            && last.bytes + length <= MOST_BYTES
        {
            last.parts.end = end;
            last.count += 1;
            last.bytes += length;
            last.is_open = length == last.segment;
            return;
        }
        self.trains.push(Joined {
            to,
            parts: first..end,
            segment: length,
            count: 1,
            bytes: length,
            is_open: true,
        });
    }

    fn send(&self, socket: &UdpSocket) {
        let trains: Vec<Train<'_>> = self.trains.iter().map(|train| self.train(train)).collect();
        let mut rest = trains.as_slice();
        while let Some(first) = rest.first() {
            let sent = match tunnel::send(socket, rest) {
                Ok(sent) => sent.max(1),
                // Lost, as on any wire: the node is away, or there is no route.
                Err(_) if first.segment.is_none() => 1,
                Err(_) => {
                    send_singly(socket, first);
                    1
                }
            };
            rest = rest.get(sent..).unwrap_or_default();
        }
    }

    fn train(&'a self, train: &Joined) -> Train<'a> {
        let segment = u16::try_from(train.segment).ok();
        Train {
            to: train.to,
            parts: &self.parts[train.parts.clone()],
            segment: segment.filter(|_| train.count > 1),
        }
    }
}

/// Where an interface takes no trains, or the way has become narrower.
fn send_singly(socket: &UdpSocket, train: &Train<'_>) {
    let bytes: Vec<u8> = train
        .parts
        .iter()
        .flat_map(|part| part.iter())
        .copied()
        .collect();
    for datagram in bytes.chunks(train.segment.map_or(bytes.len(), usize::from).max(1)) {
        let part = [IoSlice::new(datagram)];
        let single = Train {
            to: train.to,
            parts: &part,
            segment: None,
        };
        // Lost, as above.
        let _ = tunnel::send(socket, &[single]);
    }
}
