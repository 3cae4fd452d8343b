use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::{Labels, ObjectName, Protocol};

/// A Service, as far as a node's network needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: ObjectName,
    /// `metadata.resourceVersion` as a number; 0 where it is none.
    pub revision: u64,
    /// Its labels, where it is of type LoadBalancer: what announces addresses
    /// selects by them, and nobody else.
    pub labels: Labels,
    /// `metadata.creationTimestamp` in seconds since the epoch; the older of two
    /// Services that claim one frontend keeps it.
    pub created: i64,
    /// `spec.type`.
    pub service_type: ServiceType,
    /// `spec.clusterIPs`; empty for a headless Service.
    pub cluster_ips: Vec<IpAddr>,
    /// `spec.externalIPs`.
    pub external_ips: Vec<IpAddr>,
    /// `status.loadBalancer.ingress`, the entries with an address.
    pub load_balancer: Vec<LoadBalancerAddress>,
    /// `spec.loadBalancerSourceRanges`.
    pub source_ranges: Vec<IpNet>,
    /// `spec.ports`.
    pub ports: Vec<ServicePort>,
    /// `spec.selector`; `None` where the endpoints are somebody else's work.
    pub selector: Option<Labels>,
    /// `spec.sessionAffinity: ClientIP`, with its timeout in seconds (1-86400).
    pub affinity_seconds: Option<u32>,
    /// `spec.internalTrafficPolicy`.
    pub internal_policy: TrafficPolicy,
    /// `spec.externalTrafficPolicy`.
    pub external_policy: TrafficPolicy,
    /// `spec.healthCheckNodePort`.
    pub health_check_node_port: Option<u16>,
    /// `spec.publishNotReadyAddresses`.
    pub publish_not_ready: bool,
}

/// `spec.type` of a Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServiceType {
    /// Reached by its cluster addresses only.
    ClusterIp,
    /// And by a port of every node.
    NodePort,
    /// And by addresses of a load balancer.
    LoadBalancer,
    /// A DNS alias: no proxy serves it.
    ExternalName,
}

/// Which endpoints a class of traffic may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TrafficPolicy {
    /// All of the cluster.
    Cluster,
    /// Those of this node.
    Local,
}

/// One address of a load balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadBalancerAddress {
    /// The address.
    pub address: IpAddr,
    /// `ipMode`: false for `Proxy`, whose traffic must leave the node and pass
    /// the real load balancer (KEP-1860).
    pub is_vip: bool,
}

/// One port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name; empty where it has none.
    pub name: Arc<str>,
    /// Its protocol.
    pub protocol: Protocol,
    /// The port clients use.
    pub port: u16,
    /// What it leads to in the pod. Only those who fill EndpointSlices read it.
    pub target_port: TargetPort,
    /// The port of every node, where there is one.
    pub node_port: Option<u16>,
}

/// `targetPort` of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetPort {
    /// A number.
    Number(u16),
    /// The name of a container port, resolved for each pod.
    Name(String),
}
