//! From other nodes to the device.

use std::io::{self, IoSlice};
use std::net::{IpAddr, UdpSocket};

use podway_kernel::socket::tunnel::Receiver;
use podway_kernel::tun::{self, Queue};

use super::directory::Directory;
use super::icmp::{self, Reason};
use super::merge::{Merger, Piece};
use super::packet::Ip;

/// How many trains one round takes at most.
const MOST_TRAINS: usize = 8;

/// Buffers for one round, used again and again.
#[derive(Debug)]
pub(super) struct Incoming {
    receiver: Receiver,
    merges_udp: bool,
    /// Answers to other nodes' packets.
    pub(super) answers: Vec<Vec<u8>>,
}

impl Incoming {
    pub(super) fn new(merges_udp: bool) -> Self {
        Self {
            receiver: Receiver::new(MOST_TRAINS),
            merges_udp,
            answers: Vec::new(),
        }
    }

    /// Takes what is there and gives it to the device. Whether there was
    /// anything.
    ///
    /// # Errors
    /// The device is gone.
    pub(super) fn round(
        &mut self,
        queue: &Queue,
        socket: &UdpSocket,
        directory: &Directory,
        own: IpAddr,
    ) -> io::Result<bool> {
        self.answers.clear();
        match self.receiver.receive(socket) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            // What some host said to what was sent before.
            Err(_) => return Ok(true),
        }
        let mut merger = Merger::new(self.merges_udp);
        for (sender, datagram) in self.receiver.datagrams() {
            let Some(ip) = Ip::read(datagram) else {
                continue;
            };
            // Anybody can send to a port; packets of pods come from nodes.
            if !directory.takes_from(sender.ip()) || ip.is_v4() != own.is_ipv4() {
                continue;
            }
            if ip.hops <= 1 {
                let answer = icmp::answer(datagram, &ip, own, Reason::TimeExceeded);
                self.answers.extend(answer);
                continue;
            }
            merger.take(datagram, &ip);
        }
        for piece in merger.finish() {
            write(queue, &piece)?;
        }
        Ok(true)
    }
}

fn write(queue: &Queue, piece: &Piece<'_>) -> io::Result<()> {
    let (offload, header, payloads) = piece.parts();
    let before = offload.write(header.len());
    let mut parts = Vec::with_capacity(2 + payloads.len());
    parts.extend([IoSlice::new(&before), IoSlice::new(header)]);
    parts.extend(payloads.iter().map(|payload| IoSlice::new(payload)));
    give(queue, &parts)
}

fn give(queue: &Queue, parts: &[IoSlice<'_>]) -> io::Result<()> {
    match queue.write(parts) {
        Err(error) if tun::is_gone(&error) => Err(error),
        // Lost, as on any wire: the device is down, or the kernel does not
        // take the packet.
        _ => Ok(()),
    }
}
