use std::collections::BTreeSet;

use podway_model::{
    Change, IpFamily, Node, Object, ObjectRef, Pod, Service, ServiceType, SliceEndpoint,
    TrafficPolicy,
};
use podway_testkit::builders::{
    self, IntoObject, endpoint, labels, node, pod, port, prefixes, slice, slice_port,
};

use super::*;
use crate::service::{PoolEndpoint, WithoutLocal};

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
            &[SliceEndpoint {
                pod: Some(builders::name("ns/named")),
                ..endpoint("10.0.1.2", "node1")
            }],
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
#[allow(clippy::too_many_lines, reason = "a table of cases")]
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
        (
            "a pod of a slice",
            pod("ns/named", "node1", &["10.0.1.2"]).object(),
            &[],
        ),
        (
            "a weight",
            Pod {
                weight: Some(50),
                ..pod("ns/named", "node1", &["10.0.1.2"])
            }
            .object(),
            &["ns/plain"],
        ),
        (
            "a weight of a pod that no slice names",
            Pod {
                weight: Some(50),
                ..pod("ns/p", "node1", &["10.0.1.2"])
            }
            .object(),
            &[],
        ),
    ];
    for (what, object, expected) in cases {
        let mut state = cluster();
        let mut planner = ServicePlanner::new(NodeContext {
            node: "node1".into(),
            pod_prefixes: prefixes(&["10.0.1.0/24"]),
            ..NodeContext::default()
        });
        planner.plan_all(&state);
        let updates = state.apply(Change::Upsert(object));
        assert_eq!(updates.len(), 1, "{what}");
        let affected = planner.affected(&state, &updates);
        let names: BTreeSet<String> = affected.iter().map(ToString::to_string).collect();
        assert!(
            names.iter().eq(expected),
            "{what}: {names:?}, not {expected:?}"
        );
    }
}

/// A load balancer's Service with the local policy, and its health check.
fn checked(name: &str, created: i64, address: &str) -> Service {
    Service {
        created,
        service_type: ServiceType::LoadBalancer,
        external_policy: TrafficPolicy::Local,
        health_check_node_port: Some(32000),
        ..web(name, address)
    }
}

#[test]
fn a_health_check_counts_addresses_that_are_ready_here() {
    let here = |address: &str| endpoint(address, "node1");
    let weighted = |address: &str, pod: &str| SliceEndpoint {
        pod: Some(builders::name(pod)),
        ..here(address)
    };
    let terminating = SliceEndpoint {
        ready: false,
        terminating: true,
        ..here("10.0.1.4")
    };
    let draining = Pod {
        weight: Some(0),
        ..pod("ns/draining", "node1", &[])
    };
    let endpoints = [
        here("10.0.1.2"),
        weighted("10.0.1.3", "ns/draining"),
        terminating,
        endpoint("10.0.2.5", "node2"),
    ];
    let ports = [slice_port("a", 80), slice_port("b", 81)];
    let mut state = builders::state([
        checked("ns/one", 1, "10.96.0.1").object(),
        checked("ns/two", 2, "10.96.0.2").object(),
        slice("ns/s1", "ns/one", &ports, &endpoints).object(),
        draining.object(),
    ]);
    let mut planner = ServicePlanner::new(NodeContext {
        node: "node1".into(),
        ..NodeContext::default()
    });
    let change = planner.plan_all(&state);
    assert_eq!(change.health_checks.len(), 1);
    let held = |planner: &ServicePlanner| {
        let check = &planner.table().health_checks[&32000];
        (check.service.to_string(), check.local_endpoints.clone())
    };
    let count = |count| [(IpFamily::V4, count)].into();
    // Two Services of one number: the older has it.
    assert_eq!(held(&planner), ("ns/one".to_owned(), count(1)));

    let gone = Change::Delete(ObjectRef::Service(builders::name("ns/one")));
    let updates = state.apply(gone);
    planner.update(&state, &updates);
    assert_eq!(held(&planner), ("ns/two".to_owned(), count(0)));
}

#[test]
fn totals_follow_the_table() {
    let mut state = cluster();
    let remote = slice(
        "ns/s3",
        "ns/local",
        &[slice_port("a", 80)],
        &[endpoint("10.0.2.2", "node2")],
    );
    let local = Service {
        internal_policy: TrafficPolicy::Local,
        ..checked("ns/local", 1, "10.96.0.9")
    };
    let mut planner = ServicePlanner::new(NodeContext {
        node: "node1".into(),
        ..NodeContext::default()
    });
    planner.plan_all(&state);
    let before = planner.totals().clone();
    assert_eq!((before.services, before.endpoints), (2, 2));
    assert_eq!(before.without_local, BTreeMap::new());

    let updates: Vec<Update> = [local.object(), remote.object()]
        .into_iter()
        .flat_map(|object| state.apply(Change::Upsert(object)))
        .collect();
    planner.update(&state, &updates);
    let lacking = WithoutLocal {
        internal: 1,
        external: 1,
    };
    assert_eq!(planner.totals().services, 3);
    assert_eq!(planner.totals().without_local[&IpFamily::V4], lacking);

    let gone = Change::Delete(ObjectRef::Service(builders::name("ns/local")));
    let updates = state.apply(gone);
    planner.update(&state, &updates);
    let after = planner.totals();
    assert_eq!((after.services, after.endpoints), (2, 2));
    assert_eq!(after.without_local[&IpFamily::V4], WithoutLocal::default());
}

/// Weights and the slots that they get of at most so many.
#[test]
fn slots_are_as_few_as_express_the_weights() {
    type Case = (&'static [u8], usize, &'static [usize]);
    let cases: [Case; 8] = [
        (&[100, 100, 100], 1000, &[1, 1, 1]),
        (&[7], 1000, &[1]),
        (&[100, 50], 1000, &[2, 1]),
        (&[100, 0, 50], 1000, &[2, 1]),
        (&[100, 99, 1], 1000, &[100, 99, 1]),
        // Too fine for so few: rounded, none lost.
        (&[100, 99, 1], 10, &[4, 4, 1]),
        (&[1, 100], 2, &[1, 1]),
        (&[100, 100, 100], 2, &[1, 1]),
    ];
    for (weights, most, expected) in cases {
        let endpoints = weights.iter().zip(1_u8..).map(|(weight, host)| {
            let endpoint = PoolEndpoint {
                pod: None,
                local: false,
                weight: *weight,
            };
            (([10, 0, 0, host], 80).into(), endpoint)
        });
        let pool = Pool {
            endpoints: endpoints.collect(),
            affinity: None,
        };
        let slots: Vec<usize> = pool.slots(most).into_iter().map(|(_, n)| n).collect();
        assert_eq!(slots, expected, "{weights:?} in {most}");
        assert!(slots.iter().sum::<usize>() <= most);
    }
}
