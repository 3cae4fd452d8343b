#![allow(
    clippy::too_many_lines,
    reason = "a table of cases is read line by line, not as logic"
)]

use jiff::Timestamp;
use serde_json::{Value, json};

use super::json_path::JsonPath;
use super::{accepted, established, kinds, settle};
use crate::kinds::{Kind, Part, known};

/// A definition of Widgets with this schema of `spec`.
fn definition(spec: Value) -> Value {
    let mut schema = json!({ "type": "object", "required": ["spec"], "properties": {
        "status": { "type": "object", "properties": { "ready": { "type": "boolean" } } },
    } });
    schema["properties"]["spec"] = spec;
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "widgets.example.com" },
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": { "plural": "widgets", "kind": "Widget", "shortNames": ["wd"] },
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": schema },
                "subresources": { "status": {}, "scale": {
                    "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas",
                } },
            }],
        },
    })
}

fn admitted(definition: Value) -> Result<Value, Vec<String>> {
    let kind = known("apiextensions.k8s.io/v1", "CustomResourceDefinition");
    let decoded = kind.decode_value(definition).unwrap();
    assert_eq!(decoded.strict, [""; 0]);
    let admitted = kind.admit_create(decoded.object);
    admitted.map_err(|invalid| invalid.errors.iter().map(ToString::to_string).collect())
}

fn widget(spec: Value) -> Kind {
    let mut definition = admitted(definition(spec)).unwrap();
    definition["status"] = settle(&definition, &[], Timestamp::UNIX_EPOCH);
    kinds(&definition).remove(0)
}

fn spec_schema() -> Value {
    json!({
        "type": "object", "required": ["size"],
        "properties": {
            "size": { "type": "integer", "minimum": 1, "maximum": 10 },
            "replicas": { "type": "integer", "format": "int32", "default": 1 },
            "mode": { "type": "string", "enum": ["fast", "slow"], "default": "fast" },
            "name": { "type": "string", "pattern": "^[a-z]+$", "maxLength": 5 },
            "empty": { "type": "string", "default": "" },
            "port": { "x-kubernetes-int-or-string": true },
            "labels": { "type": "object", "additionalProperties": { "type": "string" } },
            "open": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
            "maybe": { "type": "string", "nullable": true },
            "address": { "type": "string", "format": "ipv4" },
            "rules": {
                "type": "array", "maxItems": 2, "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["host"],
                "items": { "type": "object", "required": ["host"], "properties": {
                    "host": { "type": "string" }, "weight": { "type": "integer", "default": 1 },
                } },
            },
            "either": { "type": "object", "properties": {
                "a": { "type": "string" }, "b": { "type": "string" },
            }, "oneOf": [{ "required": ["a"] }, { "required": ["b"] }] },
        },
    })
}

fn object(spec: Value) -> Value {
    let mut object = json!({ "apiVersion": "example.com/v1", "kind": "Widget",
        "metadata": { "name": "w", "namespace": "d" } });
    object["spec"] = spec;
    object
}

#[test]
fn unknown_fields_are_pruned_and_defaults_filled_in() {
    let kind = widget(spec_schema());
    let given = object(json!({
        "size": 1, "sise": 2, "labels": { "any": "x" }, "open": { "x": { "y": 1 } }, "maybe": null,
        "rules": [{ "host": "a", "hots": "b" }], "mode": null,
    }));
    let decoded = kind.decode_value(given).unwrap();
    assert_eq!(
        decoded.strict,
        [
            "unknown field \"spec.rules[0].hots\"",
            "unknown field \"spec.sise\""
        ]
    );
    let created = kind.admit_create(decoded.object).unwrap();
    assert_eq!(
        created["spec"],
        json!({
            "size": 1, "replicas": 1, "mode": "fast", "empty": "", "labels": { "any": "x" },
            "open": { "x": { "y": 1 } }, "maybe": null, "rules": [{ "host": "a", "weight": 1 }],
        })
    );
    assert_eq!(created["metadata"]["generation"], 1);
}

