//! The rules by which connections come to the proxy. Pure.
//!
//! They say who a connection is from, by the port that they hand it to, and
//! refuse or drop what the table refuses or drops whatever the endpoint, so that
//! clients see that before a connection is there. Everything else is the
//! proxy's to decide.

mod chains;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;
use podway_kernel::nft::{Data, Element, Field, Part, Ruleset, Set, Transaction, Value};
use podway_model::IpFamily;
use podway_plan::service::{
    Frontend, FrontendAddress, Route, ServiceChange, ServiceTable, Source, Verdict,
};

use crate::names::{LOOPBACK_TABLE, PROXY_TABLE};
use crate::service::ServiceSettings;
use crate::service::parts::{
    Place, Scope, daddr, digit, disjoint, frontend_key, node_port_prefixes, saddr, with,
};

/// What is proxied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Every frontend.
    Everything,
    /// Node ports at loopback addresses: what the kernel's own translation
    /// cannot serve.
    Loopback,
}

impl Reach {
    /// The nf_tables table.
    pub(super) const fn table(self) -> &'static str {
        match self {
            Self::Everything => PROXY_TABLE,
            Self::Loopback => LOOPBACK_TABLE,
        }
    }
}

/// The ports of the proxy, by family, for connections from pods, from the node
/// and from elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ports {
    pub(super) tcp: BTreeMap<(IpFamily, Source), u16>,
    pub(super) udp: BTreeMap<(IpFamily, Source), u16>,
}

/// What the rules depend on beside the table.
#[derive(Debug)]
pub(super) struct Gate {
    pub(super) reach: Reach,
    pub(super) settings: ServiceSettings,
    pub(super) ports: Ports,
    /// Another mode serves: only what the proxy has already comes to it.
    pub(super) is_left: bool,
    sets: BTreeMap<SetId, Arc<Set>>,
}

/// A set of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct SetId {
    family: IpFamily,
    kind: Kind,
}

/// What a set is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// Frontend to its class.
    Frontends(Place),
    /// Frontend and source that may use it.
    Allowed(Place),
    /// Cluster IPs.
    ClusterIps,
    /// What cluster IPs are allocated from.
    ServicePrefixes,
    /// Source prefixes of this node's pods.
    Pods,
    /// Addresses that serve node ports where they are the node's.
    NodePortPrefixes,
    /// Classes of frontends that only some sources may use.
    Restricted,
    /// Class to what becomes of connections of a source.
    Fates(Source),
}

pub(super) const SOURCES: [Source; 3] = [Source::Pod, Source::Node, Source::Outside];

/// What becomes of connections of one kind of source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Proxied = 1,
    Refused = 2,
    Dropped = 3,
}

const FATES: [Fate; 3] = [Fate::Proxied, Fate::Refused, Fate::Dropped];

/// The fates of a route for the three kinds of source, and whether it is only
/// for some, as the number that a frontend leads to. Never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Class {
    is_restricted: bool,
    fates: [Fate; 3],
}

impl Class {
    fn of(route: &Route) -> Self {
        Self {
            is_restricted: route.allow_from.is_some(),
            fates: SOURCES.map(|source| match route.verdict(source) {
                Verdict::Forward { .. } => Fate::Proxied,
                Verdict::Reject => Fate::Refused,
                Verdict::Drop => Fate::Dropped,
            }),
        }
    }

    fn all() -> impl Iterator<Item = Self> {
        let triples = FATES.into_iter().flat_map(|pod| {
            FATES
                .into_iter()
                .flat_map(move |node| FATES.map(move |outside| [pod, node, outside]))
        });
        triples.flat_map(|fates| {
            [false, true].map(|is_restricted| Self {
                is_restricted,
                fates,
            })
        })
    }

    /// A hexadecimal digit for each fate and one for the restriction: `0:1130` in
    /// listings is proxied for pods and the node, dropped for others.
    fn value(self) -> Value {
        let [pod, node, outside] = self.fates.map(|fate| fate as u32);
        let restricted = u32::from(self.is_restricted);
        Value::Class(pod << 12 | node << 8 | outside << 4 | restricted)
    }
}

