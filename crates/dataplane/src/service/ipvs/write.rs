//! Writes drafts, in an order in which no connection is served wrongly in
//! between, and lets real servers go when their connections have ended.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use podway_kernel::ipset::{Member, TypedSets};
use podway_kernel::ipvs::{Ipvs, Scheduling, VirtualServer};

use super::error::IpvsError as Error;
use super::ledger::{Draft, address_of};
use super::names::Set;
use super::node::Node;
use super::part::{Item, Server};

/// Real servers that get no new connections and wait for the end of those that
/// they have.
#[derive(Debug, Default)]
pub(super) struct Draining(BTreeMap<VirtualServer, Leaving>);

#[derive(Debug, Default)]
struct Leaving {
    /// Where the virtual server itself is no longer wanted: how it chooses.
    whole: Option<Scheduling>,
    reals: BTreeSet<SocketAddr>,
}

/// What drafts are written to.
pub(super) struct Writer<'k, V, S, N> {
    pub(super) ipvs: &'k mut V,
    pub(super) sets: &'k mut S,
    pub(super) node: &'k mut N,
    /// Netlink requests so far.
    pub(super) written: u64,
}

impl Draining {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a virtual server that is no longer wanted still has connections
    /// to this address, which must stay local.
    fn holds(&self, address: IpAddr) -> bool {
        let whole = self.0.iter().filter(|(_, leaving)| leaving.whole.is_some());
        let mut addresses = whole.filter_map(|(server, _)| address_of(server));
        addresses.any(|held| held == address)
    }

    fn holds_item(&self, item: &Item) -> bool {
        match item {
            Item::Bound(address) | Item::Member(_, Member::Address(address)) => {
                self.holds(*address)
            }
            Item::Member(..) => false,
        }
    }
}

