use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::set::FieldSet;
use super::{ApplyError, Author, Configuration, Managers, Ownership, before_first_apply};
use crate::kinds::{Kind, Part, known};

/// An object with its owners, as the server keeps it.
struct Live {
    kind: Arc<Kind>,
    object: Value,
    managers: Managers,
}

fn author(name: &str) -> Author {
    Author {
        name: name.to_owned(),
        subresource: String::new(),
    }
}

impl Live {
    fn new(kind: &str) -> Live {
        Live {
            kind: Arc::clone(known("v1", kind)),
            object: json!({ "apiVersion": "v1", "kind": kind, "metadata": { "name": "x" } }),
            managers: Managers::default(),
        }
    }

    fn ownership(&self) -> Ownership<'_> {
        Ownership::new(&self.kind, "2026-11-20T16:00:00Z".to_owned())
    }

    fn apply(&mut self, name: &str, force: bool, value: Value) -> Result<(), ApplyError> {
        let configuration = Configuration {
            value,
            author: author(name),
            part: Part::Object,
            force,
        };
        let managers = self.managers.clone();
        let applied = self
            .ownership()
            .apply(managers, &self.object, &configuration);
        (self.object, self.managers) = applied?;
        Ok(())
    }

    fn write(&mut self, name: &str, object: Value) {
        let managers = self.managers.clone();
        let ownership = self.ownership();
        let recorded = ownership.record(managers, Some(&author(name)), &self.object, &object);
        (self.managers, self.object) = (recorded.unwrap(), object);
    }

    /// `name: paths` of every manager.
    fn owners(&self) -> Vec<String> {
        let entries = self.managers.encode();
        let entries = entries.as_array().unwrap().iter();
        let paths = |entry: &Value| FieldSet::decode(&entry["fieldsV1"]).unwrap().paths();
        entries
            .map(|entry| {
                let name = entry["manager"].as_str().unwrap();
                format!("{name}: {}", paths(entry).join(" "))
            })
            .collect()
    }
}

fn data(value: Value) -> Value {
    let mut map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "x" } });
    map["data"] = value;
    map
}

#[test]
fn what_a_configuration_drops_goes_unless_somebody_else_has_it() {
    let mut live = Live::new("ConfigMap");
    live.apply("one", false, data(json!({ "a": "1", "b": "1", "c": "1" })))
        .unwrap();
    live.apply("two", false, data(json!({ "b": "1", "d": "1" })))
        .unwrap();
    assert_eq!(
        live.owners(),
        ["one: .data.a .data.b .data.c", "two: .data.b .data.d"]
    );
    live.apply("one", false, data(json!({ "a": "2" }))).unwrap();
    assert_eq!(live.object["data"], json!({ "a": "2", "b": "1", "d": "1" }));
    live.apply("two", false, data(json!({}))).unwrap();
    assert_eq!(live.object["data"], json!({ "a": "2" }));
    live.apply("one", false, json!({ "metadata": { "name": "x" } }))
        .unwrap();
    // Who applies an empty map wants the map.
    assert_eq!(live.object["data"], json!({}));
    assert_eq!(live.owners(), ["two: .data"]);
}

#[test]
fn another_owners_value_is_a_conflict_until_forced() {
    let mut live = Live::new("ConfigMap");
    live.apply("one", false, data(json!({ "a": "1", "b": "1" })))
        .unwrap();
    let mut written = live.object.clone();
    written["data"]["b"] = json!("2");
    live.write("editor", written);
    assert_eq!(live.owners(), ["one: .data.a", "editor: .data.b"]);
    let refused = live
        .apply("one", false, data(json!({ "a": "1", "b": "3" })))
        .unwrap_err();
    let ApplyError::Conflicts(conflicts) = refused else {
        panic!("{refused:?}")
    };
    let texts: Vec<_> = conflicts
        .iter()
        .map(|c| (c.manager.as_str(), c.field.as_str()))
        .collect();
    assert_eq!(texts, [("\"editor\" using v1", ".data.b")]);
    // To want what is there already is no conflict, but shared.
    live.apply("one", false, data(json!({ "a": "1", "b": "2" })))
        .unwrap();
    assert_eq!(live.owners(), ["editor: .data.b", "one: .data.a .data.b"]);
    live.apply("one", true, data(json!({ "a": "1", "b": "3" })))
        .unwrap();
    assert_eq!(live.owners(), ["one: .data.a .data.b"]);
    assert_eq!(live.object["data"]["b"], "3");
}

fn service(ports: Value) -> Value {
    let mut service = json!({ "metadata": { "name": "x" }, "spec": {} });
    service["spec"]["ports"] = ports;
    service
}

