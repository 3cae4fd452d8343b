//! Neighbours and forwarding entries: written, removed, compared with what the
//! kernel holds.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use podway_kernel::route::{FdbEntry, LinkIndex, Mac, Neighbour, Rtnetlink};

use super::render::PeerEntries;
use crate::overlay::Error;
use crate::overlay::difference::{different, missing};

/// What is, or should be, on the devices, by what the kernel tells entries
/// apart.
#[derive(Debug, Default)]
pub(super) struct Held {
    neighbours: BTreeMap<(LinkIndex, IpAddr), Neighbour>,
    fdb: BTreeSet<FdbEntry>,
}

/// Writes what peers did not have.
pub(super) fn add(
    socket: &mut Rtnetlink,
    before: &[PeerEntries],
    after: &[PeerEntries],
) -> Result<(), Error> {
    Held::of(before).add_missing(socket, after)
}

/// Removes what peers had and nobody has any more.
pub(super) fn remove(
    socket: &mut Rtnetlink,
    before: &[PeerEntries],
    after: &[PeerEntries],
) -> Result<(), Error> {
    Held::of(before).remove_rest(socket, after)
}

impl Held {
    /// What these peers have.
    fn of(entries: &[PeerEntries]) -> Self {
        let mut held = Self::default();
        for (neighbour, fdb) in entries.iter().filter_map(|entries| entries.tunnel) {
            held.note(neighbour);
            held.fdb.insert(fdb);
        }
        held
    }

    /// What the kernel holds on the devices. Everything on them is ours, whoever
    /// wrote it: nobody else has a use for them.
    pub(super) fn read(socket: &mut Rtnetlink, devices: &[LinkIndex]) -> Result<Self, Error> {
        let mut held = Self::default();
        for link in devices {
            for neighbour in socket.neighbours(*link)? {
                held.note(neighbour);
            }
            held.fdb.extend(socket.fdb(*link)?);
        }
        Ok(held)
    }

    fn note(&mut self, neighbour: Neighbour) {
        let key = (neighbour.link, neighbour.address);
        self.neighbours.insert(key, neighbour);
    }

    pub(super) fn add_missing(
        &self,
        socket: &mut Rtnetlink,
        wanted: &[PeerEntries],
    ) -> Result<(), Error> {
        let wanted = Self::of(wanted);
        for neighbour in different(&wanted.neighbours, &self.neighbours) {
            socket.replace_neighbour(neighbour)?;
        }
        for entry in wanted.fdb.difference(&self.fdb) {
            socket.replace_fdb(entry)?;
        }
        Ok(())
    }

    pub(super) fn remove_rest(
        &self,
        socket: &mut Rtnetlink,
        wanted: &[PeerEntries],
    ) -> Result<(), Error> {
        let wanted = Self::of(wanted);
        for neighbour in missing(&self.neighbours, &wanted.neighbours) {
            socket.delete_neighbour(neighbour)?;
        }
        // A device sends frames for one address to one host: an entry that led
        // elsewhere is not there any more once it was replaced.
        let wanted: BTreeSet<(LinkIndex, Mac)> = wanted.fdb.iter().map(key_of).collect();
        for entry in self
            .fdb
            .iter()
            .filter(|entry| !wanted.contains(&key_of(entry)))
        {
            socket.delete_fdb(entry)?;
        }
        Ok(())
    }
}

const fn key_of(entry: &FdbEntry) -> (LinkIndex, Mac) {
    (entry.link, entry.mac)
}