#[test]
fn values_are_held_to_the_schema() {
    let kind = widget(spec_schema());
    let cases: &[(Value, &[&str])] = &[
        (
            json!({ "size": 3, "port": "http", "address": "10.0.0.1", "either": { "a": "" } }),
            &[],
        ),
        (json!({}), &["spec.size: Required value"]),
        (
            json!({ "size": "3" }),
            &[
                "spec.size: Invalid value: \"string\": spec.size in body must be of type integer: \
               \"string\"",
            ],
        ),
        (
            json!({ "size": 0 }),
            &[
                "spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1",
            ],
        ),
        (
            json!({ "size": 1, "mode": "x" }),
            &["spec.mode: Unsupported value: \"x\": supported values: \"fast\", \"slow\""],
        ),
        (
            json!({ "size": 1, "name": "A" }),
            &["spec.name: Invalid value: \"A\": spec.name in body should match '^[a-z]+$'"],
        ),
        (
            json!({ "size": 1, "name": "abcdef" }),
            &["spec.name: Too long: may not be more than 5 bytes"],
        ),
        (
            json!({ "size": 1, "port": 1.5 }),
            &[
                "spec.port: Invalid value: \"number\": spec.port in body must be of type \
               integer,string: \"number\"",
            ],
        ),
        (
            json!({ "size": 1, "labels": { "a": 1 } }),
            &[
                "spec.labels.a: Invalid value: \"integer\": spec.labels.a in body must be of type \
               string: \"integer\"",
            ],
        ),
        (
            json!({ "size": 1, "address": "x" }),
            &[
                "spec.address: Invalid value: \"x\": spec.address in body must be of type ipv4: \
               \"x\"",
            ],
        ),
        (
            json!({ "size": 1, "rules": [{ "host": "a" }, { "host": "a" }] }),
            &["spec.rules[1]: Duplicate value: {\"host\":\"a\",\"weight\":1}"],
        ),
        (
            json!({ "size": 1, "rules": [{ "host": "a" }, { "host": "b" }, {}] }),
            &[
                "spec.rules: Too many: 3: must have at most 2 items",
                "spec.rules[2].host: Required value",
            ],
        ),
        (
            json!({ "size": 1, "either": { "a": "", "b": "" } }),
            &[
                "spec.either: Invalid value: {\"a\":\"\",\"b\":\"\"}: spec.either in body must \
               validate one and only one schema (oneOf)",
            ],
        ),
    ];
    for (spec, expected) in cases {
        let decoded = kind.decode_value(object(spec.clone())).unwrap().object;
        let errors = kind
            .admit_create(decoded)
            .map_or_else(|e| e.errors, |_| Vec::new());
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(texts, *expected, "{spec}");
    }
}

#[test]
fn status_and_the_rest_are_written_apart() {
    let kind = widget(spec_schema());
    let mut given = object(json!({ "size": 1 }));
    given["status"] = json!({ "ready": true });
    let created = kind.admit_create(given).unwrap();
    assert_eq!(created.get("status"), None);
    let mut both = created.clone();
    both["spec"]["size"] = json!(2);
    both["status"] = json!({ "ready": true });
    let status = kind
        .admit_update(both.clone(), &created, Part::Status)
        .unwrap();
    assert_eq!(
        (&status["spec"]["size"], &status["status"]["ready"]),
        (&json!(1), &json!(true))
    );
    assert_eq!(status["metadata"]["generation"], 1);
    let object = kind.admit_update(both, &created, Part::Object).unwrap();
    assert_eq!(
        (&object["spec"]["size"], object.get("status")),
        (&json!(2), None)
    );
    assert_eq!(object["metadata"]["generation"], 2);
}

