use std::time::Duration;

/// How fast a mesh works. All its nodes must have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Between two heartbeats.
    pub interval: Duration,
    /// How long a vote and a link last after the heartbeat that they answer.
    pub lease: Duration,
    /// What a claimant leaves off a lease, for clocks that differ in speed.
    pub margin: Duration,
    /// How long a node must have seen a majority before others reckon with it:
    /// one that comes and goes takes no addresses from one that stays.
    pub settle: Duration,
    /// How long a majority of the former voters is asked for as well after the
    /// voters changed: nodes learn of a change at different times.
    pub grace: Duration,
}

/// Datagrams a second that a node sends as heartbeats, at most.
const HEARTBEATS_PER_SECOND: u32 = 500;

impl Timing {
    /// For a cluster of so many nodes: a heartbeat every 100 ms up to 50 nodes,
    /// then slower, so that a node never sends more than 500 a second.
    #[must_use]
    pub fn for_nodes(nodes: usize) -> Self {
        let nodes = u32::try_from(nodes).unwrap_or(u32::MAX);
        let even = Duration::from_secs(1).saturating_mul(nodes) / HEARTBEATS_PER_SECOND;
        let interval = even.max(Duration::from_millis(100));
        Self {
            interval,
            lease: interval * 4,
            margin: interval / 5,
            settle: interval * 5,
            grace: Duration::from_secs(30),
        }
    }

    /// How long an address is without an owner at most when its owner is gone,
    /// on a network that takes `delay` for a datagram.
    #[must_use]
    pub fn failover_bound(&self, delay: Duration) -> Duration {
        self.lease + self.interval + delay * 4
    }

    /// The same where no majority was left, from when one is back.
    #[must_use]
    pub fn recovery_bound(&self, delay: Duration) -> Duration {
        self.failover_bound(delay) + self.settle + self.interval
    }
}