impl Gate {
    pub(super) fn new(reach: Reach, settings: ServiceSettings, ports: Ports) -> Self {
        let ids = IpFamily::ALL
            .into_iter()
            .flat_map(|family| kinds().map(move |kind| SetId { family, kind }));
        Self {
            reach,
            settings,
            ports,
            is_left: false,
            sets: ids.map(|id| (id, Arc::new(id.define()))).collect(),
        }
    }

    /// Everything that the kernel should hold.
    pub(super) fn whole(&self, table: &ServiceTable) -> Ruleset {
        let mut elements: BTreeMap<SetId, Vec<Element>> = BTreeMap::new();
        let mut put = |(set, element): (SetId, Element)| {
            elements.entry(set).or_default().push(element);
        };
        for (frontend, route) in &table.routes {
            self.of_route(frontend, route)
                .into_iter()
                .for_each(&mut put);
        }
        if self.reach == Reach::Everything {
            let addresses = table.cluster_ips.iter();
            addresses
                .map(|address| of_prefix(Kind::ClusterIps, IpNet::from(*address)))
                .for_each(&mut put);
            let prefixes = table.service_prefixes.iter();
            prefixes
                .map(|prefix| of_prefix(Kind::ServicePrefixes, *prefix))
                .for_each(&mut put);
        }
        self.fixed_elements().for_each(put);
        Ruleset {
            table: self.reach.table().into(),
            sets: self
                .sets
                .iter()
                .map(|(id, set)| (set.clone(), elements.remove(id).unwrap_or_default()))
                .collect(),
            chains: chains::all(self),
        }
    }

    /// What has to be written for a change.
    pub(super) fn change(&self, change: &ServiceChange) -> Transaction {
        let mut before = BTreeSet::new();
        let mut after = BTreeSet::new();
        for (frontend, delta) in &change.routes {
            let elements = |route: &Option<Arc<Route>>| {
                let route = route.as_deref();
                route.map_or_else(Vec::new, |route| self.of_route(frontend, route))
            };
            before.extend(elements(&delta.before));
            after.extend(elements(&delta.after));
        }
        if self.reach == Reach::Everything {
            let addresses = change.cluster_ips.iter();
            let addresses =
                addresses.map(|(ip, is)| (of_prefix(Kind::ClusterIps, IpNet::from(*ip)), *is));
            let prefixes = change.service_prefixes.iter();
            let prefixes =
                prefixes.map(|(prefix, is)| (of_prefix(Kind::ServicePrefixes, *prefix), *is));
            for (element, is_present) in addresses.chain(prefixes) {
                if is_present { &mut after } else { &mut before }.insert(element);
            }
        }
        let mut transaction = Transaction::new(self.reach.table());
        let by_set = |elements: &BTreeSet<(SetId, Element)>,
                      without: &BTreeSet<(SetId, Element)>| {
            let mut by_set: BTreeMap<SetId, Vec<Element>> = BTreeMap::new();
            for (set, element) in elements.difference(without) {
                by_set.entry(*set).or_default().push(element.clone());
            }
            by_set
        };
        for (set, elements) in by_set(&before, &after) {
            transaction.delete(self.set(set), elements);
        }
        for (set, elements) in by_set(&after, &before) {
            transaction.add(self.set(set), elements);
        }
        transaction
    }

    fn set(&self, id: SetId) -> &Arc<Set> {
        self.sets
            .get(&id)
            .expect("every family has a set of every kind")
    }

    fn of_route(&self, frontend: &Frontend, route: &Route) -> Vec<(SetId, Element)> {
        let is_node = matches!(frontend.address, FrontendAddress::Node(_));
        if self.reach == Reach::Loopback && !is_node {
            return Vec::new();
        }
        let Scope { family, place } = Scope::of(frontend);
        let set = |kind| SetId { family, kind };
        let key = frontend_key(frontend);
        let element = Element::new(&key)
            .to(Data::values(&[Class::of(route).value()]))
            .comment(&route.service.to_string());
        let mut elements = vec![(set(Kind::Frontends(place)), element)];
        let same_family = |prefix: &&IpNet| IpFamily::of(&prefix.addr()) == family;
        let allowed = route.allow_from.iter().flatten().filter(same_family);
        for prefix in disjoint(&allowed.copied().collect()) {
            let mut parts: Vec<Part> = key.iter().cloned().map(Part::Value).collect();
            parts.push(Part::Prefix(prefix));
            elements.push((set(Kind::Allowed(place)), Element::interval(&parts)));
        }
        elements
    }

