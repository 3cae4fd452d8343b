use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::message::{Claim, Verdict};
use super::quorum::Voters;
use super::{Rank, Timing};
use crate::Moment;

/// What this node claims, and who votes for it.
#[derive(Default)]
pub(super) struct Claimant {
    claims: BTreeMap<IpAddr, Own>,
    /// What it has given up, told until voters must have heard or forgotten.
    releases: BTreeMap<IpAddr, Moment>,
    /// What it gave way on; until then a better one has the field.
    paused: BTreeMap<IpAddr, Moment>,
}

struct Own {
    rank: Rank,
    /// Votes count from heartbeats with a greater counter: an answer to one
    /// before a release would be a vote that was given back.
    since: u64,
    votes: BTreeMap<Arc<str>, Moment>,
    /// Until when the vote of whoever has the witness carries it.
    witness: Option<Moment>,
    /// A voter told of a better claimant.
    yielding: bool,
}

/// What one answer's verdicts are worth.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ballot {
    /// The counter of the heartbeat that it answers.
    pub counter: u64,
    /// Until when its votes count.
    pub until: Moment,
    /// Its votes carry the witness.
    pub witness: bool,
}

impl Claimant {
    pub(super) fn claim(&mut self, address: IpAddr, rank: Rank, counter: u64) {
        self.releases.remove(&address);
        let own = Own {
            rank,
            since: counter,
            votes: BTreeMap::new(),
            witness: None,
            yielding: false,
        };
        self.claims.insert(address, own);
    }

    /// Gives up a claim. From now on the address is not held, so that what is
    /// said to the voters later is true.
    pub(super) fn withdraw(&mut self, address: IpAddr, timing: &Timing, now: Moment) {
        if self.claims.remove(&address).is_some() {
            self.releases.insert(address, now + timing.lease);
        }
    }

    /// Gives up a claim for a moment, in favour of a better one.
    pub(super) fn yield_claim(&mut self, address: IpAddr, timing: &Timing, now: Moment) {
        self.withdraw(address, timing, now);
        self.paused.insert(address, now + timing.interval / 2);
    }

    /// Something that it gave way on is about to be claimed again.
    pub(super) fn is_waiting(&self) -> bool {
        !self.paused.is_empty()
    }

    pub(super) fn is_paused(&self, address: IpAddr, now: Moment) -> bool {
        self.paused.get(&address).is_some_and(|until| *until > now)
    }

    pub(super) fn is_claimed(&self, address: IpAddr) -> bool {
        self.claims.contains_key(&address)
    }

    /// A voter told of a better claimant and this one has no majority.
    pub(super) fn must_yield(&self, address: IpAddr) -> bool {
        self.claims.get(&address).is_some_and(|own| own.yielding)
    }

    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        self.claims.keys().copied().collect()
    }

    pub(super) fn claims(&self) -> impl Iterator<Item = Claim> {
        self.claims.iter().map(|(address, own)| Claim {
            address: *address,
            rank: own.rank,
        })
    }

    pub(super) fn releases(&self) -> impl Iterator<Item = IpAddr> {
        self.releases.keys().copied()
    }

    pub(super) fn forget_expired(&mut self, now: Moment) {
        self.releases.retain(|_, until| *until > now);
        self.paused.retain(|_, until| *until > now);
    }

    /// Takes a voter's verdict on a claim.
    pub(super) fn take(
        &mut self,
        voter: &Arc<str>,
        address: IpAddr,
        verdict: Verdict,
        ballot: Ballot,
    ) {
        let Some(own) = self.claims.get_mut(&address) else {
            return;
        };
        if ballot.counter <= own.since {
            return;
        }
        own.yielding |= verdict.asks_to_yield();
        if verdict.is_vote() {
            let vote = own.votes.entry(voter.clone()).or_insert(ballot.until);
            *vote = ballot.until.max(*vote);
            if ballot.witness {
                own.witness = own.witness.max(Some(ballot.until));
            }
        }
    }

    /// Until when this node holds an address.
    pub(super) fn held_until(
        &self,
        address: IpAddr,
        voters: &Voters,
        now: Moment,
    ) -> Option<Moment> {
        let own = self.claims.get(&address)?;
        voters.majority_until(|voter| own.votes.get(voter).copied(), own.witness, now)
    }

    /// One that holds the address need not give way.
    pub(super) fn stand(&mut self, address: IpAddr) {
        if let Some(own) = self.claims.get_mut(&address) {
            own.yielding = false;
        }
    }
}
