//! What the kernel holds for a table, and what a change makes of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use podway_kernel::ipset::Member;
use podway_kernel::ipvs::VirtualServer;
use podway_model::IpFamily;
use podway_plan::service::{
    Frontend, FrontendAddress, FrontendKind, HealthCheck, PoolId, Route, ServiceChange,
    ServiceTable, Verdict,
};

use super::layout::ClusterMasquerade;
use super::marks::Marks;
use super::names::{Kind, Set};
use super::part::{Item, Part, Renderer, Server, View};

/// Everything that a table has in the kernel, by what has it.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    parts: BTreeMap<Frontend, Part>,
    users: HashMap<PoolId, BTreeSet<Frontend>>,
    /// How many need an item.
    items: HashMap<Item, usize>,
    masquerades: BTreeMap<(IpFamily, ClusterMasquerade), usize>,
    marks: Marks,
}

/// How virtual servers and items become others.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) added: BTreeSet<Item>,
    pub(super) removed: BTreeSet<Item>,
    /// Before and after; never both nothing, never equal.
    pub(super) servers: BTreeMap<VirtualServer, (Option<Server>, Option<Server>)>,
}

impl Draft {
    /// To the kernel, a member with another mark is the same member, and removing
    /// the old one would remove the new.
    pub(super) fn keep_remarked(&mut self) {
        let added = &self.added;
        self.removed
            .retain(|item| !added.iter().any(|added| differs_by_mark(item, added)));
    }
}

fn differs_by_mark(one: &Item, other: &Item) -> bool {
    match (one, other) {
        (
            Item::Member(set, Member::AddressPortMark(port, _)),
            Item::Member(other_set, Member::AddressPortMark(other_port, _)),
        ) => set == other_set && port == other_port,
        _ => false,
    }
}

impl Ledger {
    /// That of a table. Marks that sets say already are kept.
    pub(super) fn of_table(table: &ServiceTable, view: &View, marks: Marks) -> Self {
        let mut ledger = Self {
            marks,
            ..Self::default()
        };
        for (frontend, route) in &table.routes {
            ledger.enlist(table, frontend, route, view);
        }
        for address in &table.cluster_ips {
            ledger.count(Item::address(*address), true);
        }
        for port in table.health_checks.keys() {
            ledger.count(
                health_check(table.health_checks.get(port).map(|c| &**c), *port),
                true,
            );
        }
        ledger.marks.settle();
        ledger
    }

    /// Every item.
    pub(super) fn items(&self) -> impl Iterator<Item = &Item> {
        self.items.keys()
    }

    /// Every virtual server.
    pub(super) fn servers(&self) -> impl Iterator<Item = (&VirtualServer, &Server)> {
        self.parts.values().flat_map(|part| &part.servers)
    }

    pub(super) fn needs(&self, item: &Item) -> bool {
        self.items.contains_key(item)
    }

    /// The frontends that lead to a pool.
    pub(super) fn users(&self, pool: &PoolId) -> impl Iterator<Item = &Frontend> {
        self.users.get(pool).into_iter().flatten()
    }

    /// Whose connections to cluster IPs are masqueraded, in a family.
    pub(super) fn masquerade(&self, family: IpFamily) -> ClusterMasquerade {
        let levels = self.masquerades.keys();
        let levels = levels.filter(|(of, _)| *of == family);
        // They do not differ in one table; if they did, the most is safe.
        levels
            .map(|(_, level)| *level)
            .max()
            .unwrap_or(ClusterMasquerade::Node)
    }

    /// Becomes the ledger of the table, which is the one after the change, and
    /// says what has to be written for it.
    pub(super) fn apply(
        &mut self,
        table: &ServiceTable,
        change: &ServiceChange,
        view: &View,
    ) -> Draft {
        let touched = self.touched(change, view);
        let mut before = HashMap::<Item, bool>::new();
        let mut servers = BTreeMap::<VirtualServer, (Option<Server>, Option<Server>)>::new();
        for frontend in &touched {
            let route = match change.routes.get(frontend) {
                Some(delta) => delta.before.as_deref(),
                None => table.routes.get(frontend).map(|route| &**route),
            };
            let Some(part) = self.parts.remove(frontend) else {
                continue;
            };
            self.remember(&mut before, &part.items);
            self.strike(frontend, route, &part);
            for (server, held) in part.servers {
                servers.entry(server).or_default().0 = Some(held);
            }
        }
        for frontend in &touched {
            match table.routes.get(frontend) {
                Some(route) => {
                    self.enlist(table, frontend, route, view);
                    let part = self.parts.get(frontend).cloned().unwrap_or_default();
                    for item in &part.items {
                        before.entry(*item).or_insert(false);
                    }
                    for (server, wanted) in part.servers {
                        servers.entry(server).or_default().1 = Some(wanted);
                    }
                }
                None => self.marks.release(frontend),
            }
        }
        self.apply_addresses(change, &mut before);
        servers.retain(|_, (before, after)| before != after);
        let mut draft = Draft {
            servers,
            ..Draft::default()
        };
        for (item, was) in before {
            match (was, self.needs(&item)) {
                (false, true) => draft.added.insert(item),
                (true, false) => draft.removed.insert(item),
                _ => false,
            };
        }
        draft.keep_remarked();
        draft
    }