#[test]
fn list_items_are_owned_one_by_one() {
    let mut live = Live::new("Service");
    let http = json!({ "name": "http", "port": 80 });
    let dns = json!({ "name": "dns", "port": 53, "protocol": "UDP" });
    live.apply("one", false, service(json!([http, dns])))
        .unwrap();
    // What the server fills in and another program sets inside an item.
    live.object["spec"]["ports"][0]["protocol"] = json!("TCP");
    let mut written = live.object.clone();
    written["spec"]["ports"][1]["nodePort"] = json!(30053);
    live.write("controller", written);
    live.apply(
        "two",
        false,
        service(json!([{ "name": "tls", "port": 443 }])),
    )
    .unwrap();
    let ports = |live: &Live| -> Vec<Value> {
        let ports = live.object["spec"]["ports"].as_array().unwrap();
        ports.iter().map(|port| port["port"].clone()).collect()
    };
    assert_eq!(ports(&live), [80, 53, 443]);
    assert_eq!(
        live.owners()[1],
        "controller: .spec.ports[port=53,protocol=\"UDP\"].nodePort"
    );
    live.apply("one", false, service(json!([]))).unwrap();
    // The item that somebody else has a field in stays, with its key.
    assert_eq!(
        live.object["spec"]["ports"],
        json!([
            { "port": 53, "protocol": "UDP", "nodePort": 30053 },
            { "name": "tls", "port": 443 }
        ])
    );
    let twice = service(json!([{ "port": 80 }, { "port": 80, "protocol": "TCP" }]));
    assert_eq!(
        live.apply("one", false, twice),
        Err(ApplyError::Duplicate(
            "[port=80,protocol=\"TCP\"]".to_owned()
        ))
    );
}

#[test]
fn the_order_of_a_configuration_is_the_order_of_the_list() {
    let port = |number: u16| json!({ "port": number });
    let mut live = Live::new("Service");
    live.object["spec"] = json!({ "ports": [port(1), port(2), port(3), port(4)] });
    live.apply("one", false, service(json!([port(5), port(4), port(2)])))
        .unwrap();
    let ports = live.object["spec"]["ports"].as_array().unwrap();
    let order: Vec<_> = ports
        .iter()
        .map(|port| port["port"].as_u64().unwrap())
        .collect();
    assert_eq!(order, [1, 3, 5, 4, 2]);
}

#[test]
fn sets_are_owned_by_value_and_whole_objects_by_one() {
    let mut live = Live::new("Service");
    let wants = |finalizers: &[&str], selector: Value| {
        json!({
            "metadata": { "name": "x", "finalizers": finalizers }, "spec": { "selector": selector },
        })
    };
    live.apply(
        "one",
        false,
        wants(&["a.b/c", "a.b/d"], json!({ "app": "x" })),
    )
    .unwrap();
    let refused = live.apply("two", false, wants(&["a.b/d"], json!({ "tier": "y" })));
    assert!(
        matches!(refused, Err(ApplyError::Conflicts(_))),
        "{refused:?}"
    );
    live.apply("two", true, wants(&["a.b/d"], json!({ "tier": "y" })))
        .unwrap();
    assert_eq!(live.object["spec"]["selector"], json!({ "tier": "y" }));
    assert_eq!(
        live.owners(),
        [
            "one: .metadata.finalizers[=\"a.b/c\"] .metadata.finalizers[=\"a.b/d\"]",
            "two: .metadata.finalizers[=\"a.b/d\"] .spec.selector"
        ]
    );
    live.apply("one", false, json!({ "metadata": { "name": "x" } }))
        .unwrap();
    assert_eq!(live.object["metadata"]["finalizers"], json!(["a.b/d"]));
}

#[test]
fn an_object_that_nobody_applied_belongs_to_who_made_it() {
    let mut live = Live::new("ConfigMap");
    live.object["data"] = json!({ "a": "1", "b": "1" });
    live.managers = before_first_apply(&live.kind, &live.object, "");
    live.apply("one", false, data(json!({ "a": "1" }))).unwrap();
    assert_eq!(
        live.owners(),
        ["before-first-apply: .data .data.a .data.b", "one: .data.a"]
    );
    let refused = live.apply("one", false, data(json!({ "a": "2" })));
    assert!(
        matches!(refused, Err(ApplyError::Conflicts(_))),
        "{refused:?}"
    );
}

