//! Every Service's plan, kept up to date at a cost that follows the change.

mod totals;

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use podway_model::{
    ClusterState, EndpointSlice, Object, ObjectName, Pod, ServicePortName, SortedSet, Update,
};

use super::change::{self, Delta};
use super::{
    Frontend, HealthCheck, NodeContext, Pool, PoolId, PortId, Route, ServiceChange, ServicePlan,
    ServiceTable, plan_service,
};
pub use totals::Totals;

/// Keeps a node's service table up to date. One changed EndpointSlice plans one
/// Service again and touches that Service's part of the table only.
#[derive(Debug, Clone)]
pub struct ServicePlanner {
    context: NodeContext,
    plans: BTreeMap<ObjectName, Planned>,
    /// Who wants a frontend, in the order of their right to it.
    claims: BTreeMap<Frontend, SortedSet<Claimant>>,
    /// The frontends that more than one Service wants.
    contested: BTreeSet<Frontend>,
    cluster_ips: BTreeMap<IpAddr, SortedSet<ObjectName>>,
    /// Who wants a health check node port.
    health_claims: BTreeMap<u16, SortedSet<Claimant>>,
    table: ServiceTable,
    totals: Totals,
}

#[derive(Debug, Clone)]
struct Planned {
    created: i64,
    plan: ServicePlan,
}

/// A Service's rank among those that want a frontend: the older first, then by
/// name, so that a newcomer cannot take over what another one serves.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Claimant {
    created: i64,
    service: ObjectName,
}

/// A frontend that more than one Service wants. Who is refused gets it as soon
/// as nobody with an older right wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// What they want.
    pub frontend: Frontend,
    /// Who has it.
    pub holder: ServicePortName,
    /// Who has it not.
    pub refused: ServicePortName,
}

impl ServicePlanner {
    /// A planner that knows of no Service yet.
    #[must_use]
    pub fn new(context: NodeContext) -> Self {
        Self {
            context,
            plans: BTreeMap::new(),
            claims: BTreeMap::new(),
            contested: BTreeSet::new(),
            cluster_ips: BTreeMap::new(),
            health_claims: BTreeMap::new(),
            table: ServiceTable::default(),
            totals: Totals::default(),
        }
    }

    /// How much the table holds.
    #[must_use]
    pub const fn totals(&self) -> &Totals {
        &self.totals
    }

    /// The table as of the last update.
    #[must_use]
    pub const fn table(&self) -> &ServiceTable {
        &self.table
    }

    /// What the planner plans for.
    #[must_use]
    pub const fn context(&self) -> &NodeContext {
        &self.context
    }

    /// Takes in updates that `state.apply` returned, `state` being the state
    /// after all of them. Returns how the table changed.
    pub fn update(&mut self, state: &ClusterState, updates: &[Update]) -> ServiceChange {
        let dirty = self.affected(state, updates);
        self.replan(state, dirty)
    }

    /// Plans for another context: the node's pod prefixes have become known, or
    /// the configuration has changed.
    pub fn reconfigure(&mut self, state: &ClusterState, context: NodeContext) -> ServiceChange {
        if self.context == context {
            return ServiceChange::default();
        }
        self.context = context;
        self.plan_all(state)
    }

    /// Plans every Service of a state, whatever was known before.
    pub fn plan_all(&mut self, state: &ClusterState) -> ServiceChange {
        let present = state.services().map(|service| service.name.clone());
        let gone = self.plans.keys().cloned();
        self.replan(state, present.chain(gone).collect())
    }

    /// The frontends that more than one Service wants.
    pub fn conflicts(&self) -> impl Iterator<Item = Conflict> {
        self.contested
            .iter()
            .filter_map(|frontend| self.claims.get_key_value(frontend))
            .flat_map(|(frontend, claimants)| {
                let mut names = claimants
                    .iter()
                    .filter_map(|claimant| self.port_name(frontend, &claimant.service));
                let holder = names.next();
                names.filter_map(move |refused| {
                    Some(Conflict {
                        frontend: *frontend,
                        holder: holder.clone()?,
                        refused,
                    })
                })
            })
    }

    fn port_name(&self, frontend: &Frontend, service: &ObjectName) -> Option<ServicePortName> {
        let route = self.plans.get(service)?.plan.routes.get(frontend)?;
        Some(route.service.clone())
    }