    /// Notes which items there are, before they may go.
    fn remember<'i>(
        &self,
        before: &mut HashMap<Item, bool>,
        items: impl IntoIterator<Item = &'i Item>,
    ) {
        for item in items {
            before.entry(*item).or_insert_with(|| self.needs(item));
        }
    }

    fn touched(&self, change: &ServiceChange, view: &View) -> BTreeSet<Frontend> {
        let mut touched: BTreeSet<Frontend> = change.routes.keys().copied().collect();
        for pool in change.pools.keys() {
            touched.extend(self.users(pool));
        }
        // A frontend of one of the node's addresses takes it from a node port.
        let taken = change.routes.keys().filter_map(|frontend| {
            let FrontendAddress::Ip(address) = frontend.address else {
                return None;
            };
            let address_of_node = FrontendAddress::Node(IpFamily::of(&address));
            view.node_ports.contains(&address).then_some(Frontend {
                address: address_of_node,
                ..*frontend
            })
        });
        touched.extend(taken);
        touched
    }

    fn apply_addresses(&mut self, change: &ServiceChange, before: &mut HashMap<Item, bool>) {
        for (address, present) in &change.cluster_ips {
            let items = Item::address(*address);
            self.remember(before, &items);
            self.count(items, *present);
        }
        for (port, delta) in &change.health_checks {
            let old = health_check(delta.before.as_deref(), *port);
            let new = health_check(delta.after.as_deref(), *port);
            self.remember(before, old.iter().chain(&new));
            self.count(old, false);
            self.count(new, true);
        }
    }

    /// A frontend has a part again.
    fn enlist(&mut self, table: &ServiceTable, frontend: &Frontend, route: &Route, view: &View) {
        let ports = view.ports(frontend, |other| table.routes.contains_key(other));
        let renderer = Renderer {
            view,
            frontend,
            route,
            ports,
        };
        let pool = |id: &PoolId| table.pools.get(id).map(|pool| &**pool);
        let part = renderer.part(pool, &mut self.marks);
        self.count(part.items.iter().copied(), true);
        for pool in route.pools() {
            self.users
                .entry(pool.clone())
                .or_default()
                .insert(*frontend);
        }
        if let Some(level) = cluster_masquerade(frontend, route) {
            *self.masquerades.entry(level).or_default() += 1;
        }
        self.parts.insert(*frontend, part);
    }

    /// A frontend has no part any more.
    fn strike(&mut self, frontend: &Frontend, route: Option<&Route>, part: &Part) {
        self.count(part.items.iter().copied(), false);
        let Some(route) = route else { return };
        for pool in route.pools() {
            if let Some(users) = self.users.get_mut(pool) {
                users.remove(frontend);
                if users.is_empty() {
                    self.users.remove(pool);
                }
            }
        }
        if let Some(level) = cluster_masquerade(frontend, route) {
            let count = self.masquerades.entry(level).or_default();
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.masquerades.remove(&level);
            }
        }
    }

    fn count(&mut self, items: impl IntoIterator<Item = Item>, present: bool) {
        for item in items {
            let count = self.items.entry(item).or_default();
            if present {
                *count += 1;
            } else {
                *count = count.saturating_sub(1);
            }
            if *count == 0 {
                self.items.remove(&item);
            }
        }
    }
}

/// The members that let load balancers ask, in the families of the service.
fn health_check(check: Option<&HealthCheck>, port: u16) -> Vec<Item> {
    let families = check
        .into_iter()
        .flat_map(|check| check.local_endpoints.keys());
    let set = |family: &IpFamily| Set::new(Kind::HealthCheck, *family);
    families
        .map(|family| Item::Member(set(family), Member::Port(port)))
        .collect()
}

/// What a cluster IP says about who is masqueraded.
fn cluster_masquerade(frontend: &Frontend, route: &Route) -> Option<(IpFamily, ClusterMasquerade)> {
    let FrontendAddress::Ip(address) = frontend.address else {
        return None;
    };
    if route.kind != FrontendKind::ClusterIp {
        return None;
    }
    let masquerades = |verdict: &Verdict| match verdict {
        Verdict::Forward { masquerade, .. } => Some(*masquerade),
        Verdict::Reject | Verdict::Drop => None,
    };
    let level = match (
        masquerades(&route.from_pod),
        masquerades(&route.from_outside),
    ) {
        (Some(true), _) => ClusterMasquerade::Everybody,
        (_, Some(true)) => ClusterMasquerade::Remote,
        (_, Some(false)) => ClusterMasquerade::Node,
        // What does not forward says nothing.
        (_, None) => return None,
    };
    Some((IpFamily::of(&address), level))
}

/// The address of a virtual server, where it has one.
pub(super) const fn address_of(server: &VirtualServer) -> Option<IpAddr> {
    match server {
        VirtualServer::Address { address, .. } => Some(address.ip()),
        VirtualServer::Mark { .. } => None,
    }
}
