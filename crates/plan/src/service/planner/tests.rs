use std::collections::BTreeSet;

use podway_model::{Change, Node, Object, Service, SliceEndpoint};
use podway_testkit::builders::{
    self, IntoObject, endpoint, labels, node, pod, port, prefixes, slice, slice_port,
};

use super::*;

fn web(name: &str, address: &str) -> Service {
    builders::service(name, &[address], &[port("a", 80)])
}

fn hinted(zone: &str) -> SliceEndpoint {
    SliceEndpoint {
        zone_hints: [zone.to_owned()].into(),
        ..endpoint("10.0.1.1", "node1")
    }
}

fn zoned(zone: &str) -> Node {
    Node {
        labels: labels(&[("topology.kubernetes.io/zone", zone)]),
        ..node("node1", &["192.168.0.1"], &[])
    }
}

/// Two Services, the second with a zone hint, and the node.
fn cluster() -> ClusterState {
    builders::state([
        web("ns/plain", "10.96.0.1").object(),
        web("ns/hinted", "10.96.0.2").object(),
        slice(
            "ns/s1",
            "ns/plain",
            &[slice_port("a", 80)],
            &[endpoint("10.0.1.2", "node1")],
        )
        .object(),
        slice(
            "ns/s2",
            "ns/hinted",
            &[slice_port("a", 80)],
            &[hinted("z1")],
        )
        .object(),
        zoned("z1").object(),
    ])
}

#[test]
fn only_what_a_change_can_reach_is_planned_again() {
    let other_slice = |service: &str| {
        slice(
            "ns/s1",
            service,
            &[slice_port("a", 81)],
            &[endpoint("10.0.1.2", "node1")],
        )
    };
    let cases: Vec<(&str, Object, &[&str])> = vec![
        ("a slice", other_slice("ns/plain").object(), &["ns/plain"]),
        (
            "a slice that moves",
            other_slice("ns/hinted").object(),
            &["ns/hinted", "ns/plain"],
        ),
        (
            "a new service",
            web("ns/new", "10.96.0.3").object(),
            &["ns/new"],
        ),
        (
            "a heartbeat",
            Node {
                revision: 9,
                ..zoned("z1")
            }
            .object(),
            &[],
        ),
        ("another zone", zoned("z2").object(), &["ns/hinted"]),
        (
            "another node",
            node("node2", &["192.168.0.2"], &[]).object(),
            &[],
        ),
        ("a pod", pod("ns/p", "node1", &["10.0.1.2"]).object(), &[]),
    ];
    for (what, object, expected) in cases {
        let mut state = cluster();
        let mut planner = ServicePlanner::new(NodeContext {
            node: "node1".into(),
            pod_prefixes: prefixes(&["10.0.1.0/24"]),
            masquerade_all: false,
            node_port_prefixes: Vec::new(),
        });
        planner.plan_all(&state);
        let updates = state.apply(Change::Upsert(object));
        assert_eq!(updates.len(), 1, "{what}");
        let affected = planner.affected(&updates);
        let names: BTreeSet<String> = affected.iter().map(ToString::to_string).collect();
        assert!(
            names.iter().eq(expected),
            "{what}: {names:?}, not {expected:?}"
        );
    }
}
