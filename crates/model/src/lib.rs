//! The words of the field as types, and the cluster's state made of them.
//!
//! Nothing here does I/O, reads a clock or knows JSON: `watch` turns Kubernetes
//! objects into these types, `plan` turns these types into tables.

#![forbid(unsafe_code)]

mod cluster_network_policy;
mod endpoint_slice;
mod name;
mod network_policy;
mod node;
mod pod;
mod protocol;
mod selector;
mod service;
mod sorted;
mod state;

pub use cluster_network_policy::{
    ClusterNetworkPolicy, ClusterPeer, ClusterPort, ClusterRule, NamespacedPods, RuleAction, Tier,
};
pub use endpoint_slice::{EndpointSlice, SliceEndpoint, SlicePort};
pub use name::{ObjectName, ServicePortName};
pub use network_policy::{MODE, NetworkPolicy, Peer, PolicyPort, PolicyRule, PortMatch};
pub use node::{Namespace, Node};
pub use pod::{ContainerPort, Pod, WEIGHT};
pub use protocol::{IpFamily, Protocol};
pub use selector::{Labels, Operator, Requirement, Selector};
pub use service::{
    LoadBalancerAddress, Service, ServicePort, ServiceType, TargetPort, TrafficPolicy,
};
pub use sorted::{Entries, Members, SortedMap, SortedSet};
pub use state::{Change, ClusterState, Object, ObjectKind, ObjectRef, Update};
