//! Whose turn it is. Time is passed in.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use podway_model::ServicePortName;
use podway_plan::service::{Destination, PoolId};

/// The turns of every pool, and who is remembered.
#[derive(Debug, Default)]
pub(super) struct Balancer {
    rotations: HashMap<PoolId, Rotation>,
    remembered: HashMap<Client, Remembered>,
}

/// A client of a service port, by whichever of the service's addresses.
type Client = (IpAddr, ServicePortName);

#[derive(Debug, Clone, Copy)]
struct Remembered {
    endpoint: SocketAddr,
    until: Instant,
}

/// How a client of a pool is remembered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stickiness {
    pub(super) client: IpAddr,
    pub(super) timeout: Duration,
}

/// The turns of one pool.
#[derive(Debug, Default)]
struct Rotation {
    /// Whose turn it was.
    last: Option<SocketAddr>,
    /// Where weights differ: by how much an endpoint is behind its share.
    credit: BTreeMap<SocketAddr, i64>,
}

impl Balancer {
    /// The endpoints to try for a connection, in order; each once. First the one
    /// that is remembered for the client, or else the one whose turn it is.
    pub(super) fn order<'t>(
        &mut self,
        pool: &PoolId,
        destinations: &[Destination<'t>],
        sticky: Option<Stickiness>,
        now: Instant,
    ) -> Vec<Destination<'t>> {
        let remembered = sticky.and_then(|sticky| {
            let known = self
                .remembered
                .get(&(sticky.client, pool.service.clone()))?;
            let position = |d: &Destination<'_>| d.address == known.endpoint;
            let position = destinations.iter().position(position)?;
            (known.until > now).then_some(position)
        });
        let first = remembered.unwrap_or_else(|| {
            let rotation = self.rotations.entry(pool.clone()).or_default();
            rotation.turn(destinations)
        });
        let (before, from) = destinations.split_at(first);
        from.iter().chain(before).copied().collect()
    }

    /// A connection has come about: the client keeps its endpoint. At most
    /// `most` clients are remembered; further ones are served, and forgotten.
    pub(super) fn remember(
        &mut self,
        pool: &PoolId,
        sticky: Stickiness,
        endpoint: SocketAddr,
        most: usize,
        now: Instant,
    ) {
        let client = (sticky.client, pool.service.clone());
        if self.remembered.len() >= most && !self.remembered.contains_key(&client) {
            self.remembered.retain(|_, known| known.until > now);
            if self.remembered.len() >= most {
                return;
            }
        }
        let until = now + sticky.timeout;
        self.remembered
            .insert(client, Remembered { endpoint, until });
    }

    /// Forgets the turns of pools that are gone.
    pub(super) fn retain(&mut self, keep: impl Fn(&PoolId) -> bool) {
        self.rotations.retain(|pool, _| keep(pool));
    }
}

impl Rotation {
    /// The index of the endpoint whose turn it is; there is at least one.
    fn turn(&mut self, destinations: &[Destination<'_>]) -> usize {
        let weight = |d: &Destination<'_>| i64::from(d.endpoint.weight);
        let same = destinations
            .windows(2)
            .all(|pair| weight(&pair[0]) == weight(&pair[1]));
        let index = if same {
            self.credit.clear();
            // By address and not by index: the turn goes on where it was when
            // endpoints come and go.
            let after = destinations.partition_point(|d| Some(d.address) <= self.last);
            after % destinations.len()
        } else {
            self.weighted_turn(destinations, weight)
        };
        self.last = destinations.get(index).map(|d| d.address);
        index
    }

    /// Everybody earns their weight, and who is furthest behind pays what all
    /// have earned: even in every stretch of turns, not only in the long run.
    fn weighted_turn(
        &mut self,
        destinations: &[Destination<'_>],
        weight: impl Fn(&Destination<'_>) -> i64,
    ) -> usize {
        let is_there = |address: &SocketAddr| {
            destinations
                .binary_search_by_key(address, |d| d.address)
                .is_ok()
        };
        self.credit.retain(|address, _| is_there(address));
        let mut best = (0, i64::MIN);
        for (index, destination) in destinations.iter().enumerate() {
            let credit = self.credit.entry(destination.address).or_default();
            *credit += weight(destination);
            if *credit > best.1 {
                best = (index, *credit);
            }
        }
        let total: i64 = destinations.iter().map(weight).sum();
        if let Some(chosen) = destinations.get(best.0) {
            *self.credit.entry(chosen.address).or_default() -= total;
        }
        best.0
    }
}

#[cfg(test)]
mod tests;
