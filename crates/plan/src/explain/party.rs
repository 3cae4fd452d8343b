//! Who a question is about: names become objects and addresses.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;
use podway_model::{ClusterState, IpFamily, Node, ObjectName, Pod, Service};

use super::error::{ExplainError, Hint};

/// One side of a connection.
#[derive(Debug, Clone)]
pub(super) struct Party {
    pub(super) kind: Kind,
    /// Its addresses, the preferred one first; empty where it has none (yet, or
    /// any more). One where the question named an address.
    pub(super) addresses: Vec<IpAddr>,
}

/// What a side of a connection is.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// A pod with a network of its own.
    Pod(Arc<Pod>),
    /// A node, or a pod that uses its network.
    Node(Arc<str>),
    /// A Service.
    Service,
    /// An address that belongs to neither.
    Address,
}

impl Party {
    /// Reads `NS/POD`, `svc:NS/NAME`, `node:NAME` or an address.
    pub(super) fn parse(state: &ClusterState, text: &str) -> Result<Self, ExplainError> {
        if let Ok(address) = text.parse() {
            return Ok(Self::at(state, address));
        }
        if let Some(name) = text.strip_prefix("node:") {
            let name = find_node(state, name)?;
            return Ok(Self::node(state, name));
        }
        let (is_service, name) = match text.strip_prefix("svc:") {
            Some(name) => (true, name),
            None => (false, text),
        };
        let Some(name) = ObjectName::parse(name) else {
            return Err(ExplainError::Form(text.to_owned()));
        };
        if is_service {
            let service = find_service(state, &name)?;
            return Ok(Self {
                addresses: service.cluster_ips.clone(),
                kind: Kind::Service,
            });
        }
        Ok(Self::pod(state, find_pod(state, &name)?))
    }

    /// Whoever has an address.
    pub(super) fn at(state: &ClusterState, address: IpAddr) -> Self {
        let kind = match (state.pod_at(address), node_at(state, address)) {
            (Some(pod), _) => Kind::Pod(pod.clone()),
            (None, Some(node)) => Kind::Node(node),
            (None, None) => Kind::Address,
        };
        Self {
            kind,
            addresses: vec![address],
        }
    }

    fn node(state: &ClusterState, name: Arc<str>) -> Self {
        let addresses = state.node(&name).map(|node| node.addresses.clone());
        Self {
            kind: Kind::Node(name),
            addresses: addresses.unwrap_or_default(),
        }
    }

    fn pod(state: &ClusterState, pod: &Arc<Pod>) -> Self {
        match &pod.node {
            Some(node) if pod.host_network => Self::node(state, node.clone()).or(&pod.addresses),
            // A finished pod keeps its addresses in its status only.
            _ => Self {
                addresses: match pod.owns_addresses() {
                    true => pod.addresses.clone(),
                    false => Vec::new(),
                },
                kind: Kind::Pod(pod.clone()),
            },
        }
    }

    /// With these addresses if it has none: files may lack the Node object.
    fn or(mut self, addresses: &[IpAddr]) -> Self {
        if self.addresses.is_empty() {
            self.addresses = addresses.to_vec();
        }
        self
    }

    /// The node that it is, or is on.
    pub(super) fn node_name(&self) -> Option<&Arc<str>> {
        match &self.kind {
            Kind::Pod(pod) => pod.node.as_ref(),
            Kind::Node(node) => Some(node),
            Kind::Service | Kind::Address => None,
        }
    }

    /// Its first address of a family.
    pub(super) fn address_in(&self, family: IpFamily) -> Option<IpAddr> {
        let mut addresses = self.addresses.iter().copied();
        addresses.find(|address| IpFamily::of(address) == family)
    }
}

/// The node that has an address: in its status, as the one by which its own pods
/// reach it, or through a pod that uses its network.
fn node_at(state: &ClusterState, address: IpAddr) -> Option<Arc<str>> {
    if let Some(node) = state.node_at(address) {
        return Some(node.name.clone());
    }
    let is_gateway = |node: &&Arc<Node>| node.pod_prefixes.iter().any(|p| gateway(p) == address);
    if let Some(node) = state.nodes().find(is_gateway) {
        return Some(node.name.clone());
    }
    let is_hosted =
        |pod: &&Arc<Pod>| pod.host_network && !pod.finished && pod.addresses.contains(&address);
    state.pods().find(is_hosted)?.node.clone()
}

/// The address of the pods' gateway: the first of a pod prefix.
fn gateway(prefix: &IpNet) -> IpAddr {
    match prefix.network() {
        IpAddr::V4(network) => Ipv4Addr::from(u32::from(network).wrapping_add(1)).into(),
        IpAddr::V6(network) => Ipv6Addr::from(u128::from(network).wrapping_add(1)).into(),
    }
}

/// Reads `NAMESPACE/NAME`.
pub(super) fn object_name(text: &str) -> Result<ObjectName, ExplainError> {
    ObjectName::parse(text).ok_or_else(|| ExplainError::Name(text.to_owned()))
}

/// The pod of a name.
pub(super) fn find_pod<'s>(
    state: &'s ClusterState,
    name: &ObjectName,
) -> Result<&'s Arc<Pod>, ExplainError> {
    state.pod(name).ok_or_else(|| {
        let known = state.pods().map(|pod| pod.name.to_string());
        unknown_object("pod", name, known)
    })
}

/// The Service of a name.
pub(super) fn find_service<'s>(
    state: &'s ClusterState,
    name: &ObjectName,
) -> Result<&'s Arc<Service>, ExplainError> {
    state.service(name).ok_or_else(|| {
        let known = state.services().map(|service| service.name.to_string());
        unknown_object("service", name, known)
    })
}

/// The node of a name: it has a Node object, or pods are on it.
pub(super) fn find_node(state: &ClusterState, name: &str) -> Result<Arc<str>, ExplainError> {
    let objects = state.nodes().map(|node| &node.name);
    let known: BTreeSet<&Arc<str>> = objects
        .chain(state.pods().filter_map(|pod| pod.node.as_ref()))
        .collect();
    match known.get(&Arc::from(name)) {
        Some(node) => Ok(Arc::clone(node)),
        None => Err(ExplainError::Unknown {
            kind: "node",
            name: name.to_owned(),
            hint: Hint::find(name, known.iter().map(ToString::to_string), |_| true),
        }),
    }
}

/// The error for an object that does not exist.
pub(super) fn unknown_object(
    kind: &'static str,
    name: &ObjectName,
    known: impl Iterator<Item = String>,
) -> ExplainError {
    let namespace = format!("{}/", name.namespace);
    ExplainError::Unknown {
        kind,
        name: name.to_string(),
        hint: Hint::find(&name.to_string(), known, |k| k.starts_with(&namespace)),
    }
}
