#![allow(
    clippy::too_many_lines,
    reason = "a table of cases is read line by line, not as logic"
)]

use serde_json::json;

use super::*;
use crate::kinds::known;

mod properties;

fn service() -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "x",
        "labels": {"a": "1", "b": "2"}, "finalizers": ["k.io/one", "k.io/two"]},
        "spec": {"type": "NodePort", "ports": [
            {"name": "http", "port": 80, "nodePort": 30080, "protocol": "TCP"},
            {"name": "https", "port": 443, "nodePort": 30443, "protocol": "TCP"}]}})
}

fn pod() -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "x"},
        "spec": {"containers": [
            {"name": "a", "image": "i:1", "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}]},
            {"name": "b", "image": "i:2", "args": ["one", "two"]}],
            "volumes": [{"name": "v", "emptyDir": {"medium": "Memory"}}]}})
}

fn strategic(object: &Value, patch: &Value) -> Result<Value, PatchError> {
    let kind = known("v1", object["kind"].as_str().unwrap());
    let body = patch.to_string();
    apply(kind, PatchType::StrategicMerge, object, body.as_bytes()).map(|decoded| decoded.object)
}

#[test]
fn strategic_patches_merge_lists_by_key() {
    let cases = [
        (
            "a map is merged and null deletes",
            service(),
            json!({"metadata": {"labels": {"a": null, "c": "3"}}}),
            "/metadata/labels",
            json!({"b": "2", "c": "3"}),
        ),
        (
            "a port is found by its number",
            service(),
            json!({"spec": {"ports": [{"port": 443, "name": "tls"}]}}),
            "/spec/ports/1",
            json!({"name": "tls", "port": 443, "nodePort": 30443, "protocol": "TCP"}),
        ),
        (
            "a new port comes first, as kubectl users know it",
            service(),
            json!({"spec": {"ports": [{"port": 81, "name": "x"}]}}),
            "/spec/ports/0",
            json!({"name": "x", "port": 81}),
        ),
        (
            "a port is deleted",
            service(),
            json!({"spec": {"ports": [{"$patch": "delete", "port": 80}]}}),
            "/spec/ports/0/name",
            json!("https"),
        ),
        (
            "a list is replaced",
            service(),
            json!({"spec": {"ports": [{"$patch": "replace"}, {"port": 1, "name": "n"}]}}),
            "/spec/ports",
            json!([{"port": 1, "name": "n"}]),
        ),
        (
            "a map is replaced",
            service(),
            json!({"metadata": {"labels": {"$patch": "replace", "z": "9"}}}),
            "/metadata/labels",
            json!({"z": "9"}),
        ),
        (
            "a map is emptied",
            service(),
            json!({"metadata": {"labels": {"$patch": "delete"}}}),
            "/metadata/labels",
            json!({}),
        ),
        (
            "an explicit merge is a merge",
            service(),
            json!({"metadata": {"labels": {"$patch": "merge", "z": "9"}}}),
            "/metadata/labels",
            json!({"a": "1", "b": "2", "z": "9"}),
        ),
        (
            "a list is deleted",
            service(),
            json!({"spec": {"ports": null}}),
            "/spec",
            json!({"type": "NodePort"}),
        ),
        (
            "strings are a set",
            service(),
            json!({"metadata": {"finalizers": ["k.io/three", "k.io/one"]}}),
            "/metadata/finalizers",
            json!(["k.io/three", "k.io/one", "k.io/two"]),
        ),
        (
            "strings are deleted",
            service(),
            json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["k.io/one"]}}),
            "/metadata/finalizers",
            json!(["k.io/two"]),
        ),
        (
            "lists nest",
            pod(),
            json!({"spec": {"containers": [{"name": "a", "env": [{"name": "Y", "value": "3"}, {"name": "X", "$patch": "delete"}]}]}}),
            "/spec/containers/0/env",
            json!([{"name": "Y", "value": "3"}]),
        ),
        (
            "other lists are replaced",
            pod(),
            json!({"spec": {"containers": [{"name": "b", "args": ["three"]}]}}),
            "/spec/containers/1",
            json!({"name": "b", "image": "i:2", "args": ["three"]}),
        ),
        (
            "keys are retained",
            pod(),
            json!({"spec": {"volumes": [{"name": "v", "hostPath": {"path": "/x"}, "$retainKeys": ["name", "hostPath"]}]}}),
            "/spec/volumes",
            json!([{"name": "v", "hostPath": {"path": "/x"}}]),
        ),
        (
            "an order is set",
            pod(),
            json!({"spec": {"$setElementOrder/containers": [{"name": "c"}, {"name": "b"}, {"name": "a"}], "containers": [{"name": "c", "image": "i"}]}}),
            "/spec/containers/0",
            json!({"name": "c", "image": "i"}),
        ),
        (
            "an order alone reorders",
            service(),
            json!({"spec": {"$setElementOrder/ports": [{"port": 443}, {"port": 80}]}}),
            "/spec/ports/0/port",
            json!(443),
        ),
        (
            "an order with a deletion",
            service(),
            json!({"spec": {"$setElementOrder/ports": [{"port": 443}], "ports": [{"$patch": "delete", "port": 80}]}}),
            "/spec/ports",
            json!([{"name": "https", "port": 443, "nodePort": 30443, "protocol": "TCP"}]),
        ),
        (
            "unnamed items keep their place",
            service(),
            json!({"spec": {"$setElementOrder/ports": [{"port": 443}, {"port": 7}], "ports": [{"port": 7}]}}),
            "/spec/ports/0/port",
            json!(80),
        ),
        (
            "directives are not stored",
            service(),
            json!({"spec": {"selector": {"$patch": "merge", "app": "web"}, "sessionAffinityConfig": {"$retainKeys": ["clientIP"], "clientIP": {"timeoutSeconds": 5}}}}),
            "/spec/sessionAffinityConfig",
            json!({"clientIP": {"timeoutSeconds": 5}}),
        ),
    ];
    for (what, object, patch, at, expected) in cases {
        let patched = strategic(&object, &patch).unwrap();
        assert_eq!(
            patched.pointer(at),
            Some(&expected),
            "{what}: {patch} gave {patched:#}"
        );
    }
}