    /// The Services that updates can have changed the plans of.
    fn affected(&self, state: &ClusterState, updates: &[Update]) -> BTreeSet<ObjectName> {
        let mut dirty = BTreeSet::new();
        for update in updates {
            dirty.extend(weighted(state, update));
            for object in [&update.before, &update.after].into_iter().flatten() {
                match object {
                    Object::Service(service) => {
                        dirty.insert(service.name.clone());
                    }
                    Object::EndpointSlice(slice) => {
                        dirty.insert(slice.service.clone());
                    }
                    Object::Node(node) if node.name == self.context.node => {
                        if self.node_matters(update) {
                            dirty.extend(self.dependent_on_node());
                        }
                    }
                    Object::Node(_)
                    | Object::Namespace(_)
                    | Object::Pod(_)
                    | Object::NetworkPolicy(_)
                    | Object::ClusterNetworkPolicy(_) => {}
                }
            }
        }
        dirty
    }

    /// A Node is written every few seconds by its kubelet: only its zone and
    /// its addresses have a say in planning.
    fn node_matters(&self, update: &Update) -> bool {
        let facts = |object: &Option<Object>| match object {
            Some(Object::Node(node)) => {
                Some((node.zone().map(str::to_owned), node.addresses.clone()))
            }
            _ => None,
        };
        facts(&update.before) != facts(&update.after)
    }

    fn dependent_on_node(&self) -> impl Iterator<Item = ObjectName> {
        self.plans
            .iter()
            .filter(|(_, planned)| planned.plan.depends_on_node)
            .map(|(name, _)| name.clone())
    }

    fn replan(&mut self, state: &ClusterState, services: BTreeSet<ObjectName>) -> ServiceChange {
        let mut touched = Touched::default();
        for name in services {
            let plan = state.service(&name).map(|service| Planned {
                created: service.created,
                plan: plan_service(state, &self.context, service),
            });
            self.replace(name, plan, &mut touched);
        }
        let change = self.settle(touched);
        self.totals.note(&change);
        change::apply(&mut self.table, &change);
        change
    }

    /// Puts a Service's new plan in the place of its old one and notes every
    /// key of the table that this can change.
    fn replace(&mut self, name: ObjectName, plan: Option<Planned>, touched: &mut Touched) {
        if let Some(old) = self.plans.remove(&name) {
            let claimant = old.claimant(&name);
            for frontend in old.plan.routes.keys() {
                release(&mut self.claims, frontend, &claimant);
                if self.claims.get(frontend).is_none_or(|c| c.len() < 2) {
                    self.contested.remove(frontend);
                }
            }
            for address in &old.plan.cluster_ips {
                release(&mut self.cluster_ips, address, &name);
            }
            if let Some((port, _)) = &old.plan.health_check {
                release(&mut self.health_claims, port, &claimant);
            }
            self.totals.take_out(&old.plan);
            touched.note(&name, &old.plan);
        }
        if let Some(new) = plan {
            let claimant = new.claimant(&name);
            for frontend in new.plan.routes.keys() {
                let claimants = self.claims.entry(*frontend).or_default();
                claimants.insert(claimant.clone());
                if claimants.len() > 1 {
                    self.contested.insert(*frontend);
                }
            }
            for address in &new.plan.cluster_ips {
                let owners = self.cluster_ips.entry(*address).or_default();
                owners.insert(name.clone());
            }
            if let Some((port, _)) = &new.plan.health_check {
                let claimants = self.health_claims.entry(*port).or_default();
                claimants.insert(claimant);
            }
            self.totals.take_in(&new.plan);
            touched.note(&name, &new.plan);
            self.plans.insert(name, new);
        }
    }

    /// Settles who has each touched frontend, and which pools and cluster IPs
    /// that leaves in use.
    fn settle(&self, mut touched: Touched) -> ServiceChange {
        let mut routes = BTreeMap::new();
        for frontend in mem::take(&mut touched.frontends) {
            let (before, after) = (self.table.routes.get(&frontend), self.held(&frontend));
            // A frontend that changes hands can bring pools of its new holder
            // into use, whose own plan has not changed.
            for route in [before, after].into_iter().flatten() {
                touched.services.insert(route.service.service.clone());
                touched.pools.extend(route.pools().cloned());
            }
            if let Some(delta) = Delta::between(before, after) {
                routes.insert(frontend, delta);
            }
        }
        let in_use: BTreeMap<&PoolId, &Arc<Pool>> = touched
            .services
            .iter()
            .flat_map(|service| self.pools_in_use(service))
            .collect();
        let pools = touched.pools.into_iter().filter_map(|id| {
            let delta = Delta::between(self.table.pools.get(&id), in_use.get(&id).copied())?;
            Some((id, delta))
        });
        let cluster_ips = touched.cluster_ips.into_iter().filter_map(|address| {
            let present = self.cluster_ips.contains_key(&address);
            let changed = present != self.table.cluster_ips.contains(&address);
            changed.then_some((address, present))
        });
        let health_checks = touched.health_checks.into_iter().filter_map(|port| {
            let before = self.table.health_checks.get(&port);
            Some((port, Delta::between(before, self.asked(port))?))
        });
        let lingering = touched.lingering.into_iter().filter_map(|id| {
            let plan = self.plans.get(&id.service.service);
            let after = plan.and_then(|planned| planned.plan.lingering.get(&id));
            let delta = Delta::between(self.table.lingering.get(&id), after)?;
            Some((id, delta))
        });
        let prefixes: Vec<IpNet> = self.context.service_prefixes.iter().copied().collect();
        let prefixes = IpNet::aggregate(&prefixes).into_iter().collect();
        ServiceChange {
            pools: pools.collect(),
            cluster_ips: cluster_ips.collect(),
            service_prefixes: change::diff_sets(&self.table.service_prefixes, &prefixes),
            health_checks: health_checks.collect(),
            lingering: lingering.collect(),
            routes,
        }
    }

