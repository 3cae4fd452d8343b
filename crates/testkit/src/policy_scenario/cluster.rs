//! ClusterNetworkPolicies in scenarios.

use podway_model::{
    ClusterNetworkPolicy, ClusterPeer, ClusterPort, ClusterRule, NamespacedPods, RuleAction, Tier,
};

use super::{Draft, policy_port, selector};
use crate::builders::prefix;

impl Draft {
    /// `NAME admin|baseline PRIORITY namespaces S [pods S]`.
    pub(super) fn cluster_policy(&mut self, rest: &str, place: &str) {
        let wrong = || -> ! {
            panic!("{place}: not `cluster NAME admin|baseline PRIORITY namespaces S [pods S]`")
        };
        let mut words = rest.splitn(4, ' ');
        let (Some(name), Some(tier), Some(priority), Some(subject)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            wrong()
        };
        self.in_cluster = true;
        self.cluster.push(ClusterNetworkPolicy {
            name: name.into(),
            revision: 1,
            generation: 1,
            audit: false,
            tier: match tier {
                "admin" => Tier::Admin,
                "baseline" => Tier::Baseline,
                _ => wrong(),
            },
            priority: priority.parse().unwrap_or_else(|_| wrong()),
            subject: pods(subject).unwrap_or_else(|| wrong()),
            ingress: Vec::new(),
            egress: Vec::new(),
        });
    }

    /// `accept|deny|pass from|to PEER | PEER [ports PORT PORT]`.
    pub(super) fn cluster_rule(&mut self, direction: &str, rest: &str, place: &str) {
        let wrong =
            || -> ! { panic!("{place}: not `accept|deny|pass from|to PEERS [ports PORTS]`") };
        let (action, rest) = rest.split_once(' ').unwrap_or_else(|| wrong());
        let action = match action {
            "accept" => RuleAction::Accept,
            "deny" => RuleAction::Deny,
            "pass" => RuleAction::Pass,
            _ => wrong(),
        };
        let (peers, ports) = match rest.split_once(" ports ") {
            Some((peers, ports)) => (peers, Some(ports)),
            None => (rest, None),
        };
        let peers = peers.trim_start_matches("from ").trim_start_matches("to ");
        let peers = peers.split('|').map(|text| peer(text.trim(), place));
        let ports = ports.map(|ports| {
            let ports = ports.split_whitespace();
            ports.map(|text| port(text, place)).collect()
        });
        let rule = ClusterRule {
            name: String::new(),
            action,
            peers: peers.collect(),
            ports,
        };
        let Some(policy) = self.cluster.last_mut() else {
            wrong()
        };
        match direction {
            "ingress" => policy.ingress.push(rule),
            _ => policy.egress.push(rule),
        }
    }
}

/// `namespaces S [pods S]`.
fn pods(text: &str) -> Option<NamespacedPods> {
    let text = text.strip_prefix("namespaces ")?;
    let (namespaces, pods) = text.split_once(" pods ").unwrap_or((text, "*"));
    Some(NamespacedPods {
        namespaces: selector(namespaces),
        pods: selector(pods),
    })
}

/// `namespaces S [pods S]`, `nodes S`, `networks P P` or `unknown`.
fn peer(text: &str, place: &str) -> ClusterPeer {
    if let Some(pods) = pods(text) {
        return ClusterPeer::Pods(pods);
    }
    match text.split_once(' ').unwrap_or((text, "")) {
        ("nodes", nodes) => ClusterPeer::Nodes(selector(nodes)),
        ("networks", networks) => {
            ClusterPeer::Networks(networks.split_whitespace().map(prefix).collect())
        }
        ("unknown", _) => ClusterPeer::Unknown("a test says so".to_owned()),
        _ => panic!("{place}: not a peer: `{text}`"),
    }
}

/// As for NetworkPolicies, `named/http` or `unknown`.
fn port(text: &str, place: &str) -> ClusterPort {
    match text.split_once('/') {
        Some(("named", name)) => ClusterPort::Named(name.to_owned()),
        None if text == "unknown" => ClusterPort::Unknown("a test says so".to_owned()),
        _ => ClusterPort::Port(policy_port(text, place)),
    }
}