#[test]
fn addresses_of_a_node_are_replaced_as_the_kubelet_asks() {
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"},
        "status": {"addresses": [{"type": "InternalIP", "address": "1.1.1.1"}]}});
    let addresses = json!([{"$patch": "replace"}, {"type": "InternalIP", "address": "2.2.2.2"}, {"type": "InternalIP", "address": "fd00::2"}]);
    let patched = strategic(&node, &json!({"status": {"addresses": addresses}})).unwrap();
    assert_eq!(
        patched["status"]["addresses"],
        json!([{"type": "InternalIP", "address": "2.2.2.2"}, {"type": "InternalIP", "address": "fd00::2"}])
    );
}

#[test]
fn refused_patches_say_why() {
    let malformed = |text: &str| PatchError::Malformed(text.to_owned());
    let cases = [
        (
            json!({"spec": {"ports": [{"name": "x"}]}}),
            PatchError::Unprocessable {
                cause: "map: {\"name\":\"x\"} does not contain declared merge key: port".to_owned(),
            },
        ),
        (
            json!({"spec": {"ports": [{"$patch": "delete", "name": "x"}]}}),
            PatchError::Unprocessable {
                cause: "map: {\"name\":\"x\"} does not contain declared merge key: port".to_owned(),
            },
        ),
        (
            json!({"spec": {"$patch": "merg", "type": "a"}}),
            malformed("unknown patch type: \"merg\" in map: {\"type\":\"a\"}"),
        ),
        (
            json!({"spec": {"$retainKeys": ["type"], "selector": {}}}),
            malformed("patch content doesn't match retainKeys list"),
        ),
        (
            json!({"spec": {"$setElementOrder/ports": [{"port": 80}], "ports": [{"port": 443}]}}),
            malformed(
                "The order in patch list:\n[{\"port\":443}]\n doesn't match $setElementOrder list:\n[{\"port\":80}]\n",
            ),
        ),
        (
            json!([]),
            malformed("error decoding patch: the body must be a JSON object"),
        ),
    ];
    for (patch, expected) in cases {
        assert_eq!(strategic(&service(), &patch), Err(expected), "{patch}");
    }
    let wrong = strategic(&service(), &json!({"spec": {"ports": "many"}}))
        .unwrap_err()
        .to_string();
    assert!(
        wrong.starts_with(" \"\" is invalid: patch: Invalid value: "),
        "{wrong}"
    );
    assert!(wrong.ends_with("json: cannot unmarshal string into Go struct field Service.spec.ports of type []interface {}"), "{wrong}");
}

