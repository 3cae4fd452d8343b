//! What the controller has to say about objects, as Events.

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, PostParams};
use kube::{Client, Resource, ResourceExt};

/// Events about objects without a namespace live there.
const NAMESPACE: &str = "default";

/// Something to say about an object.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Note<'a> {
    kind: &'static str,
    reason: &'static str,
    message: &'a str,
}

impl<'a> Note<'a> {
    /// Something went as it should.
    pub(crate) const fn normal(reason: &'static str, message: &'a str) -> Self {
        Self {
            kind: "Normal",
            reason,
            message,
        }
    }

    /// Somebody has to do something.
    pub(crate) const fn warning(reason: &'static str, message: &'a str) -> Self {
        Self {
            kind: "Warning",
            reason,
            message,
        }
    }
}

/// Writes an Event about an object. One that cannot be written is in the log only.
pub(crate) async fn tell<K>(client: &Client, object: &K, note: Note<'_>)
where
    K: Resource<DynamicType = ()>,
{
    let name = object.name_any();
    let kind = K::kind(&()).into_owned();
    let Note {
        kind: event_type,
        reason,
        message,
    } = note;
    if event_type == "Warning" {
        tracing::warn!(kind, name, reason, message, "told");
    } else {
        tracing::info!(kind, name, reason, message, "told");
    }
    let namespace = object.namespace().unwrap_or_else(|| NAMESPACE.to_owned());
    let events: Api<Event> = Api::namespaced(client.clone(), &namespace);
    let now = Time(Timestamp::now());
    let mut event = Event {
        involved_object: ObjectReference {
            api_version: Some(K::api_version(&()).into_owned()),
            kind: Some(kind),
            name: Some(name.clone()),
            namespace: object.namespace(),
            uid: object.uid(),
            ..ObjectReference::default()
        },
        type_: Some(event_type.to_owned()),
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
    event.metadata.namespace = Some(namespace);
    if let Err(error) = events.create(&PostParams::default(), &event).await {
        tracing::debug!(name, %error, "no Event");
    }
}
