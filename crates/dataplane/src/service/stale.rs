//! UDP flows that lead to endpoints that are gone.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use podway_kernel::conntrack::{self, Conntrack, Flow};
use podway_model::{IpFamily, Protocol};
use podway_plan::service::{Frontend, FrontendAddress, PoolId, Route, ServiceChange, ServiceTable};

use crate::names::STEERED_MARK;

/// Which flows have to end. A flow is known by an address of ours: that of the
/// frontend, or, for a node port, that of the endpoint that is gone.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct StaleFlows {
    /// By frontend: where flows may lead.
    live: BTreeMap<SocketAddr, BTreeSet<SocketAddr>>,
    /// By node port: where flows may lead no longer.
    gone: BTreeMap<(IpFamily, u16), BTreeSet<SocketAddr>>,
}

impl StaleFlows {
    /// All that a table knows: after a start, when nobody saw what went.
    pub(super) fn of_table(table: &ServiceTable) -> Self {
        let mut stale = Self::default();
        for (frontend, route) in &table.routes {
            stale.serve(table, frontend, Some(route));
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
        for (frontend, delta) in &change.routes {
            stale.serve(table, frontend, delta.after.as_deref());
            for pool in delta.before.iter().flat_map(|route| route.pools()) {
                stale.lose(table, change, pool, &[*frontend]);
            }
        }
        for (id, delta) in &change.pools {
            let shrinks = delta.before.as_ref().is_some_and(|before| {
                let after = delta.after.as_ref().map(|pool| &pool.endpoints);
                let stays = |address| after.is_some_and(|after| after.contains_key(address));
                !before.endpoints.keys().all(stays)
            });
            if !shrinks || id.service.protocol != Protocol::Udp {
                continue;
            }
            let users = users(id);
            for frontend in &users {
                let route = table.routes.get(frontend).map(|route| &**route);
                stale.serve(table, frontend, route);
            }
            stale.lose(table, change, id, &users);
        }
        stale
    }

    pub(super) fn is_empty(&self) -> bool {
        self.live.is_empty() && self.gone.is_empty()
    }

    /// Ends them; gives how many there were.
    pub(super) fn end(&self, table: &mut impl Conntrack) -> Result<u64, conntrack::Error> {
        let mut ended = 0;
        if self.is_empty() {
            return Ok(ended);
        }
        for flow in table.flows(Protocol::Udp.number())? {
            if self.covers(&flow) {
                ended += u64::from(table.delete(&flow)?);
            }
        }
        Ok(ended)
    }

    fn covers(&self, flow: &Flow) -> bool {
        // The proxy's own, which knows where they lead, in mode `userspace` and
        // for as long as it is still there after it.
        if flow.mark & STEERED_MARK != 0 {
            return false;
        }
        let to = flow.original.destination;
        let endpoint = flow.reply.source;
        if let Some(live) = self.live.get(&to) {
            return !live.contains(&endpoint);
        }
        self.gone
            .get(&(IpFamily::of(&to.ip()), to.port()))
            .is_some_and(|gone| gone.contains(&endpoint))
    }

    /// A frontend with an address of its own now leads to these and no others.
    fn serve(&mut self, table: &ServiceTable, frontend: &Frontend, route: Option<&Route>) {
        let FrontendAddress::Ip(address) = frontend.address else {
            return;
        };
        if frontend.protocol != Protocol::Udp {
            return;
        }
        let pools = route.into_iter().flat_map(Route::pools);
        let live = pools
            .filter_map(|id| table.pools.get(id))
            .flat_map(|pool| pool.endpoints.keys().copied())
            .collect();
        self.live
            .insert(SocketAddr::new(address, frontend.port), live);
    }

    /// Node ports no longer lead to what the pool had and has not.
    fn lose(
        &mut self,
        table: &ServiceTable,
        change: &ServiceChange,
        id: &PoolId,
        users: &[Frontend],
    ) {
        for frontend in users {
            let FrontendAddress::Node(family) = frontend.address else {
                continue;
            };
            if frontend.protocol != Protocol::Udp {
                continue;
            }
            let before = match change.pools.get(id) {
                Some(delta) => delta.before.as_deref(),
                None => table.pools.get(id).map(|pool| &**pool),
            };
            let route = table.routes.get(frontend);
            let live: BTreeSet<SocketAddr> = route
                .into_iter()
                .flat_map(|route| route.pools())
                .filter_map(|id| table.pools.get(id))
                .flat_map(|pool| pool.endpoints.keys().copied())
                .collect();
            let gone = before
                .into_iter()
                .flat_map(|pool| pool.endpoints.keys().copied())
                .filter(|endpoint| !live.contains(endpoint));
            self.gone
                .entry((family, frontend.port))
                .or_default()
                .extend(gone);
        }
    }
}
