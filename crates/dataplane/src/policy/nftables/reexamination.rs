//! From addresses that are suspect to connections that are.
//!
//! The transaction that narrows what an address is allowed also makes it
//! suspect: from then on each packet of its connections is judged, so nothing
//! that is denied now gets another one through. That is dear for connections
//! with much traffic. So, in its own time, a marker marks those connections one
//! by one, and the address is cleared: a marked connection is judged once, by
//! its next packet, and loses its mark if it is allowed.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use podway_kernel::conntrack::FlowMarker;

use crate::policy::SUSPECT_CONNECTION_MARK;

/// How long addresses wait for others: one look at the connections of many
/// costs little more than at those of one. It also lets packets through that
/// were judged by the old rules and are not yet on record as connections.
const DELAY: Duration = Duration::from_millis(500);
/// How often the marker is asked whether it is done.
const POLL: Duration = Duration::from_millis(20);
/// How long to wait where connections could not be marked.
const RETRY: Duration = Duration::from_secs(10);

/// Which addresses wait, and which are being looked at.
#[derive(Debug)]
pub(super) struct Reexamination<M> {
    marker: M,
    waiting: BTreeSet<IpAddr>,
    begin_at: Option<Instant>,
    running: Option<BTreeSet<IpAddr>>,
}

impl<M: FlowMarker> Reexamination<M> {
    pub(super) const fn new(marker: M) -> Self {
        Self {
            marker,
            waiting: BTreeSet::new(),
            begin_at: None,
            running: None,
        }
    }

    /// These have become suspect, or once more.
    pub(super) fn add(&mut self, addresses: &BTreeSet<IpAddr>) {
        self.waiting.extend(addresses);
    }

    /// Goes on. Gives the addresses that need not be suspect any more.
    pub(super) fn step(&mut self, now: Instant) -> BTreeSet<IpAddr> {
        let cleared = self.finish(now);
        if self.running.is_none() && !self.waiting.is_empty() {
            let begin_at = *self.begin_at.get_or_insert(now + DELAY);
            if begin_at <= now {
                let addresses = std::mem::take(&mut self.waiting);
                self.begin_at = None;
                self.marker.begin(&addresses, SUSPECT_CONNECTION_MARK);
                self.running = Some(addresses);
            }
        }
        cleared
    }

    /// When to go on.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        match self.running {
            Some(_) => Some(now + POLL),
            None => self.begin_at,
        }
    }

    fn finish(&mut self, now: Instant) -> BTreeSet<IpAddr> {
        let Some(addresses) = &self.running else {
            return BTreeSet::new();
        };
        match self.marker.finished() {
            None => BTreeSet::new(),
            Some(Ok(flows)) => {
                tracing::debug!(addresses = addresses.len(), flows, "connections marked");
                let addresses = self.running.take().unwrap_or_default();
                addresses.difference(&self.waiting).copied().collect()
            }
            Some(Err(error)) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(
                    %error,
                    cause,
                    "connections not marked: every packet of them is judged until they are"
                );
                self.waiting.extend(self.running.take().unwrap_or_default());
                self.begin_at = Some(now + RETRY);
                BTreeSet::new()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use podway_kernel::conntrack::FakeMarker;

    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    fn started(now: Instant) -> Reexamination<FakeMarker> {
        let mut looking = Reexamination::new(FakeMarker::default());
        looking.add(&[A, B].into());
        assert_eq!(looking.step(now), [].into());
        assert_eq!(looking.due(now), Some(now + DELAY));
        assert_eq!(looking.step(now + DELAY), [].into());
        looking
    }

    #[test]
    fn addresses_are_cleared_when_their_connections_are_marked() {
        let now = Instant::now();
        let mut looking = started(now);
        let bits = SUSPECT_CONNECTION_MARK;
        assert_eq!(looking.marker.begun, [([A, B].into(), bits)]);
        assert_eq!(looking.step(now + DELAY + POLL), [].into());
        looking.marker.answer = Some(true);
        assert_eq!(looking.step(now + DELAY + POLL), [A, B].into());
        assert_eq!(looking.due(now), None);
    }

    #[test]
    fn who_becomes_suspect_meanwhile_stays_so() {
        let now = Instant::now();
        let mut looking = started(now);
        looking.add(&[B].into());
        looking.marker.answer = Some(true);
        assert_eq!(looking.step(now + DELAY), [A].into());
        assert_eq!(looking.due(now), Some(now + DELAY + DELAY));
        looking.step(now + DELAY + DELAY);
        looking.marker.answer = Some(true);
        assert_eq!(looking.step(now + DELAY + DELAY), [B].into());
    }

    #[test]
    fn a_failure_clears_nobody_and_is_repeated() {
        let now = Instant::now();
        let mut looking = started(now);
        looking.marker.answer = Some(false);
        assert_eq!(looking.step(now + DELAY), [].into());
        assert_eq!(looking.due(now), Some(now + DELAY + RETRY));
        looking.step(now + DELAY + RETRY);
        assert_eq!(looking.marker.begun.len(), 2);
    }
}