    /// What to answer at a health check node port.
    fn asked(&self, port: u16) -> Option<&Arc<HealthCheck>> {
        let holder = self.health_claims.get(&port)?.first()?;
        let plan = &self.plans.get(&holder.service)?.plan;
        plan.health_check.as_ref().map(|(_, check)| check)
    }

    /// The route of whoever has a frontend.
    fn held(&self, frontend: &Frontend) -> Option<&Arc<Route>> {
        let holder = self.claims.get(frontend)?.first()?;
        self.plans.get(&holder.service)?.plan.routes.get(frontend)
    }

    /// The pools that a Service's routes lead to, of the frontends that it has.
    fn pools_in_use(&self, service: &ObjectName) -> impl Iterator<Item = (&PoolId, &Arc<Pool>)> {
        let plan = self.plans.get(service).map(|planned| &planned.plan);
        plan.into_iter().flat_map(|plan| {
            plan.routes
                .iter()
                .filter(|(frontend, route)| {
                    self.held(frontend)
                        .is_some_and(|held| Arc::ptr_eq(held, route))
                })
                .flat_map(|(_, route)| route.pools())
                .filter_map(|id| plan.pools.get_key_value(id))
        })
    }
}

/// The keys of the table that new plans can have changed.
#[derive(Debug, Default)]
struct Touched {
    services: BTreeSet<ObjectName>,
    frontends: BTreeSet<Frontend>,
    pools: BTreeSet<PoolId>,
    cluster_ips: BTreeSet<IpAddr>,
    health_checks: BTreeSet<u16>,
    lingering: BTreeSet<PortId>,
}

impl Touched {
    fn note(&mut self, service: &ObjectName, plan: &ServicePlan) {
        self.services.insert(service.clone());
        self.frontends.extend(plan.routes.keys());
        self.pools.extend(plan.pools.keys().cloned());
        self.cluster_ips.extend(&plan.cluster_ips);
        let check = plan.health_check.as_ref();
        self.health_checks.extend(check.map(|(port, _)| *port));
        self.lingering.extend(plan.lingering.keys().cloned());
    }
}

impl Planned {
    fn claimant(&self, service: &ObjectName) -> Claimant {
        Claimant {
            created: self.created,
            service: service.clone(),
        }
    }
}

/// The Services that have to be planned again for what a pod now says of its
/// weight. Few pods say anything, and slices of their own namespace name them.
fn weighted<'a>(
    state: &'a ClusterState,
    update: &'a Update,
) -> impl Iterator<Item = ObjectName> + 'a {
    let pod = |object: &'a Option<Object>| match object {
        Some(Object::Pod(pod)) => Some(pod),
        _ => None,
    };
    let (before, after) = (pod(&update.before), pod(&update.after));
    let weight = |pod: Option<&Arc<Pod>>| pod.and_then(|pod| pod.weight);
    let changed = before
        .or(after)
        .filter(|_| weight(before) != weight(after))
        .map(|pod| &pod.name);
    changed.into_iter().flat_map(move |name| {
        let names = move |slice: &Arc<EndpointSlice>| {
            slice.endpoints.iter().any(|e| e.pod.as_ref() == Some(name))
        };
        state
            .services_in(&name.namespace)
            .filter(move |service| state.slices_of(&service.name).any(names))
            .map(|service| service.name.clone())
    })
}

fn release<K: Ord, V: Ord>(claims: &mut BTreeMap<K, SortedSet<V>>, key: &K, claimant: &V) {
    if let Some(claimants) = claims.get_mut(key) {
        claimants.remove(claimant);
        if claimants.is_empty() {
            claims.remove(key);
        }
    }
}

#[cfg(test)]
mod tests;