#[test]
fn kubectl_takes_over_from_its_older_self() {
    let mut live = Live::new("ConfigMap");
    let mut first = data(json!({ "a": "1", "b": "1" }));
    let applied = first.to_string();
    first["metadata"]["annotations"] =
        json!({ "kubectl.kubernetes.io/last-applied-configuration": applied });
    live.write("kubectl-client-side-apply", first);
    live.apply("kubectl", false, data(json!({ "a": "2", "b": "1" })))
        .unwrap();
    // What has been changed since is somebody else's.
    let mut written = live.object.clone();
    written["data"]["b"] = json!("2");
    live.write("editor", written);
    let refused = live.apply("kubectl", false, data(json!({ "a": "2", "b": "1" })));
    assert!(
        matches!(refused, Err(ApplyError::Conflicts(_))),
        "{refused:?}"
    );
}

#[test]
fn times_change_only_with_what_is_owned() {
    let mut live = Live::new("ConfigMap");
    live.apply("one", false, data(json!({ "a": "1" }))).unwrap();
    let before = live.managers.clone();
    let configuration = Configuration {
        value: data(json!({ "a": "1" })),
        author: author("one"),
        part: Part::Object,
        force: false,
    };
    let later = Ownership::new(&live.kind, "2026-11-20T17:00:00Z".to_owned());
    let (_, same) = later
        .apply(before.clone(), &live.object, &configuration)
        .unwrap();
    assert_eq!(same, before);
}

#[test]
fn field_sets_read_as_kubernetes_writes_them() {
    let text = json!({
        "f:metadata": { "f:labels": { ".": {}, "f:app": {} }, "f:finalizers": { "v:\"a/b\"": {} } },
        "f:spec": {
            "f:ports": {
                ".": {},
                "k:{\"port\":80,\"protocol\":\"TCP\"}": { ".": {}, "f:port": {} },
            },
        },
    });
    let set = FieldSet::decode(&text).unwrap();
    assert_eq!(set.encode(), text);
    assert_eq!(
        set.paths(),
        [
            ".metadata.labels",
            ".metadata.finalizers[=\"a/b\"]",
            ".metadata.labels.app",
            ".spec.ports",
            ".spec.ports[port=80,protocol=\"TCP\"]",
            ".spec.ports[port=80,protocol=\"TCP\"].port",
        ]
    );
    for wrong in [
        json!([]),
        json!({ "x": {} }),
        json!({ "f:a": 1 }),
        json!({ "k:{": {} }),
    ] {
        assert_eq!(FieldSet::decode(&wrong), None, "{wrong}");
    }
}

/// Sets of paths of up to three steps over a small alphabet.
fn any_set() -> impl Strategy<Value = FieldSet> {
    let step = prop::sample::select(vec!["f:a", "f:b", "v:1", "k:{\"n\":1}"]);
    let path = prop::collection::vec(step, 1..4);
    prop::collection::vec(path, 0..8).prop_map(|paths| {
        let mut set = FieldSet::default();
        for path in paths {
            let leaf = path
                .iter()
                .rev()
                .fold(json!({}), |below, step| json!({ *step: below }));
            set.add(&FieldSet::decode(&leaf).unwrap());
        }
        set
    })
}

proptest! {
    #[test]
    fn sets_behave_as_sets_of_paths(a in any_set(), b in any_set()) {
        let paths = |set: &FieldSet| std::collections::BTreeSet::from_iter(set.paths());
        let (pa, pb) = (paths(&a), paths(&b));
        let mut union = a.clone();
        union.add(&b);
        prop_assert_eq!(paths(&union), &pa | &pb);
        let mut difference = a.clone();
        difference.subtract(&b);
        prop_assert_eq!(paths(&difference), &pa - &pb);
        prop_assert_eq!(difference.is_empty(), (&pa - &pb).is_empty());
        prop_assert_eq!(paths(&a.intersection(&b)), &pa & &pb);
        prop_assert_eq!(FieldSet::decode(&a.encode()), Some(a));
    }

    /// Whoever applies owns exactly what was said, and applying it again changes
    /// nothing.
    #[test]
    fn applying_twice_is_applying_once(
        first in prop::collection::btree_map("[a-c]", "[12]", 0..3),
        second in prop::collection::btree_map("[a-c]", "[12]", 0..3),
    ) {
        let mut live = Live::new("ConfigMap");
        live.apply("one", false, data(json!(first))).unwrap();
        live.apply("two", true, data(json!(second))).unwrap();
        let before = (live.object.clone(), live.managers.clone());
        live.apply("two", false, data(json!(second))).unwrap();
        prop_assert_eq!(&before, &(live.object.clone(), live.managers.clone()));
        for (key, value) in &second {
            prop_assert_eq!(&live.object["data"][key], value);
        }
        live.apply("two", false, json!({ "metadata": { "name": "x" } })).unwrap();
        // What the second took over with another value was no longer the first's.
        for (key, value) in &first {
            let kept = second.get(key).is_none_or(|other| other == value);
            prop_assert_eq!(live.object["data"][key].is_null(), !kept);
        }
    }
}