    /// Elements that the table has no say in.
    fn fixed_elements(&self) -> impl Iterator<Item = (SetId, Element)> {
        let pods = disjoint(&self.settings.pod_prefixes);
        let pods = pods.into_iter().map(|prefix| of_prefix(Kind::Pods, prefix));
        let node_ports = node_port_prefixes(&self.settings);
        let node_ports = node_ports
            .into_iter()
            .map(|prefix| of_prefix(Kind::NodePortPrefixes, prefix));
        let classes = IpFamily::ALL
            .into_iter()
            .flat_map(|family| Class::all().map(move |class| (family, class)))
            .flat_map(|(family, class)| of_class(family, class));
        pods.chain(node_ports).chain(classes)
    }
}

fn of_prefix(kind: Kind, prefix: IpNet) -> (SetId, Element) {
    let family = IpFamily::of(&prefix.addr());
    let element = match kind {
        Kind::ClusterIps => Element::new(&[prefix.addr().into()]),
        _ => Element::interval(&[Part::Prefix(prefix)]),
    };
    (SetId { family, kind }, element)
}

fn of_class(family: IpFamily, class: Class) -> Vec<(SetId, Element)> {
    let key = [class.value()];
    let mut elements: Vec<(SetId, Element)> = SOURCES
        .into_iter()
        .zip(class.fates)
        .map(|(source, fate)| {
            let verdict = Data::Verdict(chains::verdict(family, source, fate));
            let kind = Kind::Fates(source);
            (SetId { family, kind }, Element::new(&key).to(verdict))
        })
        .collect();
    if class.is_restricted {
        let kind = Kind::Restricted;
        elements.push((SetId { family, kind }, Element::new(&key)));
    }
    elements
}

fn kinds() -> impl Iterator<Item = Kind> {
    let places = [Place::Address, Place::Node];
    places
        .into_iter()
        .flat_map(|place| [Kind::Frontends(place), Kind::Allowed(place)])
        .chain([
            Kind::ClusterIps,
            Kind::ServicePrefixes,
            Kind::Pods,
            Kind::NodePortPrefixes,
            Kind::Restricted,
        ])
        .chain(SOURCES.map(Kind::Fates))
}

impl SetId {
    fn name(self) -> String {
        let kind = match self.kind {
            Kind::Frontends(Place::Address) => "frontends",
            Kind::Frontends(Place::Node) => "node-frontends",
            Kind::Allowed(Place::Address) => "allowed",
            Kind::Allowed(Place::Node) => "node-allowed",
            Kind::ClusterIps => "cluster-ips",
            Kind::ServicePrefixes => "service-prefixes",
            Kind::Pods => "pods",
            Kind::NodePortPrefixes => "node-port-prefixes",
            Kind::Restricted => "restricted",
            Kind::Fates(Source::Pod) => "from-pods",
            Kind::Fates(Source::Node) => "from-node",
            Kind::Fates(Source::Outside) => "from-outside",
        };
        format!("{kind}{}", digit(self.family))
    }

    fn define(self) -> Set {
        let family = self.family;
        let name = self.name();
        let key = |place| Scope { family, place }.key();
        match self.kind {
            Kind::Frontends(place) => Set::map(name, key(place), [Field::Priority]),
            Kind::Allowed(place) => Set::keys(name, with(key(place), saddr(family))).interval(),
            Kind::ClusterIps => Set::keys(name, [daddr(family)]),
            Kind::ServicePrefixes | Kind::NodePortPrefixes => {
                Set::keys(name, [daddr(family)]).interval()
            }
            Kind::Pods => Set::keys(name, [saddr(family)]).interval(),
            Kind::Restricted => Set::keys(name, [Field::Priority]),
            Kind::Fates(_) => Set::verdict_map(name, [Field::Priority]),
        }
    }
}

#[cfg(test)]
mod tests;
