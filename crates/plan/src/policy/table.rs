use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use podway_model::ObjectName;

use super::{PeerGroup, RuleSet};

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
    /// The pod with rules at each address: the addresses of `pods`, reversed.
    pub pod_at: BTreeMap<IpAddr, ObjectName>,
    /// By which selectors each address of a pod of the cluster, or of a node, is
    /// meant. An address that no selector of `pods` means is not here.
    pub peers: BTreeMap<IpAddr, Arc<PeerGroup>>,
}

/// The rules of one pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodRules {
    /// Its node, where it is known.
    pub node: Option<Arc<str>>,
    /// Its addresses, of both families.
    pub addresses: BTreeSet<IpAddr>,
    /// What is enforced.
    pub enforced: Directions,
    /// What would be enforced if policies in audit mode were; only where it is
    /// something else.
    pub audited: Directions,
}

/// Rule sets of both directions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directions {
    /// What may reach the pod; `None` is everything.
    pub ingress: Option<Arc<RuleSet>>,
    /// What it may reach; `None` is everything.
    pub egress: Option<Arc<RuleSet>>,
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
    /// The rules of the pod at an address.
    #[must_use]
    pub fn rules_at(&self, address: IpAddr) -> Option<&Arc<PodRules>> {
        self.pods.get(self.pod_at.get(&address)?)
    }
}

impl PodRules {
    /// What is enforced in a direction; `None` is open.
    #[must_use]
    pub const fn direction(&self, direction: Direction) -> Option<&Arc<RuleSet>> {
        self.enforced.get(direction)
    }

    /// Every rule set.
    pub fn sets(&self) -> impl Iterator<Item = &Arc<RuleSet>> {
        self.enforced.sets().chain(self.audited.sets())
    }

    /// Whether there is anything that a node must do for the pod.
    #[must_use]
    pub fn has_rules(&self) -> bool {
        self.sets().next().is_some()
    }
}

impl Directions {
    /// The rules of a direction; `None` is open.
    #[must_use]
    pub const fn get(&self, direction: Direction) -> Option<&Arc<RuleSet>> {
        match direction {
            Direction::Ingress => self.ingress.as_ref(),
            Direction::Egress => self.egress.as_ref(),
        }
    }

    /// Both, made alike.
    pub(super) fn of(mut make: impl FnMut(Direction) -> Option<Arc<RuleSet>>) -> Self {
        Self {
            ingress: make(Direction::Ingress),
            egress: make(Direction::Egress),
        }
    }

    /// Those that there are.
    pub fn sets(&self) -> impl Iterator<Item = &Arc<RuleSet>> {
        self.ingress.iter().chain(&self.egress)
    }
}

impl Direction {
    /// Both directions.
    pub const ALL: [Self; 2] = [Self::Ingress, Self::Egress];
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        })
    }
}
