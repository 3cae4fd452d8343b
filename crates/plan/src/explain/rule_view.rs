use std::collections::BTreeSet;
use std::fmt;

use podway_model::{ClusterState, ObjectName, Peer, PolicyPort, PortMatch, Selector};
use serde::Serialize;

use crate::policy::{Allow, Block, NamespaceScope, PeerSelector, Peers, PortRange};

/// One rule of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleView {
    /// The policy.
    pub policy: String,
    /// Its index, from 0, in its direction's list.
    pub rule: usize,
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
        let peers = match &allow.peers {
            Peers::Any => Vec::new(),
            Peers::Some { selectors, blocks } => {
                let selectors = selectors.iter().map(|selector| selector_text(selector));
                selectors.chain(blocks.iter().map(block_text)).collect()
            }
        };
        Self {
            policy: allow.policy.to_string(),
            rule: allow.rule,
            peers,
            pods: pods_meant(state, &allow.peers)
                .iter()
                .map(ToString::to_string)
                .collect(),
            ports: allow.ports.iter().map(range_text).collect(),
        }
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
        Peer::Pods { namespaces, pods } => selector_text(&PeerSelector {
            namespaces: namespaces.clone().map_or_else(
                || NamespaceScope::One(policy.namespace.clone()),
                NamespaceScope::Matching,
            ),
            pods: pods.clone().unwrap_or_default(),
            port: None,
            within: None,
        }),
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

fn selector_text(selector: &PeerSelector) -> String {
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
    if let Some(block) = &selector.within {
        text.push_str(&format!(" at {}", block_text(block)));
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

fn range_text(range: &PortRange) -> String {
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
        let peers = or_all(&self.peers, "anybody");
        let ports = or_all(&self.ports, "every port");
        write!(f, "{peers}: {ports}")?;
        if !self.pods.is_empty() {
            write!(f, " (now {})", self.pods.join(", "))?;
        }
        Ok(())
    }
}
