//! Addresses of load balancers by ARP and NDP: the mesh decides which node holds
//! an address, and the holder answers for it.
//!
//! [`Layer2`] joins the two state machines and is as pure as they are; [`Task`]
//! gives it sockets, interfaces and time.

mod interfaces;
mod task;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use podway_plan::announce::Layer2Address;
use podway_wire::Moment;
use podway_wire::layer2::{Announcer, AnswerLimit, Interface, Outgoing};
use podway_wire::mesh::{Datagram, Desire, Incarnation, Key, Member, OpenError, Timing};

pub use interfaces::EXCLUDED;
pub use task::{Error, Handle, Observer, Settings, Task};

/// What a node may announce, and whom it agrees with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The nodes that vote on who holds an address, this one among them, and
    /// where each is reached.
    pub voters: BTreeMap<Arc<str>, IpAddr>,
    /// The addresses that this node may hold.
    pub addresses: BTreeMap<IpAddr, Layer2Address>,
    /// Whether this node would serve what comes for an address: until then it
    /// holds none.
    pub ready: bool,
}

/// What is to be sent.
#[derive(Debug, Default)]
pub struct Outbox {
    /// By interfaces.
    pub frames: Vec<Outgoing>,
    /// To nodes.
    pub datagrams: Vec<(IpAddr, Vec<u8>)>,
}

/// What a node holds, and with whom it agrees on that.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// The addresses that this node answers for.
    pub held: BTreeSet<IpAddr>,
    /// The other nodes, and whether each answers.
    pub peers: BTreeMap<Arc<str>, bool>,
}

/// One node's part in announcing addresses.
pub struct Layer2 {
    node: Arc<str>,
    key: Key,
    /// Each life of the member is another one: see [`Layer2::set_plan`].
    incarnation: Box<dyn FnMut() -> Incarnation + Send>,
    timing: Timing,
    member: Member,
    announcer: Announcer,
    indexes: BTreeMap<String, u32>,
    plan: Plan,
    held: BTreeSet<IpAddr>,
}

impl Layer2 {
    /// A node that holds nothing and knows nobody. `incarnation` is asked for
    /// each life of the node in the mesh, and each time says a greater one.
    pub fn new(
        node: Arc<str>,
        key: Key,
        mut incarnation: Box<dyn FnMut() -> Incarnation + Send>,
        now: Moment,
    ) -> Self {
        let timing = timing(0);
        Self {
            member: Member::new(&node, incarnation(), key.clone(), timing, now),
            node,
            key,
            incarnation,
            timing,
            announcer: Announcer::new(AnswerLimit::default()),
            indexes: BTreeMap::new(),
            plan: Plan::default(),
            held: BTreeSet::new(),
        }
    }

    /// Takes another plan. A cluster that has outgrown the mesh's timing gets
    /// another one, and this node a new life in it: it holds nothing and votes
    /// for nobody until the former life's promises have run out.
    pub fn set_plan(&mut self, plan: Plan, now: Moment) {
        let timing = timing(plan.voters.len());
        if timing != self.timing {
            self.timing = timing;
            let incarnation = (self.incarnation)();
            self.member = Member::new(&self.node, incarnation, self.key.clone(), timing, now);
        }
        let voters = plan.voters.keys().cloned().collect();
        self.member.set_voters(voters, now);
        self.member.set_ready(plan.ready);
        // Whoever cannot serve does not wait for a successor either.
        let addresses = plan.addresses.iter().filter(|_| plan.ready);
        let desires = addresses.filter_map(|(address, planned)| self.desire(*address, planned));
        self.member.set_desires(desires.collect(), now);
        self.plan = plan;
    }

    fn desire(&self, address: IpAddr, planned: &Layer2Address) -> Option<Desire> {
        let mut candidates = planned.candidates.iter();
        let own = candidates.find(|candidate| candidate.node == self.node)?;
        let better = planned.candidates.iter();
        let better = better.take_while(|candidate| candidate.node != self.node);
        Some(Desire {
            address,
            rank: own.rank,
            better: better.map(|candidate| candidate.node.clone()).collect(),
        })
    }

