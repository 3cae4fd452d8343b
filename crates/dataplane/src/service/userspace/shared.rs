//! What the proxy's threads share with the one that plans.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::{Mutex, RwLock};
use podway_kernel::socket::Origin;
use podway_model::Protocol;
use podway_plan::service::{
    Destination, Outcome, Packet, PoolId, ServiceTable, Source, Verdict, decide,
};

use super::balance::{Balancer, Stickiness};
use super::origin::origin;

/// The table, and what has been decided from it.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) table: RwLock<ServiceTable>,
    balancer: Mutex<Balancer>,
    affinity_clients: AtomicU32,
    /// TCP connections that are open.
    pub(super) relayed: AtomicUsize,
    /// Nothing new is taken any more.
    pub(super) is_retiring: AtomicBool,
}

/// A connection as it comes to the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Arrival {
    /// As the rules have told it.
    pub(super) source: Source,
    pub(super) client: SocketAddr,
    /// What the client addresses.
    pub(super) destination: SocketAddr,
    pub(super) protocol: Protocol,
}

/// Where a connection may go.
#[derive(Debug, Clone)]
pub(super) struct Choice {
    pub(super) pool: PoolId,
    /// Not empty: the first is to be tried first.
    pub(super) candidates: Vec<Candidate>,
    sticky: Option<Stickiness>,
}

/// An endpoint, and who the connection to it is to come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) address: SocketAddr,
    pub(super) origin: Origin,
}

impl Arrival {
    fn packet(&self) -> Packet {
        Packet {
            source: self.source,
            source_address: self.client.ip(),
            destination: self.destination,
            protocol: self.protocol,
            // The rules let nothing else come here that is no other frontend.
            to_node_port_address: true,
        }
    }
}

#[cfg(test)]
impl Choice {
    /// Of some pool.
    pub(super) fn of(candidates: Vec<Candidate>) -> Self {
        let service = podway_model::ServicePortName {
            service: podway_model::ObjectName::new("ns", "s"),
            port: "".into(),
            protocol: Protocol::Tcp,
        };
        Self {
            pool: PoolId {
                service,
                family: podway_model::IpFamily::V4,
                reach: podway_plan::service::Reach::Cluster,
            },
            candidates,
            sticky: None,
        }
    }
}

impl Shared {
    pub(super) fn limit_affinity(&self, clients: u32) {
        self.affinity_clients.store(clients, Ordering::Relaxed);
    }

    pub(super) fn is_retiring(&self) -> bool {
        self.is_retiring.load(Ordering::Relaxed)
    }

    /// Decides a connection, once; `None` where it is refused.
    pub(super) fn choose(&self, arrival: &Arrival, now: Instant) -> Option<Choice> {
        let table = self.table.read();
        let decision = decide(&table, &arrival.packet());
        let (Some((_, route)), Outcome::Forward(destinations)) =
            (decision.matched, decision.outcome)
        else {
            return None;
        };
        let Verdict::Forward { pool, .. } = route.verdict(arrival.source) else {
            return None;
        };
        if destinations.is_empty() {
            return None;
        }
        let sticky = table.pools.get(pool)?.affinity.map(|timeout| Stickiness {
            client: arrival.client.ip(),
            timeout,
        });
        let order = |balancer: &mut Balancer| balancer.order(pool, &destinations, sticky, now);
        let candidate = |to: Destination<'_>| Candidate {
            address: to.address,
            origin: origin(arrival.source, arrival.client, &to),
        };
        let ordered = order(&mut self.balancer.lock());
        Some(Choice {
            pool: pool.clone(),
            candidates: ordered.into_iter().map(candidate).collect(),
            sticky,
        })
    }

    /// A connection has come about.
    pub(super) fn remember(&self, choice: &Choice, endpoint: SocketAddr, now: Instant) {
        if let Some(sticky) = choice.sticky {
            let most = self.affinity_clients.load(Ordering::Relaxed) as usize;
            let mut balancer = self.balancer.lock();
            balancer.remember(&choice.pool, sticky, endpoint, most, now);
        }
    }

    /// Whether an endpoint still serves what a flow is addressed to. One that
    /// drains does.
    pub(super) fn serves(&self, arrival: &Arrival, endpoint: SocketAddr) -> bool {
        let table = self.table.read();
        let Some((_, route)) = decide(&table, &arrival.packet()).matched else {
            return false;
        };
        match route.verdict(arrival.source) {
            Verdict::Forward { pool, .. } => table
                .pools
                .get(pool)
                .is_some_and(|pool| pool.endpoints.contains_key(&endpoint)),
            Verdict::Reject | Verdict::Drop => false,
        }
    }

    /// Forgets what was kept for pools that are gone.
    pub(super) fn forget(&self) {
        let table = self.table.read();
        let mut balancer = self.balancer.lock();
        balancer.retain(|pool| table.pools.contains_key(pool));
    }
}
