//! What must hold of the service planner for any sequence of changes.

use podway_model::{
    Change, ClusterState, EndpointSlice, LoadBalancerAddress, Node, Object, ObjectKind, ObjectRef,
    Pod, Service, ServicePort, ServiceType, SliceEndpoint, TrafficPolicy,
};
use podway_plan::service::{self, NodeContext, ServicePlanner};
use podway_testkit::builders::{
    self, IntoObject, endpoint, ip, name, node, pod, port, prefixes, slice, slice_port,
};
use proptest::prelude::*;
use proptest::sample::subsequence;

use crate::flows::plan;

fn context() -> NodeContext {
    NodeContext {
        node: "node1".into(),
        pod_prefixes: prefixes(&["10.0.1.0/24"]),
        service_prefixes: prefixes(&["10.96.0.0/16", "10.96.1.0/24"])
            .into_iter()
            .collect(),
        ..NodeContext::default()
    }
}

fn policy() -> impl Strategy<Value = TrafficPolicy> {
    prop_oneof![Just(TrafficPolicy::Cluster), Just(TrafficPolicy::Local)]
}

/// Services over few names, addresses and ports, so that they collide often.
fn any_service() -> impl Strategy<Value = Service> {
    let addresses = (
        subsequence(vec!["10.96.0.1", "fd00:96::1", "10.96.0.2"], 0..=2),
        subsequence(vec!["192.168.9.1", "2001:db8:9::1"], 0..=2),
        subsequence(vec!["1.2.3.4", "2001:db8:1::4", "192.168.9.1"], 0..=2),
        subsequence(vec!["203.0.113.0/24", "192.168.0.0/24"], 0..=2),
    );
    let ports = subsequence(
        vec![("a", 80, 3001), ("b", 81, 3002), ("a", 81, 3001)],
        1..=2,
    );
    let types = prop_oneof![
        Just(ServiceType::ClusterIp),
        Just(ServiceType::NodePort),
        Just(ServiceType::LoadBalancer),
        Just(ServiceType::ExternalName),
    ];
    (
        0..4_usize,
        0..3_i64,
        types,
        addresses,
        ports,
        policy(),
        policy(),
    )
        .prop_map(
            |(index, created, service_type, (cluster, external, lb, ranges), ports, itp, etp)| {
                let ports: Vec<ServicePort> = ports
                    .into_iter()
                    .map(|(name, number, node_port)| ServicePort {
                        node_port: Some(node_port),
                        ..port(name, number)
                    })
                    .collect();
                Service {
                    created,
                    service_type,
                    health_check_node_port: Some(32_000 + u16::from(created > 1)),
                    external_ips: builders::ips(&external),
                    load_balancer: lb
                        .iter()
                        .map(|text| LoadBalancerAddress {
                            address: ip(text),
                            is_vip: true,
                        })
                        .collect(),
                    source_ranges: prefixes(&ranges),
                    internal_policy: itp,
                    external_policy: etp,
                    ..builders::service(&format!("ns/{index}"), &cluster, &ports)
                }
            },
        )
}

fn any_endpoint() -> impl Strategy<Value = SliceEndpoint> {
    let places = (1..4_u8, 1..4_u8);
    let hints = subsequence(vec!["a".to_owned(), "b".to_owned()], 0..=2);
    (places, any::<[bool; 3]>(), hints, 0..3_u8).prop_map(
        |((host, node), [ready, serving, terminating], zones, node_hint)| SliceEndpoint {
            ready,
            serving,
            terminating,
            zone_hints: zones.into_iter().collect(),
            pod: Some(name(&format!("ns/p{host}"))),
            node_hints: (node_hint > 0)
                .then(|| format!("node{node_hint}"))
                .into_iter()
                .collect(),
            ..endpoint(&format!("10.0.{node}.{host}"), &format!("node{node}"))
        },
    )
}

fn any_node() -> impl Strategy<Value = Node> {
    let addresses = subsequence(vec!["192.168.0.1", "203.0.113.1"], 0..=2);
    (
        1..3_u8,
        addresses,
        prop::option::of(prop_oneof![Just("a"), Just("b")]),
    )
        .prop_map(|(number, addresses, zone)| {
            let mut node = node(&format!("node{number}"), &addresses, &[]);
            let label = "topology.kubernetes.io/zone".to_owned();
            node.labels
                .extend(zone.map(|zone| (label, zone.to_owned())));
            node
        })
}

fn any_object() -> impl Strategy<Value = Object> {
    let slices = (
        0..6_u8,
        0..4_u8,
        prop::collection::vec(any_endpoint(), 0..4),
        prop::option::of(0..3_u8),
    )
        .prop_map(|(index, service, endpoints, weight)| {
            let ports = [slice_port("a", 8080), slice_port("b", 8081)];
            let slice = slice(
                &format!("ns/s{index}"),
                &format!("ns/{service}"),
                &ports,
                &endpoints,
            );
            EndpointSlice { weight, ..slice }.object()
        });
    let pods = (1..4_u8, prop::option::of(0..3_u8)).prop_map(|(host, weight)| {
        let pod = pod(&format!("ns/p{host}"), "node1", &[]);
        Pod { weight, ..pod }.object()
    });
    prop_oneof![
        4 => any_service().prop_map(IntoObject::object),
        4 => slices,
        1 => any_node().prop_map(IntoObject::object),
        2 => pods,
    ]
}

