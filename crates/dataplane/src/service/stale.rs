//! Flows that lead to endpoints that are gone.
//!
//! A flow keeps the translation that its first packet was given. Of UDP the next
//! packet after the flow has ended chooses another endpoint. Of TCP and SCTP it
//! is in the middle of a connection that the new endpoint does not know, or
//! nobody takes it: either way the client hears a reset at once, and need not
//! wait for its own timeout.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use podway_kernel::conntrack::{self, Conntrack, Flow};
use podway_model::{IpFamily, Protocol};
use podway_plan::service::{
    Frontend, FrontendAddress, Lingering, PoolId, PortId, Reach, Route, ServiceChange, ServiceTable,
};

use crate::names::STEERED_MARK;

/// Which flows have to end. A flow is known by an address of ours: that of the
/// frontend, or, for a node port, that of the endpoint that is gone.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct StaleFlows {
    /// By frontend: where flows may lead.
    live: BTreeMap<(Protocol, SocketAddr), BTreeSet<SocketAddr>>,
    /// By node port: where flows may lead no longer.
    gone: BTreeMap<(Protocol, IpFamily, u16), BTreeSet<SocketAddr>>,
    /// Which flows can be meant.
    searched: BTreeMap<Protocol, Search>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Search {
    /// Any.
    All,
    /// Those that lead to one of these.
    To(BTreeSet<IpAddr>),
}

/// Above this many addresses the whole table is read at once: each listing
/// walks it too, if only inside the kernel.
const FEW_ADDRESSES: usize = 4;

const PROTOCOLS: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];

impl StaleFlows {
    /// All that a table knows: after a start, when nobody saw what went.
    pub(super) fn of_table(table: &ServiceTable) -> Self {
        let mut stale = Self::default();
        for (frontend, route) in &table.routes {
            stale.serve(frontend, live(table, Some(route), frontend));
            stale.searched.insert(frontend.protocol, Search::All);
        }
        stale
    }

    /// What a change makes stale. The table is the one after it.
    pub(super) fn of_change<'a>(
        table: &ServiceTable,
        change: &ServiceChange,
        users: impl Fn(&PoolId) -> Vec<Frontend> + 'a,
    ) -> Self {
        let mut stale = Self::default();
        let mut touched: BTreeSet<Frontend> = BTreeSet::new();
        for (frontend, delta) in &change.routes {
            if frontend.protocol == Protocol::Udp {
                // Also where there was no translation before: a sender that
                // goes on has a flow without one.
                stale.searched.insert(Protocol::Udp, Search::All);
                touched.insert(*frontend);
            } else if delta.after.is_some() {
                // Connections through a frontend that is taken away go on:
                // their endpoints may be as well as ever.
                touched.insert(*frontend);
            }
        }
        touched.extend(change.pools.keys().flat_map(&users));
        for delta in change.lingering.values() {
            let values = [&delta.before, &delta.after].into_iter().flatten();
            touched.extend(values.flat_map(|lingering| &lingering.frontends));
        }
        for frontend in touched {
            stale.compare(table, change, &frontend);
        }
        stale
    }

    fn compare(&mut self, table: &ServiceTable, change: &ServiceChange, frontend: &Frontend) {
        let after = table.routes.get(frontend).map(|route| &**route);
        let before = match change.routes.get(frontend) {
            Some(delta) => delta.before.as_deref(),
            None => after,
        };
        let now = live(table, after, frontend);
        let gone: BTreeSet<SocketAddr> = before
            .map(|route| lived(table, change, route, frontend))
            .into_iter()
            .flatten()
            .filter(|endpoint| !now.contains(endpoint))
            .collect();
        let protocol = frontend.protocol;
        let is_searched = self.searched.get(&protocol) == Some(&Search::All);
        if gone.is_empty() && !is_searched {
            return;
        }
        let search = self.searched.entry(protocol);
        if let Search::To(addresses) = search.or_insert(Search::To(BTreeSet::new())) {
            addresses.extend(gone.iter().map(SocketAddr::ip));
        }
        match frontend.address {
            FrontendAddress::Ip(_) => self.serve(frontend, now),
            FrontendAddress::Node(family) => {
                let lost = self.gone.entry((protocol, family, frontend.port));
                lost.or_default().extend(gone);
            }
        }
    }

    /// Ends them; gives how many there were.
    pub(super) fn end(&self, table: &mut impl Conntrack) -> Result<u64, conntrack::Error> {
        let mut ended = 0;
        for protocol in PROTOCOLS {
            let number = protocol.number();
            let flows = match self.searched.get(&protocol) {
                None => continue,
                Some(Search::To(addresses)) if addresses.len() <= FEW_ADDRESSES => {
                    let mut flows = Vec::new();
                    for address in addresses {
                        flows.extend(table.flows_to(number, *address)?);
                    }
                    flows
                }
                Some(_) => table.flows(number)?,
            };
            for flow in flows.iter().filter(|flow| self.covers(protocol, flow)) {
                ended += u64::from(table.delete(flow)?);
            }
        }
        Ok(ended)
    }

    fn covers(&self, protocol: Protocol, flow: &Flow) -> bool {
        // The proxy's own, which knows where they lead, in mode `userspace` and
        // for as long as it is still there after it.
        if flow.mark & STEERED_MARK != 0 {
            return false;
        }
        let to = flow.original.destination;
        let endpoint = flow.reply.source;
        if protocol != Protocol::Udp && endpoint == to {
            // Never translated: it leads to where it wants.
            return false;
        }
        if let Some(live) = self.live.get(&(protocol, to)) {
            return !live.contains(&endpoint);
        }
        self.gone
            .get(&(protocol, IpFamily::of(&to.ip()), to.port()))
            .is_some_and(|gone| gone.contains(&endpoint))
    }

    /// A frontend with an address of its own leads to these and no others.
    fn serve(&mut self, frontend: &Frontend, live: BTreeSet<SocketAddr>) {
        if let FrontendAddress::Ip(address) = frontend.address {
            let address = SocketAddr::new(address, frontend.port);
            self.live.insert((frontend.protocol, address), live);
        }
    }
}

