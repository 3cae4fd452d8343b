use std::collections::BTreeSet;
use std::fmt;

use podway_model::{
    ClusterPeer, ClusterPort, ClusterState, NamespacedPods, ObjectName, Peer, PolicyPort,
    PortMatch, RuleAction, Selector,
};
use serde::Serialize;

use crate::policy::{
    Allow, Block, Match, NamespaceScope, PeerSelector, Peers, PodSelector, PortRange, TierRule, Who,
};

/// One rule of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleView {
    /// The policy.
    pub policy: String,
    /// Its index, from 0, in its direction's list.
    pub rule: usize,
    /// What a ClusterNetworkPolicy's rule does: accept, deny or pass. The rules
    /// of NetworkPolicies allow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Who is on the other side; empty is anybody.
    pub peers: Vec<String>,
    /// The pods that the peers mean now.
    pub pods: Vec<String>,
    /// Which ports of the destination; empty is every port.
    pub ports: Vec<String>,
}

impl RuleView {
    /// What is in force for a pod.
    pub(super) fn of_allow(state: &ClusterState, allow: &Allow) -> Self {
        Self::of(state, &allow.policy, allow.rule, &allow.matches)
    }

    /// What a rule of a tier does to a pod.
    pub(super) fn of_tier(state: &ClusterState, rule: &TierRule) -> Self {
        Self {
            action: Some(action_text(rule.action).to_owned()),
            ..Self::of(state, &rule.policy, rule.rule, &rule.matches)
        }
    }

    fn of(state: &ClusterState, policy: &ObjectName, rule: usize, matches: &Match) -> Self {
        let peers = match &matches.peers {
            Peers::Any => Vec::new(),
            Peers::Some { selectors, blocks } => {
                // A network is a block, and besides selectors that say the same.
                let is_network =
                    |s: &PeerSelector| s.within.as_ref().is_some_and(|b| blocks.contains(b));
                let selectors = selectors.iter().filter(|selector| !is_network(selector));
                let selectors = selectors.map(|selector| selector_text(selector));
                selectors.chain(blocks.iter().map(block_text)).collect()
            }
        };
        Self {
            policy: policy.to_string(),
            rule,
            action: None,
            peers,
            pods: pods_meant(state, &matches.peers)
                .iter()
                .map(ToString::to_string)
                .collect(),
            ports: matches.ports.iter().map(range_text).collect(),
        }
    }
}

/// What a rule does.
pub(super) const fn action_text(action: RuleAction) -> &'static str {
    match action {
        RuleAction::Accept => "accept",
        RuleAction::Deny => "deny",
        RuleAction::Pass => "pass",
    }
}

/// The pods that selectors mean.
pub(super) fn pods_meant(state: &ClusterState, peers: &Peers) -> BTreeSet<ObjectName> {
    let meant = |selector: &PeerSelector, name: &ObjectName| {
        state.pod(name).is_some_and(|pod| {
            let namespace = state.namespace(&name.namespace).map(|n| &**n);
            let mut addresses = pod.addresses.iter();
            pod.owns_addresses() && addresses.any(|ip| selector.selects(pod, namespace, *ip))
        })
    };
    let names = state.pods().map(|pod| &pod.name);
    names
        .filter(|name| {
            peers
                .selectors()
                .iter()
                .any(|selector| meant(selector, name))
        })
        .cloned()
        .collect()
}

/// A peer as its policy has it.
pub(super) fn peer_text(policy: &ObjectName, peer: &Peer) -> String {
    match peer {
        Peer::Block { prefix, except } => block_text(&Block {
            prefix: *prefix,
            except: except.clone(),
        }),
        Peer::Pods { namespaces, pods } => selector_text(&PeerSelector::pods(
            namespaces.clone().map_or_else(
                || NamespaceScope::One(policy.namespace.clone()),
                NamespaceScope::Matching,
            ),
            pods.clone().unwrap_or_default(),
        )),
        Peer::Invalid(why) => format!("nobody: {why}"),
    }
}

