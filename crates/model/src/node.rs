use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::Labels;

/// A Node, as far as the network of the others needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: Arc<str>,
    /// `metadata.resourceVersion` as a number; 0 where it is none.
    pub revision: u64,
    /// `metadata.labels`.
    pub labels: Labels,
    /// Annotations of the overlay (`flannel.alpha.coreos.com/*`) and our own
    /// (`podway.dev/*`); others are left out.
    pub annotations: Labels,
    /// `status.addresses` of type InternalIP and ExternalIP, InternalIP first.
    pub addresses: Vec<IpAddr>,
    /// `spec.podCIDRs`, at most one of each family.
    pub pod_prefixes: Vec<IpNet>,
    /// Condition Ready is True.
    pub ready: bool,
    /// Condition NetworkUnavailable; `None` where nobody has said anything.
    pub network_unavailable: Option<bool>,
    /// It is being deleted (`metadata.deletionTimestamp`), or about to be (taint
    /// `ToBeDeletedByClusterAutoscaler`): load balancers should choose others.
    pub leaving: bool,
}

impl Node {
    /// Label `topology.kubernetes.io/zone`.
    #[must_use]
    pub fn zone(&self) -> Option<&str> {
        self.labels
            .get("topology.kubernetes.io/zone")
            .map(String::as_str)
    }
}

/// A Namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// Its name.
    pub name: Arc<str>,
    /// `metadata.resourceVersion` as a number; 0 where it is none.
    pub revision: u64,
    /// Its labels, `kubernetes.io/metadata.name` included.
    pub labels: Labels,
}
