use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use podway_model::{ObjectName, ObjectRef};
use tokio::sync::mpsc;

use super::{News, Pacer, Severity};

/// Writes an Event for each fault. Every node finds the same faults: the name is
/// made of the fault, so that the first node's Event is the only one.
///
/// What a node has to say of itself, or of its own troubles, has its name in it.
pub(super) async fn tell(client: Client, node: Arc<str>, mut news: mpsc::Receiver<News>) {
    let mut pacer = Pacer::default();
    while let Some(news) = news.recv().await {
        let event = event_of(&news, &node, Timestamp::now());
        let namespace = event.metadata.namespace.clone().unwrap_or_default();
        let events: Api<Event> = Api::namespaced(client.clone(), &namespace);
        loop {
            match events.create(&PostParams::default(), &event).await {
                Ok(_) => pacer.succeeded().await,
                // Another node was first (409), or the object's namespace is
                // going away (403, 404): nobody to tell.
                Err(kube::Error::Api(response)) if matches!(response.code, 400..=499) => {
                    tracing::debug!(event = ?event.metadata.name, code = response.code, "no Event");
                }
                Err(error) => {
                    pacer.failed("write an Event", &error).await;
                    continue;
                }
            }
            break;
        }
    }
}

fn event_of(news: &News, node: &str, now: Timestamp) -> Event {
    let mut hasher = DefaultHasher::new();
    let (object, field, severity, reason, message) = match news {
        News::Fault(fault) => {
            (&fault.object, &fault.field, &fault.reason).hash(&mut hasher);
            let message = format!("{}: {}", fault.field, fault.reason);
            let field = Some(fault.field.clone());
            (
                &fault.object,
                field,
                Severity::Warning,
                "NotUnderstood",
                message,
            )
        }
        News::Occurrence {
            object,
            severity,
            reason,
            message,
        } => {
            // The time too: it may happen again.
            (object, reason, message, node, now.as_nanosecond()).hash(&mut hasher);
            (object, None, *severity, *reason, message.clone())
        }
    };
    let (kind, api_version, namespace, name) = names(object);
    let mut event = Event {
        involved_object: ObjectReference {
            kind: Some(kind.to_owned()),
            api_version: Some(api_version.to_owned()),
            namespace: namespace.clone(),
            name: Some(name.clone()),
            field_path: field,
            ..ObjectReference::default()
        },
        type_: Some(format!("{severity:?}")),
        reason: Some(reason.to_owned()),
        message: Some(message),
        source: Some(EventSource {
            component: Some("podway-agent".to_owned()),
            host: Some(node.to_owned()),
        }),
        count: Some(1),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        ..Event::default()
    };
    event.metadata.name = Some(format!("{name}.{:016x}", hasher.finish()));
    // Events about objects without a namespace live in `default`.
    event.metadata.namespace = Some(namespace.unwrap_or_else(|| "default".to_owned()));
    event
}

fn names(object: &ObjectRef) -> (&'static str, &'static str, Option<String>, String) {
    let namespaced = |kind, version, name: &ObjectName| {
        let namespace = Some(name.namespace.to_string());
        (kind, version, namespace, name.name.to_string())
    };
    match object {
        ObjectRef::Namespace(name) => ("Namespace", "v1", None, name.to_string()),
        ObjectRef::Node(name) => ("Node", "v1", None, name.to_string()),
        ObjectRef::Pod(name) => namespaced("Pod", "v1", name),
        ObjectRef::Service(name) => namespaced("Service", "v1", name),
        ObjectRef::EndpointSlice(name) => namespaced("EndpointSlice", "discovery.k8s.io/v1", name),
        ObjectRef::NetworkPolicy(name) => namespaced("NetworkPolicy", "networking.k8s.io/v1", name),
        ObjectRef::ClusterNetworkPolicy(name) => (
            "ClusterNetworkPolicy",
            "policy.networking.k8s.io/v1alpha2",
            None,
            name.to_string(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use podway_watch::objects::Fault;

    use super::*;

    #[test]
    fn an_event_is_named_after_the_fault_whoever_finds_it() {
        let fault = Fault {
            object: ObjectRef::Service(ObjectName::new("shop", "web")),
            field: "spec.ports[0].port".to_owned(),
            reason: "0 is not a port".to_owned(),
        };
        let now = Timestamp::UNIX_EPOCH;
        let (one, two) = (
            event_of(&News::Fault(fault.clone()), "node1", now),
            event_of(&News::Fault(fault.clone()), "node2", now),
        );
        assert_eq!(one.metadata, two.metadata);
        assert_eq!(one.metadata.namespace.as_deref(), Some("shop"));
        assert!(
            one.metadata.name.as_ref().unwrap().starts_with("web."),
            "{one:?}"
        );
        assert_eq!(
            one.message.as_deref(),
            Some("spec.ports[0].port: 0 is not a port")
        );
        let other = Fault {
            field: "spec.type".to_owned(),
            ..fault
        };
        assert_ne!(
            event_of(&News::Fault(other), "node1", now).metadata.name,
            one.metadata.name
        );
    }
}
