//! Clusters for tests: a variety by value, and any.

use std::net::Ipv4Addr;

use podway_model::{
    Change, ClusterState, IpFamily, LoadBalancerAddress, Object, ObjectRef, Protocol, Service,
    ServicePort, ServiceType, SliceEndpoint, TrafficPolicy,
};
use podway_plan::service::NodeContext;
use podway_testkit::builders::{
    self, IntoObject, endpoint, ip, name, port, prefixes, slice, slice_port, state,
};
use proptest::prelude::*;
use proptest::sample::subsequence;

pub(crate) fn context() -> NodeContext {
    NodeContext {
        node: "node1".into(),
        pod_prefixes: prefixes(&["10.244.1.0/24", "fd00:10:244:1::/64"]),
        service_prefixes: prefixes(&["10.96.0.0/16"]).into_iter().collect(),
        ..NodeContext::default()
    }
}

/// A service of two endpoints.
pub(crate) fn numbered(number: u32) -> [Object; 2] {
    let service_name = format!("ns/s{number}");
    let address = Ipv4Addr::from(0x0a60_0000 + number).to_string();
    let endpoints = [0, 1].map(|pod| {
        let address = Ipv4Addr::from(0x0af4_0000 + 2 * number + pod).to_string();
        endpoint(&address, "node2")
    });
    [
        builders::service(&service_name, &[&address], &[port("http", 80)]).object(),
        slice_of(number, &endpoints),
    ]
}

pub(crate) fn slice_of(number: u32, endpoints: &[SliceEndpoint]) -> Object {
    let service = format!("ns/s{number}");
    slice(&service, &service, &[slice_port("http", 8080)], endpoints).object()
}

/// A service with these endpoints' addresses, which are the node's where their
/// third group is 1.
fn served(service: Service, endpoints: &[&str]) -> Vec<Object> {
    let service_name = service.name.to_string();
    let ports: Vec<_> = service
        .ports
        .iter()
        .map(|port| podway_model::SlicePort {
            protocol: port.protocol,
            ..slice_port(&port.name, 8080)
        })
        .collect();
    let mut objects = vec![service.object()];
    for (index, family) in IpFamily::ALL.into_iter().enumerate() {
        let of_family = endpoints
            .iter()
            .filter(|text| IpFamily::of(&ip(text)) == family);
        let endpoints: Vec<SliceEndpoint> = of_family
            .map(|text| {
                let is_here = text.starts_with("10.244.1.") || text.starts_with("fd00:10:244:1:");
                endpoint(text, if is_here { "node1" } else { "node2" })
            })
            .collect();
        if !endpoints.is_empty() {
            let slice_name = format!("{service_name}-{index}");
            objects.push(slice(&slice_name, &service_name, &ports, &endpoints).object());
        }
    }
    objects
}

fn balanced(address: &str) -> LoadBalancerAddress {
    LoadBalancerAddress {
        address: ip(address),
        is_vip: true,
    }
}

fn with_node_port(name: &str, protocol: Protocol, number: u16, node_port: u16) -> ServicePort {
    ServicePort {
        node_port: Some(node_port),
        protocol,
        ..port(name, number)
    }
}

/// Remembers clients, and keeps their addresses.
fn sticky() -> Service {
    Service {
        affinity_seconds: Some(10_800),
        external_policy: TrafficPolicy::Local,
        service_type: ServiceType::NodePort,
        ..builders::service(
            "ns/sticky",
            &["10.96.1.2", "fd00:10:96::2"],
            &[
                with_node_port("dns", Protocol::Udp, 53, 30_053),
                with_node_port("dns-tcp", Protocol::Tcp, 53, 30_053),
            ],
        )
    }
}

/// Serves some sources only.
fn restricted(service_name: &str, cluster_ip: &str, vip: &str, node_port: u16) -> Service {
    Service {
        service_type: ServiceType::LoadBalancer,
        load_balancer: vec![balanced(vip)],
        source_ranges: prefixes(&["198.51.100.0/24", "172.16.0.0/12"]),
        internal_policy: TrafficPolicy::Local,
        ..builders::service(
            service_name,
            &[cluster_ip],
            &[with_node_port("http", Protocol::Tcp, 80, node_port)],
        )
    }
}

/// Has addresses of every kind, and a health check.
fn elsewhere() -> Service {
    Service {
        service_type: ServiceType::LoadBalancer,
        load_balancer: vec![balanced("203.0.113.8"), balanced("2001:db8:1::8")],
        external_ips: builders::ips(&["192.0.2.8"]),
        external_policy: TrafficPolicy::Local,
        health_check_node_port: Some(32_000),
        ..builders::service(
            "ns/elsewhere",
            &["10.96.1.4", "fd00:10:96::4"],
            &[with_node_port("sig", Protocol::Sctp, 80, 30_004)],
        )
    }
}

