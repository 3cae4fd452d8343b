//! What the proxy remembers of datagrams: which client exchanges them with which
//! endpoint. Time is passed in.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::shared::Arrival;

/// How long a flow is remembered after its last datagram: as long as the kernel
/// remembers one (`nf_conntrack_udp_timeout`, and `…_stream` once there has been
/// an answer).
const UNANSWERED: Duration = Duration::from_secs(30);
const ANSWERED: Duration = Duration::from_secs(120);

/// Flows, each with something of the caller's.
#[derive(Debug)]
pub(super) struct Flows<T> {
    flows: HashMap<u64, Flow<T>>,
    ids: HashMap<Arrival, u64>,
    last: u64,
    /// When to look whether a flow is over; it may have gone on since.
    schedule: BTreeSet<(Instant, u64)>,
    most: usize,
}

/// One flow.
#[derive(Debug)]
pub(super) struct Flow<T> {
    pub(super) arrival: Arrival,
    pub(super) endpoint: SocketAddr,
    pub(super) own: T,
    is_answered: bool,
    used: Instant,
    scheduled: Instant,
}

impl<T> Flow<T> {
    fn ends(&self) -> Instant {
        self.used
            + if self.is_answered {
                ANSWERED
            } else {
                UNANSWERED
            }
    }
}

impl<T> Flows<T> {
    /// No flows, and never more than so many.
    pub(super) fn new(most: usize) -> Self {
        Self {
            flows: HashMap::new(),
            ids: HashMap::new(),
            last: 0,
            schedule: BTreeSet::new(),
            most,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    pub(super) fn of(&self, arrival: &Arrival) -> Option<u64> {
        self.ids.get(arrival).copied()
    }

    pub(super) fn get(&self, id: u64) -> Option<&Flow<T>> {
        self.flows.get(&id)
    }

    /// The id that the next flow will have.
    pub(super) const fn next_id(&self) -> u64 {
        self.last + 1
    }

    /// A new flow. Where there are too many, the one goes that is the first to
    /// be over, as far as is known.
    pub(super) fn insert(&mut self, arrival: Arrival, endpoint: SocketAddr, own: T, now: Instant) {
        if self.flows.len() >= self.most
            && let Some((_, id)) = self.schedule.first().copied()
        {
            self.remove(id);
        }
        self.last = self.next_id();
        let scheduled = now + UNANSWERED;
        let flow = Flow {
            arrival,
            endpoint,
            own,
            is_answered: false,
            used: now,
            scheduled,
        };
        self.ids.insert(arrival, self.last);
        self.schedule.insert((scheduled, self.last));
        self.flows.insert(self.last, flow);
    }

    /// A datagram has passed, from the client or (`answer`) to it.
    pub(super) fn touch(&mut self, id: u64, answer: bool, now: Instant) {
        if let Some(flow) = self.flows.get_mut(&id) {
            flow.used = now;
            flow.is_answered |= answer;
        }
    }

    pub(super) fn remove(&mut self, id: u64) {
        if let Some(flow) = self.flows.remove(&id) {
            self.ids.remove(&flow.arrival);
            self.schedule.remove(&(flow.scheduled, id));
        }
    }

    /// Ends what is over. What has gone on is looked at again when it may be.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some((at, id)) = self.schedule.first().copied() {
            if at > now {
                return;
            }
            self.schedule.pop_first();
            let Some(flow) = self.flows.get_mut(&id) else {
                continue;
            };
            flow.scheduled = flow.ends();
            if flow.scheduled > now {
                self.schedule.insert((flow.scheduled, id));
            } else {
                self.remove(id);
            }
        }
    }

    /// When to expire next.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.schedule.first().map(|(at, _)| *at)
    }

    /// Ends flows whose endpoints do not serve them any more; says how many.
    pub(super) fn end_unless(&mut self, is_served: impl Fn(&Arrival, SocketAddr) -> bool) -> u64 {
        let stale: Vec<u64> = self
            .flows
            .iter()
            .filter(|(_, flow)| !is_served(&flow.arrival, flow.endpoint))
            .map(|(id, _)| *id)
            .collect();
        for id in &stale {
            self.remove(*id);
        }
        stale.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use podway_model::Protocol;
    use podway_plan::service::Source;

    use super::*;

    fn arrival(port: u16) -> Arrival {
        Arrival {
            source: Source::Pod,
            client: SocketAddr::from(([10, 244, 1, 20], port)),
            destination: SocketAddr::from(([10, 96, 0, 10], 53)),
            protocol: Protocol::Udp,
        }
    }

    fn endpoint(host: u8) -> SocketAddr {
        SocketAddr::from(([10, 244, 1, host], 53))
    }

    /// Flows from ports 1 to `count`, begun at `start`.
    fn flows(count: u16, most: usize, start: Instant) -> Flows<()> {
        let mut flows = Flows::new(most);
        for port in 1..=count {
            flows.insert(arrival(port), endpoint(1), (), start);
        }
        flows
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn a_flow_lasts_longer_once_it_is_answered_and_while_it_is_used() {
        let start = Instant::now();
        let mut flows = flows(3, 10, start);
        let [silent, answered, used] = [1, 2, 3].map(|port| flows.of(&arrival(port)).unwrap());
        flows.touch(answered, true, start + seconds(1));
        flows.touch(used, false, start + seconds(20));
        let alive = |flows: &Flows<()>| [silent, answered, used].map(|id| flows.get(id).is_some());

        flows.expire(start + seconds(29));
        assert_eq!(alive(&flows), [true, true, true]);
        assert_eq!(flows.next_expiry(), Some(start + seconds(30)));
        flows.expire(start + seconds(30));
        assert_eq!(alive(&flows), [false, true, true]);
        flows.expire(start + seconds(50));
        assert_eq!(alive(&flows), [false, true, false]);
        flows.expire(start + seconds(121));
        assert_eq!(alive(&flows), [false, false, false]);
        assert_eq!(flows.next_expiry(), None);
        assert_eq!(flows.of(&arrival(2)), None);
    }

    #[test]
    fn there_are_never_too_many() {
        let start = Instant::now();
        let mut flows = flows(3, 3, start);
        flows.insert(arrival(4), endpoint(1), (), start + seconds(1));
        let known = [1, 2, 3, 4].map(|port| flows.of(&arrival(port)).is_some());
        assert_eq!(known, [false, true, true, true]);
    }

    #[test]
    fn flows_to_endpoints_that_are_gone_end() {
        let start = Instant::now();
        let mut flows = flows(2, 10, start);
        flows.insert(arrival(3), endpoint(2), (), start);
        let ended = flows.end_unless(|_, address| address != endpoint(1));
        assert_eq!(ended, 2);
        assert_eq!(flows.of(&arrival(1)), None);
        assert!(flows.of(&arrival(3)).is_some());
        flows.expire(start + seconds(30));
        assert_eq!(flows.of(&arrival(3)), None);
    }
}
