//! What is shared, and by how many: a chain goes when its last frontend goes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use podway_kernel::nft::{Chain, Data, Element, Rule, Value, Verdict};
use podway_model::SortedSet;
use podway_plan::service::{Frontend, Interfaces, Pool, PoolId, Route};

use super::flavour::{Flavour, Pick};
use super::skeleton::{Kind, SetId};

/// The shared things that the kernel holds for a table.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// How the rules tell pods: by interface, or else by their set.
    pod_interfaces: Option<Interfaces>,
    flavours: BTreeMap<Flavour, Shared>,
    classes: BTreeSet<u32>,
    picks: BTreeMap<Pick, usize>,
    hairpins: BTreeMap<IpAddr, usize>,
    /// The frontends that lead to a pool.
    users: HashMap<PoolId, SortedSet<Frontend>>,
}

#[derive(Debug)]
struct Shared {
    class: u32,
    users: usize,
}

/// A chain with its rules.
pub(super) type ChainRules = (Chain, Vec<Rule>);

impl Ledger {
    /// Of no table yet.
    pub(super) fn new(pod_interfaces: Option<Interfaces>) -> Self {
        Self {
            pod_interfaces,
            ..Self::default()
        }
    }

    /// One more user of a flavour. Gives its class, and the chains that this
    /// makes necessary: those that others go to come first.
    pub(super) fn acquire(&mut self, flavour: Flavour) -> (u32, Vec<ChainRules>) {
        if let Some(shared) = self.flavours.get_mut(&flavour) {
            shared.users += 1;
            return (shared.class, Vec::new());
        }
        let mut class = flavour.class_hint();
        // 0 prints as "none". There are far fewer flavours than classes.
        while class == 0 || !self.classes.insert(class) {
            class = class.wrapping_add(1);
        }
        self.flavours.insert(flavour, Shared { class, users: 1 });
        let mut chains = Vec::new();
        for pick in flavour.picks() {
            let users = self.picks.entry(pick).or_default();
            *users += 1;
            if *users == 1 {
                chains.push((pick.chain(), pick.rules()));
            }
        }
        let rules = flavour.rules(self.pod_interfaces.as_ref());
        chains.push((flavour.chain(), rules));
        (class, chains)
    }

    /// One user fewer. Gives the element and the chains that nobody needs any
    /// more, in the order in which they can go.
    pub(super) fn release(&mut self, flavour: &Flavour) -> Option<((SetId, Element), Vec<Chain>)> {
        let shared = self.flavours.get_mut(flavour)?;
        shared.users -= 1;
        if shared.users > 0 {
            return None;
        }
        let class = shared.class;
        self.flavours.remove(flavour);
        self.classes.remove(&class);
        let mut chains = vec![flavour.chain()];
        for pick in flavour.picks() {
            let Some(users) = self.picks.get_mut(&pick) else {
                continue;
            };
            *users -= 1;
            if *users == 0 {
                self.picks.remove(&pick);
                chains.push(pick.chain());
            }
        }
        Some((route_element(flavour, class), chains))
    }

    /// The class of a flavour that is in use.
    pub(super) fn class(&self, flavour: &Flavour) -> Option<u32> {
        self.flavours.get(flavour).map(|shared| shared.class)
    }

    /// The elements that lead from classes to chains.
    pub(super) fn route_elements(&self) -> impl Iterator<Item = (SetId, Element)> {
        self.flavours
            .iter()
            .map(|(flavour, shared)| route_element(flavour, shared.class))
    }

    /// A frontend leads to its route's pools.
    pub(super) fn enlist(&mut self, frontend: Frontend, route: &Route) {
        for pool in route.pools() {
            self.users.entry(pool.clone()).or_default().insert(frontend);
        }
    }

    /// It does no longer.
    pub(super) fn strike(&mut self, frontend: &Frontend, route: &Route) {
        for pool in route.pools() {
            if let Some(users) = self.users.get_mut(pool) {
                users.remove(frontend);
                if users.is_empty() {
                    self.users.remove(pool);
                }
            }
        }
    }

    /// The frontends that lead to a pool.
    pub(super) fn users(&self, pool: &PoolId) -> impl Iterator<Item = &Frontend> {
        self.users.get(pool).into_iter().flatten()
    }

    /// Counts a pool's endpoints on this node; gives the addresses that are
    /// new.
    pub(super) fn count_hairpins(&mut self, pool: &Pool) -> Vec<IpAddr> {
        let mut new = Vec::new();
        for address in local(pool) {
            let users = self.hairpins.entry(address).or_default();
            *users += 1;
            if *users == 1 {
                new.push(address);
            }
        }
        new
    }

    /// The opposite; gives the addresses that are gone.
    pub(super) fn discount_hairpins(&mut self, pool: &Pool) -> Vec<IpAddr> {
        let mut gone = Vec::new();
        for address in local(pool) {
            if let Some(users) = self.hairpins.get_mut(&address) {
                *users -= 1;
                if *users == 0 {
                    self.hairpins.remove(&address);
                    gone.push(address);
                }
            }
        }
        gone
    }
}

fn local(pool: &Pool) -> impl Iterator<Item = IpAddr> {
    pool.endpoints
        .iter()
        .filter(|(_, endpoint)| endpoint.local)
        .map(|(address, _)| address.ip())
}

pub(super) fn route_element(flavour: &Flavour, class: u32) -> (SetId, Element) {
    let set = SetId {
        family: flavour.scope.family,
        kind: Kind::Routes,
    };
    let chain = Verdict::Goto(flavour.chain().name);
    let element = Element::new(&[Value::Class(class)]).to(Data::Verdict(chain));
    (set, element)
}
