//! One table a kind: a sound object, a change of it, and what the server says.

#![allow(
    clippy::too_many_lines,
    reason = "a table of cases is read line by line, not as logic"
)]

use serde_json::{Value, json};

use crate::kinds::{Part, known};

mod objects;
mod pods;
mod services;
mod workloads;

/// What creating the object answers: nothing, or one text a mistake.
pub(super) fn create(object: &Value) -> Vec<String> {
    let kind = kind_of(object);
    let decoded = match kind.decode(object.to_string().as_bytes()) {
        Ok(decoded) => decoded.object,
        Err(error) => return vec![error.to_string()],
    };
    texts(kind.admit_create(decoded).map(|_| ()))
}

/// What changing the created object by a merge patch answers.
pub(super) fn update(object: &Value, change: &Value, part: Part) -> Vec<String> {
    let kind = kind_of(object);
    let old = kind
        .admit_create(kind.decode_value(object.clone()).unwrap().object)
        .unwrap();
    let mut new = old.clone();
    json_patch::merge(&mut new, change);
    let new = kind.decode_value(new).unwrap().object;
    texts(kind.admit_update(new, &old, part).map(|_| ()))
}

pub(super) fn changed(object: &Value, change: &Value) -> Value {
    let mut changed = object.clone();
    json_patch::merge(&mut changed, change);
    changed
}

fn kind_of(object: &Value) -> &'static crate::kinds::Kind {
    let text = |key: &str| object[key].as_str().unwrap();
    known(text("apiVersion"), text("kind"))
}

fn texts(result: Result<(), super::Invalid>) -> Vec<String> {
    let errors = result
        .err()
        .map(|invalid| invalid.errors)
        .unwrap_or_default();
    errors.iter().map(ToString::to_string).collect()
}

/// Cases of a kind: a change and every text it gives.
pub(super) fn check_creates(object: &Value, cases: &[(Value, &[&str])]) {
    assert_eq!(create(object), Vec::<String>::new(), "the sound object");
    for (change, expected) in cases {
        assert_eq!(create(&changed(object, change)), *expected, "{change}");
    }
}

pub(super) fn check_updates(object: &Value, cases: &[(Value, &[&str])]) {
    for (change, expected) in cases {
        assert_eq!(update(object, change, Part::Object), *expected, "{change}");
    }
}

#[test]
fn the_message_and_the_causes_are_those_of_kubernetes() {
    let object = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x", "namespace": "d"},
        "spec": {"ports": [{"port": 70000}]}});
    let kind = known("v1", "Service");
    let invalid = kind.admit_create(object).unwrap_err();
    assert_eq!(
        invalid.to_string(),
        "Service \"x\" is invalid: [spec.ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive, \
         spec.ports[0].targetPort: Invalid value: 70000: must be between 1 and 65535, inclusive]"
    );
    let object = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "x", "namespace": "d"}, "spec": {"policyTypes": ["Sideways"]}});
    let kind = known("networking.k8s.io/v1", "NetworkPolicy");
    assert_eq!(
        kind.admit_create(object).unwrap_err().status(),
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "NetworkPolicy.networking.k8s.io \"x\" is invalid: spec.policyTypes[0]: Unsupported value: \"Sideways\": supported values: \"Egress\", \"Ingress\"",
            "reason": "Invalid", "code": 422,
            "details": {"name": "x", "group": "networking.k8s.io", "kind": "NetworkPolicy", "causes": [
                {"reason": "FieldValueNotSupported", "field": "spec.policyTypes[0]",
                 "message": "Unsupported value: \"Sideways\": supported values: \"Egress\", \"Ingress\""}]}})
    );
}

#[test]
fn metadata_is_checked_in_every_kind() {
    const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
    let config_map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "d"}});
    check_creates(
        &config_map,
        &[
            (
                json!({"metadata": {"name": null}}),
                &["metadata.name: Required value: name or generateName is required"],
            ),
            (
                json!({"metadata": {"name": "A"}}),
                &[
                    "metadata.name: Invalid value: \"A\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
                ],
            ),
            (
                json!({"metadata": {"name": "x".repeat(254)}}),
                &[&format!(
                    "metadata.name: Invalid value: {:?}: must be no more than 253 bytes",
                    "x".repeat(254)
                )],
            ),
            (
                json!({"metadata": {"namespace": null}}),
                &["metadata.namespace: Required value"],
            ),
            (
                json!({"metadata": {"namespace": "a.b"}}),
                &[&format!(
                    "metadata.namespace: Invalid value: \"a.b\": {LABEL}"
                )],
            ),
            (
                json!({"metadata": {"labels": {"a/b/c": "d"}}}),
                &[
                    "metadata.labels: Invalid value: \"a/b/c\": a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
                ],
            ),
            (
                json!({"metadata": {"labels": {"a": "b c"}}}),
                &[
                    "metadata.labels: Invalid value: \"b c\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
                ],
            ),
            (
                json!({"metadata": {"labels": {"a": ""}, "annotations": {"UPPER": "any text at all"}}}),
                &[],
            ),
            (
                json!({"metadata": {"annotations": {"a": "x".repeat(256 * 1024)}}}),
                &["metadata.annotations: Too long: may not be more than 262144 bytes"],
            ),
            (
                json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": ""}]}}),
                &["metadata.ownerReferences[0].uid: Invalid value: \"\": uid must not be empty"],
            ),
        ],
    );
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a"}});
    check_creates(
        &node,
        &[(
            json!({"metadata": {"namespace": "d"}}),
            &["metadata.namespace: Forbidden: not allowed on this type"],
        )],
    );
    let deleting = changed(
        &config_map,
        &json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["a.b/c"]}}),
    );
    check_updates(
        &deleting,
        &[
            (
                json!({"metadata": {"name": "b"}}),
                &["metadata.name: Invalid value: \"b\": field is immutable"],
            ),
            (json!({"metadata": {"finalizers": null}}), &[]),
            (
                json!({"metadata": {"finalizers": ["a.b/c", "a.b/d"]}}),
                &[
                    "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string[\"a.b/d\"]",
                ],
            ),
        ],
    );
}
