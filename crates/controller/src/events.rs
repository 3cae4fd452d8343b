//! Warnings about objects, as Events.

use k8s_openapi::api::core::v1::{Event, EventSource, Node, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt};

/// Events about objects without a namespace live there.
const NAMESPACE: &str = "default";

/// Writes a warning about a node. One that cannot be written is in the log only.
pub(crate) async fn warn(client: &Client, node: &Node, reason: &str, message: &str) {
    let name = node.name_any();
    tracing::warn!(node = name, reason, message, "podCIDRs");
    let events: Api<Event> = Api::namespaced(client.clone(), NAMESPACE);
    let now = Time(Timestamp::now());
    let mut event = Event {
        involved_object: ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Node".to_owned()),
            name: Some(name.clone()),
            uid: node.metadata.uid.clone(),
            ..ObjectReference::default()
        },
        type_: Some("Warning".to_owned()),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        source: Some(EventSource {
            component: Some("podway-controller".to_owned()),
            ..EventSource::default()
        }),
        count: Some(1),
        first_timestamp: Some(now.clone()),
        last_timestamp: Some(now),
        ..Event::default()
    };
    event.metadata.generate_name = Some(format!("{name}."));
    event.metadata.namespace = Some(NAMESPACE.to_owned());
    if let Err(error) = events.create(&PostParams::default(), &event).await {
        tracing::debug!(node = name, %error, "no Event");
    }
}
