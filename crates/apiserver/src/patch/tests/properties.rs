//! What kubectl relies on: the difference of two objects, applied to the first,
//! is the second; applied once more, it changes nothing; fields and items that
//! only the server has stay.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::Map;

use super::*;

/// A Service's ports and labels as tables, so that differences are plain.
#[derive(Debug, Clone, PartialEq)]
struct Content {
    labels: BTreeMap<String, String>,
    ports: Vec<(u16, BTreeMap<String, String>)>,
}

fn content() -> impl Strategy<Value = Content> {
    let fields = || {
        prop::collection::btree_map(
            prop::sample::select(vec!["name".to_owned(), "appProtocol".to_owned()]),
            "[a-c]{1,2}",
            0..3,
        )
    };
    let labels = prop::collection::btree_map("[a-d]", "[x-z]{1}", 0..4);
    let ports = prop::collection::btree_map(1_u16..6, fields(), 0..5);
    (
        labels,
        ports
            .prop_map(|ports| ports.into_iter().collect::<Vec<_>>())
            .prop_shuffle(),
    )
        .prop_map(|(labels, ports)| Content { labels, ports })
}

fn object(content: &Content) -> Value {
    let ports = content.ports.iter().map(|(port, fields)| {
        let mut item = json!({"port": port});
        for (field, value) in fields {
            item[field] = value.as_str().into();
        }
        item
    });
    let mut object = json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "web", "namespace": "x"}, "spec": {"type": "ClusterIP"}});
    let ports: Vec<Value> = ports.collect();
    if !ports.is_empty() {
        object["spec"]["ports"] = ports.into();
    }
    if !content.labels.is_empty() {
        object["metadata"]["labels"] = json!(content.labels);
    }
    object
}

fn changed(from: &BTreeMap<String, String>, to: &BTreeMap<String, String>) -> Map<String, Value> {
    let removed = from.keys().filter(|key| !to.contains_key(*key));
    let set = to
        .iter()
        .filter(|(key, value)| from.get(*key) != Some(value));
    removed
        .map(|key| (key.clone(), Value::Null))
        .chain(set.map(|(key, value)| (key.clone(), value.as_str().into())))
        .collect()
}

/// As `kubectl apply` computes it.
fn difference(from: &Content, to: &Content) -> Value {
    let empty = BTreeMap::new();
    let old: BTreeMap<u16, &BTreeMap<String, String>> = from
        .ports
        .iter()
        .map(|(port, fields)| (*port, fields))
        .collect();
    let mut ports: Vec<Value> = Vec::new();
    for (port, fields) in &to.ports {
        let mut change = changed(old.get(port).unwrap_or(&&empty), fields);
        if !change.is_empty() || !old.contains_key(port) {
            change.insert("port".to_owned(), (*port).into());
            ports.push(Value::Object(change));
        }
    }
    let gone = old
        .keys()
        .filter(|port| to.ports.iter().all(|(other, _)| other != *port));
    ports.extend(gone.map(|port| json!({"$patch": "delete", "port": port})));
    let order: Vec<Value> = to
        .ports
        .iter()
        .map(|(port, _)| json!({"port": port}))
        .collect();
    json!({"metadata": {"labels": changed(&from.labels, &to.labels)},
        "spec": {"ports": ports, "$setElementOrder/ports": order}})
}

/// An empty list or map is as good as none.
fn normal(mut object: Value) -> Value {
    for (parent, field) in [("/metadata", "labels"), ("/spec", "ports")] {
        let Some(Value::Object(parent)) = object.pointer_mut(parent) else {
            continue;
        };
        let is_empty = |v: &Value| {
            v.as_array().is_some_and(Vec::is_empty) || v.as_object().is_some_and(Map::is_empty)
        };
        if parent.get(field).is_some_and(is_empty) {
            parent.remove(field);
        }
    }
    object
}

proptest! {
    #[test]
    fn the_difference_leads_from_one_to_the_other(from in content(), to in content()) {
        let patch = difference(&from, &to);
        let patched = normal(strategic(&object(&from), &patch).unwrap());
        prop_assert_eq!(&patched, &object(&to), "by {}", patch);
        let again = normal(strategic(&patched, &patch).unwrap());
        prop_assert_eq!(again, patched, "twice {}", patch);
    }

    #[test]
    fn what_only_the_server_has_stays(from in content(), to in content()) {
        let mut server = object(&from);
        server["spec"]["clusterIP"] = "10.96.0.9".into();
        let mut ports = server["spec"]["ports"].as_array().cloned().unwrap_or_default();
        ports.push(json!({"port": 99, "name": "server"}));
        server["spec"]["ports"] = ports.into();
        let patched = strategic(&server, &difference(&from, &to)).unwrap();
        prop_assert_eq!(&patched["spec"]["clusterIP"], "10.96.0.9");
        let ports = patched["spec"]["ports"].as_array().cloned().unwrap_or_default();
        let mut own: Vec<Value> = ports.clone();
        own.retain(|port| port["port"] != 99);
        prop_assert_eq!(ports.len(), own.len() + 1, "{}", patched);
        prop_assert_eq!(json!(own), object(&to)["spec"].get("ports").cloned().unwrap_or(json!([])));
    }

    #[test]
    fn no_patch_makes_the_server_panic(patch in json_value()) {
        let _ = strategic(&service(), &patch);
        let _ = strategic(&pod(), &patch);
    }
}

/// Anything, with the words that matter more often than chance would have them.
fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        (0_i64..500).prop_map(Value::from),
        prop::sample::select(vec!["delete", "replace", "merge", "web", "a"]).prop_map(Value::from),
    ];
    let keys = prop::sample::select(vec![
        "$patch",
        "$retainKeys",
        "$setElementOrder/ports",
        "$deleteFromPrimitiveList/finalizers",
        "metadata",
        "spec",
        "ports",
        "port",
        "name",
        "labels",
        "finalizers",
        "containers",
        "$setElementOrder/containers",
        "env",
    ]);
    leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::btree_map(keys.clone().prop_map(str::to_owned), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}
