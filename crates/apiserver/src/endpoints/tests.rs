#![allow(
    clippy::too_many_lines,
    reason = "a table of cases is read line by line, not as logic"
)]

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::json;

use super::*;

mod fixpoint;

fn service(spec: &Value) -> Value {
    let mut service = json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"namespace": "default", "name": "web", "uid": "service-uid", "labels": {"team": "a"}},
        "spec": {"selector": {"app": "web"}, "type": "ClusterIP", "clusterIP": "10.96.0.10",
            "ipFamilies": ["IPv4", "IPv6"],
            "ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}]}});
    for (key, value) in spec.as_object().unwrap() {
        service["spec"][key] = value.clone();
    }
    service
}

fn pod(name: &str, number: usize, changes: &Value) -> Value {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": "default", "name": name, "uid": format!("uid-{name}"), "labels": {"app": "web"}},
        "spec": {"nodeName": "node1", "containers": [{"name": "c",
            "ports": [{"name": "web", "containerPort": 8080, "protocol": "TCP"}]}]},
        "status": {"phase": "Running",
            "podIPs": [{"ip": format!("10.244.{}.{}", number / 200, number % 200 + 1)}, {"ip": format!("fd00::{:x}", number + 1)}],
            "conditions": [{"type": "Ready", "status": "True"}]}});
    json_patch::merge(&mut pod, changes);
    pod
}

fn run(
    service: Option<&Value>,
    pods: &[Value],
    slices: &[Value],
    endpoints: Option<&Value>,
) -> Vec<Write> {
    let zones = BTreeMap::from([("node1".to_owned(), "zone-a".to_owned())]);
    let pods: Vec<&Value> = pods.iter().collect();
    let slices: Vec<&Value> = slices.iter().collect();
    reconcile(&Observed {
        namespace: "default",
        name: "web",
        service,
        pods: &pods,
        zones: &zones,
        slices: &slices,
        endpoints,
    })
}

fn created(writes: &[Write], kind: &str) -> Vec<Value> {
    let of_kind = writes.iter().filter_map(|write| match write {
        Write::Create(k, value) if k.kind == kind => Some(value.clone()),
        _ => None,
    });
    of_kind.collect()
}

#[test]
fn a_pod_becomes_an_endpoint_of_each_family() {
    let writes = run(
        Some(&service(&json!({}))),
        &[pod("a", 0, &json!({}))],
        &[],
        None,
    );
    let slices = created(&writes, "EndpointSlice");
    let endpoint = |address: &str| {
        json!([{"addresses": [address],
            "conditions": {"ready": true, "serving": true, "terminating": false},
            "nodeName": "node1", "zone": "zone-a",
            "targetRef": {"kind": "Pod", "namespace": "default", "name": "a", "uid": "uid-a"}}])
    };
    assert_eq!(slices.len(), 2, "{writes:#?}");
    assert_eq!(slices[0]["addressType"], "IPv4");
    assert_eq!(slices[0]["endpoints"], endpoint("10.244.0.1"));
    assert_eq!(slices[1]["addressType"], "IPv6");
    assert_eq!(slices[1]["endpoints"], endpoint("fd00::1"));
    assert_eq!(
        slices[0]["ports"],
        json!([{"name": "http", "port": 8080, "protocol": "TCP"}])
    );
    assert_eq!(
        slices[0]["metadata"]["labels"],
        json!({"team": "a", "kubernetes.io/service-name": "web",
            "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"})
    );
    assert_eq!(
        slices[0]["metadata"]["ownerReferences"][0]["uid"],
        "service-uid"
    );
    let endpoints = created(&writes, "Endpoints");
    assert_eq!(
        endpoints[0]["subsets"],
        json!([{"addresses": [{"ip": "10.244.0.1", "nodeName": "node1",
            "targetRef": {"kind": "Pod", "namespace": "default", "name": "a", "uid": "uid-a"}}],
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}]}])
    );
}

