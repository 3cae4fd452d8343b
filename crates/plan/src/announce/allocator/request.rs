use std::collections::BTreeSet;
use std::net::IpAddr;

use podway_model::{IpFamily, Labels, ObjectName, Protocol};

use super::{Refusal, family, other};
use crate::announce::AddressPool;
use crate::announce::config::selects;

/// What a Service of type `LoadBalancer` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The Service.
    pub name: ObjectName,
    /// When it was made, in seconds since the epoch: the older is served first.
    pub created: i64,
    /// Its labels.
    pub labels: Labels,
    /// Those of its namespace.
    pub namespace_labels: Labels,
    /// The families of its cluster addresses, the primary one first.
    pub families: Vec<IpFamily>,
    /// `spec.ipFamilyPolicy`.
    pub dual_stack: DualStack,
    /// The addresses in its status.
    pub current: Vec<IpAddr>,
    /// `spec.loadBalancerIP`, or annotation `metallb.io/loadBalancerIPs`.
    pub addresses: Vec<IpAddr>,
    /// Annotation `metallb.io/address-pool`.
    pub pool: Option<String>,
    /// Annotation `metallb.io/allow-shared-ip`, where it is not empty.
    pub sharing: Option<Sharing>,
    /// Its ports.
    pub ports: BTreeSet<PortUse>,
}

/// `spec.ipFamilyPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DualStack {
    /// One family.
    #[default]
    Single,
    /// Both where there are both.
    Prefer,
    /// Both or nothing.
    Require,
}

/// With whom a Service shares its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sharing {
    /// The key that all of them have.
    pub key: String,
    /// Where their traffic goes must be the same: empty where every node takes
    /// it (`externalTrafficPolicy: Cluster`), otherwise the selector, since only
    /// nodes with its pods do.
    pub backend: String,
}

/// A port of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortUse {
    /// The protocol.
    pub protocol: Protocol,
    /// The port.
    pub port: u16,
}

impl Request {
    /// What can be said without looking at pools.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        if self.families.is_empty() {
            return Err(Refusal::NoClusterAddress);
        }
        for (index, address) in self.addresses.iter().enumerate() {
            let wanted = family(*address);
            if self.addresses[..index].iter().any(|a| family(*a) == wanted) {
                return Err(Refusal::TwoOfFamily(wanted));
            }
            if !self.families.contains(&wanted) {
                return Err(Refusal::Family {
                    address: *address,
                    families: self.families.clone(),
                });
            }
        }
        let both = self.addresses.len() == 2;
        if self.dual_stack == DualStack::Require && !self.addresses.is_empty() && !both {
            return Err(Refusal::BothNeeded);
        }
        Ok(())
    }

    /// Whether a Service with these families of addresses has what it asks for.
    pub(super) fn accepts_families(&self, addresses: &[IpAddr]) -> bool {
        let families: BTreeSet<IpFamily> = addresses.iter().map(|a| family(*a)).collect();
        let known = families.iter().all(|family| self.families.contains(family));
        let count = match self.dual_stack {
            DualStack::Single => families.len() == 1,
            DualStack::Prefer => (1..=2).contains(&families.len()),
            DualStack::Require => families.len() == 2,
        };
        known && count && families.len() == addresses.len()
    }

    /// The second family, where it would be welcome and is not there.
    pub(super) fn missing_family(&self, addresses: &[IpAddr]) -> Option<IpFamily> {
        let [only] = addresses else {
            return None;
        };
        let missing = other(family(*only));
        let wanted = self.dual_stack == DualStack::Prefer
            && self.addresses.is_empty()
            && self.families.contains(&missing);
        wanted.then_some(missing)
    }

    /// Whether a pool is for this Service, among all others.
    pub(super) fn may_use(&self, pool: &AddressPool) -> bool {
        if let Some(named) = &self.pool {
            return *named == pool.name;
        }
        (pool.auto_assign || !self.addresses.is_empty()) && self.is_served_by(pool)
    }

    /// Whether the pool's own rules allow this Service.
    pub(super) fn is_served_by(&self, pool: &AddressPool) -> bool {
        let Some(rules) = &pool.allocation else {
            return true;
        };
        let by_namespace = rules.namespaces.is_empty() && rules.namespace_selectors.is_empty();
        let namespace = by_namespace
            || rules.namespaces.contains(&*self.name.namespace)
            || (!rules.namespace_selectors.is_empty()
                && selects(&rules.namespace_selectors, &self.namespace_labels));
        namespace && selects(&rules.service_selectors, &self.labels)
    }

    /// Whether two Services may have one address.
    pub(super) fn shares_with(&self, other: &Self) -> bool {
        let (Some(mine), Some(theirs)) = (&self.sharing, &other.sharing) else {
            return false;
        };
        mine == theirs && self.ports.is_disjoint(&other.ports)
    }
}
