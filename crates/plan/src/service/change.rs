use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::{Frontend, HealthCheck, Lingering, Pool, PoolId, PortId, Route, ServiceTable};

/// How one table becomes another: what a backend has to write, and no more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceChange {
    /// The frontends that differ.
    pub routes: BTreeMap<Frontend, Delta<Route>>,
    /// The pools that differ.
    pub pools: BTreeMap<PoolId, Delta<Pool>>,
    /// The cluster IPs that differ: true for a new one, false for one that is
    /// gone.
    pub cluster_ips: BTreeMap<IpAddr, bool>,
    /// The service prefixes that differ: true for a new one, false for one that
    /// is gone.
    pub service_prefixes: BTreeMap<IpNet, bool>,
    /// The health checks that differ.
    pub health_checks: BTreeMap<u16, Delta<HealthCheck>>,
    /// The lingering endpoints that differ.
    pub lingering: BTreeMap<PortId, Delta<Lingering>>,
}

/// One value's transition. Never both `None`, never equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta<T> {
    /// The value before; `None` for a new one.
    pub before: Option<Arc<T>>,
    /// The value after; `None` for one that is gone.
    pub after: Option<Arc<T>>,
}

impl<T: PartialEq> Delta<T> {
    /// The transition between two values; `None` where there is none.
    #[must_use]
    pub fn between(before: Option<&Arc<T>>, after: Option<&Arc<T>>) -> Option<Self> {
        (before != after).then(|| Self {
            before: before.cloned(),
            after: after.cloned(),
        })
    }
}

impl ServiceChange {
    /// Whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
            && self.pools.is_empty()
            && self.cluster_ips.is_empty()
            && self.service_prefixes.is_empty()
            && self.health_checks.is_empty()
            && self.lingering.is_empty()
    }
}

/// What has to change for `before` to become `after`.
#[must_use]
pub fn diff(before: &ServiceTable, after: &ServiceTable) -> ServiceChange {
    ServiceChange {
        routes: diff_maps(&before.routes, &after.routes),
        pools: diff_maps(&before.pools, &after.pools),
        cluster_ips: diff_sets(&before.cluster_ips, &after.cluster_ips),
        service_prefixes: diff_sets(&before.service_prefixes, &after.service_prefixes),
        health_checks: diff_maps(&before.health_checks, &after.health_checks),
        lingering: diff_maps(&before.lingering, &after.lingering),
    }
}

/// Makes the change in a table. `apply(&mut a, &diff(&a, &b))` makes `a` equal
/// to `b`.
pub fn apply(table: &mut ServiceTable, change: &ServiceChange) {
    apply_deltas(&mut table.routes, &change.routes);
    apply_deltas(&mut table.pools, &change.pools);
    apply_deltas(&mut table.health_checks, &change.health_checks);
    apply_deltas(&mut table.lingering, &change.lingering);
    apply_presence(&mut table.cluster_ips, &change.cluster_ips);
    apply_presence(&mut table.service_prefixes, &change.service_prefixes);
}

pub(super) fn diff_sets<K: Ord + Copy>(
    before: &BTreeSet<K>,
    after: &BTreeSet<K>,
) -> BTreeMap<K, bool> {
    before
        .symmetric_difference(after)
        .map(|key| (*key, after.contains(key)))
        .collect()
}

fn apply_presence<K: Ord + Copy>(set: &mut BTreeSet<K>, changes: &BTreeMap<K, bool>) {
    for (key, present) in changes {
        if *present {
            set.insert(*key);
        } else {
            set.remove(key);
        }
    }
}

fn diff_maps<K: Ord + Clone, T: PartialEq>(
    before: &BTreeMap<K, Arc<T>>,
    after: &BTreeMap<K, Arc<T>>,
) -> BTreeMap<K, Delta<T>> {
    let keys: BTreeSet<&K> = before.keys().chain(after.keys()).collect();
    keys.into_iter()
        .filter_map(|key| {
            let delta = Delta::between(before.get(key), after.get(key))?;
            Some((key.clone(), delta))
        })
        .collect()
}

fn apply_deltas<K: Ord + Clone, T>(map: &mut BTreeMap<K, Arc<T>>, deltas: &BTreeMap<K, Delta<T>>) {
    for (key, delta) in deltas {
        match &delta.after {
            Some(value) => map.insert(key.clone(), value.clone()),
            None => map.remove(key),
        };
    }
}
