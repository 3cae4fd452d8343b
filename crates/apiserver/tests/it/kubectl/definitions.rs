//! Custom resources, from their definition to their end.

use serde_json::json;

use super::{Kubectl, with_each_version};

/// Two versions; the group is the test's own, since definitions are the
/// cluster's.
fn definition(group: &str) -> String {
    let version = |name: &str, storage: bool| {
        json!({
            "name": name, "served": true, "storage": storage,
            "subresources": { "status": {}, "scale": {
                "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas",
            } },
            "additionalPrinterColumns": [
                { "name": "Size", "type": "integer", "jsonPath": ".spec.size" },
                { "name": "Ready", "type": "string",
                  "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status" },
                { "name": "Mode", "type": "string", "jsonPath": ".spec.mode", "priority": 1 },
                { "name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp" },
            ],
            "schema": { "openAPIV3Schema": { "type": "object", "properties": {
                "spec": {
                    "type": "object", "required": ["size"], "description": "what is wanted",
                    "properties": {
                        "size": { "type": "integer", "maximum": 10, "description": "how large" },
                        "replicas": { "type": "integer", "default": 1 },
                        "mode": { "type": "string", "enum": ["fast", "slow"], "default": "fast" },
                        "rules": {
                            "type": "array", "x-kubernetes-list-type": "map",
                            "x-kubernetes-list-map-keys": ["host"],
                            "items": { "type": "object", "required": ["host"], "properties": {
                                "host": { "type": "string" }, "weight": { "type": "integer" },
                            } },
                        },
                    },
                },
                "status": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
            } } },
        })
    };
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("widgets.{group}") },
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": {
                "plural": "widgets", "kind": "Widget", "shortNames": ["wd"], "categories": ["all"],
            },
            "versions": [version("v1", true), version("v1beta1", false)],
        },
    })
    .to_string()
}

fn widget(group: &str, version: &str, name: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: {group}/{version}, kind: Widget, metadata: {{name: {name}}}, spec: {spec}}}"
    )
}

fn define(kubectl: &Kubectl, group: &str) {
    let name = format!("widgets.{group}");
    let said = kubectl.apply(&definition(group));
    assert_eq!(
        said,
        format!("customresourcedefinition.apiextensions.k8s.io/{name} created\n")
    );
    kubectl.run(&[
        "wait",
        "--for=condition=established",
        "crd",
        &name,
        "--timeout=60s",
    ]);
    assert!(kubectl.apply(&definition(group)).ends_with(" unchanged\n"));
    let resources = kubectl.run(&["api-resources", "--api-group", group, "--no-headers"]);
    let words: Vec<&str> = resources.split_whitespace().collect();
    assert_eq!(
        words,
        ["widgets", "wd", &format!("{group}/v1"), "true", "Widget"]
    );
}

fn write(kubectl: &Kubectl, group: &str) {
    let resource = format!("widgets.{group}");
    kubectl.apply(&widget(group, "v1", "w", "{size: 3}"));
    kubectl.apply(&widget(group, "v1beta1", "b", "{size: 4, mode: slow}"));
    let shown = kubectl.json(&["get", &resource, "b"]);
    assert_eq!(shown["apiVersion"], format!("{group}/v1"));
    let shown = kubectl.json(&["get", &format!("widgets.v1beta1.{group}"), "w"]);
    assert_eq!(shown["apiVersion"], format!("{group}/v1beta1"));
    assert_eq!(
        shown["spec"],
        json!({ "size": 3, "replicas": 1, "mode": "fast" })
    );
    let ready = r#"{"status":{"conditions":[{"type":"Ready","status":"True"}]}}"#;
    kubectl.run(&[
        "patch",
        &resource,
        "w",
        "--subresource=status",
        "--type=merge",
        "-p",
        ready,
    ]);
    kubectl.run(&["scale", &resource, "w", "--replicas=5"]);
    let shown = kubectl.json(&["get", &resource, "w"]);
    assert_eq!(
        (&shown["spec"]["replicas"], &shown["metadata"]["generation"]),
        (&json!(5), &json!(2))
    );
    let rows = kubectl.run(&["get", &resource, "-o", "wide", "--no-headers"]);
    let rows: Vec<Vec<&str>> = rows
        .lines()
        .map(|row| row.split_whitespace().collect())
        .collect();
    assert_eq!(rows[0][..3], ["b", "4", "slow"], "{rows:?}");
    assert_eq!(rows[1][..4], ["w", "3", "True", "fast"], "{rows:?}");
    let explained = kubectl.run(&["explain", &format!("{resource}.spec.size")]);
    assert!(explained.contains("how large"), "{explained}");
    assert!(
        kubectl.run(&["get", "all"]).contains("widget."),
        "categories"
    );
}