impl<V: Ipvs, S: TypedSets, N: Node> Writer<'_, V, S, N> {
    /// Makes the kernel hold what comes after. `needs` tells which items are
    /// still wanted when something has drained.
    pub(super) fn write(
        &mut self,
        mut draft: Draft,
        draining: &mut Draining,
        needs: impl Fn(&Item) -> bool,
    ) -> Result<(), Error> {
        // Whom to masquerade is known before anything is served.
        self.add_members(&draft.added)?;
        for item in &draft.added {
            if let Item::Bound(address) = item {
                self.node.bind(*address)?;
                self.written += 1;
            }
        }
        for (server, (before, after)) in std::mem::take(&mut draft.servers) {
            self.change(&server, before, after, draining)?;
        }
        draft.removed.extend(self.revisit(draining)?);
        let gone = draft.removed.into_iter();
        let gone = gone.filter(|item| !needs(item) && !draining.holds_item(item));
        self.remove(&gone.collect())
    }

    fn change(
        &mut self,
        server: &VirtualServer,
        before: Option<Server>,
        after: Option<Server>,
        draining: &mut Draining,
    ) -> Result<(), Error> {
        let Some(after) = after else {
            return match before {
                Some(before) => self.retire(server, before, draining),
                None => Ok(()),
            };
        };
        let leaving = draining.0.remove(server).unwrap_or_default();
        // One that drains is there, and so are its real servers, without weight.
        let before = before.or_else(|| {
            leaving.whole.clone().map(|scheduling| Server {
                scheduling,
                reals: BTreeMap::new(),
                is_datagram: after.is_datagram,
            })
        });
        let mut held = match before {
            None => {
                self.ipvs.add(server, &after.scheduling)?;
                self.written += 1;
                BTreeMap::new()
            }
            Some(before) => {
                if before.scheduling != after.scheduling {
                    self.ipvs.reschedule(server, &after.scheduling)?;
                    self.written += 1;
                }
                before.reals
            }
        };
        held.extend(leaving.reals.iter().map(|real| (*real, 0)));
        for (real, weight) in &after.reals {
            match held.remove(real) {
                None => self.ipvs.add_real(server, *real, *weight)?,
                Some(held) if held != *weight => self.ipvs.weigh_real(server, *real, *weight)?,
                Some(_) => continue,
            }
            self.written += 1;
        }
        let reals = self.let_go(server, &held, after.is_datagram)?;
        if !reals.is_empty() {
            let whole = None;
            draining.0.insert(*server, Leaving { whole, reals });
        }
        Ok(())
    }

    /// A virtual server is no longer wanted.
    fn retire(
        &mut self,
        server: &VirtualServer,
        before: Server,
        draining: &mut Draining,
    ) -> Result<(), Error> {
        let mut held = before.reals;
        let leaving = draining.0.remove(server).unwrap_or_default();
        held.extend(leaving.reals.into_iter().map(|real| (real, 0)));
        let reals = match before.is_datagram {
            true => BTreeSet::new(),
            // New connections are refused before IPVS sees them, or by it: no
            // real server has a weight.
            false => self.let_go(server, &held, false)?,
        };
        if reals.is_empty() {
            self.ipvs.remove(server)?;
            self.written += 1;
        } else {
            let whole = Some(before.scheduling);
            draining.0.insert(*server, Leaving { whole, reals });
        }
        Ok(())
    }

    /// Takes real servers away that have no connection, and the weight of
    /// others: those are what it gives back.
    fn let_go(
        &mut self,
        server: &VirtualServer,
        reals: &BTreeMap<SocketAddr, u32>,
        is_datagram: bool,
    ) -> Result<BTreeSet<SocketAddr>, Error> {
        if is_datagram {
            for real in reals.keys() {
                self.ipvs.remove_real(server, *real)?;
                self.written += 1;
            }
            return Ok(BTreeSet::new());
        }
        // First: nobody may come between the count and the removal.
        for (real, _) in reals.iter().filter(|(_, weight)| **weight > 0) {
            self.ipvs.weigh_real(server, *real, 0)?;
            self.written += 1;
        }
        self.remove_idle(server, reals.keys().copied().collect())
    }

    /// Takes those away that have no connection, and gives back the others.
    fn remove_idle(
        &mut self,
        server: &VirtualServer,
        reals: BTreeSet<SocketAddr>,
    ) -> Result<BTreeSet<SocketAddr>, Error> {
        if reals.is_empty() {
            return Ok(reals);
        }
        let held = self.ipvs.real_servers(server)?;
        let is_busy = |real: &SocketAddr| {
            let real = held.get(real);
            real.is_some_and(|real| real.active + real.inactive > 0)
        };
        let (busy, idle): (BTreeSet<_>, BTreeSet<_>) = reals.into_iter().partition(is_busy);
        for real in idle {
            self.ipvs.remove_real(server, real)?;
            self.written += 1;
        }
        Ok(busy)
    }

    /// Looks at those that drain. Gives items that may no longer be needed.
    fn revisit(&mut self, draining: &mut Draining) -> Result<Vec<Item>, Error> {
        let mut freed = Vec::new();
        for (server, leaving) in std::mem::take(&mut draining.0) {
            let reals = self.remove_idle(&server, leaving.reals)?;
            if !reals.is_empty() {
                let whole = leaving.whole;
                draining.0.insert(server, Leaving { whole, reals });
            } else if leaving.whole.is_some() {
                self.ipvs.remove(&server)?;
                self.written += 1;
                freed.extend(address_of(&server).into_iter().flat_map(Item::address));
            }
        }
        Ok(freed)
    }

    fn remove(&mut self, items: &BTreeSet<Item>) -> Result<(), Error> {
        for item in items {
            if let Item::Bound(address) = item {
                self.node.unbind(*address)?;
                self.written += 1;
            }
        }
        for (set, members) in by_set(items) {
            self.sets.remove(&set.name(), &members)?;
            self.written += members.len() as u64;
        }
        Ok(())
    }

    fn add_members(&mut self, items: &BTreeSet<Item>) -> Result<(), Error> {
        for (set, members) in by_set(items) {
            self.sets.add(&set.name(), &members)?;
            self.written += members.len() as u64;
        }
        Ok(())
    }
}

fn by_set(items: &BTreeSet<Item>) -> BTreeMap<Set, Vec<Member>> {
    let mut sets = BTreeMap::<Set, Vec<Member>>::new();
    for item in items {
        if let Item::Member(set, member) = item {
            sets.entry(*set).or_default().push(*member);
        }
    }
    sets
}
