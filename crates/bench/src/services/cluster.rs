//! A made-up cluster: services with one TCP port and two ready endpoints each.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use podway_model::{
    Change, ClusterState, EndpointSlice, IpFamily, Object, ObjectName, Protocol, Service,
    ServicePort, ServiceType, SliceEndpoint, SlicePort, TargetPort, TrafficPolicy,
};
use podway_plan::service::NodeContext;

/// The port of every service, and that of every endpoint.
pub(super) const PORT: u16 = 80;
pub(super) const TARGET_PORT: u16 = 8080;

/// The node that plans: none of the endpoints is on it.
pub(super) fn node() -> NodeContext {
    NodeContext {
        node: "node1".into(),
        pod_prefixes: Vec::new(),
        pod_interfaces: None,
        masquerade_all: false,
        node_port_prefixes: Vec::new(),
        localhost_node_ports: false,
        service_prefixes: BTreeSet::new(),
    }
}

/// This many services with two endpoints each.
pub(super) fn state(services: u32) -> ClusterState {
    let mut state = ClusterState::default();
    for number in 0..services {
        state.apply(Change::Upsert(Object::Service(Arc::new(service(number)))));
        let slice = Arc::new(slice(number, 2));
        state.apply(Change::Upsert(Object::EndpointSlice(slice)));
    }
    state
}

/// A service; its cluster IP is in 11.0.0.0/8.
pub(super) fn service(number: u32) -> Service {
    Service {
        name: name(number),
        revision: 1,
        labels: BTreeMap::new(),
        created: 0,
        service_type: ServiceType::ClusterIp,
        cluster_ips: vec![address(11, number)],
        external_ips: Vec::new(),
        load_balancer: Vec::new(),
        source_ranges: Vec::new(),
        ports: vec![ServicePort {
            name: "http".into(),
            protocol: Protocol::Tcp,
            port: PORT,
            target_port: TargetPort::Number(TARGET_PORT),
            node_port: None,
        }],
        selector: None,
        affinity_seconds: None,
        internal_policy: TrafficPolicy::Cluster,
        external_policy: TrafficPolicy::Cluster,
        health_check_node_port: None,
        publish_not_ready: false,
    }
}

/// The service's slice with this many endpoints, at most eight, in 12.0.0.0/8.
pub(super) fn slice(number: u32, endpoints: u32) -> EndpointSlice {
    let endpoint = |index| SliceEndpoint {
        address: address(12, number * 8 + index),
        ready: true,
        serving: true,
        terminating: false,
        node: Some("node2".into()),
        pod: None,
        zone_hints: BTreeSet::new(),
        node_hints: BTreeSet::new(),
    };
    EndpointSlice {
        name: name(number),
        revision: 1,
        service: name(number),
        family: IpFamily::V4,
        ports: vec![SlicePort {
            name: "http".into(),
            protocol: Protocol::Tcp,
            port: TARGET_PORT,
        }],
        endpoints: (0..endpoints).map(endpoint).collect(),
        weight: None,
        triggered: None,
    }
}

fn name(number: u32) -> ObjectName {
    ObjectName::new("bench", format!("service-{number}"))
}

/// The address at this place of `first`.0.0.0/8.
fn address(first: u32, place: u32) -> IpAddr {
    Ipv4Addr::from_bits((first << 24) + place).into()
}
