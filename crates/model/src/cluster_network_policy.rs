use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;

use crate::{ObjectName, PolicyPort, Selector};

/// A ClusterNetworkPolicy (`policy.networking.k8s.io/v1alpha2`): ordered rules
/// of a cluster's administrator, before or behind the NetworkPolicies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterNetworkPolicy {
    /// Its name.
    pub name: Arc<str>,
    /// `metadata.resourceVersion` as a number; 0 where it is none.
    pub revision: u64,
    /// `metadata.generation`.
    pub generation: u64,
    /// Whether it only reports what it would deny: annotation
    /// [`MODE`](crate::MODE).
    pub audit: bool,
    /// `spec.tier`.
    pub tier: Tier,
    /// `spec.priority`, 0 to 1000: lower comes first within the tier.
    pub priority: u16,
    /// `spec.subject`.
    pub subject: NamespacedPods,
    /// Ingress rules in their order; none of them leaves ingress alone.
    pub ingress: Vec<ClusterRule>,
    /// Egress rules in their order.
    pub egress: Vec<ClusterRule>,
}

/// When the policies of a tier are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Before any NetworkPolicy.
    Admin,
    /// Where neither tier Admin nor a NetworkPolicy has decided.
    Baseline,
}

/// Pods by the labels of their namespace and their own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NamespacedPods {
    /// Which namespaces.
    pub namespaces: Selector,
    /// Which pods there.
    pub pods: Selector,
}

/// One rule: its action is taken where a peer AND a port match. The first rule
/// that matches decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterRule {
    /// `name`; empty where it has none.
    pub name: String,
    /// What becomes of what matches.
    pub action: RuleAction,
    /// `from` or `to`.
    pub peers: Vec<ClusterPeer>,
    /// `protocols`; `None` is every port of every protocol.
    pub ports: Option<Vec<ClusterPort>>,
}

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RuleAction {
    /// Allows, whatever others say.
    Accept,
    /// Denies, whatever others say.
    Deny,
    /// Leaves it to the next tier.
    Pass,
}

/// One peer of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClusterPeer {
    /// Pods, never those of the host's network.
    Pods(NamespacedPods),
    /// The addresses of nodes.
    Nodes(Selector),
    /// Addresses, pods' among them.
    Networks(Vec<IpNet>),
    /// A peer that cannot be understood, or that we do not offer: an Accept rule
    /// with it matches nothing, any other denies everything. The text says why.
    Unknown(String),
}

/// One of a rule's protocols.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClusterPort {
    /// A protocol, with or without port numbers; never a name.
    Port(PolicyPort),
    /// `destinationNamedPort`: container ports of this name on the destination
    /// pod, whatever their protocol.
    Named(String),
    /// One that cannot be understood, as [`ClusterPeer::Unknown`].
    Unknown(String),
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Admin => "admin",
            Self::Baseline => "baseline",
        })
    }
}

impl ClusterNetworkPolicy {
    /// Its name where policies of both kinds are named: without a namespace.
    #[must_use]
    pub fn object_name(&self) -> ObjectName {
        ObjectName::new("", self.name.clone())
    }
}

impl ClusterRule {
    /// Whether some part of the rule cannot be understood.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        let ports = self.ports.iter().flatten();
        self.peers
            .iter()
            .any(|peer| matches!(peer, ClusterPeer::Unknown(_)))
            || ports
                .into_iter()
                .any(|port| matches!(port, ClusterPort::Unknown(_)))
    }
}
