//! What an agent says about its node: the ConfigMap that `podway status` reads.

use std::collections::BTreeMap;
use std::net::IpAddr;

use podway_model::ObjectKind;
use serde::{Deserialize, Serialize};

/// The namespace of the ConfigMaps.
pub const NAMESPACE: &str = "kube-system";
/// The label of the ConfigMaps; its value is the node's name.
pub const NODE_LABEL: &str = "podway.dev/node";
/// The key of the ConfigMap's data that holds a [`NodeStatus`] as JSON.
pub const DATA_KEY: &str = "status.json";

/// The name of a node's ConfigMap.
#[must_use]
pub fn config_map_name(node: &str) -> String {
    format!("podway-node-{node}")
}

/// What a node has programmed, and what is wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// The node.
    pub node: String,
    /// The agent's version.
    pub version: String,
    /// Whether every kind of object has been listed since the agent started.
    /// Until then it has written nothing.
    pub synced: bool,
    /// The highest `resourceVersion` of an object that the node's kernel agrees
    /// with: what every feature has in force, or does not depend on.
    pub revision: u64,
    /// The highest `resourceVersion` that the agent has heard of. More than
    /// `revision` while something cannot be written.
    pub heard: u64,
    /// For each kind of object, the highest `resourceVersion` of it that the
    /// kernel agrees with. A watch tells of a kind in this order, so that every
    /// object of the kind that is not newer is in force, too: `Service`,
    /// `EndpointSlice`.
    #[serde(default)]
    pub revisions: BTreeMap<String, u64>,
    /// Services, where the agent serves them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<ServicesStatus>,
    /// Policies, where the agent enforces them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policies: Option<PoliciesStatus>,
    /// The overlay, where the agent keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlay: Option<OverlayStatus>,
    /// Addresses of load balancers, where the agent announces them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_balancer: Option<LoadBalancerStatus>,
    /// The pods' network, where the agent configures it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<PodsStatus>,
    /// What was written to the kernel since the agent started.
    pub writes: Writes,
    /// What does not work, by feature; empty where everything does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<FeatureProblem>,
    /// Objects that are not, or not wholly, understood. At most
    /// [`NodeStatus::MOST_FAULTS`]; `fault_count` has them all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<ObjectFault>,
    /// How many faults there are.
    #[serde(default)]
    pub fault_count: usize,
}

impl NodeStatus {
    /// How many faults are listed.
    pub const MOST_FAULTS: usize = 20;

    /// Whether the kernel agrees with an object of a kind at a revision.
    #[must_use]
    pub fn has_in_force(&self, kind: ObjectKind, revision: u64) -> bool {
        let known = self.revisions.get(&format!("{kind:?}"));
        self.synced && known.is_some_and(|known| *known >= revision)
    }
}

/// Services on a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServicesStatus {
    /// The proxy mode that serves.
    pub mode: String,
    /// The one that is wanted, where that is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<String>,
    /// Modes before it that still have connections.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leaving: Vec<String>,
    /// Services with a frontend.
    pub services: usize,
    /// Frontends: address, protocol and port.
    pub frontends: usize,
    /// Endpoints of all pools.
    pub endpoints: usize,
}

/// Addresses of load balancers on a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadBalancerStatus {
    /// Addresses that this node may hold.
    pub candidates: usize,
    /// Addresses that it holds: it answers ARP and NDP for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<IpAddr>,
    /// Nodes that do not answer this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreachable: Vec<String>,
    /// Why it announces nothing, or goes by an older configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Policies on a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoliciesStatus {
    /// The backend.
    pub backend: String,
    /// Policies that select a pod of this node.
    pub policies: usize,
    /// Pods of this node that a policy selects.
    pub pods: usize,
    /// Packets that were denied to the pods that are isolated now.
    #[serde(default)]
    pub denied: u64,
    /// To which pods, the most first; at most [`PoliciesStatus::MOST_DENIALS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub denials: Vec<PodDenials>,
    /// Connections that passed, and that policies in audit mode would deny.
    #[serde(default)]
    pub would_deny: u64,
    /// To which pods, as `denials`; the policies are those in audit mode.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audits: Vec<PodDenials>,
}

impl PoliciesStatus {
    /// How many pods are listed with what was denied to them.
    pub const MOST_DENIALS: usize = 20;
}

/// What was denied to a pod in a direction.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodDenials {
    /// The pod: `namespace/name`.
    pub pod: String,
    /// `ingress` or `egress`.
    pub direction: String,
    /// How many packets, since the pod was isolated.
    pub packets: u64,
    /// The policies that have a say in this direction.
    pub policies: Vec<String>,
}

/// The overlay on a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OverlayStatus {
    /// The backend.
    pub backend: String,
    /// Backends whose packets are taken as well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,
    /// The MTU of pods, in bytes.
    pub mtu: u32,
    /// Other nodes that are reached, each family counted.
    pub peers: usize,
    /// Nodes that are not reached, and why; some of them where there are many.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    /// How many are not reached, each family counted.
    #[serde(default)]
    pub left_out_count: usize,
}

/// A node that the overlay does not reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeftOut {
    /// The node; the own one where it cannot take part.
    pub node: String,
    /// The family of its pods: `IPv4` or `IPv6`.
    pub family: String,
    /// Why, and what to do.
    pub reason: String,
}

/// The pods' network on a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodsStatus {
    /// The node's pod prefixes.
    pub prefixes: Vec<String>,
    /// Whether the container runtime has its CNI configuration.
    pub configured: bool,
}

/// Counters of writes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Writes {
    /// Transactions (nftables) and requests (rtnetlink).
    pub transactions: u64,
    /// Kernel objects in them: elements, rules, routes, neighbours.
    pub objects: u64,
}

/// Something that does not work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FeatureProblem {
    /// The feature: `services`, `policies`, `overlay`, `pods`, `watch`.
    pub feature: String,
    /// What is wrong.
    pub message: String,
}

/// A field of an object that is not understood.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectFault {
    /// The object, as `Service default/web`.
    pub object: String,
    /// The field.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}
