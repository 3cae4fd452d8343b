use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, Resource};
use serde_json::json;
use tokio::sync::mpsc;
use uuid::Uuid;

/// Writes Events about pods, in order and without keeping anybody waiting. The
/// same event again raises the count of the first one, as Kubernetes' recorders
/// do.
pub(crate) struct Recorder {
    news: mpsc::Sender<News>,
}

/// What is to be written.
struct News {
    object: ObjectReference,
    kind: &'static str,
    reason: &'static str,
    message: String,
}

/// The task that writes.
struct Writer {
    client: Client,
    component: &'static str,
    host: Option<String>,
    written: BTreeMap<Key, Written>,
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
/// How many events may wait while the API server is away; more are lost.
const WAITING: usize = 1024;

impl Recorder {
    /// Events of `component`, on `host` where it belongs to a node. Needs an
    /// event loop, whose task writes until the recorder is dropped.
    pub(crate) fn new(client: Client, component: &'static str, host: Option<String>) -> Self {
        let (news, mut arriving) = mpsc::channel::<News>(WAITING);
        let mut writer = Writer {
            client,
            component,
            host,
            written: BTreeMap::new(),
        };
        tokio::spawn(async move {
            while let Some(news) = arriving.recv().await {
                writer.write(news).await;
            }
        });
        Self { news }
    }

    /// Something that went as planned.
    pub(crate) fn normal(&self, pod: &Pod, reason: &'static str, message: String) {
        self.record(pod, "Normal", reason, message);
    }

    /// Something that went wrong.
    pub(crate) fn warning(&self, pod: &Pod, reason: &'static str, message: String) {
        self.record(pod, "Warning", reason, message);
    }

    fn record(&self, pod: &Pod, kind: &'static str, reason: &'static str, message: String) {
        let news = News {
            object: ObjectReference {
                resource_version: None,
                ..pod.object_ref(&())
            },
            kind,
            reason,
            message,
        };
        if self.news.try_send(news).is_err() {
            tracing::warn!(reason, "an event is lost: too many wait for the API server");
        }
    }
}

impl Writer {
    /// An event that cannot be written is logged: it is news, not state.
    async fn write(&mut self, news: News) {
        let object = &news.object;
        let uid = object.uid.clone().unwrap_or_default();
        let key = (uid, news.reason, news.message);
        let result = match self.written.get(&key).cloned() {
            Some(before) => self.repeat(object, &key, before).await,
            None => self.create(object, news.kind, &key).await,
        };
        if let Err(error) = result {
            tracing::warn!(
                reason = news.reason,
                error = &error as &dyn std::error::Error,
                "an event is lost"
            );
        }
    }

    async fn repeat(
        &mut self,
        object: &ObjectReference,
        key: &Key,
        before: Written,
    ) -> kube::Result<()> {
        let count = before.count + 1;
        let patch = json!({"count": count, "lastTimestamp": Time(Timestamp::now())});
        let patched = self
            .events(object)
            .patch(&before.name, &PatchParams::default(), &Patch::Merge(patch))
            .await;
        match patched {
            Ok(_) => {
                self.written
                    .insert(key.clone(), Written { count, ..before });
                Ok(())
            }
            Err(error) => {
                // Expired, perhaps: the next one is a new event.
                self.written.remove(key);
                Err(error)
            }
        }
    }

    async fn create(
        &mut self,
        object: &ObjectReference,
        kind: &str,
        key: &Key,
    ) -> kube::Result<()> {
        let (_, reason, message) = key;
        let now = Time(Timestamp::now());
        let about = object.name.as_deref().unwrap_or_default();
        let name = format!("{about}.{}", Uuid::new_v4().simple());
        let event = Event {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: object.namespace.clone(),
                ..ObjectMeta::default()
            },
            involved_object: object.clone(),
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
        self.events(object)
            .create(&PostParams::default(), &event)
            .await?;
        if self.written.len() >= REMEMBERED {
            self.written.clear();
        }
        self.written.insert(key.clone(), Written { name, count: 1 });
        Ok(())
    }

    fn events(&self, object: &ObjectReference) -> Api<Event> {
        let namespace = object.namespace.as_deref().unwrap_or("default");
        Api::namespaced(self.client.clone(), namespace)
    }
}
