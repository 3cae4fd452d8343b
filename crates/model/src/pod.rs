use std::net::IpAddr;
use std::sync::Arc;

use crate::{Labels, ObjectName, Protocol};

/// The annotation of a Pod or an EndpointSlice that says how many connections
/// its endpoints get in proportion to others: 0 to 100, where 100 is the weight
/// of endpoints without it and 0 drains.
pub const WEIGHT: &str = "podway.dev/weight";

/// A Pod, as far as a node's network needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its name.
    pub name: ObjectName,
    /// `metadata.uid`: a pod of the same name with another uid is another pod.
    pub uid: Arc<str>,
    /// `metadata.resourceVersion` as a number; 0 where it is none.
    pub revision: u64,
    /// `metadata.labels`.
    pub labels: Labels,
    /// `spec.nodeName`.
    pub node: Option<Arc<str>>,
    /// `spec.hostNetwork`: its addresses are its node's.
    pub host_network: bool,
    /// Phase Succeeded or Failed: the status keeps its addresses although they
    /// may have been given to another pod (kubernetes#92697).
    pub finished: bool,
    /// Condition Ready is True.
    pub ready: bool,
    /// `metadata.deletionTimestamp` is set.
    pub terminating: bool,
    /// `status.podIPs`, both families.
    pub addresses: Vec<IpAddr>,
    /// Ports of containers and of restartable init containers.
    pub ports: Vec<ContainerPort>,
    /// Annotation [`WEIGHT`], which goes before that of its EndpointSlices.
    pub weight: Option<u8>,
}

impl Pod {
    /// Whether the pod has a network of its own, with addresses that are its.
    #[must_use]
    pub fn owns_addresses(&self) -> bool {
        !self.host_network && !self.finished
    }
}

/// `containers[].ports[]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerPort {
    /// Its name; empty where it has none.
    pub name: String,
    /// Its protocol.
    pub protocol: Protocol,
    /// The port.
    pub port: u16,
}
