//! From one policy to allows: peers become selectors and blocks, ports become
//! numbers.

use std::collections::BTreeSet;
use std::sync::Arc;

use podway_model::{
    ContainerPort, NetworkPolicy, Peer, PolicyPort, PolicyRule, PortMatch, Protocol, Selector,
};

use super::port_numbers::PortNumbers;
use super::{Allow, Block, Direction, NamedPort, NamespaceScope, PeerSelector, Peers, PortRange};

/// What the ports of a rule are resolved against.
#[derive(Clone, Copy)]
pub(super) enum Destination<'a> {
    /// Ingress: the subject itself.
    Subject(&'a [ContainerPort]),
    /// Egress: any pod; which numbers a name has.
    Peers(&'a PortNumbers),
}

/// The rules of a policy in a direction; `None` where it does not isolate it.
pub(super) const fn rules_of(
    policy: &NetworkPolicy,
    direction: Direction,
) -> Option<&Vec<PolicyRule>> {
    match direction {
        Direction::Ingress => policy.ingress.as_ref(),
        Direction::Egress => policy.egress.as_ref(),
    }
}

/// The names of ports that a policy uses in a direction.
pub(super) fn port_names(
    policy: &NetworkPolicy,
    direction: Direction,
) -> impl Iterator<Item = (&str, Protocol)> {
    rules_of(policy, direction)
        .into_iter()
        .flatten()
        .flat_map(|rule| &rule.ports)
        .filter_map(|port| match &port.port {
            PortMatch::Name(name) => Some((name.as_str(), port.protocol)),
            PortMatch::Any | PortMatch::Range(..) => None,
        })
}

/// Everything that one policy allows in a direction. A rule that can match
/// nothing (every peer invalid, no port that exists) leaves no allow behind.
pub(super) fn allows(
    policy: &NetworkPolicy,
    direction: Direction,
    destination: Destination<'_>,
) -> Vec<Allow> {
    let mut allows = Vec::new();
    let rules = rules_of(policy, direction).into_iter().flatten();
    for (index, rule) in rules.enumerate() {
        for (peers, ports) in products(policy, rule, destination) {
            allows.push(Allow {
                policy: policy.name.clone(),
                rule: index,
                peers,
                ports,
            });
        }
    }
    allows
}

/// A rule as products of peers and ports: one, and one more for each number of
/// a named egress port, whose peers are only the pods that have it.
fn products(
    policy: &NetworkPolicy,
    rule: &PolicyRule,
    destination: Destination<'_>,
) -> Vec<(Peers, Vec<PortRange>)> {
    let peers = peers(policy, &rule.peers);
    if peers.is_nobody() {
        return Vec::new();
    }
    if rule.ports.is_empty() {
        return vec![(peers, Vec::new())];
    }
    let mut products = Vec::new();
    let ports = numbered(&rule.ports, destination);
    if !ports.is_empty() {
        products.push((peers.clone(), ports));
    }
    if let Destination::Peers(numbers) = destination {
        for port in named(&rule.ports, numbers) {
            let range = PortRange {
                protocol: port.protocol,
                first: port.port,
                last: port.port,
            };
            products.push((peers.having(&port), vec![range]));
        }
    }
    products
}

/// The ports that are known for every peer alike, in order.
fn numbered(ports: &[PolicyPort], destination: Destination<'_>) -> Vec<PortRange> {
    let mut ranges = BTreeSet::new();
    for port in ports {
        let protocol = port.protocol;
        let mut add = |first, last| {
            ranges.insert(PortRange {
                protocol,
                first,
                last,
            });
        };
        match (&port.port, destination) {
            (PortMatch::Any, _) => add(0, u16::MAX),
            // A range that ends before it begins is one that validation refuses.
            (PortMatch::Range(first, last), _) if first <= last => add(*first, *last),
            (PortMatch::Name(name), Destination::Subject(own)) => own
                .iter()
                .filter(|own| own.name == *name && own.protocol == protocol)
                .for_each(|own| add(own.port, own.port)),
            (PortMatch::Range(..), _) | (PortMatch::Name(_), Destination::Peers(_)) => {}
        }
    }
    ranges.into_iter().collect()
}

fn named(ports: &[PolicyPort], numbers: &PortNumbers) -> BTreeSet<NamedPort> {
    let mut named = BTreeSet::new();
    for port in ports {
        let PortMatch::Name(name) = &port.port else {
            continue;
        };
        let key = (name.clone(), port.protocol);
        for number in numbers.of(&key) {
            named.insert(NamedPort {
                name: name.clone(),
                protocol: port.protocol,
                port: number,
            });
        }
    }
    named
}

fn peers(policy: &NetworkPolicy, peers: &[Peer]) -> Peers {
    if peers.is_empty() {
        return Peers::Any;
    }
    let mut selectors = BTreeSet::new();
    let mut blocks = BTreeSet::new();
    for peer in peers {
        match peer {
            Peer::Block { prefix, except } => {
                blocks.insert(Block {
                    prefix: prefix.trunc(),
                    except: except.iter().map(ipnet::IpNet::trunc).collect(),
                });
            }
            Peer::Pods { namespaces, pods } => {
                selectors.insert(Arc::new(PeerSelector {
                    namespaces: namespaces.clone().map_or_else(
                        || NamespaceScope::One(policy.name.namespace.clone()),
                        NamespaceScope::Matching,
                    ),
                    pods: pods.clone().unwrap_or_default(),
                    port: None,
                    within: None,
                }));
            }
            Peer::Invalid(_) => {}
        }
    }
    Peers::Some {
        selectors: selectors.into_iter().collect(),
        blocks: blocks.into_iter().collect(),
    }
}

impl Peers {
    fn is_nobody(&self) -> bool {
        match self {
            Self::Any => false,
            Self::Some { selectors, blocks } => selectors.is_empty() && blocks.is_empty(),
        }
    }

    /// Those of these peers that are pods with this port. A name means nothing
    /// on an address that is not a pod's, so `Any` becomes every pod and a
    /// block becomes the pods in it.
    fn having(&self, port: &NamedPort) -> Self {
        let every = |within: Option<Block>| PeerSelector {
            namespaces: NamespaceScope::Matching(Selector::default()),
            pods: Selector::default(),
            port: Some(port.clone()),
            within,
        };
        let selectors: BTreeSet<_> = match self {
            Self::Any => BTreeSet::from([every(None)]),
            Self::Some { selectors, blocks } => selectors
                .iter()
                .map(|selector| PeerSelector {
                    port: Some(port.clone()),
                    ..(**selector).clone()
                })
                .chain(blocks.iter().map(|block| every(Some(block.clone()))))
                .collect(),
        };
        Self::Some {
            selectors: selectors.into_iter().map(Arc::new).collect(),
            blocks: Vec::new(),
        }
    }
}
