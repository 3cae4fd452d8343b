use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use crate::{IpFamily, ObjectName, Protocol};

/// An EndpointSlice of a Service. Slices of type FQDN never become one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointSlice {
    /// Its own name.
    pub name: ObjectName,
    /// `metadata.resourceVersion` as a number; 0 where it is none.
    pub revision: u64,
    /// Label `kubernetes.io/service-name`, in the slice's namespace.
    pub service: ObjectName,
    /// `addressType`.
    pub family: IpFamily,
    /// The ports every endpoint of the slice serves. Ports without a number
    /// are left out (kube-proxy `endpointslicecache.go`).
    pub ports: Vec<SlicePort>,
    /// The endpoints.
    pub endpoints: Vec<SliceEndpoint>,
    /// Annotation [`WEIGHT`](crate::WEIGHT), for endpoints whose pod has none.
    pub weight: Option<u8>,
    /// Annotation `endpoints.kubernetes.io/last-change-trigger-time`: when the
    /// Pod or Service changed that the slice was written for.
    pub triggered: Option<SystemTime>,
}

/// A port of a slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlicePort {
    /// Name of the Service's port; empty where it has none.
    pub name: Arc<str>,
    /// The protocol.
    pub protocol: Protocol,
    /// The port in the pod.
    pub port: u16,
}

/// An endpoint of a slice: its first address, the others are never used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SliceEndpoint {
    /// `addresses[0]`.
    pub address: IpAddr,
    /// `conditions.ready`, true where unset.
    pub ready: bool,
    /// `conditions.serving`, true where unset.
    pub serving: bool,
    /// `conditions.terminating`, false where unset.
    pub terminating: bool,
    /// `nodeName`.
    pub node: Option<Arc<str>>,
    /// `targetRef`, where it is a Pod.
    pub pod: Option<ObjectName>,
    /// `hints.forZones`.
    pub zone_hints: BTreeSet<String>,
    /// `hints.forNodes`.
    pub node_hints: BTreeSet<String>,
}
