use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use podway_model::{Namespace, Node, Pod, Protocol, Selector};

/// The other side of a connection.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peers {
    /// Anybody, inside the cluster or out.
    Any,
    /// Who a selector means, and the blocks; nobody where both are empty.
    Some {
        /// Pods and nodes. `PolicyTable::peers` says at which addresses they are.
        selectors: Vec<Arc<PeerSelector>>,
        /// Addresses.
        blocks: Vec<Block>,
    },
}

/// Pods or nodes as peers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerSelector {
    /// Which of them.
    pub who: Who,
    /// Only their addresses in this block.
    pub within: Option<Block>,
}

/// Whom a selector means.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Who {
    /// Pods: never those of the host's network, never finished ones.
    Pods(PodSelector),
    /// Nodes, by their labels.
    Nodes(Selector),
}

/// Pods by namespace, labels and port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodSelector {
    /// In which namespaces.
    pub namespaces: NamespaceScope,
    /// Which pods there.
    pub pods: Selector,
    /// Only pods with this container port.
    pub port: Option<NamedPort>,
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

impl Peers {
    /// The selectors among them.
    #[must_use]
    pub fn selectors(&self) -> &[Arc<PeerSelector>] {
        match self {
            Self::Any => &[],
            Self::Some { selectors, .. } => selectors,
        }
    }

    /// The blocks among them.
    #[must_use]
    pub fn blocks(&self) -> &[Block] {
        match self {
            Self::Any => &[],
            Self::Some { blocks, .. } => blocks,
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

    /// Whether there can be none.
    pub(super) fn is_nobody(&self) -> bool {
        match self {
            Self::Any => false,
            Self::Some { selectors, blocks } => selectors.is_empty() && blocks.is_empty(),
        }
    }

    /// The same peers, with the pods and nodes in their blocks also meant by
    /// selectors. So these are in groups of their own, and a group says all that
    /// ordered rules can ask of its addresses.
    pub(super) fn with_members(self) -> Self {
        let Self::Some { selectors, blocks } = self else {
            return self;
        };
        let everybody = [
            Who::Pods(PodSelector::every()),
            Who::Nodes(Selector::default()),
        ];
        let members = blocks.iter().flat_map(|block| {
            everybody.iter().map(|who| PeerSelector {
                who: who.clone(),
                within: Some(block.clone()),
            })
        });
        let all: BTreeSet<_> = selectors.into_iter().chain(members.map(Arc::new)).collect();
        Self::Some {
            selectors: all.into_iter().collect(),
            blocks,
        }
    }

    /// Those of these peers that are pods with this port. A name means nothing
    /// on an address that is not a pod's, so `Any` becomes every pod and a
    /// block becomes the pods in it.
    pub(super) fn having(&self, port: &NamedPort) -> Self {
        let every = |within: Option<Block>| PeerSelector {
            who: Who::Pods(PodSelector {
                port: Some(port.clone()),
                ..PodSelector::every()
            }),
            within,
        };
        let having = |selector: &Arc<PeerSelector>| match &selector.who {
            Who::Nodes(_) => None,
            Who::Pods(pods) => Some(PeerSelector {
                who: Who::Pods(PodSelector {
                    port: Some(port.clone()),
                    ..pods.clone()
                }),
                within: selector.within.clone(),
            }),
        };
        let selectors: BTreeSet<_> = match self {
            Self::Any => BTreeSet::from([every(None)]),
            Self::Some { selectors, blocks } => selectors
                .iter()
                .filter_map(having)
                .chain(blocks.iter().map(|block| every(Some(block.clone()))))
                .collect(),
        };
        Self::Some {
            selectors: selectors.into_iter().map(Arc::new).collect(),
            blocks: Vec::new(),
        }
    }
}

impl PeerSelector {
    /// Pods of these namespaces with these labels.
    #[must_use]
    pub const fn pods(namespaces: NamespaceScope, pods: Selector) -> Self {
        Self {
            who: Who::Pods(PodSelector {
                namespaces,
                pods,
                port: None,
            }),
            within: None,
        }
    }

    /// Whether a pod is meant, at this one of its addresses. That the pod owns
    /// the address is the caller's to know. In a namespace that is not known,
    /// only the empty namespace selector matches: any other might open more than
    /// its author meant.
    #[must_use]
    pub fn selects(&self, pod: &Pod, namespace: Option<&Namespace>, address: IpAddr) -> bool {
        let Who::Pods(selector) = &self.who else {
            return false;
        };
        let there = match &selector.namespaces {
            NamespaceScope::One(name) => *name == pod.name.namespace,
            NamespaceScope::Matching(selector) => {
                selector.is_empty() || namespace.is_some_and(|n| selector.matches(&n.labels))
            }
        };
        there
            && selector.pods.matches(&pod.labels)
            && selector.port.as_ref().is_none_or(|port| port.is_of(pod))
            && self.covers(address)
    }

    /// Whether a node is meant, at this one of its addresses.
    #[must_use]
    pub fn selects_node(&self, node: &Node, address: IpAddr) -> bool {
        matches!(&self.who, Who::Nodes(selector) if selector.matches(&node.labels))
            && self.covers(address)
    }

    fn covers(&self, address: IpAddr) -> bool {
        self.within.as_ref().is_none_or(|b| b.contains(address))
    }
}

impl PodSelector {
    /// Every pod of the cluster.
    #[must_use]
    pub fn every() -> Self {
        Self {
            namespaces: NamespaceScope::Matching(Selector::default()),
            pods: Selector::default(),
            port: None,
        }
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
