use serde_json::{Value, json};

use super::layout;
use crate::kinds::builtin;

/// The cells of an object that is 90 seconds old.
fn cells(kind: &str, mut object: Value) -> Vec<String> {
    let kind = builtin().iter().find(|known| known.kind == kind).unwrap();
    object["metadata"]["name"] = json!("x");
    object["metadata"]["creationTimestamp"] = json!("2026-11-20T10:00:00Z");
    let now = "2026-11-20T10:01:30Z".parse().unwrap();
    let layout = layout(kind);
    let cells = (layout.cells)(&object, now);
    assert_eq!(cells.len(), layout.columns.len(), "{}", kind.kind);
    let text = |cell: &Value| cell.as_str().map_or(cell.to_string(), str::to_owned);
    cells.iter().map(text).collect()
}

#[test]
fn every_kind_shows_an_empty_object() {
    for kind in builtin().iter() {
        assert!(
            cells(&kind.kind, json!({})).contains(&"x".to_owned()),
            "{}",
            kind.kind
        );
    }
}

#[test]
fn pods_say_why_they_do_not_run() {
    let container =
        |state: Value| json!({ "state": state, "ready": state.get("running").is_some() });
    let running = || container(json!({ "running": {} }));
    let cases: Vec<(Value, &str, &str)> = vec![
        (json!({ "phase": "Pending" }), "0/2", "Pending"),
        (
            json!({ "phase": "Running", "containerStatuses": [running(), running()] }),
            "2/2",
            "Running",
        ),
        (
            json!({ "phase": "Running", "containerStatuses": [
                running(), container(json!({ "waiting": { "reason": "CrashLoopBackOff" } })),
            ] }),
            "1/2",
            "CrashLoopBackOff",
        ),
        (
            json!({ "phase": "Failed", "containerStatuses": [
                container(json!({ "terminated": { "exitCode": 3 } })),
            ] }),
            "0/2",
            "ExitCode:3",
        ),
        (
            json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }],
                "containerStatuses": [
                    container(json!({ "terminated": { "reason": "Completed", "exitCode": 0 } })), running(),
                ] }),
            "1/2",
            "Running",
        ),
        (
            json!({ "phase": "Pending", "initContainerStatuses": [
                { "state": { "terminated": { "exitCode": 0 } } }, { "state": { "running": {} } },
            ] }),
            "0/2",
            "Init:1/2",
        ),
        (
            json!({ "phase": "Failed", "reason": "Evicted" }),
            "0/2",
            "Evicted",
        ),
    ];
    for (status, ready, word) in cases {
        let spec = json!({ "containers": [{}, {}], "initContainers": [{}, {}] });
        let shown = cells("Pod", json!({ "spec": spec, "status": status }));
        assert_eq!(
            (shown[1].as_str(), shown[2].as_str()),
            (ready, word),
            "{status}"
        );
    }
    let terminating = json!({
        "metadata": { "deletionTimestamp": "2026-11-20T10:01:00Z" }, "status": { "phase": "Running" },
    });
    assert_eq!(cells("Pod", terminating)[2], "Terminating");
}

