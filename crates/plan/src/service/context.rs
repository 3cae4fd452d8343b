use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use podway_model::{IpFamily, Node};

/// What planning needs to know about the node that it plans for, beyond what
/// the Node object says (its zone and addresses are read from there).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeContext {
    /// The name of its Node object. An endpoint is local where its slice names
    /// this node.
    pub node: Arc<str>,
    /// The local detector: addresses in these prefixes are pods of this node. A
    /// family without a prefix has no detector, and then nothing is masqueraded
    /// for coming from elsewhere (kube-proxy's rule).
    pub pod_prefixes: Vec<IpNet>,
    /// The local detector by interface: what comes in by one of these is from a
    /// pod of this node, in both families; the prefixes are not asked then.
    pub pod_interfaces: Option<Interfaces>,
    /// Masquerade every connection to a cluster IP.
    pub masquerade_all: bool,
    /// `nodePortAddresses`: which of the node's own addresses serve node ports.
    /// A family without a prefix: all of them.
    pub node_port_prefixes: Vec<IpNet>,
    /// Whether loopback addresses serve node ports, in both families, whatever
    /// the prefixes.
    pub localhost_node_ports: bool,
    /// What cluster IPs are allocated from. Those that no Service has are
    /// dropped, so that they do not leave the node by its default route.
    pub service_prefixes: BTreeSet<IpNet>,
}

/// Interfaces by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Interfaces {
    /// The one of this name: a bridge that pods are attached to.
    Named(Arc<str>),
    /// Every one whose name begins so.
    Prefixed(Arc<str>),
}

impl Default for NodeContext {
    /// Of no node: a starting point for those that know one.
    fn default() -> Self {
        Self {
            node: "".into(),
            pod_prefixes: Vec::new(),
            pod_interfaces: None,
            masquerade_all: false,
            node_port_prefixes: Vec::new(),
            localhost_node_ports: false,
            service_prefixes: BTreeSet::new(),
        }
    }
}

impl NodeContext {
    /// The context of a node by its own `spec.podCIDRs`, with the defaults.
    #[must_use]
    pub fn of(node: &Node) -> Self {
        Self {
            node: node.name.clone(),
            pod_prefixes: node.pod_prefixes.clone(),
            ..Self::default()
        }
    }

    /// Whether pods of this node can be told from others in a family.
    #[must_use]
    pub fn detects(&self, family: IpFamily) -> bool {
        self.pod_interfaces.is_some() || of_family(&self.pod_prefixes, family).next().is_some()
    }

    /// Whether an address, known to be one of the node's own, serves node
    /// ports.
    #[must_use]
    pub fn serves_node_ports(&self, address: IpAddr) -> bool {
        if address.is_loopback() {
            return self.localhost_node_ports;
        }
        let mut prefixes = of_family(&self.node_port_prefixes, IpFamily::of(&address)).peekable();
        prefixes.peek().is_none() || prefixes.any(|prefix| prefix.contains(&address))
    }
}

/// The prefixes of one family.
pub(super) fn of_family(prefixes: &[IpNet], family: IpFamily) -> impl Iterator<Item = &IpNet> {
    prefixes
        .iter()
        .filter(move |prefix| IpFamily::of(&prefix.addr()) == family)
}