    /// Takes the interfaces by which addresses may be announced, by name.
    pub fn set_interfaces(&mut self, interfaces: &BTreeMap<String, Interface>, now: Moment) {
        let numbers = interfaces.iter();
        self.indexes = numbers.map(|(name, i)| (name.clone(), i.index)).collect();
        let all: Vec<Interface> = interfaces.values().copied().collect();
        self.announcer.set_interfaces(&all, now);
    }

    /// Takes until when this node has the witness of the mesh, if it has.
    pub fn set_witness(&mut self, until: Option<Moment>, now: Moment) {
        self.member.set_witness(until, now);
    }

    /// See [`Member::needs_witness`].
    #[must_use]
    pub fn needs_witness(&self, now: Moment) -> bool {
        self.member.needs_witness(now)
    }

    /// Takes a frame that came in, and returns the answer to it.
    pub fn receive_frame(&mut self, interface: u32, frame: &[u8], now: Moment) -> Option<Outgoing> {
        self.announcer.receive(interface, frame, now)
    }

    /// Takes a datagram of the mesh.
    ///
    /// # Errors
    /// It is not from a node of the mesh, or not fresh.
    pub fn receive_datagram(&mut self, bytes: &[u8], now: Moment) -> Result<Outbox, OpenError> {
        let datagrams = self.member.receive(bytes, now)?;
        Ok(self.outbox(datagrams, now))
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Moment) -> Outbox {
        // Without others there is nobody to ask, but oneself: that takes ticks too.
        let datagrams = self.member.tick(now);
        self.outbox(datagrams, now)
    }

    /// When to call [`Layer2::tick`] next; `None` where nothing is to be announced.
    #[must_use]
    pub fn next_deadline(&self, now: Moment) -> Option<Moment> {
        if self.plan.voters.is_empty() {
            return None;
        }
        let announcements = self.announcer.next_deadline();
        let mesh = self.member.next_deadline(now);
        Some(announcements.map_or(mesh, |announcements| announcements.min(mesh)))
    }

    /// The groups by which neighbours ask for what is announced, by interface.
    pub fn all_groups(&self) -> impl Iterator<Item = (u32, Ipv6Addr)> {
        let interfaces = self.indexes.values();
        interfaces.flat_map(|index| {
            let groups = self.announcer.groups(*index);
            groups.into_iter().map(|group| (*index, group))
        })
    }

    /// What this node holds and whom it sees.
    #[must_use]
    pub fn view(&self, now: Moment) -> View {
        let peers = self.member.peers(now);
        View {
            held: self.held.clone(),
            peers: peers.map(|peer| (peer.node, peer.reachable)).collect(),
        }
    }

    fn outbox(&mut self, datagrams: Vec<Datagram>, now: Moment) -> Outbox {
        self.follow_holdings(now);
        let reached = |datagram: Datagram| {
            let address = self.plan.voters.get(&datagram.to)?;
            Some((*address, datagram.bytes))
        };
        let datagrams = datagrams.into_iter().filter_map(reached).collect();
        Outbox {
            frames: self.announcer.due(now),
            datagrams,
        }
    }

    /// Answers for what this node holds, until the end of its lease, and for
    /// nothing else.
    fn follow_holdings(&mut self, now: Moment) {
        let holdings = self.member.holdings(now);
        for address in &self.held {
            if !holdings.contains_key(address) {
                self.announcer.withdraw(*address);
            }
        }
        for (address, until) in &holdings {
            let interfaces = self.interfaces_of(*address);
            self.announcer
                .announce(*address, interfaces.as_ref(), *until, now);
        }
        self.held = holdings.into_keys().collect();
    }

    fn interfaces_of(&self, address: IpAddr) -> Option<BTreeSet<u32>> {
        let planned = self.plan.addresses.get(&address)?;
        let names = planned.interfaces.as_ref()?;
        let index = |name: &String| self.indexes.get(name).copied();
        Some(names.iter().filter_map(index).collect())
    }
}

/// The same on every node: it follows the number of nodes in steps, so that a
/// cluster that grows by one seldom starts anew.
fn timing(voters: usize) -> Timing {
    const SMALL: usize = 50;
    Timing::for_nodes(if voters <= SMALL {
        SMALL
    } else {
        voters.next_power_of_two()
    })
}

#[cfg(test)]
mod tests;