/// Kind, object (as JSON), cells.
const ROWS: &[(&str, &str, &[&str])] = &[
    (
        "Namespace",
        r#"{"status": {"phase": "Active"}}"#,
        &["x", "Active", "90s"],
    ),
    (
        "ConfigMap",
        r#"{"data": {"a": "1"}, "binaryData": {"b": ""}}"#,
        &["x", "2", "90s"],
    ),
    (
        "Node",
        r#"{"metadata": {"labels": {"node-role.kubernetes.io/worker": ""}},
            "spec": {"unschedulable": true},
            "status": {"conditions": [{"type": "Ready", "status": "True"}],
                       "addresses": [{"type": "InternalIP", "address": "172.16.0.11"}],
                       "nodeInfo": {"kubeletVersion": "v1.33.0"}}}"#,
        &[
            "x",
            "Ready,SchedulingDisabled",
            "worker",
            "90s",
            "v1.33.0",
            "172.16.0.11",
            "<none>",
            "<unknown>",
            "<unknown>",
            "<unknown>",
        ],
    ),
    (
        "Pod",
        r#"{"spec": {"containers": [{}], "nodeName": "node1"},
            "status": {"phase": "Running", "podIPs": [{"ip": "10.244.1.2"}, {"ip": "fd00::2"}],
                       "containerStatuses": [{"ready": true, "state": {"running": {}}, "restartCount": 2,
                            "lastState": {"terminated": {"finishedAt": "2026-11-20T10:01:00Z"}}}]}}"#,
        &[
            "x",
            "1/1",
            "Running",
            "2 (30s ago)",
            "90s",
            "10.244.1.2",
            "node1",
            "<none>",
            "<none>",
        ],
    ),
    (
        "Service",
        r#"{"spec": {"type": "NodePort", "clusterIP": "10.96.0.9", "selector": {"a": "b", "c": "d"},
                     "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30080},
                               {"port": 53, "protocol": "UDP"}]}}"#,
        &[
            "x",
            "NodePort",
            "10.96.0.9",
            "<none>",
            "80:30080/TCP,53/UDP",
            "90s",
            "a=b,c=d",
        ],
    ),
    (
        "Service",
        r#"{"spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.9", "externalIPs": ["192.0.2.1"]},
            "status": {"loadBalancer": {"ingress": [{"ip": "172.16.0.200"}]}}}"#,
        &[
            "x",
            "LoadBalancer",
            "10.96.0.9",
            "172.16.0.200,192.0.2.1",
            "<none>",
            "90s",
            "<none>",
        ],
    ),
    (
        "Service",
        r#"{"spec": {"type": "ExternalName", "externalName": "example.com"}}"#,
        &[
            "x",
            "ExternalName",
            "<none>",
            "example.com",
            "<none>",
            "90s",
            "<none>",
        ],
    ),
    (
        "Endpoints",
        r#"{"subsets": [{"addresses": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}],
                         "ports": [{"port": 80}, {"port": 81}]}]}"#,
        &[
            "x",
            "10.0.0.1:80,[fd00::1]:80,10.0.0.1:81 + 1 more...",
            "90s",
        ],
    ),
    (
        "EndpointSlice",
        r#"{"addressType": "IPv4", "ports": [{"port": 80}],
            "endpoints": [{"addresses": ["10.0.0.1"]}, {"addresses": ["10.0.0.2"]}]}"#,
        &["x", "IPv4", "80", "10.0.0.1,10.0.0.2", "90s"],
    ),
    (
        "NetworkPolicy",
        r#"{"spec": {"podSelector": {"matchLabels": {"a": "b"}, "matchExpressions": [
                {"key": "e", "operator": "In", "values": ["f", "g"]},
                {"key": "h", "operator": "DoesNotExist"}]}}}"#,
        &["x", "a=b,e in (f,g),!h", "90s"],
    ),
    (
        "Event",
        r#"{"type": "Warning", "reason": "Failed", "message": "no\n", "count": 3,
            "involvedObject": {"kind": "Pod", "name": "web"},
            "source": {"component": "kubelet", "host": "n1"},
            "firstTimestamp": "2026-11-20T10:00:30Z", "lastTimestamp": "2026-11-20T10:01:20Z"}"#,
        &[
            "10s",
            "Warning",
            "Failed",
            "pod/web",
            "",
            "kubelet, n1",
            "no",
            "60s",
            "3",
            "x",
        ],
    ),
];

#[test]
fn rows_read_as_kubectl_users_know_them() {
    for (kind, object, expected) in ROWS {
        let shown = cells(kind, serde_json::from_str(object).unwrap());
        assert_eq!(shown, *expected, "{kind} {object}");
    }
}
