//! A cluster whose time, network and API server are values. A seed is a run.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use podway_wire::Moment;
use podway_wire::mesh::{Datagram, Desire, Incarnation, Key, Member, Rank, Timing};

pub(crate) const WITNESS_LEASE: Duration = Duration::from_secs(2);

pub(crate) fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// xorshift64*: enough for a simulation, and the same everywhere.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// From `low` to `high`, both included.
    pub(crate) fn range(&mut self, low: u64, high: u64) -> u64 {
        low + (self.next() >> 11) % (high - low + 1)
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.range(1, 100) <= percent
    }
}

enum Event {
    Wake(usize, u64),
    Deliver(usize, Vec<u8>),
}

pub(crate) struct Node {
    pub(crate) name: Arc<str>,
    pub(crate) member: Option<Member>,
    pub(crate) frozen_until: Moment,
    pub(crate) reaches_api: bool,
    desires: Vec<Desire>,
    held: BTreeMap<IpAddr, Moment>,
    /// Only the latest wake-up counts.
    alarm: u64,
    lives: u64,
}

pub(crate) struct World {
    pub(crate) now: Moment,
    pub(crate) random: Random,
    pub(crate) timing: Timing,
    pub(crate) nodes: Vec<Node>,
    pub(crate) cut: BTreeSet<(usize, usize)>,
    pub(crate) loss_percent: u64,
    pub(crate) delay: (u64, u64),
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) log: Vec<String>,
    /// The longest time without an owner of each address since `forget_gaps`.
    pub(crate) gaps: BTreeMap<IpAddr, Duration>,
    owners: BTreeMap<IpAddr, usize>,
    unowned_since: BTreeMap<IpAddr, Moment>,
    owned_until: BTreeMap<IpAddr, Moment>,
    queue: BTreeMap<(Moment, u64), Event>,
    sequence: u64,
    witness: Option<(usize, Moment)>,
    key: Key,
}

impl World {
    /// So many nodes and addresses, each node a candidate for some of these, in
    /// a random order.
    pub(crate) fn new(seed: u64, nodes: usize, addresses: u8) -> Self {
        let mut random = Random::new(seed);
        let names: Vec<Arc<str>> = (0..nodes).map(|n| Arc::from(format!("node{n}"))).collect();
        let addresses: Vec<IpAddr> = (0..addresses)
            .map(|n| Ipv4Addr::new(172, 16, 0, 200 + n).into())
            .collect();
        let mut desires: Vec<Vec<Desire>> = vec![Vec::new(); nodes];
        for address in &addresses {
            let mut ranks: Vec<(Rank, usize)> = (0..nodes)
                .map(|node| (Rank::from(random.next()), node))
                .collect();
            ranks.retain(|_| random.chance(70));
            ranks.sort_unstable();
            for (place, (rank, node)) in ranks.iter().enumerate() {
                desires[*node].push(Desire {
                    address: *address,
                    rank: *rank,
                    better: ranks[..place]
                        .iter()
                        .map(|(_, n)| names[*n].clone())
                        .collect(),
                });
            }
        }
        let node = |(name, desires): (&Arc<str>, Vec<Desire>)| Node {
            name: name.clone(),
            member: None,
            frozen_until: Moment::default(),
            reaches_api: true,
            desires,
            held: BTreeMap::new(),
            alarm: 0,
            lives: 0,
        };
        Self {
            now: Moment::after_origin(Duration::from_secs(1_000)),
            timing: Timing::for_nodes(nodes),
            nodes: names.iter().zip(desires).map(node).collect(),
            cut: BTreeSet::new(),
            loss_percent: 0,
            delay: (200, 2_000),
            addresses,
            log: Vec::new(),
            gaps: BTreeMap::new(),
            owners: BTreeMap::new(),
            unowned_since: BTreeMap::new(),
            owned_until: BTreeMap::new(),
            queue: BTreeMap::new(),
            sequence: 0,
            witness: None,
            key: Key::from_secret(b"a secret of the cluster"),
            random,
        }
    }

    pub(crate) fn start(&mut self, node: usize) {
        let voters: BTreeSet<Arc<str>> = self.nodes.iter().map(|n| n.name.clone()).collect();
        let random = self.random.next();
        let now = self.now;
        let state = &mut self.nodes[node];
        state.lives += 1;
        let life = Incarnation::new(state.lives, random);
        let mut member = Member::new(&state.name, life, self.key.clone(), self.timing, now);
        member.set_voters(voters, now);
        member.set_desires(state.desires.clone(), now);
        member.set_ready(true);
        state.member = Some(member);
        state.frozen_until = now;
        self.wake(node);
    }

    pub(crate) fn kill(&mut self, node: usize) {
        self.log(&format!("{} dies", self.nodes[node].name));
        self.nodes[node].member = None;
        self.nodes[node].held.clear();
        self.judge();
    }

    pub(crate) fn freeze(&mut self, node: usize, duration: Duration) {
        self.log(&format!(
            "{} freezes for {duration:?}",
            self.nodes[node].name
        ));
        self.nodes[node].frozen_until = self.now + duration;
        self.judge();
    }

    pub(crate) fn is_candidate(&self, node: usize, address: IpAddr) -> bool {
        self.nodes[node]
            .desires
            .iter()
            .any(|d| d.address == address)
    }

    pub(crate) fn is_alive(&self, node: usize) -> bool {
        self.nodes[node].member.is_some()
    }

    pub(crate) fn owner(&self, address: IpAddr) -> Option<usize> {
        self.owners.get(&address).copied()
    }

