//! `kubectl apply --server-side` and what it says of owners.

use serde_json::{Value, json};

use super::{Kubectl, with_each_version};

fn config(data: &str) -> String {
    format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: c}}, data: {data}}}")
}

fn apply(kubectl: &Kubectl, more: &[&str], manifest: &str) -> String {
    let arguments = [&["apply", "--server-side", "-f", "-"], more].concat();
    kubectl.run_with_input(&arguments, manifest)
}

/// `manager operation` of each owner.
fn owners(object: &Value) -> Vec<String> {
    let entries = object["metadata"]["managedFields"]
        .as_array()
        .unwrap()
        .iter();
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap().to_owned();
    entries
        .map(|entry| format!("{} {}", text(entry, "manager"), text(entry, "operation")))
        .collect()
}

#[test]
fn apply_server_side() {
    with_each_version(|kubectl, _| {
        let data = |kubectl: &Kubectl| kubectl.json(&["get", "configmap", "c"])["data"].clone();
        let said = apply(kubectl, &[], &config("{a: '1', b: '1'}"));
        assert_eq!(said, "configmap/c serverside-applied\n");
        apply(
            kubectl,
            &["--field-manager=two"],
            &config("{b: '1', d: '1'}"),
        );
        apply(kubectl, &[], &config("{a: '1'}"));
        assert_eq!(data(kubectl), json!({ "a": "1", "b": "1", "d": "1" }));
        let shown = kubectl.json(&["get", "configmap", "c", "--show-managed-fields"]);
        assert_eq!(owners(&shown), ["two Apply", "kubectl Apply"]);
        let hidden = kubectl.json(&["get", "configmap", "c"]);
        assert_eq!(hidden["metadata"].get("managedFields"), None, "{hidden}");

        let refused = kubectl.fail_with_input(
            &["apply", "--server-side", "-f", "-"],
            &config("{a: '1', d: '2'}"),
        );
        assert!(
            refused.contains("Apply failed with 1 conflict: conflict with \"two\": .data.d"),
            "{refused}"
        );
        apply(kubectl, &["--force-conflicts"], &config("{a: '1', d: '2'}"));
        assert_eq!(data(kubectl)["d"], "2");

        let diff = ["diff", "--server-side", "-f", "-"];
        let same = kubectl.run_with_input(&diff, &config("{a: '1', d: '2'}"));
        assert_eq!(same, "");
        let output = kubectl.finish(&diff, &config("{a: '1', d: '3'}"));
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("-  d: \"2\"\n+  d: \"3\""), "{text}");
        assert_eq!(data(kubectl)["d"], "2");

        let dry = apply(kubectl, &["--dry-run=server"], &config("{e: '1'}"));
        assert_eq!(dry, "configmap/c serverside-applied (server dry run)\n");
        let refused = kubectl.fail_with_input(
            &["apply", "--server-side", "-f", "-"],
            &config("{a: '1'}").replace(" data", " dta"),
        );
        assert!(refused.contains("unknown field \"dta\""), "{refused}");
    });
}

#[test]
fn writes_of_other_verbs_are_owned() {
    with_each_version(|kubectl, _| {
        kubectl.run(&["create", "configmap", "c", "--from-literal=a=1"]);
        kubectl.run(&["label", "configmap", "c", "x=y"]);
        let shown = kubectl.json(&["get", "configmap", "c", "--show-managed-fields"]);
        let owners = owners(&shown);
        assert_eq!(owners, ["kubectl-create Update", "kubectl-label Update"]);
        let refused = kubectl.fail_with_input(
            &["apply", "--server-side", "-f", "-"],
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: c, labels: {x: z}}, data: {a: '2'}}",
        );
        let expected = "Apply failed with 2 conflicts: conflicts with \"kubectl-create\" using v1:\n\
                        - .data.a\nconflicts with \"kubectl-label\" using v1:\n- .metadata.labels.x";
        assert!(refused.contains(expected), "{refused}");
    });
}

#[test]
fn from_client_side_to_server_side_apply() {
    with_each_version(|kubectl, _| {
        kubectl.apply(&config("{a: '1', b: '1'}"));
        let said = apply(kubectl, &[], &config("{a: '2'}"));
        assert_eq!(said, "configmap/c serverside-applied\n");
        let object = kubectl.json(&["get", "configmap", "c"]);
        assert_eq!(object["data"]["a"], "2");
        // Versions that move the ownership of the older way drop what is dropped.
        let data = object["data"].as_object().unwrap();
        assert!(data.len() == 1 || data["b"] == "1", "{object}");
    });
}
