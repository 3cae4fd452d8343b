use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use podway_model::{Namespace, ObjectName, Pod, Protocol, Selector};

/// The rules of every pod of this node that some policy isolates, and which
/// peers their selectors mean. A pod that is not here, or a direction that is
/// `None`, is open.
///
/// Peers are held by address and not by selector: a pod that comes, goes or is
/// relabelled changes the entries of its own addresses, however many policies
/// select it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyTable {
    /// By pod. Pods of the host's network and finished pods are never here.
    pub pods: BTreeMap<ObjectName, Arc<PodRules>>,
    /// The isolated pod at each address: the addresses of `pods`, reversed.
    pub pod_at: BTreeMap<IpAddr, ObjectName>,
    /// By which selectors each pod address of the cluster is meant. An address
    /// that no selector of `pods` means is not here.
    pub peers: BTreeMap<IpAddr, Arc<PeerGroup>>,
}

/// The rules of one pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodRules {
    /// Its node, where it is known.
    pub node: Option<Arc<str>>,
    /// Its addresses, of both families.
    pub addresses: BTreeSet<IpAddr>,
    /// What may reach it; `None` is everything.
    pub ingress: Option<Arc<RuleSet>>,
    /// What it may reach; `None` is everything.
    pub egress: Option<Arc<RuleSet>>,
}

/// What one direction of a pod allows. Pods with the same policies share one
/// (compare by value: equal sets may be separate allocations).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuleSet {
    /// The policies that isolate the pod in this direction. Empty only for a pod
    /// whose labels are not known yet: see `PolicyPlanner::attach`.
    pub isolated_by: BTreeSet<ObjectName>,
    /// What they allow between them; a connection needs one that matches.
    pub allows: Vec<Allow>,
}

/// One product of peers and ports that is allowed. An egress rule with a named
/// port becomes several: one for each number that the name means.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Allow {
    /// The policy.
    pub policy: ObjectName,
    /// The index of its rule, from 0, in this direction's list.
    pub rule: usize,
    /// The other side.
    pub peers: Peers,
    /// The destination's ports; empty is every port of every protocol, and
    /// protocols that have no ports.
    pub ports: Vec<PortRange>,
}

/// The other side of an allowed connection.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peers {
    /// Anybody, inside the cluster or out.
    Any,
    /// The pods that a selector means, and the blocks; nobody where both are
    /// empty.
    Some {
        /// Pods. `PolicyTable::peers` says at which addresses they are.
        selectors: Vec<Arc<PeerSelector>>,
        /// Addresses.
        blocks: Vec<Block>,
    },
}

/// Pods as peers: never those of the host's network, never finished ones.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerSelector {
    /// In which namespaces.
    pub namespaces: NamespaceScope,
    /// Which pods there.
    pub pods: Selector,
    /// Only pods with this container port.
    pub port: Option<NamedPort>,
    /// Only the addresses in this block.
    pub within: Option<Block>,
}

/// The namespaces that a peer selector looks into.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NamespaceScope {
    /// This one: the policy's own.
    One(Arc<str>),
    /// Those with matching labels.
    Matching(Selector),
}

/// A container port that a named egress port means.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamedPort {
    /// The name.
    pub name: String,
    /// The protocol.
    pub protocol: Protocol,
    /// The number.
    pub port: u16,
}

/// `ipBlock`: a prefix without its exceptions, all with host bits masked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Block {
    /// `cidr`.
    pub prefix: IpNet,
    /// `except`.
    pub except: Vec<IpNet>,
}

/// The selectors that mean an address. Addresses with equal groups are the same
/// to every rule set (blocks aside); never empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct PeerGroup {
    /// The selectors.
    pub selectors: BTreeSet<Arc<PeerSelector>>,
}

/// Ports of one protocol, first to last, both included (0-65535 is all).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    /// The protocol.
    pub protocol: Protocol,
    /// The first port.
    pub first: u16,
    /// The last port.
    pub last: u16,
}

