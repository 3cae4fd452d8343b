//! One service port in one family: its chains, its rules in the chains that all
//! services share, and the sets of its endpoints' clients.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use podway_kernel::iptables::{Rule, Table};
use podway_model::ServicePortName;
use podway_plan::service::{Frontend, FrontendAddress, FrontendKind, Pool, Reach, Route, Verdict};

use super::chains;
use super::listing::{Entry, Listing};
use super::names;
use super::site::Site;

/// What a service port has in one family's rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Unit {
    pub(super) chains: BTreeMap<(Table, Arc<str>), Vec<Rule>>,
    pub(super) entries: BTreeSet<Entry>,
    /// The sets that remember clients, and for how long.
    pub(super) clients: BTreeMap<Arc<str>, Duration>,
}

/// What a table says of a service port in one family.
#[derive(Debug)]
pub(super) struct Said<'t> {
    pub(super) service: &'t ServicePortName,
    pub(super) routes: Vec<(Frontend, &'t Route)>,
    pub(super) pools: Vec<(Reach, &'t Pool)>,
}

/// What is not forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    Reject,
    Drop,
}

impl Unit {
    pub(super) fn of(said: &Said<'_>, site: &Site) -> Self {
        let mut unit = Self::default();
        for (reach, pool) in &said.pools {
            let name = names::pool(said.service, *reach);
            unit.nat(name, chains::of_pool(said, *reach, pool, site));
            for (address, _) in chains::in_order(pool) {
                let name = names::endpoint(said.service, address);
                unit.clients
                    .extend(pool.affinity.map(|time| (name.clone(), time)));
                unit.nat(name, chains::of_endpoint(said.service, address, pool));
            }
        }
        let mut outside = said.routes.iter().filter(|(_, route)| is_external(route));
        if let Some((_, route)) = outside.find(|(_, route)| forwards(route)) {
            let name = names::external(said.service);
            unit.nat(name, chains::external(route, site));
        }
        for (frontend, route) in &said.routes {
            unit.entries(frontend, route, site);
            if let Some(prefixes) = &route.allow_from {
                unit.ranges(route, prefixes);
            }
        }
        unit
    }

    fn nat(&mut self, name: Arc<str>, rules: Vec<Rule>) {
        self.chains.insert((Table::Nat, name), rules);
    }

    /// A frontend's rules in the shared chains.
    fn entries(&mut self, frontend: &Frontend, route: &Route, site: &Site) {
        self.entries.extend(translation(frontend, route));
        let refusal = Refusal::of(route);
        if route.allow_from.is_some() {
            let chain = names::source_ranges(&route.service);
            let comment = format!("{} traffic not accepted by {chain}", route.service);
            let target = match refusal {
                Some(Refusal::Reject) => &*chain,
                Some(Refusal::Drop) | None => "DROP",
            };
            for rule in untranslated(frontend, site, &comment) {
                let entry = Entry::new(Listing::Firewall, rule.jump(target));
                self.entries.insert(entry);
            }
        }
        let Some(refusal) = refusal else { return };
        let comment = format!("{} {}", route.service, refusal.reason());
        for rule in untranslated(frontend, site, &comment) {
            let rule = rule.jump(refusal.target(site));
            self.entries.insert(match (route.kind, frontend.address) {
                (FrontendKind::ClusterIp, _) => Entry::new(Listing::Refusals, rule),
                // A frontend of one address goes before a node port.
                (_, FrontendAddress::Ip(_)) => Entry::new(Listing::ExternalRefusals, rule),
                (_, FrontendAddress::Node(_)) => Entry::at_end(Listing::ExternalRefusals, rule),
            });
        }
    }

    /// The chains of source ranges.
    fn ranges(&mut self, route: &Route, prefixes: &[IpNet]) {
        let name = names::source_ranges(&route.service);
        if forwards(route) {
            let rules = chains::admission(route, prefixes);
            self.chains.insert((Table::Nat, name.clone()), rules);
        }
        if Refusal::of(route) == Some(Refusal::Reject) {
            let rules = chains::selection(route, prefixes);
            self.chains.insert((Table::Filter, name), rules);
        }
    }
}

impl Refusal {
    /// What becomes of those that a route does not forward. Reject and drop are
    /// never in one route: the one is of no endpoint anywhere.
    fn of(route: &Route) -> Option<Self> {
        let verdicts = verdicts(route);
        if verdicts.contains(&&Verdict::Reject) {
            return Some(Self::Reject);
        }
        verdicts.contains(&&Verdict::Drop).then_some(Self::Drop)
    }

    const fn target(self, site: &Site) -> &'static str {
        match self {
            Self::Reject => site.reject(),
            Self::Drop => "DROP",
        }
    }

    const fn reason(self) -> &'static str {
        match self {
            Self::Reject => "has no endpoints",
            Self::Drop => "has no local endpoints",
        }
    }
}

/// What leads a frontend's packets to the chain that translates them.
fn translation(frontend: &Frontend, route: &Route) -> Option<Entry> {
    let protocol = frontend.protocol.name();
    let service = &route.service;
    let target = match (route.kind, &route.allow_from) {
        (FrontendKind::ClusterIp, _) => chains::internal(route)?,
        (_, Some(_)) => names::source_ranges(service),
        (_, None) => names::external(service),
    };
    let FrontendAddress::Ip(address) = frontend.address else {
        let rule = Rule::new()
            .protocol(protocol)
            .comment(&service.to_string())
            .destination_port(protocol, frontend.port)
            .jump(&target);
        return forwards(route).then(|| Entry::new(Listing::NodePorts, rule));
    };
    let role = match route.kind {
        FrontendKind::ClusterIp => "cluster IP",
        FrontendKind::LoadBalancerIp => "loadbalancer IP",
        FrontendKind::ExternalIp | FrontendKind::NodePort => "external IP",
    };
    // What is refused ends here, untranslated: the address may be the node's,
    // and the port a node port of another service.
    let target = if forwards(route) { &*target } else { "ACCEPT" };
    let rule = to(address, protocol)
        .comment(&format!("{service} {role}"))
        .destination_port(protocol, frontend.port)
        .jump(target);
    Some(Entry::new(Listing::Services, rule))
}

/// What matches a frontend's packets in table filter, where those that were
/// translated go elsewhere.
fn untranslated(frontend: &Frontend, site: &Site, comment: &str) -> Vec<Rule> {
    let protocol = frontend.protocol.name();
    let begins = match frontend.address {
        FrontendAddress::Ip(address) => vec![to(address, protocol).comment(comment)],
        FrontendAddress::Node(_) => {
            site.node_port_addresses(|rule| rule.protocol(protocol).comment(comment))
        }
    };
    let begins = begins.into_iter();
    begins
        .map(|rule| rule.destination_port(protocol, frontend.port))
        .collect()
}

fn to(address: IpAddr, protocol: &str) -> Rule {
    Rule::new().destination(address.into()).protocol(protocol)
}

pub(super) fn is_external(route: &Route) -> bool {
    route.kind != FrontendKind::ClusterIp
}

/// Whether any source is forwarded.
fn forwards(route: &Route) -> bool {
    let is_forward = |verdict: &&Verdict| matches!(verdict, Verdict::Forward { .. });
    verdicts(route).iter().any(is_forward)
}

const fn verdicts(route: &Route) -> [&Verdict; 3] {
    [&route.from_pod, &route.from_node, &route.from_outside]
}
