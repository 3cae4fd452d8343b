//! What is there whatever the services are: sets, base chains, and the way
//! from a hook to a frontend's route.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::IpNet;
use podway_kernel::nft::{Chain, ChainType, Element, Field, Hook, MapData, Part, Rule, Set, Value};
use podway_model::IpFamily;

use crate::names::MASQUERADE_MARK;
use crate::service::ServiceSettings;
use crate::service::parts::{
    Place, Scope, client_key, daddr, digit, disjoint, loopback, nft_family, node_port_prefixes,
    saddr, with,
};

/// `NF_IP_PRI_NAT_DST`, `NF_IP_PRI_NAT_SRC`.
const DSTNAT: i32 = -100;
const SRCNAT: i32 = 100;

/// The chain that refuses.
pub(super) const REFUSE: &str = "refuse";

/// A set of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SetId {
    pub(super) family: IpFamily,
    pub(super) kind: Kind,
}

/// What a set is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Frontend to the class of its route.
    Frontends(Place),
    /// Class to the chain of the route.
    Routes,
    /// Frontend and a random index to an endpoint.
    Endpoints(Place),
    /// With affinity: frontend and a random index to the id of an endpoint.
    Slots(Place),
    /// With affinity: frontend and id to an endpoint.
    StickyEndpoints(Place),
    /// With affinity: client and frontend to an id. Packets write it.
    Affinity,
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
    /// Endpoints of this node, each twice: a connection to itself.
    Hairpin,
}

const KINDS: [Kind; 17] = [
    Kind::Frontends(Place::Address),
    Kind::Frontends(Place::Node),
    Kind::Routes,
    Kind::Endpoints(Place::Address),
    Kind::Endpoints(Place::Node),
    Kind::Slots(Place::Address),
    Kind::Slots(Place::Node),
    Kind::StickyEndpoints(Place::Address),
    Kind::StickyEndpoints(Place::Node),
    Kind::Affinity,
    Kind::Allowed(Place::Address),
    Kind::Allowed(Place::Node),
    Kind::ClusterIps,
    Kind::ServicePrefixes,
    Kind::Pods,
    Kind::NodePortPrefixes,
    Kind::Hairpin,
];

impl SetId {
    pub(super) fn name(self) -> String {
        let place = match self.kind {
            Kind::Frontends(Place::Node)
            | Kind::Endpoints(Place::Node)
            | Kind::Slots(Place::Node)
            | Kind::StickyEndpoints(Place::Node)
            | Kind::Allowed(Place::Node) => "node-",
            _ => "",
        };
        let kind = match self.kind {
            Kind::Frontends(_) => "frontends",
            Kind::Routes => "routes",
            Kind::Endpoints(_) => "endpoints",
            Kind::Slots(_) => "slots",
            Kind::StickyEndpoints(_) => "sticky-endpoints",
            Kind::Affinity => "affinity",
            Kind::Allowed(_) => "allowed",
            Kind::ClusterIps => "cluster-ips",
            Kind::ServicePrefixes => "service-prefixes",
            Kind::Pods => "pods",
            Kind::NodePortPrefixes => "node-port-prefixes",
            Kind::Hairpin => "hairpin",
        };
        format!("{place}{kind}{}", digit(self.family))
    }

    fn define(self, affinity_clients: u32) -> Set {
        let family = self.family;
        let name = self.name();
        let key = |place| Scope { family, place }.key();
        let endpoint = [daddr(family), Field::ThDport];
        // Which modulus the type names does not matter: it is the type of all.
        let random = Field::random(2);
        match self.kind {
            Kind::Frontends(place) => Set::map(name, key(place), [Field::Priority]),
            Kind::Routes => Set {
                data: Some(MapData::Verdict),
                ..Set::keys(name, [Field::Priority])
            },
            Kind::Endpoints(place) => Set::map(name, with(key(place), random), endpoint),
            Kind::Slots(place) => Set::map(name, with(key(place), random), [Field::Priority]),
            Kind::StickyEndpoints(place) => {
                Set::map(name, with(key(place), Field::Priority), endpoint)
            }
            Kind::Affinity => {
                Set::map(name, client_key(family), [Field::Priority]).dynamic(affinity_clients)
            }
            Kind::Allowed(place) => Set::keys(name, with(key(place), saddr(family))).interval(),
            Kind::ClusterIps => Set::keys(name, [daddr(family)]),
            Kind::Pods => Set::keys(name, [saddr(family)]).interval(),
            Kind::ServicePrefixes | Kind::NodePortPrefixes => {
                Set::keys(name, [daddr(family)]).interval()
            }
            Kind::Hairpin => Set::keys(name, [saddr(family), daddr(family)]),
        }
    }
}

