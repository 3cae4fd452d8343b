//! Whether the node does its work, for those who ask over HTTP.
//!
//! Well is who is not late: a change of a Service or of its endpoints that is
//! not in the kernel after twice the configured period makes a node unwell
//! (kube-proxy's rule, KEP-3836). A node without changes is well for ever.

use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

/// What is known of the node's health. Written by the mailbox and the sync
/// thread, read by the servers.
#[derive(Debug, Default)]
pub(crate) struct Health {
    facts: Mutex<Facts>,
}

#[derive(Debug, Default)]
struct Facts {
    /// Since when changes wait that the sync thread has not taken.
    queued: Option<Instant>,
    /// Since when changes wait that it has taken and not brought into force.
    in_hand: Option<Instant>,
    /// When everything was last in force.
    updated: Option<SystemTime>,
    /// The Node is being deleted.
    is_leaving: bool,
}

/// An answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Judgement {
    /// No change is late.
    pub(crate) is_well: bool,
    /// Load balancers may choose the node.
    pub(crate) is_eligible: bool,
    /// When everything was last in force; `None` before that.
    pub(crate) updated: Option<SystemTime>,
}

impl Health {
    /// A change has come in.
    pub(crate) fn queue(&self, now: Instant) {
        self.facts.lock().queued.get_or_insert(now);
    }

    /// What has come in is now in the sync thread's hands.
    pub(crate) fn take_in_hand(&self) {
        let mut facts = self.facts.lock();
        let taken = facts.queued.take();
        facts.in_hand = facts.in_hand.or(taken);
    }

    /// What was in hand is in force.
    pub(crate) fn in_force(&self, now: SystemTime) {
        let mut facts = self.facts.lock();
        facts.in_hand = None;
        facts.updated = Some(now);
    }

    /// What the Node says.
    pub(crate) fn note_node(&self, is_leaving: bool) {
        self.facts.lock().is_leaving = is_leaving;
    }

    /// What to answer; changes are late after `patience`.
    pub(crate) fn judge(&self, now: Instant, patience: Duration) -> Judgement {
        let facts = self.facts.lock();
        let oldest = facts.in_hand.or(facts.queued);
        Judgement {
            // Who is still starting cannot be late: the API server may be away.
            is_well: facts.updated.is_none()
                || oldest.is_none_or(|since| now.duration_since(since) < patience),
            is_eligible: !facts.is_leaving,
            updated: facts.updated,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn only_a_late_change_makes_unwell() {
        let health = Health::default();
        let start = Instant::now();
        health.queue(start);
        let well_after = |seconds| {
            let now = start + Duration::from_secs(seconds);
            health.judge(now, PATIENCE).is_well
        };
        assert!(well_after(10_000), "it starts");
        health.take_in_hand();
        health.in_force(SystemTime::UNIX_EPOCH);
        assert!(well_after(10_000), "nothing to do");
        health.queue(start);
        health.queue(start + Duration::from_secs(50));
        assert!(well_after(59) && !well_after(60), "the oldest counts");
        health.take_in_hand();
        assert!(!well_after(60), "taken is not in force");
        // Another comes while the first cannot be written.
        health.queue(start + Duration::from_secs(70));
        health.take_in_hand();
        health.in_force(SystemTime::UNIX_EPOCH);
        assert!(well_after(10_000));
    }

    #[test]
    fn what_comes_during_a_write_waits_on() {
        let health = Health::default();
        let start = Instant::now();
        health.in_force(SystemTime::UNIX_EPOCH);
        health.queue(start);
        health.take_in_hand();
        health.queue(start + Duration::from_secs(1));
        health.in_force(SystemTime::UNIX_EPOCH);
        let late = start + Duration::from_secs(61);
        assert!(!health.judge(late, PATIENCE).is_well);
    }

    #[test]
    fn a_node_that_leaves_is_well_and_not_eligible() {
        let health = Health::default();
        health.note_node(true);
        let judged = health.judge(Instant::now(), PATIENCE);
        assert!(judged.is_well && !judged.is_eligible);
    }
}
