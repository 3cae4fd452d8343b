use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use podway_model::{ObjectName, Protocol};

/// The rules of every pod of this node that some policy isolates. A pod that is
/// not here, or a direction that is `None`, is open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyTable {
    /// By pod. Pods of the host's network and finished pods are never here.
    pub pods: BTreeMap<ObjectName, Arc<PodRules>>,
}

/// The rules of one pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodRules {
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
    /// The policies that isolate the pod in this direction.
    pub isolated_by: BTreeSet<ObjectName>,
    /// What they allow between them; a connection needs one that matches.
    pub allows: Vec<Allow>,
}

/// One product of peers and ports that is allowed. A rule with named egress
/// ports becomes several: one for each number that the name means.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Allow {
    /// The policy.
    pub policy: ObjectName,
    /// The index of its rule, from 0, in this direction's list.
    pub rule: usize,
    /// The other side.
    pub peers: Peers,
    /// The destination's ports; empty is every port of every protocol.
    pub ports: Vec<PortRange>,
}

/// The other side of an allowed connection.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peers {
    /// Anybody, inside the cluster or out.
    Any,
    /// These pods' addresses, and these blocks without their exceptions.
    Some {
        /// Addresses of pods.
        addresses: BTreeSet<IpAddr>,
        /// `ipBlock`: prefix and exceptions, host bits masked.
        blocks: Vec<(IpNet, Vec<IpNet>)>,
    },
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

impl PodRules {
    /// The rules of a direction; `None` is open.
    #[must_use]
    pub const fn direction(&self, direction: Direction) -> Option<&Arc<RuleSet>> {
        match direction {
            Direction::Ingress => self.ingress.as_ref(),
            Direction::Egress => self.egress.as_ref(),
        }
    }
}

impl RuleSet {
    /// The first allow that matches a connection with this peer to this port of
    /// the destination; `None` is a deny.
    #[must_use]
    pub fn decide(&self, peer: IpAddr, protocol: Protocol, port: u16) -> Option<&Allow> {
        self.allows
            .iter()
            .find(|allow| allow.peers.contain(peer) && allow.covers(protocol, port))
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
    /// Whether the address is one of these peers.
    #[must_use]
    pub fn contain(&self, address: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::Some { addresses, blocks } => {
                addresses.contains(&address)
                    || blocks.iter().any(|(prefix, except)| {
                        prefix.contains(&address) && !except.iter().any(|e| e.contains(&address))
                    })
            }
        }
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
