use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::claimant::{Ballot, Claimant};
use super::link::{Link, Ping};
use super::message::{Answer, Claim, Heartbeat, Message, PER_DATAGRAM, Verdict};
use super::quorum::Voters;
use super::seal::{Header, Incarnation, Key, OpenError, Sealer};
use super::voter::Voter;
use super::{Rank, Timing};
use crate::Moment;

/// An address that this node may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desire {
    /// The address.
    pub address: IpAddr,
    /// This node's place.
    pub rank: Rank,
    /// The nodes that rank before it.
    pub better: BTreeSet<Arc<str>>,
}

/// A datagram to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// To which node.
    pub to: Arc<str>,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Another node as this one sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerView {
    /// Its name.
    pub node: Arc<str>,
    /// It answers.
    pub reachable: bool,
    /// It answers, sees a majority itself and can serve.
    pub eligible: bool,
    /// How long the last answer took.
    pub round_trip: Option<Duration>,
}

/// One node of the mesh.
///
/// Its caller sends what it returns, gives it what comes in, calls
/// [`Member::tick`] at [`Member::next_deadline`], and answers for
/// [`Member::holdings`], each until the moment given with it.
pub struct Member {
    name: Arc<str>,
    timing: Timing,
    key: Key,
    sealer: Sealer,
    voters: Voters,
    links: BTreeMap<Arc<str>, Link>,
    voter: Voter,
    claimant: Claimant,
    desires: BTreeMap<IpAddr, Desire>,
    witness: Option<Moment>,
    ready: bool,
    majority_since: Option<Moment>,
    majority_seen: Moment,
    next_heartbeat: Moment,
}

impl Member {
    /// A node that knows nobody yet. Node names have at most 253 bytes
    /// (RFC 1123); what is longer is cut there.
    #[must_use]
    pub fn new(
        name: &str,
        incarnation: Incarnation,
        key: Key,
        timing: Timing,
        now: Moment,
    ) -> Self {
        let name: Arc<str> = Arc::from(&name[..name.floor_char_boundary(253)]);
        Self {
            sealer: Sealer::new(&key, name.clone(), incarnation),
            name,
            timing,
            key,
            voters: Voters::default(),
            links: BTreeMap::new(),
            voter: Voter::new(timing, now),
            claimant: Claimant::default(),
            desires: BTreeMap::new(),
            witness: None,
            ready: false,
            majority_since: None,
            majority_seen: now,
            next_heartbeat: now,
        }
    }

    /// Takes the nodes that vote: all those that run an agent, this one included.
    pub fn set_voters(&mut self, voters: BTreeSet<Arc<str>>, now: Moment) {
        self.voters.set(voters, &self.timing, now);
        self.keep_links();
    }

    /// Takes what this node may hold. What it holds and may not any more is
    /// released at the next tick, which is due at once.
    pub fn set_desires(&mut self, desires: Vec<Desire>, now: Moment) {
        self.desires = desires.into_iter().map(|d| (d.address, d)).collect();
        self.next_heartbeat = self.next_heartbeat.min(now);
    }

    /// Says whether this node can serve what it holds. Until it can it claims
    /// nothing and the others do not reckon with it; it votes all the same.
    pub fn set_ready(&mut self, ready: bool) {
        self.ready = ready;
    }

    /// Takes until when this node has the witness, if it has. It must not be
    /// given back early: let the Lease run out, votes with it may still count.
    pub fn set_witness(&mut self, until: Option<Moment>, now: Moment) {
        self.witness = until;
        self.next_heartbeat = self.next_heartbeat.min(now);
    }

    /// Whether the witness would make a majority of what this node sees. Its
    /// caller then tries to take and to keep the Lease, for several times
    /// [`Timing::lease`], and stops keeping it when this ends.
    #[must_use]
    pub fn needs_witness(&self, now: Moment) -> bool {
        self.ready
            && !self.desires.is_empty()
            && self.voters.is_tied(|voter| self.sees(voter, now), now)
    }

    /// The addresses that this node holds, and until when each.
    #[must_use]
    pub fn holdings(&self, now: Moment) -> BTreeMap<IpAddr, Moment> {
        let held = |address: IpAddr| Some((address, self.held_until(address, now)?));
        self.claimant
            .addresses()
            .into_iter()
            .filter_map(held)
            .collect()
    }

    /// The other nodes as this one sees them.
    pub fn peers(&self, now: Moment) -> impl Iterator<Item = PeerView> {
        self.links.iter().map(move |(node, link)| PeerView {
            node: node.clone(),
            reachable: link.is_two_way(now),
            eligible: link.is_two_way(now) && link.eligible,
            round_trip: link.round_trip,
        })
    }

    /// When to call [`Member::tick`] next.
    #[must_use]
    pub fn next_deadline(&self, now: Moment) -> Moment {
        let links = self.links.values();
        let ends = links.filter_map(|link| link.two_way_until(now));
        ends.chain([self.next_heartbeat])
            .min()
            .unwrap_or(self.next_heartbeat)
    }