#[test]
fn definitions_that_cannot_be_served_are_refused() {
    let at = "spec.versions[0].schema.openAPIV3Schema";
    let cases: Vec<(Value, Vec<String>)> = vec![
        (
            json!({ "metadata": { "name": "x.example.com" } }),
            vec![
                "metadata.name: Invalid value: \"x.example.com\": must be \
               spec.names.plural+\".\"+spec.group"
                    .to_owned(),
            ],
        ),
        (
            json!({ "spec": { "scope": "World" } }),
            vec![
                "spec.scope: Unsupported value: \"World\": supported values: \"Cluster\", \
               \"Namespaced\""
                    .to_owned(),
            ],
        ),
        (
            json!({ "spec": { "names": { "kind": null } } }),
            vec![
                "spec.names.singular: Required value".to_owned(),
                "spec.names.kind: Required value".to_owned(),
            ],
        ),
    ];
    for (change, expected) in cases {
        let mut changed = definition(spec_schema());
        json_patch::merge(&mut changed, &change);
        assert_eq!(admitted(changed).unwrap_err(), expected, "{change}");
    }
    let schemas = [
        (
            json!({ "properties": {} }),
            format!(
                "{at}.properties[spec].type: Required value: must not be empty for specified object fields"
            ),
        ),
        (
            json!({ "type": "array" }),
            format!("{at}.properties[spec].items: Required value: must be specified"),
        ),
        (
            json!({ "type": "text" }),
            format!(
                "{at}.properties[spec].type: Unsupported value: \"text\": supported values: \"array\", \"boolean\", \"integer\", \"number\", \"object\", \"string\""
            ),
        ),
        (
            json!({ "type": "object", "properties": { "a": { "type": "string" } },
                "additionalProperties": { "type": "string" } }),
            format!(
                "{at}.properties[spec].additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive"
            ),
        ),
    ];
    for (schema, expected) in schemas {
        assert_eq!(
            admitted(definition(schema.clone())).unwrap_err(),
            [expected],
            "{schema}"
        );
    }
    let refused = admitted(definition(json!({ "type": "string", "pattern": "(" }))).unwrap_err();
    assert!(
        refused[0].contains("is not a regular expression"),
        "{refused:?}"
    );
}

#[test]
fn a_name_is_given_once_in_a_group() {
    let now = Timestamp::UNIX_EPOCH;
    let mut first = admitted(definition(spec_schema())).unwrap();
    first["status"] = settle(&first, &[], now);
    assert!(established(&first), "{first}");
    assert_eq!(first["status"]["storedVersions"], json!(["v1"]));
    let names = accepted(&first).unwrap();
    let mut second = first.clone();
    second["spec"]["names"] =
        json!({ "plural": "gadgets", "kind": "Gadget", "shortNames": ["wd"] });
    second["status"] = Value::Null;
    second["status"] = settle(&second, &[names], now);
    assert!(!established(&second), "{second}");
    assert_eq!(
        second["status"]["conditions"][0]["message"],
        "\"wd\" is already in use"
    );
    assert!(kinds(&second).is_empty());
    second["status"] = settle(&second, &[], now);
    assert!(established(&second), "{second}");
}

#[test]
fn json_paths_find_what_columns_show() {
    let value = json!({
        "spec": { "ports": [{ "name": "a", "n": 1 }, { "name": "b", "n": 2 }], "a.b": "dotted" },
        "status": { "conditions": [
            { "type": "Ready", "status": "False" }, { "type": "Seen", "status": "True" },
        ] },
    });
    let cases = [
        (".spec.ports[*].name", json!(["a", "b"])),
        (".spec.ports[1].n", json!([2])),
        (".spec.ports[-1].n", json!([2])),
        (
            ".status.conditions[?(@.type==\"Seen\")].status",
            json!(["True"]),
        ),
        (
            ".status.conditions[?(@.type=='Ready')].status",
            json!(["False"]),
        ),
        ("{.spec.ports[?(@.n==2)].name}", json!(["b"])),
        (".spec.a\\.b", json!(["dotted"])),
        (".spec['a.b']", json!(["dotted"])),
        (".none.here", json!([])),
    ];
    for (path, expected) in cases {
        let found = JsonPath::parse(path)
            .unwrap()
            .find(&value)
            .into_iter()
            .cloned();
        assert_eq!(found.collect::<Value>(), expected, "{path}");
    }
    for wrong in ["spec", ".a[", ".a[?(b)]", ".a[x]"] {
        assert!(JsonPath::parse(wrong).is_err(), "{wrong}");
    }
}
