//! Marking flows by address: a listing that the kernel filters, and one message
//! for each flow in it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use nix::errno::Errno;

use super::{
    ConntrackTable, Error, GET, ID, NESTED, NEW, ORIGINAL, REPLY, ZONE, failed, read_address,
};
use crate::netlink::{Attribute, Attributes, FLAG_ACK, attributes, put_message};

const MARK: u16 = 8;
const MARK_MASK: u16 = 21;
const FILTER: u16 = 25;
const ADDRESSES: u16 = 1;

/// Above this many addresses the whole table is read at once: each filtered
/// listing walks it too, if only inside the kernel.
const FEW_ADDRESSES: usize = 4;
/// How many flows are marked by one system call.
const BATCH: usize = 1000;

/// Marks flows in its own time.
pub trait FlowMarker: Send {
    /// Begins to set these bits in the mark of every flow that one of the
    /// addresses opened, or that was opened to one of them (after translation).
    fn begin(&mut self, addresses: &BTreeSet<IpAddr>, bits: u32);

    /// How many flows there were; `None` while it is at work.
    fn finished(&mut self) -> Option<Result<u64, Error>>;
}

/// Marks flows of the namespace in which it was opened, in a thread of its own.
#[derive(Debug)]
pub struct BackgroundMarker {
    begin: Sender<(BTreeSet<IpAddr>, u32)>,
    finished: Receiver<Result<u64, Error>>,
}

/// A marker that does nothing until a test says so.
#[derive(Debug, Default)]
pub struct FakeMarker {
    /// What was begun.
    pub begun: Vec<(BTreeSet<IpAddr>, u32)>,
    /// Whether the work that was begun has succeeded or failed.
    pub answer: Option<bool>,
}

impl ConntrackTable {
    /// Sets bits in the mark of every flow that one of the addresses opened, or
    /// that was opened to one of them (after translation). Gives how many there
    /// were.
    ///
    /// # Errors
    /// Failures of the socket.
    pub fn mark(&mut self, addresses: &BTreeSet<IpAddr>, bits: u32) -> Result<u64, Error> {
        if addresses.len() > FEW_ADDRESSES {
            return self.mark_listed(&[0, 0, 0, 0], addresses, bits);
        }
        let mut marked = 0;
        for address in addresses {
            // A flow of which both are so is marked twice.
            for direction in [ORIGINAL, REPLY] {
                let request = with_source(*address, direction);
                marked += self.mark_listed(&request, addresses, bits)?;
            }
        }
        Ok(marked)
    }

    fn mark_listed(
        &mut self,
        request: &[u8],
        addresses: &BTreeSet<IpAddr>,
        bits: u32,
    ) -> Result<u64, Error> {
        let listed = self
            .socket
            .dump(GET, request)
            .map_err(failed("reading flows"))?;
        let flows: Vec<&[u8]> = listed
            .iter()
            .filter(|message| message.kind == NEW)
            .filter(|message| is_of(message.body, addresses))
            .map(|message| message.body)
            .collect();
        let mut marked = 0;
        for some in flows.chunks(BATCH) {
            marked += self.mark_batch(some, bits)?;
        }
        Ok(marked)
    }

    fn mark_batch(&mut self, flows: &[&[u8]], bits: u32) -> Result<u64, Error> {
        let messages = u32::try_from(flows.len()).unwrap_or(u32::MAX);
        let mut sequence = self.socket.sequence(messages);
        let mut bytes = Vec::with_capacity(flows.len() * 128);
        for flow in flows {
            put_message(&mut bytes, NEW, FLAG_ACK, sequence, |out| {
                put_mark(out, flow, bits);
            });
            sequence = sequence.wrapping_add(1);
        }
        let answers = self.socket.batch(&bytes).map_err(failed("marking flows"))?;
        let mut marked = 0;
        for answer in answers {
            match answer.error {
                None => marked += 1,
                // It has ended by itself.
                Some((Errno::ENOENT, _)) => {}
                Some((errno, reason)) => {
                    return Err(failed("marking a flow")(crate::netlink::Error::Refused {
                        sequence: answer.sequence,
                        errno,
                        reason,
                    }));
                }
            }
        }
        Ok(marked)
    }
}