#[test]
fn the_state_of_a_pod_decides_its_conditions() {
    let deleting = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
    let not_ready = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
    let mut stuck = deleting.clone();
    json_patch::merge(&mut stuck, &not_ready);
    // What the pod is, publishNotReadyAddresses, then ready, serving and
    // terminating in the slice and the list in the Endpoints; None: absent.
    type Conditions = Option<(bool, bool, bool)>;
    let cases: Vec<(&str, Value, bool, Conditions, Option<&str>)> = vec![
        (
            "ready",
            json!({}),
            false,
            Some((true, true, false)),
            Some("addresses"),
        ),
        (
            "not ready",
            not_ready.clone(),
            false,
            Some((false, false, false)),
            Some("notReadyAddresses"),
        ),
        (
            "not ready, published",
            not_ready,
            true,
            Some((true, false, false)),
            Some("addresses"),
        ),
        (
            "terminating",
            deleting.clone(),
            false,
            Some((false, true, true)),
            None,
        ),
        (
            "terminating, published",
            deleting,
            true,
            Some((true, true, true)),
            Some("addresses"),
        ),
        (
            "terminating, not ready",
            stuck,
            false,
            Some((false, false, true)),
            None,
        ),
        (
            "finished",
            json!({"status": {"phase": "Succeeded"}}),
            false,
            None,
            None,
        ),
        (
            "failed",
            json!({"status": {"phase": "Failed"}}),
            true,
            None,
            None,
        ),
        (
            "without address",
            json!({"status": {"podIPs": null}}),
            false,
            None,
            None,
        ),
        (
            "of another label",
            json!({"metadata": {"labels": {"app": "api"}}}),
            false,
            None,
            None,
        ),
        (
            "on the host network",
            json!({"spec": {"hostNetwork": true}}),
            false,
            Some((true, true, false)),
            Some("addresses"),
        ),
    ];
    for (what, change, publish, conditions, list) in cases {
        let service = service(&json!({"publishNotReadyAddresses": publish}));
        let writes = run(Some(&service), &[pod("a", 0, &change)], &[], None);
        let slices = created(&writes, "EndpointSlice");
        let seen = &slices[0]["endpoints"][0]["conditions"];
        let expected = conditions.map_or(Value::Null, |(ready, serving, terminating)| {
            json!({"ready": ready, "serving": serving, "terminating": terminating})
        });
        assert_eq!(*seen, expected, "{what}: {writes:#?}");
        let endpoints = created(&writes, "Endpoints");
        let subset = &endpoints[0]["subsets"][0];
        let lists: Vec<&str> = ["addresses", "notReadyAddresses"]
            .into_iter()
            .filter(|l| subset.get(l).is_some())
            .collect();
        assert_eq!(lists, Vec::from_iter(list), "{what}: {writes:#?}");
    }
}

#[test]
fn a_named_port_is_resolved_on_each_pod() {
    let named = json!({"ipFamilies": ["IPv4"], "ports": [{"name": "http", "port": 80, "targetPort": "web", "protocol": "TCP"}]});
    let port = |number: i32, protocol: &str| json!({"spec": {"containers": [{"name": "c", "ports": [{"name": "web", "containerPort": number, "protocol": protocol}]}]}});
    let sidecar = json!({"spec": {"containers": [{"name": "c"}], "initContainers": [
        {"name": "init", "ports": [{"name": "web", "containerPort": 1}]},
        {"name": "side", "restartPolicy": "Always", "ports": [{"name": "web", "containerPort": 9}]}]}});
    let pods = [
        pod("a", 0, &port(8080, "TCP")),
        pod("b", 1, &port(8081, "TCP")),
        pod("c", 2, &port(8080, "TCP")),
        pod("d", 3, &port(8080, "UDP")),
        pod("e", 4, &sidecar),
    ];
    let writes = run(Some(&service(&named)), &pods, &[], None);
    let mut seen: Vec<(Value, usize)> = created(&writes, "EndpointSlice")
        .iter()
        .map(|s| {
            (
                s["ports"][0]["port"].clone(),
                s["endpoints"].as_array().unwrap().len(),
            )
        })
        .collect();
    seen.sort_by_key(|(port, _)| port.as_i64());
    assert_eq!(
        seen,
        [
            (Value::Null, 1),
            (json!(9), 1),
            (json!(8080), 2),
            (json!(8081), 1)
        ],
        "{writes:#?}"
    );
    let subsets = &created(&writes, "Endpoints")[0]["subsets"];
    assert_eq!(
        subsets.as_array().unwrap().len(),
        3,
        "the pod without the port is in none: {subsets:#}"
    );
}

#[test]
fn a_headless_service_is_marked_and_names_its_pods() {
    let headless = json!({"clusterIP": "None"});
    let named = json!({"spec": {"hostname": "web-0", "subdomain": "web"}});
    let elsewhere = json!({"spec": {"hostname": "web-1", "subdomain": "other"}});
    let writes = run(
        Some(&service(&headless)),
        &[pod("a", 0, &named), pod("b", 1, &elsewhere)],
        &[],
        None,
    );
    for object in created(&writes, "EndpointSlice")
        .iter()
        .chain(&created(&writes, "Endpoints"))
    {
        assert_eq!(
            object["metadata"]["labels"]["service.kubernetes.io/headless"], "",
            "{object:#}"
        );
    }
    let slice = &created(&writes, "EndpointSlice")[0];
    assert_eq!(slice["endpoints"][0]["hostname"], "web-0");
    assert_eq!(slice["endpoints"][1].get("hostname"), None);
}

