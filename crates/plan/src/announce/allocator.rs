mod pools;
mod refusal;
mod request;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use podway_model::{IpFamily, ObjectName};

pub use refusal::Refusal;
pub use request::{DualStack, PortUse, Request, Sharing};

use super::range::number;
use super::{AddressPool, Config};

/// What a Service was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allocation {
    /// The pool's name.
    pub pool: String,
    /// One address, or one of each family.
    pub addresses: Vec<IpAddr>,
}

/// How much of a pool is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PoolUse {
    /// IPv4 addresses in use.
    pub assigned_v4: u128,
    /// IPv6 addresses in use.
    pub assigned_v6: u128,
    /// IPv4 addresses left.
    pub available_v4: u128,
    /// IPv6 addresses left.
    pub available_v6: u128,
}

/// Gives addresses of pools to Services, and never one to two, unless they
/// share it.
///
/// A pure value: what it holds is what it was told. Whoever starts one tells it
/// first, with [`Allocator::assign_all`], what Services have already.
#[derive(Debug, Clone, Default)]
pub struct Allocator {
    pools: Vec<AddressPool>,
    held: BTreeMap<ObjectName, (Allocation, Request)>,
    users: BTreeMap<IpAddr, BTreeSet<ObjectName>>,
    /// Addresses by sharing key.
    shared: BTreeMap<String, BTreeSet<IpAddr>>,
}

impl Allocator {
    /// Takes the pools of a configuration. Addresses that are in no pool any
    /// more, or in another, stay given until their Service is looked at again:
    /// call [`Allocator::assign_all`] with all of them.
    pub fn set_pools(&mut self, config: &Config) {
        self.pools.clone_from(&config.pools);
    }

    /// Looks at every Service: those that have addresses first, so that no new
    /// one takes what an old one has.
    pub fn assign_all<'a>(
        &mut self,
        requests: impl IntoIterator<Item = &'a Request>,
    ) -> BTreeMap<ObjectName, Result<Allocation, Refusal>> {
        let mut all: Vec<&Request> = requests.into_iter().collect();
        all.sort_by(|a, b| {
            (a.current.is_empty(), a.created, &a.name).cmp(&(
                b.current.is_empty(),
                b.created,
                &b.name,
            ))
        });
        let names: BTreeSet<&ObjectName> = all.iter().map(|request| &request.name).collect();
        let gone: Vec<ObjectName> = self
            .held
            .keys()
            .filter(|name| !names.contains(name))
            .cloned()
            .collect();
        gone.iter().for_each(|name| self.release(name));
        // What cannot stay is let go before anything new is given.
        let mut again = Vec::new();
        let mut outcome = BTreeMap::new();
        for request in all {
            match self.keep(request) {
                Some(allocation) => {
                    outcome.insert(request.name.clone(), Ok(allocation));
                }
                None => again.push(request),
            }
        }
        for request in again {
            outcome.insert(request.name.clone(), self.assign(request));
        }
        outcome
    }

    /// Gives a Service what it asks for; what it has already, where that is
    /// still right.
    ///
    /// # Errors
    /// Why it cannot have it; then it has nothing.
    pub fn assign(&mut self, request: &Request) -> Result<Allocation, Refusal> {
        if let Some(kept) = self.keep(request) {
            return Ok(kept);
        }
        request.check()?;
        let allocation = self.choose(request)?;
        self.hold(request, &allocation);
        Ok(allocation)
    }

    /// Takes back what a Service has.
    pub fn release(&mut self, name: &ObjectName) {
        let Some((allocation, request)) = self.held.remove(name) else {
            return;
        };
        for address in allocation.addresses {
            let Some(users) = self.users.get_mut(&address) else {
                continue;
            };
            users.remove(name);
            if users.is_empty() {
                self.users.remove(&address);
                if let Some(sharing) = &request.sharing
                    && let Some(addresses) = self.shared.get_mut(&sharing.key)
                {
                    addresses.remove(&address);
                }
            }
        }
    }

    /// What a Service has.
    #[must_use]
    pub fn allocation(&self, name: &ObjectName) -> Option<&Allocation> {
        self.held.get(name).map(|(allocation, _)| allocation)
    }

    /// The Services that have an address.
    pub fn users(&self, address: IpAddr) -> impl Iterator<Item = &ObjectName> {
        self.users.get(&address).into_iter().flatten()
    }

    /// How much of each pool is in use.
    pub fn usage(&self) -> impl Iterator<Item = (&str, PoolUse)> {
        self.pools
            .iter()
            .map(|pool| (pool.name.as_str(), self.usage_of(pool)))
    }

    /// Lets a Service keep what it has, in its status or here, where it still
    /// may. Otherwise it has nothing afterwards.
    fn keep(&mut self, request: &Request) -> Option<Allocation> {
        let known = self.allocation(&request.name).map(|a| a.addresses.clone());
        self.release(&request.name);
        let current = known.unwrap_or_else(|| request.current.clone());
        if current.is_empty() || request.check().is_err() {
            return None;
        }
        let pool = self
            .pools
            .iter()
            .find(|p| current.iter().all(|a| p.offers(*a)))?;
        let fits = request.accepts_families(&current)
            && request.may_use(pool)
            && (request.addresses.is_empty() || same(&request.addresses, &current))
            && current
                .iter()
                .all(|address| self.blocker(request, *address).is_none());
        if !fits {
            return None;
        }
        let mut addresses = current;
        if let Some(missing) = request.missing_family(&addresses) {
            addresses.extend(self.lowest(pool, missing, request));
        }
        let allocation = Allocation {
            pool: pool.name.clone(),
            addresses,
        };
        self.hold(request, &allocation);
        Some(allocation)
    }

    fn hold(&mut self, request: &Request, allocation: &Allocation) {
        for address in &allocation.addresses {
            let users = self.users.entry(*address).or_default();
            users.insert(request.name.clone());
            if let Some(sharing) = &request.sharing {
                let addresses = self.shared.entry(sharing.key.clone()).or_default();
                addresses.insert(*address);
            }
        }
        let held = (allocation.clone(), request.clone());
        self.held.insert(request.name.clone(), held);
    }

    /// The Service that keeps another from using an address.
    fn blocker(&self, request: &Request, address: IpAddr) -> Option<&ObjectName> {
        let users = self.users.get(&address)?;
        users.iter().find(|user| {
            let other = self.held.get(*user).map(|(_, other)| other);
            !other.is_some_and(|other| request.shares_with(other))
        })
    }
}

fn same(a: &[IpAddr], b: &[IpAddr]) -> bool {
    let set = |addresses: &[IpAddr]| addresses.iter().copied().collect::<BTreeSet<_>>();
    set(a) == set(b)
}

/// The family that is not this one.
const fn other(family: IpFamily) -> IpFamily {
    match family {
        IpFamily::V4 => IpFamily::V6,
        IpFamily::V6 => IpFamily::V4,
    }
}

fn family(address: IpAddr) -> IpFamily {
    number(address).0
}
