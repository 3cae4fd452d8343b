//! Whose the frontends are: a change of one pool needs the frontends that lead
//! to it, and the table is ordered by frontend.

use std::collections::{BTreeSet, HashMap};

use podway_model::{IpFamily, ServicePortName};
use podway_plan::service::{
    Frontend, FrontendAddress, Pool, PoolId, Reach, Route, ServiceChange, ServiceTable,
};

use super::site::Site;
use super::unit::{Said, Unit};

/// A service port in one family.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Owner {
    pub(super) family: IpFamily,
    pub(super) service: ServicePortName,
}

/// The frontends of each owner.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    frontends: HashMap<Owner, BTreeSet<Frontend>>,
}

impl Owner {
    pub(super) fn of_route(frontend: &Frontend, route: &Route) -> Self {
        let family = match frontend.address {
            FrontendAddress::Ip(address) => IpFamily::of(&address),
            FrontendAddress::Node(family) => family,
        };
        Self {
            family,
            service: route.service.clone(),
        }
    }

    pub(super) fn of_pool(pool: &PoolId) -> Self {
        Self {
            family: pool.family,
            service: pool.service.clone(),
        }
    }
}

impl Ledger {
    pub(super) fn of_table(table: &ServiceTable) -> Self {
        let mut ledger = Self::default();
        for (frontend, route) in &table.routes {
            ledger.enlist(frontend, route);
        }
        ledger
    }

    /// Every owner, in order.
    pub(super) fn owners(&self) -> BTreeSet<&Owner> {
        self.frontends.keys().collect()
    }

    /// The frontends that may lead to a pool: those of its owner.
    pub(super) fn users(&self, pool: &PoolId) -> Vec<Frontend> {
        let frontends = self.frontends.get(&Owner::of_pool(pool));
        frontends.into_iter().flatten().copied().collect()
    }

    /// Takes the frontends that a change gives and takes.
    pub(super) fn apply(&mut self, change: &ServiceChange) {
        for (frontend, delta) in &change.routes {
            if let Some(route) = &delta.before {
                let owner = Owner::of_route(frontend, route);
                if let Some(frontends) = self.frontends.get_mut(&owner) {
                    frontends.remove(frontend);
                    if frontends.is_empty() {
                        self.frontends.remove(&owner);
                    }
                }
            }
            if let Some(route) = &delta.after {
                self.enlist(frontend, route);
            }
        }
    }

    /// What an owner has in the rules, where routes and pools are these.
    pub(super) fn unit<'t>(
        &self,
        owner: &'t Owner,
        site: &Site,
        route: impl Fn(&Frontend) -> Option<&'t Route>,
        pool: impl Fn(&PoolId) -> Option<&'t Pool>,
    ) -> Unit {
        let frontends = self.frontends.get(owner).into_iter().flatten();
        let routes = frontends.filter_map(|frontend| Some((*frontend, route(frontend)?)));
        let pools = [Reach::Cluster, Reach::Local]
            .into_iter()
            .filter_map(|reach| {
                let id = PoolId {
                    service: owner.service.clone(),
                    family: owner.family,
                    reach,
                };
                Some((reach, pool(&id)?))
            });
        let said = Said {
            service: &owner.service,
            routes: routes.collect(),
            pools: pools.collect(),
        };
        Unit::of(&said, site)
    }

    fn enlist(&mut self, frontend: &Frontend, route: &Route) {
        let owner = Owner::of_route(frontend, route);
        self.frontends.entry(owner).or_default().insert(*frontend);
    }
}