    /// Does what is due and returns what is to be sent.
    pub fn tick(&mut self, now: Moment) -> Vec<Datagram> {
        let changed = self.reconsider(now);
        if changed || now >= self.next_heartbeat {
            self.heartbeats(now)
        } else {
            Vec::new()
        }
    }

    /// Takes a datagram and returns what is to be sent for it.
    ///
    /// # Errors
    /// Where it is not from a node of the mesh, or not fresh; nothing changes.
    pub fn receive(&mut self, datagram: &[u8], now: Moment) -> Result<Vec<Datagram>, OpenError> {
        let header = Header::decode(datagram)?;
        let known = self.links.get_key_value(header.sender);
        let sender = known
            .map(|(name, _)| name.clone())
            .ok_or_else(|| OpenError::UnknownSender(header.sender.to_owned()))?;
        let link = self.links.entry(sender.clone()).or_default();
        let message = link.open(&header, &self.key, &self.name, &self.timing, now)?;
        let message = Message::decode(&message)
            .ok_or_else(|| OpenError::Malformed(header.sender.to_owned()))?;
        let mut datagrams = Vec::new();
        match message {
            Message::Heartbeat(heartbeat) => {
                let answer = self.vote(&sender, &heartbeat, &header, now);
                datagrams.push(self.seal(&sender, &Message::Answer(answer)));
            }
            Message::Answer(answer) => self.count(&sender, &answer, now),
        }
        if self.reconsider(now) {
            datagrams.extend(self.heartbeats(now));
        }
        Ok(datagrams)
    }

    fn vote(
        &mut self,
        sender: &Arc<str>,
        heartbeat: &Heartbeat,
        header: &Header<'_>,
        now: Moment,
    ) -> Answer {
        let has_witness = self.has_witness(now);
        let link = self.links.entry(sender.clone()).or_default();
        link.eligible = heartbeat.eligible;
        link.witness = heartbeat.witness;
        // A claimant that cannot hear this node would keep a vote it knows
        // nothing of.
        let two_way = link.is_two_way(now);
        for address in &heartbeat.releases {
            self.voter.release(sender, *address);
        }
        let mut verdict = |claim: &Claim| {
            if two_way {
                self.voter.ask(sender, *claim, now)
            } else {
                Verdict::NotYet
            }
        };
        Answer {
            incarnation: header.incarnation,
            counter: header.counter,
            witness: has_witness,
            verdicts: heartbeat.claims.iter().map(&mut verdict).collect(),
        }
    }

    fn count(&mut self, sender: &Arc<str>, answer: &Answer, now: Moment) {
        if answer.incarnation != self.sealer.incarnation() {
            return;
        }
        let link = self.links.entry(sender.clone()).or_default();
        let Some(ping) = link.answered(answer.counter, &self.timing, now) else {
            return;
        };
        let ballot = Ballot {
            counter: ping.counter,
            until: (ping.sent + self.timing.lease).before(self.timing.margin),
            witness: answer.witness,
        };
        for (address, verdict) in ping.claims.iter().zip(&answer.verdicts) {
            self.claimant.take(sender, *address, *verdict, ballot);
        }
    }

    /// Claims what is this node's and gives up what is not. Says whether the
    /// others must hear of it at once.
    fn reconsider(&mut self, now: Moment) -> bool {
        self.observe_majority(now);
        self.voter.forget_expired(now);
        self.claimant.forget_expired(now);
        let mut changed = false;
        for address in self.claimant.addresses() {
            changed |= self.reconsider_claim(address, now);
        }
        let eligible = self.is_eligible(now);
        let desires = self.desires.values().filter(|desire| {
            eligible
                && !self.claimant.is_claimed(desire.address)
                && !self.claimant.is_paused(desire.address, now)
                && !self.has_better(desire, now)
        });
        let wanted: Vec<(IpAddr, Rank)> = desires.map(|d| (d.address, d.rank)).collect();
        for (address, rank) in wanted {
            self.claimant.claim(address, rank, self.sealer.counter());
            changed = true;
        }
        self.vote_for_own(now);
        changed
    }

    fn reconsider_claim(&mut self, address: IpAddr, now: Moment) -> bool {
        let Some(desire) = self.desires.get(&address) else {
            return self.give_up(address, now);
        };
        let better = self.has_better(desire, now);
        if self.held_until(address, now).is_some() {
            self.claimant.stand(address);
            let successor = self.voter.waiting(address, now);
            let asked = successor.is_some_and(|node| desire.better.contains(node));
            return better && asked && self.give_up(address, now);
        }
        if better || !self.is_eligible(now) {
            return self.give_up(address, now);
        }
        if self.claimant.must_yield(address) {
            self.claimant.yield_claim(address, &self.timing, now);
            self.voter.release(&self.name, address);
            return true;
        }
        false
    }

