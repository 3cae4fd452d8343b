//! The rules of ClusterNetworkPolicies.

use std::collections::BTreeSet;
use std::sync::Arc;

use podway_model::{
    ClusterNetworkPolicy, ClusterPeer, ClusterPort, ClusterRule, NamespacedPods, PolicyPort,
    PortMatch, Protocol, RuleAction,
};

use super::{Destination, products};
use crate::policy::{Block, Direction, Match, NamespaceScope, PeerSelector, Peers, TierRule, Who};

/// The rules of a policy in a direction.
pub(in crate::policy) fn cluster_rules_of(
    policy: &ClusterNetworkPolicy,
    direction: Direction,
) -> &[ClusterRule] {
    match direction {
        Direction::Ingress => &policy.ingress,
        Direction::Egress => &policy.egress,
    }
}

/// The names of ports that a policy uses in a direction.
pub(in crate::policy) fn named_ports(
    policy: &ClusterNetworkPolicy,
    direction: Direction,
) -> impl Iterator<Item = &str> {
    let rules = cluster_rules_of(policy, direction).iter();
    rules
        .flat_map(|rule| rule.ports.iter().flatten())
        .filter_map(|port| match port {
            ClusterPort::Named(name) => Some(name.as_str()),
            ClusterPort::Port(_) | ClusterPort::Unknown(_) => None,
        })
}

/// The rules of one policy in a direction, in their order. One that can match
/// nothing is left out.
pub(in crate::policy) fn tier_rules(
    policy: &ClusterNetworkPolicy,
    direction: Direction,
    destination: Destination<'_>,
) -> Vec<TierRule> {
    let mut rules = Vec::new();
    let of_direction = cluster_rules_of(policy, direction).iter();
    for (index, rule) in of_direction.enumerate() {
        let (action, matches) = meaning(rule, destination);
        rules.extend(matches.into_iter().map(|matches| TierRule {
            policy: policy.object_name(),
            rule: index,
            action,
            matches,
        }));
    }
    rules
}

/// What a rule does and to what. One that cannot be understood "fails closed"
/// (the API's words): it accepts nothing, or denies everything.
fn meaning(rule: &ClusterRule, destination: Destination<'_>) -> (RuleAction, Vec<Match>) {
    if rule.is_unknown() {
        let everything = Match {
            peers: Peers::Any,
            ports: Vec::new(),
        };
        return match rule.action {
            RuleAction::Accept => (RuleAction::Accept, Vec::new()),
            RuleAction::Deny | RuleAction::Pass => (RuleAction::Deny, vec![everything]),
        };
    }
    let ports: Option<Vec<PolicyPort>> = rule
        .ports
        .as_ref()
        .map(|ports| ports.iter().flat_map(policy_ports).collect());
    let matches = products(&peers(&rule.peers), ports.as_deref(), destination);
    (rule.action, matches)
}

/// A name stands for the ports of every protocol that have it.
fn policy_ports(port: &ClusterPort) -> Vec<PolicyPort> {
    match port {
        ClusterPort::Port(port) => vec![port.clone()],
        ClusterPort::Named(name) => Protocol::ALL
            .map(|protocol| PolicyPort {
                protocol,
                port: PortMatch::Name(name.clone()),
            })
            .to_vec(),
        ClusterPort::Unknown(_) => Vec::new(),
    }
}

fn peers(peers: &[ClusterPeer]) -> Peers {
    let mut selectors = BTreeSet::new();
    let mut blocks = BTreeSet::new();
    for peer in peers {
        match peer {
            ClusterPeer::Pods(NamespacedPods { namespaces, pods }) => {
                let namespaces = NamespaceScope::Matching(namespaces.clone());
                selectors.insert(Arc::new(PeerSelector::pods(namespaces, pods.clone())));
            }
            ClusterPeer::Nodes(nodes) => {
                selectors.insert(Arc::new(PeerSelector {
                    who: Who::Nodes(nodes.clone()),
                    within: None,
                }));
            }
            ClusterPeer::Networks(networks) => {
                for network in networks {
                    let block = Block {
                        prefix: network.trunc(),
                        except: Vec::new(),
                    };
                    blocks.insert(block);
                }
            }
            ClusterPeer::Unknown(_) => {}
        }
    }
    let peers = Peers::Some {
        selectors: selectors.into_iter().collect(),
        blocks: blocks.into_iter().collect(),
    };
    peers.with_members()
}
