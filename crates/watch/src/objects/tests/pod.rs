use k8s_openapi::api::core::v1 as core;
use podway_model::{ContainerPort, Node, Pod};
use serde_json::json;

use super::*;

#[test]
fn a_pod_has_the_ports_that_serve() {
    let reading = read::<core::Pod>(json!({
        "metadata": {"name": "a", "namespace": "x", "uid": "u", "labels": {"app": "a"}},
        "spec": {
            "nodeName": "node1", "hostNetwork": false,
            "initContainers": [
                {"name": "once", "ports": [{"containerPort": 1}]},
                {"name": "sidecar", "restartPolicy": "Always", "ports": [{"containerPort": 2, "name": "s"}]},
            ],
            "containers": [{"name": "main", "ports": [
                {"containerPort": 80, "name": "http"}, {"containerPort": 90000},
            ]}],
        },
        "status": {
            "phase": "Running", "podIP": "10.0.0.9",
            "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }));
    assert_eq!(
        faults(&reading),
        ["spec.containers[0].ports[1].containerPort: 90000 is not a port: expected 1-65535"]
    );
    let port = |name: &str, port| ContainerPort {
        name: name.to_owned(),
        protocol: Protocol::Tcp,
        port,
    };
    let expected = Pod {
        name: ObjectName::new("x", "a"),
        uid: "u".into(),
        revision: 0,
        labels: [("app".to_owned(), "a".to_owned())].into(),
        node: Some("node1".into()),
        host_network: false,
        finished: false,
        ready: true,
        terminating: false,
        addresses: vec![ip("10.0.0.1"), ip("fd00::1")],
        ports: vec![port("http", 80), port("s", 2)],
        weight: None,
    };
    assert_eq!(reading.object, Some(Object::Pod(Arc::new(expected))));
}

#[test]
fn a_weight_is_a_number_up_to_a_hundred() {
    for (text, weight, expected) in [
        ("0", Some(0), vec![]),
        ("100", Some(100), vec![]),
        (
            "101",
            None,
            vec![
                "metadata.annotations[podway.dev/weight]: \"101\" is not a weight: expected 0-100",
            ],
        ),
        (
            "half",
            None,
            vec![
                "metadata.annotations[podway.dev/weight]: \"half\" is not a weight: expected 0-100",
            ],
        ),
    ] {
        let annotations = json!({"podway.dev/weight": text});
        let reading = read::<core::Pod>(json!({"metadata": {"annotations": annotations}}));
        assert_eq!(faults(&reading), expected, "{text}");
        let Some(Object::Pod(pod)) = reading.object else {
            panic!("no pod");
        };
        assert_eq!(pod.weight, weight, "{text}");
    }
}

#[test]
fn a_node_that_is_deleted_or_about_to_be_is_leaving() {
    let tainted = |key: &str| json!({"taints": [{"key": key, "effect": "NoSchedule"}]});
    for (metadata, spec, leaving) in [
        (json!({}), json!({}), false),
        (json!({}), tainted("node.kubernetes.io/not-ready"), false),
        (json!({}), tainted("ToBeDeletedByClusterAutoscaler"), true),
        (
            json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}),
            json!({}),
            true,
        ),
    ] {
        let reading = read::<core::Node>(json!({"metadata": metadata, "spec": spec}));
        let Some(Object::Node(node)) = reading.object else {
            panic!("no node");
        };
        assert_eq!(node.leaving, leaving, "{metadata} {spec}");
    }
}

#[test]
fn a_pod_that_has_ended_is_finished_with_its_address() {
    for (status, finished, addresses) in [
        (
            json!({"phase": "Succeeded", "podIP": "10.0.0.1"}),
            true,
            vec![ip("10.0.0.1")],
        ),
        (json!({"phase": "Failed"}), true, vec![]),
        (json!({"phase": "Pending", "podIP": ""}), false, vec![]),
    ] {
        let reading = read::<core::Pod>(json!({"metadata": {"name": "a"}, "status": status}));
        let Some(Object::Pod(pod)) = reading.object else {
            panic!("no pod");
        };
        assert_eq!(
            (pod.finished, &pod.addresses),
            (finished, &addresses),
            "{status}"
        );
        assert_eq!(&*pod.name.namespace, "default");
    }
}

#[test]
fn a_node_has_its_internal_addresses_first_and_one_prefix_a_family() {
    let reading = read::<core::Node>(json!({
        "metadata": {
            "name": "node1",
            "annotations": {"flannel.alpha.coreos.com/backend-type": "vxlan", "other": "x"},
        },
        "spec": {"podCIDRs": ["10.244.1.5/24", "10.9.0.0/24", "fd00::/64"], "podCIDR": "10.244.1.0/24"},
        "status": {
            "addresses": [
                {"type": "Hostname", "address": "node1"},
                {"type": "ExternalIP", "address": "192.0.2.1"},
                {"type": "InternalIP", "address": "172.16.0.11"},
            ],
            "conditions": [
                {"type": "Ready", "status": "False"},
                {"type": "NetworkUnavailable", "status": "True"},
            ],
        },
    }));
    assert_eq!(
        faults(&reading),
        ["spec.podCIDRs: 10.9.0.0/24 is the second prefix of its family"]
    );
    let expected = Node {
        name: "node1".into(),
        revision: 0,
        labels: [].into(),
        annotations: [(
            "flannel.alpha.coreos.com/backend-type".to_owned(),
            "vxlan".to_owned(),
        )]
        .into(),
        addresses: vec![ip("172.16.0.11"), ip("192.0.2.1")],
        pod_prefixes: vec![
            "10.244.1.0/24".parse().unwrap(),
            "fd00::/64".parse().unwrap(),
        ],
        ready: false,
        network_unavailable: Some(true),
        leaving: false,
    };
    assert_eq!(reading.object, Some(Object::Node(Arc::new(expected))));
}

#[test]
fn a_namespace_always_has_its_name_as_a_label() {
    let reading = read::<core::Namespace>(json!({"metadata": {"name": "shop"}}));
    let Some(Object::Namespace(namespace)) = reading.object else {
        panic!("no namespace");
    };
    assert_eq!(namespace.labels["kubernetes.io/metadata.name"], "shop");
}
