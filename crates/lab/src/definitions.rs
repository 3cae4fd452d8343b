//! The custom resources that Podway understands, defined in a new lab.
//!
//! A cluster gets this definition from its own project
//! (`sigs.k8s.io/network-policy-api`); the lab's says the same fields and
//! limits in our own words.

use kube::api::{Api, DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, Error};
use serde_json::{Value, json};

/// The most rules of a direction, peers of a rule and networks of a peer.
const MOST: u32 = 25;

/// Defines ClusterNetworkPolicy, unless somebody has.
pub(crate) async fn ensure(client: &Client) -> kube::Result<()> {
    let gvk = GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    let definitions = Api::all_with(client.clone(), &ApiResource::from_gvk(&gvk));
    let definition: DynamicObject =
        serde_json::from_value(cluster_network_policy()).map_err(Error::SerdeError)?;
    match definitions
        .create(&PostParams::default(), &definition)
        .await
    {
        Err(Error::Api(status)) if status.code == 409 => Ok(()),
        outcome => outcome.map(|_| ()),
    }
}

fn cluster_network_policy() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": "clusternetworkpolicies.policy.networking.k8s.io" },
        "spec": {
            "group": "policy.networking.k8s.io",
            "scope": "Cluster",
            "names": {
                "kind": "ClusterNetworkPolicy",
                "listKind": "ClusterNetworkPolicyList",
                "plural": "clusternetworkpolicies",
                "singular": "clusternetworkpolicy",
                "shortNames": ["cnp"],
            },
            "versions": [{
                "name": "v1alpha2",
                "served": true,
                "storage": true,
                "subresources": { "status": {} },
                "additionalPrinterColumns": [
                    { "name": "Tier", "type": "string", "jsonPath": ".spec.tier" },
                    { "name": "Priority", "type": "integer", "jsonPath": ".spec.priority" },
                    { "name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp" },
                ],
                "schema": { "openAPIV3Schema": object(&["spec"], &json!({
                    "spec": spec(),
                    "status": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
                })) },
            }],
        },
    })
}

fn spec() -> Value {
    object(
        &["tier", "priority", "subject"],
        &json!({
            "tier": { "type": "string", "enum": ["Admin", "Baseline"] },
            "priority": { "type": "integer", "format": "int32", "minimum": 0, "maximum": 1000 },
            "subject": one_of(&json!({ "namespaces": selector(), "pods": pods() })),
            "ingress": list(&rule("from", &json!({ "namespaces": selector(), "pods": pods() }))),
            "egress": list(&rule("to", &json!({
                "namespaces": selector(),
                "pods": pods(),
                "nodes": selector(),
                "networks": list(&json!({ "type": "string", "maxLength": 43 })),
                "domainNames": list(&json!({ "type": "string" })),
            }))),
        }),
    )
}

fn rule(side: &str, peer: &Value) -> Value {
    let number = json!({ "type": "integer", "format": "int32", "minimum": 1, "maximum": 65535 });
    let range = object(
        &["start", "end"],
        &json!({ "start": number, "end": number }),
    );
    let destination = one_of(&json!({ "number": number, "range": range }));
    let ports = object(&[], &json!({ "destinationPort": destination }));
    let mut peers = list(&one_of(peer));
    peers["minItems"] = json!(1);
    let protocol = one_of(&json!({
        "tcp": ports,
        "udp": ports,
        "sctp": ports,
        "destinationNamedPort": { "type": "string", "maxLength": 63 },
    }));
    let mut protocols = list(&protocol);
    protocols["minItems"] = json!(1);
    object(
        &["action", side],
        &json!({
            "name": { "type": "string", "maxLength": 100 },
            "action": { "type": "string", "enum": ["Accept", "Deny", "Pass"] },
            side: peers,
            "protocols": protocols,
        }),
    )
}

fn pods() -> Value {
    let selectors = json!({ "namespaceSelector": selector(), "podSelector": selector() });
    object(&["namespaceSelector", "podSelector"], &selectors)
}

fn selector() -> Value {
    let expression = json!({
        "key": { "type": "string" },
        "operator": { "type": "string" },
        "values": { "type": "array", "items": { "type": "string" } },
    });
    object(
        &[],
        &json!({
            "matchLabels": { "type": "object", "additionalProperties": { "type": "string" } },
            "matchExpressions": {
                "type": "array",
                "items": object(&["key", "operator"], &expression),
            },
        }),
    )
}

fn list(item: &Value) -> Value {
    json!({ "type": "array", "maxItems": MOST, "items": item })
}

/// An object with one of the properties.
fn one_of(properties: &Value) -> Value {
    let mut object = object(&[], properties);
    object["minProperties"] = json!(1);
    object["maxProperties"] = json!(1);
    object
}

fn object(required: &[&str], properties: &Value) -> Value {
    let mut object = json!({ "type": "object", "properties": properties });
    if !required.is_empty() {
        object["required"] = json!(required);
    }
    object
}
