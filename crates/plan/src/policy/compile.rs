//! From one policy to what its rules match: peers become selectors and blocks,
//! ports become numbers.

mod tier;

use std::collections::BTreeSet;
use std::sync::Arc;

use podway_model::{
    ContainerPort, NetworkPolicy, Peer, PolicyPort, PolicyRule, PortMatch, Protocol,
};

use super::port_numbers::PortNumbers;
use super::{
    Allow, Block, Direction, Match, NamedPort, NamespaceScope, PeerSelector, Peers, PortRange,
};

pub(super) use tier::{cluster_rules_of, named_ports, tier_rules};

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
        let ports = (!rule.ports.is_empty()).then_some(rule.ports.as_slice());
        for matches in products(&peers(policy, &rule.peers), ports, destination) {
            allows.push(Allow {
                policy: policy.name.clone(),
                rule: index,
                matches,
            });
        }
    }
    allows
}

/// A rule as products of peers and ports (`None` is every port): one, and one
/// more for each number of a named egress port, whose peers are only the pods
/// that have it.
fn products(
    peers: &Peers,
    ports: Option<&[PolicyPort]>,
    destination: Destination<'_>,
) -> Vec<Match> {
    if peers.is_nobody() {
        return Vec::new();
    }
    let matches = |peers: &Peers, ports| Match {
        peers: peers.clone(),
        ports,
    };
    let Some(ports) = ports else {
        return vec![matches(peers, Vec::new())];
    };
    let mut products = Vec::new();
    let known = numbered(ports, destination);
    if !known.is_empty() {
        products.push(matches(peers, known));
    }
    if let Destination::Peers(numbers) = destination {
        for port in named(ports, numbers) {
            let range = PortRange {
                protocol: port.protocol,
                first: port.port,
                last: port.port,
            };
            let having = peers.having(&port);
            if !having.is_nobody() {
                products.push(matches(&having, vec![range]));
            }
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
                let namespaces = namespaces.clone().map_or_else(
                    || NamespaceScope::One(policy.name.namespace.clone()),
                    NamespaceScope::Matching,
                );
                let pods = pods.clone().unwrap_or_default();
                selectors.insert(Arc::new(PeerSelector::pods(namespaces, pods)));
            }
            Peer::Invalid(_) => {}
        }
    }
    Peers::Some {
        selectors: selectors.into_iter().collect(),
        blocks: blocks.into_iter().collect(),
    }
}