/// Which side of a connection a rule set judges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// What reaches a pod.
    Ingress,
    /// What a pod reaches.
    Egress,
}

impl PolicyTable {
    /// The rules of the isolated pod at an address.
    #[must_use]
    pub fn rules_at(&self, address: IpAddr) -> Option<&Arc<PodRules>> {
        self.pods.get(self.pod_at.get(&address)?)
    }
}

impl PodRules {
    /// The rules of a direction; `None` is open.
    #[must_use]
    pub const fn direction(&self, direction: Direction) -> Option<&Arc<RuleSet>> {
        match direction {
            Direction::Ingress => self.ingress.as_ref(),
            Direction::Egress => self.egress.as_ref(),
        }
    }

    /// The rule sets of the directions that are isolated.
    pub fn sets(&self) -> impl Iterator<Item = &Arc<RuleSet>> {
        self.ingress.iter().chain(&self.egress)
    }

    /// Whether some direction is isolated.
    #[must_use]
    pub const fn is_isolated(&self) -> bool {
        self.ingress.is_some() || self.egress.is_some()
    }
}

impl Direction {
    /// Both directions.
    pub const ALL: [Self; 2] = [Self::Ingress, Self::Egress];
}

impl RuleSet {
    /// The first allow that matches a connection with this peer to this port of
    /// the destination; `None` is a deny. `group` is `PolicyTable::peers` at the
    /// peer's address.
    #[must_use]
    pub fn decide(
        &self,
        peer: IpAddr,
        group: Option<&PeerGroup>,
        protocol: Protocol,
        port: u16,
    ) -> Option<&Allow> {
        self.allows
            .iter()
            .find(|allow| allow.covers(protocol, port) && allow.peers.contain(peer, group))
    }
}

impl Allow {
    fn covers(&self, protocol: Protocol, port: u16) -> bool {
        self.ports.is_empty()
            || self.ports.iter().any(|range| {
                range.protocol == protocol && (range.first..=range.last).contains(&port)
            })
    }
}

impl Peers {
    /// The selectors among them.
    #[must_use]
    pub fn selectors(&self) -> &[Arc<PeerSelector>] {
        match self {
            Self::Any => &[],
            Self::Some { selectors, .. } => selectors,
        }
    }

    /// Whether the address is one of these peers.
    #[must_use]
    pub fn contain(&self, address: IpAddr, group: Option<&PeerGroup>) -> bool {
        match self {
            Self::Any => true,
            Self::Some { selectors, blocks } => {
                blocks.iter().any(|block| block.contains(address))
                    || group
                        .is_some_and(|group| selectors.iter().any(|s| group.selectors.contains(s)))
            }
        }
    }
}

impl PeerSelector {
    /// Whether a pod is meant, at this one of its addresses. That the pod owns
    /// the address is the caller's to know. In a namespace that is not known,
    /// only the empty namespace selector matches: any other might open more than
    /// its author meant.
    #[must_use]
    pub fn selects(&self, pod: &Pod, namespace: Option<&Namespace>, address: IpAddr) -> bool {
        let there = match &self.namespaces {
            NamespaceScope::One(name) => *name == pod.name.namespace,
            NamespaceScope::Matching(selector) => {
                selector.is_empty() || namespace.is_some_and(|n| selector.matches(&n.labels))
            }
        };
        there
            && self.pods.matches(&pod.labels)
            && self.port.as_ref().is_none_or(|port| port.is_of(pod))
            && self.within.as_ref().is_none_or(|b| b.contains(address))
    }
}

impl NamedPort {
    fn is_of(&self, pod: &Pod) -> bool {
        pod.ports.iter().any(|port| {
            port.name == self.name && port.protocol == self.protocol && port.port == self.port
        })
    }
}

impl Block {
    /// Whether the address is in the prefix and in none of the exceptions. An
    /// address of the other family never is.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.prefix.contains(&address) && !self.except.iter().any(|e| e.contains(&address))
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        })
    }
}