/// A request for the flows whose packets of one direction come from an address:
/// what `ctnetlink_parse_tuple_filter` compares (Linux 5.8).
pub(super) fn with_source(address: IpAddr, direction: u16) -> Vec<u8> {
    const SOURCE: u32 = 1;
    const ORIGINAL_FLAGS: u16 = 1;
    const REPLY_FLAGS: u16 = 2;
    let (family, kind, octets) = match address {
        IpAddr::V4(address) => (libc::AF_INET, 1, address.octets().to_vec()),
        IpAddr::V6(address) => (libc::AF_INET6, 3, address.octets().to_vec()),
    };
    let mut body = vec![u8::try_from(family).unwrap_or(0), 0, 0, 0];
    let flags = |wanted| if direction == wanted { SOURCE } else { 0 };
    Attributes::new(&mut body)
        .nest(direction, |tuple| {
            tuple.nest(ADDRESSES, |addresses| {
                addresses.bytes(kind, &octets);
            });
        })
        .nest(FILTER, |filter| {
            // In the machine's order, unlike all others.
            filter
                .bytes(ORIGINAL_FLAGS, &flags(ORIGINAL).to_ne_bytes())
                .bytes(REPLY_FLAGS, &flags(REPLY).to_ne_bytes());
        });
    body
}

/// Whether one of the addresses opened a flow, or it leads to one.
fn is_of(flow: &[u8], addresses: &BTreeSet<IpAddr>) -> bool {
    let body = flow.get(4..).unwrap_or_default();
    attributes(body)
        .filter(|attribute| [ORIGINAL, REPLY].contains(&attribute.kind))
        .filter_map(|tuple| source(&tuple))
        .any(|source| addresses.contains(&source))
}

fn source(tuple: &Attribute<'_>) -> Option<IpAddr> {
    read_address(&tuple.find(ADDRESSES)?, 1, 3)
}

/// A flow is named by what was read of it.
fn put_mark(out: &mut Vec<u8>, flow: &[u8], bits: u32) {
    out.extend_from_slice(flow.get(..4).unwrap_or(&[0; 4]));
    let mut message = Attributes::new(out);
    for attribute in attributes(flow.get(4..).unwrap_or_default()) {
        match attribute.kind {
            ORIGINAL => {
                message.bytes(NESTED | ORIGINAL, attribute.value);
            }
            ID | ZONE => {
                message.bytes(attribute.kind, attribute.value);
            }
            _ => {}
        }
    }
    message.number(MARK, bits).number(MARK_MASK, bits);
}

impl BackgroundMarker {
    /// Opens the table in the calling thread's network namespace.
    ///
    /// # Errors
    /// Failures of the socket, or no thread to be had.
    pub fn open() -> Result<Self, Error> {
        let mut table = ConntrackTable::open()?;
        let (begin, tasks) = channel::<(BTreeSet<IpAddr>, u32)>();
        let (results, finished) = channel();
        thread::Builder::new()
            .name("conntrack".to_owned())
            .spawn(move || {
                while let Ok((addresses, bits)) = tasks.recv() {
                    if results.send(table.mark(&addresses, bits)).is_err() {
                        return;
                    }
                }
            })
            .map_err(Error::Thread)?;
        Ok(Self { begin, finished })
    }
}

impl FlowMarker for BackgroundMarker {
    fn begin(&mut self, addresses: &BTreeSet<IpAddr>, bits: u32) {
        // The thread ends only with us.
        let _ = self.begin.send((addresses.clone(), bits));
    }

    fn finished(&mut self) -> Option<Result<u64, Error>> {
        self.finished.try_recv().ok()
    }
}

impl FlowMarker for FakeMarker {
    fn begin(&mut self, addresses: &BTreeSet<IpAddr>, bits: u32) {
        self.begun.push((addresses.clone(), bits));
    }

    fn finished(&mut self) -> Option<Result<u64, Error>> {
        Some(match self.answer.take()? {
            true => Ok(1),
            false => Err(Error::Thread(std::io::ErrorKind::Other.into())),
        })
    }
}