fn refuse(kubectl: &Kubectl, group: &str) {
    let cases = [
        (
            "{size: 11}",
            "spec.size in body should be less than or equal to 10",
        ),
        ("{mode: fast}", "spec.size: Required value"),
        (
            "{size: x}",
            "spec.size in body must be of type integer: \"string\"",
        ),
        ("{size: 1, sise: 2}", "unknown field \"spec.sise\""),
        ("{size: 1, mode: x}", "supported values: \"fast\", \"slow\""),
    ];
    for (spec, expected) in cases {
        let manifest = widget(group, "v1", "bad", spec);
        let refused = kubectl.fail_with_input(&["create", "-f", "-"], &manifest);
        assert!(refused.contains(expected), "{spec}: {refused}");
    }
}

fn own(kubectl: &Kubectl, group: &str) {
    let apply = ["apply", "--server-side", "-f", "-", "--field-manager"];
    let rules = |rules: &str| widget(group, "v1", "o", &format!("{{size: 1, rules: {rules}}}"));
    kubectl.run_with_input(
        &[&apply[..], &["one"]].concat(),
        &rules("[{host: a, weight: 1}]"),
    );
    kubectl.run_with_input(
        &[&apply[..], &["two"]].concat(),
        &rules("[{host: b, weight: 2}]"),
    );
    let arguments = [&apply[..], &["three"]].concat();
    let refused = kubectl.fail_with_input(&arguments, &rules("[{host: a, weight: 3}]"));
    assert!(
        refused.contains("with \"one\": .spec.rules[host=\"a\"].weight"),
        "{refused}"
    );
    let shown = kubectl.json(&["get", &format!("widgets.{group}"), "o"]);
    assert_eq!(
        shown["spec"]["rules"].as_array().unwrap().len(),
        2,
        "{shown}"
    );
}

fn end(kubectl: &Kubectl, group: &str) {
    let resource = format!("widgets.{group}");
    let finalizers = r#"{"metadata":{"finalizers":["example.com/wait"]}}"#;
    kubectl.run(&["patch", &resource, "w", "--type=merge", "-p", finalizers]);
    kubectl.run(&["delete", "crd", &resource, "--wait=false"]);
    let names = kubectl.run(&["get", &resource, "-o", "name"]);
    assert_eq!(names, format!("widget.{group}/w\n"), "the others are gone");
    let refused = kubectl.fail_with_input(
        &["create", "-f", "-"],
        &widget(group, "v1", "late", "{size: 1}"),
    );
    assert!(refused.contains("terminating"), "{refused}");
    let none = r#"{"metadata":{"finalizers":null}}"#;
    kubectl.run(&["patch", &resource, "w", "--type=merge", "-p", none]);
    let gone = kubectl.fail(&["get", "crd", &resource]);
    assert!(gone.contains("NotFound"), "{gone}");
    let path = format!("/apis/{group}/v1/widgets");
    let gone = kubectl.fail(&["get", "--raw", &path]);
    assert!(
        gone.contains("could not find the requested resource"),
        "{gone}"
    );
}

#[test]
fn custom_resources() {
    with_each_version(|kubectl, namespace| {
        let group = format!("{namespace}.example.com");
        define(kubectl, &group);
        write(kubectl, &group);
        refuse(kubectl, &group);
        own(kubectl, &group);
        end(kubectl, &group);
    });
}