/// Where flows to a frontend may lead: the pools' endpoints of all kinds of
/// source, and those that linger.
fn live(table: &ServiceTable, route: Option<&Route>, frontend: &Frontend) -> BTreeSet<SocketAddr> {
    let Some(route) = route else {
        return BTreeSet::new();
    };
    let pools = pools_of(route, frontend).into_iter();
    let pools = pools.filter_map(|id| table.pools.get(&id));
    let lingering = table.lingering.get(&port_of(route, frontend));
    pools
        .flat_map(|pool| pool.endpoints.keys().copied())
        .chain(
            lingering
                .into_iter()
                .flat_map(|it| it.endpoints.iter().copied()),
        )
        .collect()
}

/// The same before a change.
fn lived(
    table: &ServiceTable,
    change: &ServiceChange,
    route: &Route,
    frontend: &Frontend,
) -> BTreeSet<SocketAddr> {
    let mut lived = BTreeSet::new();
    for id in pools_of(route, frontend) {
        let pool = match change.pools.get(&id) {
            Some(delta) => delta.before.as_ref(),
            None => table.pools.get(&id),
        };
        lived.extend(pool.into_iter().flat_map(|pool| pool.endpoints.keys()));
    }
    let port = port_of(route, frontend);
    let lingering: Option<&Lingering> = match change.lingering.get(&port) {
        Some(delta) => delta.before.as_deref(),
        None => table.lingering.get(&port).map(|lingering| &**lingering),
    };
    lived.extend(lingering.into_iter().flat_map(|it| &it.endpoints));
    lived
}

/// Both pools of a service port, whichever the route names now: a flow may have
/// begun when it named the other.
fn pools_of(route: &Route, frontend: &Frontend) -> [PoolId; 2] {
    [Reach::Cluster, Reach::Local].map(|reach| PoolId {
        service: route.service.clone(),
        family: frontend.family(),
        reach,
    })
}

fn port_of(route: &Route, frontend: &Frontend) -> PortId {
    PortId {
        service: route.service.clone(),
        family: frontend.family(),
    }
}