    /// Takes a node out of every election, as a drain does.
    pub(crate) fn drain(&mut self, node: usize) {
        let name = self.nodes[node].name.clone();
        for state in &mut self.nodes {
            if state.name == name {
                state.desires.clear();
            }
            for desire in &mut state.desires {
                desire.better.remove(&name);
            }
            if let Some(member) = &mut state.member {
                member.set_desires(state.desires.clone(), self.now);
            }
        }
        for node in 0..self.nodes.len() {
            self.wake(node);
        }
    }

    pub(crate) fn forget_gaps(&mut self) {
        self.gaps.clear();
        for since in self.unowned_since.values_mut() {
            *since = self.now;
        }
    }

    pub(crate) fn run_for(&mut self, duration: Duration) {
        let until = self.now + duration;
        while let Some(entry) = self.queue.first_entry().filter(|e| e.key().0 <= until) {
            let ((at, _), event) = entry.remove_entry();
            self.now = at;
            self.step(event);
            self.judge();
        }
        self.now = until;
        self.judge();
    }

    fn step(&mut self, event: Event) {
        let node = match &event {
            Event::Wake(node, _) | Event::Deliver(node, _) => *node,
        };
        let thaw = self.nodes[node].frozen_until;
        if thaw > self.now {
            self.push(thaw, event);
            return;
        }
        let now = self.now;
        let sent = {
            let state = &mut self.nodes[node];
            let Some(member) = &mut state.member else {
                return;
            };
            match event {
                Event::Wake(_, alarm) if alarm != state.alarm => return,
                Event::Wake(..) => member.tick(now),
                Event::Deliver(_, bytes) => member.receive(&bytes, now).unwrap_or_default(),
            }
        };
        self.send(node, sent);
        self.ask_api(node);
        let state = &mut self.nodes[node];
        let Some(member) = &state.member else { return };
        state.held = member.holdings(now);
        let next = member.next_deadline(now);
        state.alarm += 1;
        let alarm = state.alarm;
        self.push(next, Event::Wake(node, alarm));
    }

    fn wake(&mut self, node: usize) {
        self.nodes[node].alarm += 1;
        let alarm = self.nodes[node].alarm;
        self.push(self.now, Event::Wake(node, alarm));
    }

    fn push(&mut self, at: Moment, event: Event) {
        self.sequence += 1;
        self.queue.insert((at, self.sequence), event);
    }

    fn send(&mut self, from: usize, datagrams: Vec<Datagram>) {
        for datagram in datagrams {
            let to = self.nodes.iter().position(|n| n.name == datagram.to);
            let to = to.expect("datagrams go to nodes of the mesh");
            if self.cut.contains(&(from, to)) || self.random.chance(self.loss_percent) {
                continue;
            }
            let (low, high) = self.delay;
            let delay = Duration::from_micros(self.random.range(low, high));
            self.push(self.now + delay, Event::Deliver(to, datagram.bytes));
        }
    }

    /// The Lease of the API server, which one node has at a time.
    fn ask_api(&mut self, node: usize) {
        let now = self.now;
        let state = &mut self.nodes[node];
        let Some(member) = &mut state.member else {
            return;
        };
        if !state.reaches_api || !member.needs_witness(now) {
            return;
        }
        let free = self
            .witness
            .is_none_or(|(by, until)| by == node || until <= now);
        let renewed = self
            .witness
            .is_some_and(|(by, until)| by == node && until > now + WITNESS_LEASE / 2);
        if free && !renewed {
            self.witness = Some((node, now + WITNESS_LEASE));
            member.set_witness(Some((now + WITNESS_LEASE).before(ms(50))), now);
        }
    }

    /// Looks who answers for each address at this moment. Two is the end.
    fn judge(&mut self) {
        for address in self.addresses.clone() {
            let now = self.now;
            let holds = |node: &Node| {
                let until = node.held.get(&address).copied();
                until.filter(|until| *until > now && node.frozen_until <= now)
            };
            let owners: Vec<(usize, Moment)> = (0..self.nodes.len())
                .filter_map(|n| Some((n, holds(&self.nodes[n])?)))
                .collect();
            assert!(
                owners.len() < 2,
                "two owners of {address}: {owners:?} at {now:?}\n{}",
                self.log.join("\n")
            );
            let owner = owners.first().copied();
            if owner.map(|(node, _)| node) != self.owner(address) {
                let name = owner.map(|(node, _)| self.nodes[node].name.clone());
                self.log(&format!("{address} is held by {name:?}"));
            }
            match owner {
                Some((node, until)) => {
                    self.owners.insert(address, node);
                    self.owned_until.insert(address, until);
                    self.note_gap(address);
                    self.unowned_since.remove(&address);
                }
                None => {
                    self.owners.remove(&address);
                    let ended = self.owned_until.get(&address).copied().unwrap_or(now);
                    self.unowned_since.entry(address).or_insert(ended.min(now));
                    self.note_gap(address);
                }
            }
        }
    }

    fn note_gap(&mut self, address: IpAddr) {
        if let Some(since) = self.unowned_since.get(&address) {
            let gap = self.now.since(*since);
            let longest = self.gaps.entry(address).or_default();
            *longest = gap.max(*longest);
        }
    }

    pub(crate) fn log(&mut self, line: &str) {
        let at = self
            .now
            .since(Moment::after_origin(Duration::from_secs(1_000)));
        self.log.push(format!("{at:>12?} {line}"));
    }
}
