use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::message::{Claim, Verdict};
use super::{Rank, Timing};
use crate::Moment;

/// What this node has promised to whom. It never promises one address to two.
pub(super) struct Voter {
    timing: Timing,
    /// Until then promises of an earlier life may be out.
    silent_until: Moment,
    promises: BTreeMap<IpAddr, Promise>,
    /// The best claimant that was refused, while it keeps asking.
    waiting: BTreeMap<IpAddr, Promise>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Promise {
    to: Arc<str>,
    rank: Rank,
    until: Moment,
}

impl Promise {
    fn is_better_than(&self, to: &Arc<str>, rank: Rank) -> bool {
        (self.rank, &self.to) < (rank, to)
    }
}

impl Voter {
    pub(super) fn new(timing: Timing, started: Moment) -> Self {
        Self {
            timing,
            silent_until: started + timing.lease + timing.margin,
            promises: BTreeMap::new(),
            waiting: BTreeMap::new(),
        }
    }

    /// Says what becomes of a claim, and promises the vote where it is free.
    pub(super) fn ask(&mut self, by: &Arc<str>, claim: Claim, now: Moment) -> Verdict {
        if now < self.silent_until {
            return Verdict::NotYet;
        }
        let Claim { address, rank } = claim;
        self.waiting.retain(|_, waiting| waiting.until > now);
        let waiting = self.waiting.get(&address).filter(|w| w.to != *by);
        let outbid = waiting.is_some_and(|w| w.is_better_than(by, rank));
        match self.promises.get(&address).filter(|p| p.until > now) {
            Some(promise) if promise.to != *by => {
                let better = promise.is_better_than(by, rank);
                self.wait(by, claim, now);
                if better || outbid {
                    Verdict::Outranked
                } else {
                    Verdict::Held
                }
            }
            // It is free, but would go to the worse of two that both ask.
            None if outbid => Verdict::Outranked,
            _ => {
                self.promise(by, claim, now);
                if outbid {
                    Verdict::Contested
                } else {
                    Verdict::Granted
                }
            }
        }
    }

    fn promise(&mut self, by: &Arc<str>, claim: Claim, now: Moment) {
        if self
            .waiting
            .get(&claim.address)
            .is_some_and(|w| w.to == *by)
        {
            self.waiting.remove(&claim.address);
        }
        let promise = Promise {
            to: by.clone(),
            rank: claim.rank,
            until: now + self.timing.lease,
        };
        self.promises.insert(claim.address, promise);
    }

    fn wait(&mut self, by: &Arc<str>, claim: Claim, now: Moment) {
        let waiting = self.waiting.get(&claim.address);
        if waiting.is_some_and(|w| w.to != *by && w.is_better_than(by, claim.rank)) {
            return;
        }
        let waiting = Promise {
            to: by.clone(),
            rank: claim.rank,
            until: now + self.timing.interval * 2,
        };
        self.waiting.insert(claim.address, waiting);
    }

    /// Takes a vote back that its holder gives up.
    pub(super) fn release(&mut self, by: &str, address: IpAddr) {
        for promises in [&mut self.promises, &mut self.waiting] {
            if promises.get(&address).is_some_and(|p| *p.to == *by) {
                promises.remove(&address);
            }
        }
    }

    /// Who waits for an address.
    pub(super) fn waiting(&self, address: IpAddr, now: Moment) -> Option<&Arc<str>> {
        let waiting = self.waiting.get(&address).filter(|w| w.until > now);
        waiting.map(|waiting| &waiting.to)
    }

    pub(super) fn forget_expired(&mut self, now: Moment) {
        self.promises.retain(|_, promise| promise.until > now);
    }
}