#[test]
fn manual_endpoints_are_mirrored_and_never_written() {
    let outside = service(&json!({"selector": null}));
    let endpoints = json!({"apiVersion": "v1", "kind": "Endpoints",
        "metadata": {"namespace": "default", "name": "web", "uid": "e", "labels": {"l": "v"},
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "note": "n"}},
        "subsets": [{"addresses": [{"ip": "172.16.0.250"}, {"ip": "fd00:172:16::250"}],
            "notReadyAddresses": [{"ip": "172.16.0.251"}], "ports": [{"port": 80, "protocol": "TCP"}]}]});
    let writes = run(
        Some(&outside),
        &[pod("a", 0, &json!({}))],
        &[],
        Some(&endpoints),
    );
    let slices = created(&writes, "EndpointSlice");
    assert_eq!(writes.len(), 2, "{writes:#?}");
    assert_eq!(
        slices[0]["endpoints"],
        json!([{"addresses": ["172.16.0.250"], "conditions": {"ready": true}},
            {"addresses": ["172.16.0.251"], "conditions": {"ready": false}}])
    );
    assert_eq!(
        slices[1]["endpoints"][0]["addresses"],
        json!(["fd00:172:16::250"])
    );
    let metadata = &slices[0]["metadata"];
    assert_eq!(metadata["annotations"], json!({"note": "n"}));
    assert_eq!(metadata["ownerReferences"][0]["kind"], "Endpoints");
    assert_eq!(
        metadata["labels"],
        json!({"l": "v", "kubernetes.io/service-name": "web",
            "endpointslice.kubernetes.io/managed-by": "endpointslicemirroring-controller.k8s.io"})
    );
    let gone = run(Some(&outside), &[], &slices, None);
    assert!(
        gone.iter()
            .all(|w| matches!(w, Write::Delete(k, _) if k.kind == "EndpointSlice")),
        "{gone:#?}"
    );
    assert_eq!(gone.len(), 2);
    let mut skipped = endpoints.clone();
    skipped["metadata"]["labels"]["endpointslice.kubernetes.io/skip-mirror"] = "true".into();
    assert_eq!(run(Some(&outside), &[], &[], Some(&skipped)), []);
    assert_eq!(
        run(None, &[], &[], Some(&endpoints)),
        [],
        "manual Endpoints outlive the service"
    );
}

#[test]
fn what_was_made_goes_with_the_service_and_nothing_else() {
    let pods = [pod("a", 0, &json!({}))];
    let made = run(Some(&service(&json!({}))), &pods, &[], None);
    let mut slices = created(&made, "EndpointSlice");
    let mut foreign = slices[0].clone();
    foreign["metadata"]["name"] = "custom".into();
    foreign["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"] = "somebody".into();
    slices.push(foreign);
    let endpoints = created(&made, "Endpoints").remove(0);
    let external = service(&json!({"type": "ExternalName"}));
    for service in [None, Some(&external)] {
        let writes = run(service, &pods, &slices, Some(&endpoints));
        let deleted: Vec<(&str, &str)> = writes
            .iter()
            .filter_map(|w| match w {
                Write::Delete(kind, name) => Some((kind.kind.as_str(), name.as_str())),
                _ => None,
            })
            .collect();
        assert_eq!(deleted.len(), 3, "{writes:#?}");
        assert_eq!(writes.len(), 3, "{writes:#?}");
        assert!(
            !deleted.contains(&("EndpointSlice", "custom")),
            "{writes:#?}"
        );
        assert!(deleted.contains(&("Endpoints", "web")), "{writes:#?}");
    }
}

#[test]
fn large_services_are_cut_into_slices_and_change_one_at_a_time() {
    let service = service(&json!({"ipFamilies": ["IPv4"]}));
    let mut pods: Vec<Value> = (0..250)
        .map(|n| pod(&format!("p{n:03}"), n, &json!({})))
        .collect();
    let made = run(Some(&service), &pods, &[], None);
    let slices = created(&made, "EndpointSlice");
    let sizes: Vec<usize> = slices
        .iter()
        .map(|s| s["endpoints"].as_array().unwrap().len())
        .collect();
    assert_eq!(sizes, [100, 100, 50]);
    let names: BTreeSet<&str> = slices
        .iter()
        .map(|s| s["metadata"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(names.len(), 3, "{names:?}");
    let endpoints = created(&made, "Endpoints").remove(0);
    assert_eq!(run(Some(&service), &pods, &slices, Some(&endpoints)), []);

    pods[120] = pod(
        "p120",
        120,
        &json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}}),
    );
    let writes = run(Some(&service), &pods, &slices, Some(&endpoints));
    assert_eq!(writes.len(), 2, "one slice and the Endpoints");
    pods[120] = pod("q120", 320, &json!({}));
    let writes = run(Some(&service), &pods, &slices, Some(&endpoints));
    assert_eq!(
        writes.len(),
        2,
        "a replaced pod takes the place of the old one"
    );
}