#[test]
fn json_and_merge_patches_apply_whole_or_not_at_all() {
    let kind = known("v1", "Service");
    let run = |patch, body: &str| apply(kind, patch, &service(), body.as_bytes());
    let merged = run(
        PatchType::Merge,
        r#"{"spec":{"ports":[{"port":1}]},"metadata":{"labels":{"a":null}}}"#,
    )
    .unwrap();
    assert_eq!(merged.object["spec"]["ports"], json!([{"port": 1}]));
    assert_eq!(merged.object["metadata"]["labels"], json!({"b": "2"}));
    let operations = r#"[{"op":"test","path":"/spec/type","value":"NodePort"},{"op":"replace","path":"/spec/ports/0/port","value":8080}]"#;
    assert_eq!(
        run(PatchType::Json, operations).unwrap().object["spec"]["ports"][0]["port"],
        8080
    );
    let failed = r#"[{"op":"replace","path":"/spec/type","value":"x"},{"op":"test","path":"/spec/type","value":"y"}]"#;
    assert!(matches!(
        run(PatchType::Json, failed),
        Err(PatchError::Unprocessable { .. })
    ));
    assert!(matches!(
        run(PatchType::Json, "{}"),
        Err(PatchError::Malformed(_))
    ));
    assert!(matches!(
        run(PatchType::Json, r#"[{"op":"jump","path":"/a"}]"#),
        Err(PatchError::Malformed(_))
    ));
    assert!(matches!(
        run(PatchType::Merge, "{"),
        Err(PatchError::Malformed(_))
    ));
    let unknown = run(
        PatchType::Merge,
        r#"{"spec":{"prots":[],"type":"a","type":"b"}}"#,
    )
    .unwrap();
    assert_eq!(
        unknown.strict,
        [
            "unknown field \"spec.prots\"",
            "duplicate field \"spec.type\""
        ]
    );
}

#[test]
fn copies_cannot_grow_without_bound() {
    let kind = known("v1", "Service");
    let copies: Vec<Value> = (0..64)
        .map(|n| json!({"op": "copy", "from": "/metadata", "path": format!("/metadata/x{n}")}))
        .collect();
    let body = json!(copies).to_string();
    let error = apply(kind, PatchType::Json, &service(), body.as_bytes()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("accumulated size increase of copy ops"),
        "{error}"
    );
}

#[test]
fn content_types_name_the_format() {
    for (text, expected) in [
        ("application/json-patch+json", Some(PatchType::Json)),
        (
            "application/merge-patch+json; charset=utf-8",
            Some(PatchType::Merge),
        ),
        (
            "application/strategic-merge-patch+json",
            Some(PatchType::StrategicMerge),
        ),
        ("application/json", None),
        ("", None),
    ] {
        assert_eq!(PatchType::from_content_type(text), expected, "{text:?}");
    }
}