fn any_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        8 => any_object().prop_map(Change::Upsert),
        1 => (0..4_u8).prop_map(|i| Change::Delete(ObjectRef::Service(name(&format!("ns/{i}"))))),
        1 => (0..6_u8).prop_map(|i| Change::Delete(ObjectRef::EndpointSlice(name(&format!("ns/s{i}"))))),
        1 => Just(Change::Delete(ObjectRef::Node("node1".into()))),
        1 => prop::collection::vec(any_service(), 0..3).prop_map(|services| {
            let objects = services.into_iter().map(IntoObject::object);
            Change::Replace(ObjectKind::Service, objects.collect())
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens, the table is the one that a planner from nothing makes,
    /// and the returned change is exactly what differs.
    #[test]
    fn incremental_equals_from_scratch(
        batches in prop::collection::vec(prop::collection::vec(any_change(), 1..4), 1..12)
    ) {
        let mut state = ClusterState::default();
        let mut planner = ServicePlanner::new(context());
        for changes in batches {
            let updates: Vec<_> = changes.into_iter().flat_map(|change| state.apply(change)).collect();
            let before = planner.table().clone();
            let change = planner.update(&state, &updates);
            let scratch = plan(&state, &context());
            prop_assert_eq!(planner.table(), &scratch);
            prop_assert_eq!(&change, &service::diff(&before, &scratch));
        }
    }

    /// The order in which objects arrive leaves no trace.
    #[test]
    fn order_does_not_matter(
        (objects, shuffled) in prop::collection::vec(any_object(), 1..16)
            .prop_map(distinct)
            .prop_flat_map(|objects| (Just(objects.clone()), Just(objects).prop_shuffle()))
    ) {
        let tables = [objects, shuffled].map(|objects| {
            let mut state = ClusterState::default();
            let mut planner = ServicePlanner::new(context());
            for object in objects {
                let updates = state.apply(Change::Upsert(object));
                planner.update(&state, &updates);
            }
            planner.table().clone()
        });
        prop_assert_eq!(&tables[0], &tables[1]);
    }

    /// A table holds every pool that its routes name, none of them empty, and
    /// no other; and each cluster IP has its place.
    #[test]
    fn tables_are_whole(objects in prop::collection::vec(any_object(), 1..16)) {
        let table = plan(&builders::state(objects), &context());
        let named: std::collections::BTreeSet<_> =
            table.routes.values().flat_map(|route| route.pools().cloned()).collect();
        let held: std::collections::BTreeSet<_> = table.pools.keys().cloned().collect();
        prop_assert_eq!(named, held);
        for (id, pool) in &table.pools {
            prop_assert!(pool.open().next().is_some(), "{} has nobody open", id);
        }
    }

    #[test]
    fn applying_a_difference_arrives(
        one in prop::collection::vec(any_object(), 0..16),
        other in prop::collection::vec(any_object(), 0..16),
    ) {
        let [one, other] = [one, other].map(|objects| plan(&builders::state(objects), &context()));
        let change = service::diff(&one, &other);
        prop_assert_eq!(change.is_empty(), one == other);
        let mut arrived = one;
        service::apply(&mut arrived, &change);
        prop_assert_eq!(arrived, other);
    }
}

/// The last of each name: what order cannot change.
fn distinct(objects: Vec<Object>) -> Vec<Object> {
    let by_name: std::collections::BTreeMap<_, _> = objects
        .into_iter()
        .map(|object| (object.reference(), object))
        .collect();
    by_name.into_values().collect()
}

#[test]
fn a_slice_of_one_service_changes_nothing_of_another() {
    let web = |name: &str, address: &str| builders::service(name, &[address], &[port("a", 80)]);
    let mut state = builders::state([
        web("ns/one", "10.96.0.1").object(),
        web("ns/two", "10.96.0.2").object(),
    ]);
    let mut planner = ServicePlanner::new(context());
    planner.plan_all(&state);
    let slice = slice(
        "ns/s",
        "ns/two",
        &[slice_port("a", 80)],
        &[endpoint("10.0.1.1", "node1")],
    );
    let updates = state.apply(Change::Upsert(slice.object()));
    let change = planner.update(&state, &updates);
    let names: Vec<String> = change
        .routes
        .keys()
        .map(ToString::to_string)
        .chain(change.pools.keys().map(ToString::to_string))
        .collect();
    assert_eq!(
        names,
        ["10.96.0.2:80/tcp", "ns/two:a IPv4 cluster"],
        "{change:#?}"
    );
}

#[test]
fn the_refused_service_gets_the_frontend_when_the_holder_goes() {
    let with = |name: &str, created: i64, cluster_ip: &str| Service {
        created,
        external_ips: vec![ip("192.168.99.11")],
        ..builders::service(name, &[cluster_ip], &[port("a", 80)])
    };
    let mut state = builders::state([
        with("ns/old", 1, "10.96.0.1").object(),
        with("ns/young", 2, "10.96.0.2").object(),
    ]);
    let mut planner = ServicePlanner::new(context());
    planner.plan_all(&state);
    let conflicts: Vec<String> = planner
        .conflicts()
        .map(|c| format!("{}: {} before {}", c.frontend, c.holder, c.refused))
        .collect();
    assert_eq!(
        conflicts,
        ["192.168.99.11:80/tcp: ns/old:a before ns/young:a"]
    );
    let updates = state.apply(Change::Delete(ObjectRef::Service(name("ns/old"))));
    let change = planner.update(&state, &updates);
    assert_eq!(planner.conflicts().count(), 0);
    let owners: Vec<_> = change
        .routes
        .values()
        .map(|delta| delta.after.as_ref().map(|route| route.service.to_string()))
        .collect();
    assert_eq!(owners, [None, Some("ns/young:a".to_owned())], "{change:#?}");
}
