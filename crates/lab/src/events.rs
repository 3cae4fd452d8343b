use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, Resource};
use parking_lot::Mutex;
use serde_json::json;
use uuid::Uuid;

/// Writes Events about pods. The same event again raises the count of the
/// first one, as Kubernetes' recorders do.
pub(crate) struct Recorder {
    client: Client,
    component: &'static str,
    host: Option<String>,
    written: Mutex<BTreeMap<Key, Written>>,
}

/// Pod uid, reason, message.
type Key = (String, &'static str, String);

#[derive(Debug, Clone)]
struct Written {
    name: String,
    count: i32,
}

/// How many events are remembered; older ones start a new count.
const REMEMBERED: usize = 1024;

impl Recorder {
    /// Events of `component`, on `host` where it belongs to a node.
    pub(crate) fn new(client: Client, component: &'static str, host: Option<String>) -> Self {
        Self {
            client,
            component,
            host,
            written: Mutex::default(),
        }
    }

    /// Something that went as planned.
    pub(crate) async fn normal(&self, pod: &Pod, reason: &'static str, message: String) {
        self.record(pod, "Normal", reason, message).await;
    }

    /// Something that went wrong.
    pub(crate) async fn warning(&self, pod: &Pod, reason: &'static str, message: String) {
        self.record(pod, "Warning", reason, message).await;
    }

    /// An event that cannot be written is logged: it is news, not state.
    async fn record(&self, pod: &Pod, kind: &str, reason: &'static str, message: String) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let key = (uid, reason, message);
        let before = self.written.lock().get(&key).cloned();
        let result = match before {
            Some(before) => self.repeat(pod, &key, before).await,
            None => self.create(pod, kind, &key).await,
        };
        if let Err(error) = result {
            tracing::warn!(
                reason,
                error = &error as &dyn std::error::Error,
                "an event is lost"
            );
        }
    }

    async fn repeat(&self, pod: &Pod, key: &Key, before: Written) -> kube::Result<()> {
        let count = before.count + 1;
        let patch = json!({"count": count, "lastTimestamp": Time(Timestamp::now())});
        let patched = self
            .events(pod)
            .patch(&before.name, &PatchParams::default(), &Patch::Merge(patch))
            .await;
        let mut written = self.written.lock();
        match patched {
            Ok(_) => {
                written.insert(key.clone(), Written { count, ..before });
                Ok(())
            }
            Err(error) => {
                // Expired, perhaps: the next one is a new event.
                written.remove(key);
                Err(error)
            }
        }
    }

    async fn create(&self, pod: &Pod, kind: &str, key: &Key) -> kube::Result<()> {
        let (_, reason, message) = key;
        let now = Time(Timestamp::now());
        let pod_name = pod.metadata.name.as_deref().unwrap_or_default();
        let name = format!("{pod_name}.{}", Uuid::new_v4().simple());
        let event = Event {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: pod.metadata.namespace.clone(),
                ..ObjectMeta::default()
            },
            involved_object: ObjectReference {
                resource_version: None,
                ..pod.object_ref(&())
            },
            type_: Some(kind.to_owned()),
            reason: Some((*reason).to_owned()),
            message: Some(message.clone()),
            source: Some(EventSource {
                component: Some(self.component.to_owned()),
                host: self.host.clone(),
            }),
            first_timestamp: Some(now.clone()),
            last_timestamp: Some(now),
            count: Some(1),
            reporting_component: Some(self.component.to_owned()),
            reporting_instance: self.host.clone(),
            ..Event::default()
        };
        self.events(pod)
            .create(&PostParams::default(), &event)
            .await?;
        let mut written = self.written.lock();
        if written.len() >= REMEMBERED {
            written.clear();
        }
        written.insert(key.clone(), Written { name, count: 1 });
        Ok(())
    }

    fn events(&self, pod: &Pod) -> Api<Event> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
        Api::namespaced(self.client.clone(), namespace)
    }
}
