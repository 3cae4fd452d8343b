//! Entries of peers: written, removed, compared with what the kernel holds.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use podway_kernel::route::{
    FdbEntry, LinkIndex, MAIN_TABLE, Mac, Neighbour, Route, RouteFilter, Rtnetlink,
};

use super::render::PeerEntries;
use crate::overlay::Error;

/// RTPROT_KERNEL: the routes that come with an address.
const KERNEL: u8 = 2;

/// Removes what a peer had and will have no more: the route first, so that no
/// packet takes it after the rest is gone.
pub(super) fn remove(
    socket: &mut Rtnetlink,
    before: &PeerEntries,
    after: Option<&PeerEntries>,
) -> Result<(), Error> {
    if after.is_none_or(|after| after.route.destination != before.route.destination) {
        socket.delete_route(&before.route)?;
    }
    if after.is_none_or(|after| after.neighbour.address != before.neighbour.address) {
        socket.delete_neighbour(&before.neighbour)?;
    }
    if after.is_none_or(|after| after.fdb.mac != before.fdb.mac) {
        socket.delete_fdb(&before.fdb)?;
    }
    Ok(())
}

/// Writes what a peer did not have: the route last, so that no packet takes it
/// before the rest is there.
pub(super) fn add(
    socket: &mut Rtnetlink,
    before: Option<&PeerEntries>,
    after: &PeerEntries,
) -> Result<(), Error> {
    if before.is_none_or(|before| before.neighbour != after.neighbour) {
        socket.replace_neighbour(&after.neighbour)?;
    }
    if before.is_none_or(|before| before.fdb != after.fdb) {
        socket.replace_fdb(&after.fdb)?;
    }
    if before.is_none_or(|before| before.route != after.route) {
        socket.replace_route(&after.route)?;
    }
    Ok(())
}

/// What is, or should be, on a device, by what the kernel tells entries apart.
#[derive(Debug, Default)]
struct Held {
    neighbours: BTreeMap<IpAddr, Neighbour>,
    fdb: BTreeMap<(Mac, IpAddr), FdbEntry>,
    routes: BTreeMap<(IpNet, Option<u32>), Route>,
}

impl Held {
    fn of(
        neighbours: impl IntoIterator<Item = Neighbour>,
        fdb: impl IntoIterator<Item = FdbEntry>,
        routes: impl IntoIterator<Item = Route>,
    ) -> Self {
        let neighbours = neighbours.into_iter();
        let fdb = fdb.into_iter();
        let routes = routes.into_iter();
        Self {
            neighbours: neighbours.map(|entry| (entry.address, entry)).collect(),
            fdb: fdb
                .map(|entry| ((entry.mac, entry.remote), entry))
                .collect(),
            routes: routes
                .map(|route| ((route.destination, route.metric), route))
                .collect(),
        }
    }
}

/// Makes the device hold exactly these peers. Everything on it is ours, whoever
/// wrote it: nobody else has a use for the device.
pub(super) fn reconcile(
    socket: &mut Rtnetlink,
    link: LinkIndex,
    wanted: &[PeerEntries],
) -> Result<(), Error> {
    let held = read(socket, link)?;
    let wanted = Held::of(
        wanted.iter().map(|entries| entries.neighbour),
        wanted.iter().map(|entries| entries.fdb),
        wanted.iter().map(|entries| entries.route),
    );
    for route in missing(&held.routes, &wanted.routes) {
        socket.delete_route(route)?;
    }
    for neighbour in missing(&held.neighbours, &wanted.neighbours) {
        socket.delete_neighbour(neighbour)?;
    }
    for entry in missing(&held.fdb, &wanted.fdb) {
        socket.delete_fdb(entry)?;
    }
    for neighbour in different(&wanted.neighbours, &held.neighbours) {
        socket.replace_neighbour(neighbour)?;
    }
    for entry in different(&wanted.fdb, &held.fdb) {
        socket.replace_fdb(entry)?;
    }
    for route in different(&wanted.routes, &held.routes) {
        socket.replace_route(route)?;
    }
    Ok(())
}

/// The values whose key the other map does not have.
fn missing<'a, K: Ord, V>(
    these: &'a BTreeMap<K, V>,
    other: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = &'a V> {
    these
        .iter()
        .filter(|(key, _)| !other.contains_key(key))
        .map(|(_, value)| value)
}

/// The values that the other map does not have, or has otherwise.
fn different<'a, K: Ord, V: PartialEq>(
    these: &'a BTreeMap<K, V>,
    other: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = &'a V> {
    these
        .iter()
        .filter(|(key, value)| other.get(key) != Some(value))
        .map(|(_, value)| value)
}

fn read(socket: &mut Rtnetlink, link: LinkIndex) -> Result<Held, Error> {
    let filter = RouteFilter {
        table: Some(MAIN_TABLE),
        link: Some(link),
        protocol: None,
    };
    let mut routes = socket.routes(filter)?;
    routes.retain(|route| route.protocol != KERNEL);
    Ok(Held::of(
        socket.neighbours(link)?,
        socket.fdb(link)?,
        routes,
    ))
}
