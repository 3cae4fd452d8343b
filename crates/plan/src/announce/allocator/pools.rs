//! Which pool, and which address of it.

use std::net::IpAddr;

use podway_model::IpFamily;

use super::{Allocation, Allocator, DualStack, PoolUse, Refusal, Request, family};
use crate::announce::config::is_buggy;
use crate::announce::{AddressPool, AddressRange};

impl Allocator {
    pub(super) fn choose(&self, request: &Request) -> Result<Allocation, Refusal> {
        if !request.addresses.is_empty() {
            return self.requested(request);
        }
        if let Some(name) = &request.pool {
            let pool = self.pool(name)?;
            return self
                .take_from(pool, request, true)
                .ok_or_else(|| Refusal::PoolExhausted(name.clone()));
        }
        let pools = self.eligible(request);
        if pools.is_empty() {
            return Err(Refusal::NoneForIt);
        }
        // A pool that has both families is better than one that comes first.
        let both = pools.iter().find_map(|p| self.take_from(p, request, false));
        let any = || pools.iter().find_map(|p| self.take_from(p, request, true));
        let tried = || pools.iter().map(|pool| pool.name.clone()).collect();
        both.or_else(any).ok_or_else(|| Refusal::Exhausted(tried()))
    }

    fn pool(&self, name: &str) -> Result<&AddressPool, Refusal> {
        let pool = self.pools.iter().find(|pool| pool.name == name);
        pool.ok_or_else(|| Refusal::NoPool(name.to_owned()))
    }

    fn requested(&self, request: &Request) -> Result<Allocation, Refusal> {
        let mut found: Option<&AddressPool> = None;
        for address in &request.addresses {
            let pool = self
                .pools
                .iter()
                .find(|pool| pool.offers(*address))
                .ok_or(Refusal::InNoPool(*address))?;
            if found.is_some_and(|found| found.name != pool.name) {
                return Err(Refusal::TwoPools);
            }
            if request
                .pool
                .as_ref()
                .is_some_and(|named| *named != pool.name)
            {
                return Err(Refusal::NotInPool {
                    address: *address,
                    pool: request.pool.clone().unwrap_or_default(),
                });
            }
            if !request.is_served_by(pool) {
                return Err(Refusal::NotForIt(pool.name.clone()));
            }
            if let Some(by) = self.blocker(request, *address) {
                return Err(Refusal::InUse {
                    address: *address,
                    by: by.clone(),
                });
            }
            found = Some(pool);
        }
        let pool = found.map_or(String::new(), |pool| pool.name.clone());
        Ok(Allocation {
            pool,
            addresses: request.addresses.clone(),
        })
    }

    /// The pools that are tried, in order: those for this Service by priority
    /// (0 last), then those for everybody, by name.
    fn eligible(&self, request: &Request) -> Vec<&AddressPool> {
        let mut pools: Vec<&AddressPool> = self
            .pools
            .iter()
            .filter(|pool| pool.auto_assign && request.is_served_by(pool))
            .collect();
        pools.sort_by_key(|pool| {
            let priority = pool.allocation.as_ref().map(|rules| match rules.priority {
                0 => u32::MAX,
                priority => priority,
            });
            (priority.is_none(), priority, &pool.name)
        });
        pools
    }

    /// What a pool has for a request. `partly`: one family will do where both
    /// are preferred.
    fn take_from(&self, pool: &AddressPool, request: &Request, partly: bool) -> Option<Allocation> {
        let primary = *request.families.first()?;
        let addresses: Vec<IpAddr> = match request.dual_stack {
            DualStack::Single => vec![self.lowest(pool, primary, request)?],
            DualStack::Prefer | DualStack::Require => request
                .families
                .iter()
                .filter_map(|family| self.lowest(pool, *family, request))
                .collect(),
        };
        let partly = partly && request.dual_stack == DualStack::Prefer;
        let enough = match request.dual_stack {
            DualStack::Single => true,
            DualStack::Prefer if partly => !addresses.is_empty(),
            DualStack::Prefer => addresses.len() == request.families.len(),
            DualStack::Require => addresses.len() == 2,
        };
        enough.then(|| Allocation {
            pool: pool.name.clone(),
            addresses,
        })
    }

    /// The lowest address of a family, in the order of the pool's ranges, that
    /// this Service may have: a free one, or one that it may share.
    pub(super) fn lowest(
        &self,
        pool: &AddressPool,
        wanted: IpFamily,
        request: &Request,
    ) -> Option<IpAddr> {
        let usable = |address: &IpAddr| !(pool.avoid_buggy && is_buggy(*address));
        let mut ranges = pool.ranges.iter().filter(|range| range.family() == wanted);
        ranges.find_map(|range| {
            let free = self.first_free(range, usable);
            let shared = self.shareable(request).find(|address| {
                range.contains(*address)
                    && usable(address)
                    && self.blocker(request, *address).is_none()
            });
            free.into_iter().chain(shared).min()
        })
    }

    /// Walks the addresses in use, not all there are: a range of IPv6 has more
    /// than can be counted.
    fn first_free(&self, range: &AddressRange, usable: impl Fn(&IpAddr) -> bool) -> Option<IpAddr> {
        let mut used = self
            .users
            .range(range.first()..=range.last())
            .map(|(a, _)| *a)
            .peekable();
        range.addresses().find(|address| {
            let taken = used.next_if_eq(address).is_some();
            !taken && usable(address)
        })
    }

    fn shareable(&self, request: &Request) -> impl Iterator<Item = IpAddr> {
        let key = request.sharing.as_ref().map(|sharing| &sharing.key);
        let addresses = key.and_then(|key| self.shared.get(key));
        addresses.into_iter().flatten().copied()
    }

    pub(super) fn usage_of(&self, pool: &AddressPool) -> PoolUse {
        let mut usage = PoolUse::default();
        for range in &pool.ranges {
            let used = self.users.range(range.first()..=range.last()).count() as u128;
            let buggy = if pool.avoid_buggy { buggy_in(range) } else { 0 };
            let free = range.len().saturating_sub(used).saturating_sub(buggy);
            match range.family() {
                IpFamily::V4 => {
                    usage.assigned_v4 += used;
                    usage.available_v4 = usage.available_v4.saturating_add(free);
                }
                IpFamily::V6 => {
                    usage.assigned_v6 += used;
                    usage.available_v6 = usage.available_v6.saturating_add(free);
                }
            }
        }
        usage
    }
}

fn buggy_in(range: &AddressRange) -> u128 {
    if family(range.first()) == IpFamily::V6 {
        return 0;
    }
    range
        .addresses()
        .filter(|address| is_buggy(*address))
        .count() as u128
}