    fn give_up(&mut self, address: IpAddr, now: Moment) -> bool {
        self.claimant.withdraw(address, &self.timing, now);
        self.voter.release(&self.name, address);
        true
    }

    /// This node is a voter like any other, and hears its own claims at once.
    fn vote_for_own(&mut self, now: Moment) {
        let ballot = Ballot {
            counter: u64::MAX,
            until: now + self.timing.lease,
            witness: self.has_witness(now),
        };
        for claim in self.claimant.claims().collect::<Vec<_>>() {
            let verdict = self.voter.ask(&self.name, claim, now);
            self.claimant
                .take(&self.name, claim.address, verdict, ballot);
        }
    }

    fn heartbeats(&mut self, now: Moment) -> Vec<Datagram> {
        let claimed = self.claimant.addresses();
        let open = |address: &IpAddr| self.held_until(*address, now).is_none();
        let open = self.claimant.is_waiting() || claimed.iter().any(open);
        // Whoever waits for votes asks more often than whoever has them.
        let pause = self.timing.interval / if open { 4 } else { 1 };
        self.next_heartbeat = now + pause;
        let parts = self.heartbeat_parts(now);
        let others: Vec<Arc<str>> = self.links.keys().cloned().collect();
        let mut datagrams = Vec::with_capacity(others.len() * parts.len());
        for other in others {
            for part in &parts {
                let message = Message::Heartbeat(part.clone());
                datagrams.push(self.seal(&other, &message));
                let ping = Ping {
                    counter: self.sealer.counter(),
                    sent: now,
                    claims: part.claims.iter().map(|claim| claim.address).collect(),
                };
                let link = self.links.entry(other.clone()).or_default();
                link.sent(ping, &self.timing);
            }
        }
        datagrams
    }

    /// One heartbeat, or several where the claims do not fit into one.
    fn heartbeat_parts(&self, now: Moment) -> Vec<Heartbeat> {
        let claims: Vec<Claim> = self.claimant.claims().collect();
        let releases: Vec<IpAddr> = self.claimant.releases().collect();
        let longest = claims.len().max(releases.len());
        let part = |index: usize| Heartbeat {
            eligible: self.is_eligible(now),
            witness: self.has_witness(now),
            claims: chunk(&claims, index),
            releases: chunk(&releases, index),
        };
        (0..longest.div_ceil(PER_DATAGRAM).max(1))
            .map(part)
            .collect()
    }

    fn seal(&mut self, to: &Arc<str>, message: &Message) -> Datagram {
        Datagram {
            to: to.clone(),
            bytes: self.sealer.seal(to, &message.encode()),
        }
    }

    fn held_until(&self, address: IpAddr, now: Moment) -> Option<Moment> {
        self.claimant.held_until(address, &self.voters, now)
    }

    /// Whether one that ranks before this node is there to hold the address.
    fn has_better(&self, desire: &Desire, now: Moment) -> bool {
        let there = |link: &Link| link.eligible && link.is_two_way(now);
        let mut better = desire.better.iter();
        better.any(|node| self.links.get(node).is_some_and(there))
    }

    fn sees(&self, voter: &Arc<str>, now: Moment) -> bool {
        *voter == self.name || self.links.get(voter).is_some_and(|l| l.is_two_way(now))
    }

    fn has_majority(&self, now: Moment) -> bool {
        let seen = |voter: &Arc<str>| self.sees(voter, now).then(|| now + self.timing.lease);
        let lends = |link: &Link| link.witness && link.is_two_way(now);
        let witness = self.has_witness(now) || self.links.values().any(lends);
        let witness = witness.then(|| now + self.timing.lease);
        self.voters.majority_until(seen, witness, now).is_some()
    }

    /// Whether a vote given now carries the witness: only while the Lease lasts
    /// longer than the vote, so that no such vote is left when another has it.
    fn has_witness(&self, now: Moment) -> bool {
        self.witness
            .is_some_and(|until| until >= now + self.timing.lease)
    }

    /// A majority lost for less than a lease was not lost: promises outlast it.
    fn observe_majority(&mut self, now: Moment) {
        if self.has_majority(now) {
            self.majority_since.get_or_insert(now);
            self.majority_seen = now;
        } else if now.since(self.majority_seen) > self.timing.lease {
            self.majority_since = None;
        }
    }

    fn is_eligible(&self, now: Moment) -> bool {
        let settled = |since: Moment| now.since(since) >= self.timing.settle;
        self.ready && self.majority_since.is_some_and(settled) && self.has_majority(now)
    }

    fn keep_links(&mut self) {
        let all = self.voters.all();
        self.links.retain(|node, _| all.contains(node));
        for node in all.into_iter().filter(|node| *node != self.name) {
            self.links.entry(node).or_default();
        }
    }
}

fn chunk<T: Clone>(all: &[T], index: usize) -> Vec<T> {
    let from = (index * PER_DATAGRAM).min(all.len());
    let to = (from + PER_DATAGRAM).min(all.len());
    all[from..to].to_vec()
}