/// The definitions of all sets.
#[derive(Debug)]
pub(super) struct Sets {
    sets: BTreeMap<SetId, Arc<Set>>,
}

impl Sets {
    pub(super) fn new(settings: &ServiceSettings) -> Self {
        let ids = IpFamily::ALL
            .into_iter()
            .flat_map(|family| KINDS.map(|kind| SetId { family, kind }));
        Self {
            sets: ids
                .map(|id| (id, Arc::new(id.define(settings.affinity_clients))))
                .collect(),
        }
    }

    pub(super) fn of(&self, id: SetId) -> &Arc<Set> {
        self.sets
            .get(&id)
            .expect("every family has a set of every kind")
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (SetId, &Arc<Set>)> {
        self.sets.iter().map(|(id, set)| (*id, set))
    }
}

/// The elements that the settings ask for.
pub(super) fn settings_elements(settings: &ServiceSettings) -> Vec<(SetId, Element)> {
    let prefixes = |kind, prefixes: Vec<IpNet>| {
        prefixes.into_iter().map(move |prefix| {
            let family = IpFamily::of(&prefix.addr());
            (
                SetId { family, kind },
                Element::interval(&[Part::Prefix(prefix)]),
            )
        })
    };
    prefixes(Kind::Pods, disjoint(&settings.pod_prefixes))
        .chain(prefixes(
            Kind::NodePortPrefixes,
            node_port_prefixes(settings),
        ))
        .collect()
}

/// The chains that are always there.
pub(super) fn chains() -> Vec<(Chain, Vec<Rule>)> {
    let enter = || {
        IpFamily::ALL
            .map(|family| {
                Rule::new()
                    .is(Field::NfProto, Value::Family(nft_family(family)))
                    .goto(&services(family))
            })
            .to_vec()
    };
    let mut chains = vec![(
        Chain::regular(REFUSE),
        vec![Rule::new().reject_tcp(), Rule::new().reject()],
    )];
    for family in IpFamily::ALL {
        chains.push((Chain::regular(services(family)), service_rules(family)));
    }
    // The first packet of a connection decides: nat chains see no other.
    chains.push((
        Chain::base("prerouting", ChainType::Nat, Hook::Prerouting, DSTNAT),
        enter(),
    ));
    chains.push((
        Chain::base("output", ChainType::Nat, Hook::Output, DSTNAT),
        enter(),
    ));
    chains.push((
        Chain::base("postrouting", ChainType::Nat, Hook::Postrouting, SRCNAT),
        masquerade_rules(),
    ));
    chains
}

fn services(family: IpFamily) -> String {
    format!("services{}", digit(family))
}

fn service_rules(family: IpFamily) -> Vec<Rule> {
    let name = |kind| SetId { family, kind }.name();
    let key = |place| Scope { family, place }.key();
    let to_route = |rule: Rule, place| {
        rule.priority_from(key(place), &name(Kind::Frontends(place)))
            .vmap([Field::Priority], &name(Kind::Routes))
    };
    let to_node = Rule::new().is(Field::FibDaddrType, Value::LOCAL);
    let to_node = to_node
        .not_within(daddr(family), loopback(family))
        .lookup([daddr(family)], &name(Kind::NodePortPrefixes));
    vec![
        to_route(Rule::new(), Place::Address),
        to_route(to_node, Place::Node),
        // A cluster IP exists only for its ports.
        Rule::new()
            .lookup([daddr(family)], &name(Kind::ClusterIps))
            .goto(REFUSE),
        // One that no service has would leave by the default route.
        Rule::new()
            .lookup([daddr(family)], &name(Kind::ServicePrefixes))
            .drop(),
    ]
}

fn masquerade_rules() -> Vec<Rule> {
    // The mark goes, for a tunnel's outer packet inherits it and must not be
    // masqueraded a second time.
    let mut rules = vec![
        Rule::new()
            .marked(MASQUERADE_MARK)
            .mark_xor(MASQUERADE_MARK)
            .masquerade(),
    ];
    for family in IpFamily::ALL {
        let kind = Kind::Hairpin;
        rules.push(
            Rule::new()
                .is(Field::CtStatus, Value::STATUS_DNAT)
                .lookup(
                    [saddr(family), daddr(family)],
                    &SetId { family, kind }.name(),
                )
                .masquerade(),
        );
    }
    rules
}
