//! Routes to the pods of other nodes, whichever overlay's: one overlay's take
//! the place of another's in one step, so that no packet is without a route
//! when a node moves from one to the other.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use podway_kernel::route::{
    ErrorKind, LinkIndex, MAIN_TABLE, Route, RouteFilter, RouteKind, Rtnetlink,
};
use podway_plan::overlay::{NextHop, OverlayTable, Underlay};

use super::difference::{different, missing};
use super::{Error, device};

/// RTPROT_* of our routes: one that nobody else uses, so that `ip route` shows
/// whose they are. The routes to the node's own pods have it too; they are
/// neither through a gateway nor on a device of an overlay.
pub const ROUTE_PROTOCOL: u8 = 112;

/// A route to a peer's pods as they are, through the peer as a neighbour.
pub(super) fn direct(prefix: IpNet, peer: IpAddr, link: u32) -> Route {
    Route::new(prefix)
        .via(peer)
        .dev(LinkIndex(link))
        .protocol(ROUTE_PROTOCOL)
}

/// Makes the main table hold exactly these routes of overlays.
pub(super) fn reconcile(
    socket: &mut Rtnetlink,
    wanted: impl IntoIterator<Item = Route>,
) -> Result<(), Error> {
    let held = by_destination(held(socket)?);
    let wanted = by_destination(wanted);
    for route in missing(&held, &wanted) {
        socket.delete_route(route)?;
    }
    for route in different(&wanted, &held) {
        replace(socket, route)?;
    }
    Ok(())
}

/// Writes what differs between routes before and after: what goes first, so
/// that a destination is never taken from who has it next.
pub(super) fn change(
    socket: &mut Rtnetlink,
    before: impl IntoIterator<Item = Route>,
    after: impl IntoIterator<Item = Route>,
) -> Result<(), Error> {
    let before = by_destination(before);
    let after = by_destination(after);
    for route in missing(&before, &after) {
        socket.delete_route(route)?;
    }
    for route in different(&after, &before) {
        replace(socket, route)?;
    }
    Ok(())
}

/// Adds a route or takes the place of the one that is there.
///
/// The kernel refuses an IPv6 gateway that another route leads to by another
/// interface, onlink or not (`ip6_route_check_nh_onlink`), and the one to be
/// replaced may be just that: the gateway is an address of the pods' prefix. So
/// the gateway alone gets a route of its own meanwhile.
fn replace(socket: &mut Rtnetlink, route: &Route) -> Result<(), Error> {
    let gateway = route.gateway.filter(IpAddr::is_ipv6);
    let (Some(gateway), Some(link), true) = (gateway, route.link, route.onlink) else {
        return Ok(socket.replace_route(route)?);
    };
    match socket.replace_route(route) {
        Err(error) if error.kind() == ErrorKind::Invalid => {}
        outcome => return Ok(outcome?),
    }
    let to_gateway = Route::new(IpNet::from(gateway))
        .dev(link)
        .protocol(ROUTE_PROTOCOL);
    socket.replace_route(&to_gateway)?;
    let outcome = socket.replace_route(route);
    socket.delete_route(&to_gateway)?;
    Ok(outcome?)
}

/// Removes every route of an overlay. Whether there was any.
pub(super) fn remove_all(socket: &mut Rtnetlink) -> Result<bool, Error> {
    let held = held(socket)?;
    for route in &held {
        socket.delete_route(route)?;
    }
    Ok(!held.is_empty())
}

/// The routing table without what overlays and pods have in it.
pub(super) fn read_underlay(
    socket: &mut Rtnetlink,
    table: &OverlayTable,
) -> Result<Underlay, Error> {
    let filter = RouteFilter {
        table: Some(MAIN_TABLE),
        ..RouteFilter::default()
    };
    let devices: BTreeSet<LinkIndex> = device::present(socket)?.into_iter().collect();
    let is_for_pods = |route: &Route| {
        let mut own = table.own.values();
        own.any(|own| own.prefix.contains(&route.destination))
    };
    let mut routes = socket.routes(filter)?;
    routes.retain(|route| {
        route.protocol != ROUTE_PROTOCOL && route.kind == RouteKind::Unicast && !is_for_pods(route)
    });
    routes.sort_by_key(|route| route.metric);
    let ways = routes.into_iter().filter_map(|route| {
        let link = route.link.filter(|link| !devices.contains(link))?;
        let router = route.gateway;
        Some((
            route.destination,
            NextHop {
                link: link.0,
                router,
            },
        ))
    });
    Ok(ways.collect())
}

fn held(socket: &mut Rtnetlink) -> Result<Vec<Route>, Error> {
    let devices: BTreeSet<LinkIndex> = device::present(socket)?.into_iter().collect();
    let filter = RouteFilter {
        table: Some(MAIN_TABLE),
        link: None,
        protocol: Some(ROUTE_PROTOCOL),
    };
    let mut routes = socket.routes(filter)?;
    routes.retain(|route| {
        let on_device = route.link.is_some_and(|link| devices.contains(&link));
        route.gateway.is_some() || on_device
    });
    Ok(routes)
}

/// By what the kernel tells routes of one table apart.
fn by_destination(
    routes: impl IntoIterator<Item = Route>,
) -> BTreeMap<(IpNet, Option<u32>), Route> {
    let routes = routes.into_iter();
    routes
        .map(|route| ((route.destination, route.metric), route))
        .collect()
}