/// Services with everything that a table can hold.
pub(crate) fn variety() -> ClusterState {
    let both = [
        "10.244.1.5",
        "10.244.2.5",
        "fd00:10:244:1::5",
        "fd00:10:244:2::5",
    ];
    let plain = builders::service("ns/plain", &["10.96.1.1", "fd00:10:96::1"], &[port("", 80)]);
    let some = restricted("ns/restricted", "10.96.1.3", "203.0.113.7", 30_003);
    let nobody = restricted("ns/nobody", "10.96.1.5", "203.0.113.9", 30_005);
    let node = builders::node("node1", &["172.16.0.11", "fd00:172:16::11"], &[]);
    let objects = [
        served(plain, &both),
        served(sticky(), &both),
        served(some, &both[..2]),
        served(elsewhere(), &["10.244.2.6", "fd00:10:244:2::6"]),
        served(nobody, &[]),
        vec![node.object()],
    ];
    state(objects.concat())
}

/// Services over few names, addresses and ports, so that they meet often: at
/// addresses of the node and at node ports, too.
pub(crate) fn any_service() -> impl Strategy<Value = Service> {
    let policy = || prop_oneof![Just(TrafficPolicy::Cluster), Just(TrafficPolicy::Local)];
    let addresses = (
        subsequence(vec!["172.16.0.11", "192.0.2.1", "2001:db8:9::1"], 0..=3),
        subsequence(vec!["203.0.113.1", "172.16.0.11", "2001:db8:1::1"], 0..=2),
        subsequence(
            vec!["192.0.2.0/28", "172.16.0.0/24", "2001:db8::/64"],
            0..=2,
        ),
    );
    let port_number = prop_oneof![Just(80_u16), Just(30_001)];
    let others = (
        prop::option::of(30_001..30_003_u16),
        prop::option::of(Just(60)),
    );
    (0..3_u8, port_number, addresses, policy(), policy(), others).prop_map(
        |(index, number, (external, lb, ranges), itp, etp, (node_port, affinity_seconds))| {
            let ports = [ServicePort {
                node_port,
                ..port("http", number)
            }];
            let cluster = [format!("10.96.0.{index}"), format!("fd00:10:96::{index}")];
            Service {
                external_ips: builders::ips(&external),
                load_balancer: lb.into_iter().map(balanced).collect(),
                source_ranges: prefixes(&ranges),
                service_type: ServiceType::LoadBalancer,
                internal_policy: itp,
                external_policy: etp,
                affinity_seconds,
                health_check_node_port: Some(32_000 + u16::from(index)),
                ..builders::service(&format!("ns/p{index}"), &[&cluster[0], &cluster[1]], &ports)
            }
        },
    )
}

pub(crate) fn any_object() -> impl Strategy<Value = Object> {
    let address = (1..4_u8, 1..3_u8);
    let endpoints = prop::collection::vec((address, any::<bool>()), 0..6);
    let slices = (0..4_u8, 0..3_u8, any::<bool>(), endpoints).prop_map(
        |(index, service, is_v4, endpoints)| {
            let endpoints: Vec<SliceEndpoint> = endpoints
                .into_iter()
                .map(|((host, node), ready)| {
                    let address = match is_v4 {
                        true => format!("10.244.{node}.{host}"),
                        false => format!("fd00:10:244:{node}::{host}"),
                    };
                    SliceEndpoint {
                        ready,
                        ..endpoint(&address, &format!("node{node}"))
                    }
                })
                .collect();
            let ports = [slice_port("http", 8080)];
            let (slice_name, service) = (format!("ns/e{index}"), format!("ns/p{service}"));
            let mut slice = slice(&slice_name, &service, &ports, &endpoints);
            slice.family = if is_v4 { IpFamily::V4 } else { IpFamily::V6 };
            slice.object()
        },
    );
    prop_oneof![any_service().prop_map(IntoObject::object), slices]
}

pub(crate) fn any_change() -> impl Strategy<Value = Change> {
    let service = |i| Change::Delete(ObjectRef::Service(name(&format!("ns/p{i}"))));
    let slice = |i| Change::Delete(ObjectRef::EndpointSlice(name(&format!("ns/e{i}"))));
    prop_oneof![
        6 => any_object().prop_map(Change::Upsert),
        1 => (0..3_u8).prop_map(service),
        1 => (0..4_u8).prop_map(slice),
    ]
}