/// A port as its policy has it.
pub(super) fn port_text(port: &PolicyPort) -> String {
    let protocol = port.protocol;
    match &port.port {
        PortMatch::Any => format!("every {protocol} port"),
        PortMatch::Range(first, last) => range_text(&PortRange {
            protocol,
            first: *first,
            last: *last,
        }),
        PortMatch::Name(name) => format!("{name}/{protocol}"),
    }
}

/// A peer as its ClusterNetworkPolicy has it.
pub(super) fn cluster_peer_text(peer: &ClusterPeer) -> String {
    match peer {
        ClusterPeer::Pods(pods) => subject_text(pods),
        ClusterPeer::Nodes(nodes) if nodes.is_empty() => "every node".to_owned(),
        ClusterPeer::Nodes(nodes) => format!("nodes with {nodes}"),
        ClusterPeer::Networks(networks) => {
            let networks: Vec<String> = networks.iter().map(ToString::to_string).collect();
            networks.join(", ")
        }
        ClusterPeer::Unknown(why) => format!("not understood: {why}"),
    }
}

/// Ports as a ClusterNetworkPolicy has them.
pub(super) fn cluster_port_text(port: &ClusterPort) -> String {
    match port {
        ClusterPort::Port(port) => port_text(port),
        ClusterPort::Named(name) => name.clone(),
        ClusterPort::Unknown(why) => format!("not understood: {why}"),
    }
}

/// Pods by the labels of their namespace and their own.
pub(super) fn subject_text(pods: &NamespacedPods) -> String {
    let namespaces = NamespaceScope::Matching(pods.namespaces.clone());
    selector_text(&PeerSelector::pods(namespaces, pods.pods.clone()))
}

fn selector_text(selector: &PeerSelector) -> String {
    let mut text = match &selector.who {
        Who::Pods(pods) => pods_text(pods),
        Who::Nodes(nodes) if nodes.is_empty() => "every node".to_owned(),
        Who::Nodes(nodes) => format!("nodes with {nodes}"),
    };
    if let Some(block) = &selector.within {
        text.push_str(&format!(" at {}", block_text(block)));
    }
    text
}

fn pods_text(selector: &PodSelector) -> String {
    let which = |selector: &Selector| match selector.is_empty() {
        true => String::new(),
        false => format!(" with {selector}"),
    };
    let namespaces = match &selector.namespaces {
        NamespaceScope::One(name) => format!("namespace {name}"),
        NamespaceScope::Matching(selector) if selector.is_empty() => "every namespace".to_owned(),
        NamespaceScope::Matching(selector) => format!("namespaces with {selector}"),
    };
    let mut text = format!("pods{} in {namespaces}", which(&selector.pods));
    if let Some(port) = &selector.port {
        text.push_str(&format!(
            " that call {}/{} `{}`",
            port.port, port.protocol, port.name
        ));
    }
    text
}

fn block_text(block: &Block) -> String {
    let except: Vec<String> = block.except.iter().map(ToString::to_string).collect();
    match except.is_empty() {
        true => block.prefix.to_string(),
        false => format!("{} except {}", block.prefix, except.join(", ")),
    }
}

pub(super) fn range_text(range: &PortRange) -> String {
    let PortRange {
        protocol,
        first,
        last,
    } = range;
    match (*first, *last) {
        (0, u16::MAX) => format!("every {protocol} port"),
        (first, last) if first == last => format!("{first}/{protocol}"),
        (first, last) => format!("{first}-{last}/{protocol}"),
    }
}

impl fmt::Display for RuleView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_all = |texts: &[String], all: &str| match texts {
            [] => all.to_owned(),
            texts => texts.join("; "),
        };
        if let Some(action) = &self.action {
            write!(f, "{action} ")?;
        }
        let peers = or_all(&self.peers, "anybody");
        let ports = or_all(&self.ports, "every port");
        write!(f, "{peers}: {ports}")?;
        if !self.pods.is_empty() {
            write!(f, " (now {})", self.pods.join(", "))?;
        }
        Ok(())
    }
}
