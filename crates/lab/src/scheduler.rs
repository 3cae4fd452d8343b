//! The lab's scheduler: gives pods without a node to one. [`pick`] decides, the
//! rest watches and tells the API server.

mod pick;

use std::collections::BTreeMap;
use std::pin::pin;

use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Status, Time};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, ResourceExt};
use serde_json::json;

use crate::events::Recorder;
use crate::kubelet::chain;
use crate::up::is_ready;
use pick::{Candidate, Occupant, Wish, pick};

/// Schedules until the future is dropped.
pub(crate) async fn run(client: Client) {
    let nodes = watcher(Api::<Node>::all(client.clone()), watcher::Config::default());
    let pods = watcher(Api::<Pod>::all(client.clone()), watcher::Config::default());
    let nodes = nodes
        .default_backoff()
        .map(|event| event.map(|event| Notice::Node(Box::new(event))));
    let pods = pods
        .default_backoff()
        .map(|event| event.map(|event| Notice::Pod(Box::new(event))));
    let mut notices = pin!(stream::select(nodes, pods));
    let mut scheduler = Scheduler {
        recorder: Recorder::new(client.clone(), "default-scheduler", None),
        client,
        nodes: Listed::default(),
        pods: Listed::default(),
    };
    while let Some(notice) = notices.next().await {
        match notice {
            Ok(Notice::Node(event)) => scheduler.nodes.take(*event),
            Ok(Notice::Pod(event)) => scheduler.pods.take(*event),
            Err(error) => {
                tracing::warn!(error = chain(&error), "scheduler cannot watch");
                continue;
            }
        }
        if scheduler.nodes.complete && scheduler.pods.complete {
            scheduler.schedule().await;
        }
    }
}

enum Notice {
    Node(Box<Event<Node>>),
    Pod(Box<Event<Pod>>),
}

/// Objects of one kind as the watch tells them, by namespace and name.
struct Listed<K> {
    objects: BTreeMap<(String, String), K>,
    next: BTreeMap<(String, String), K>,
    /// The first list is complete.
    complete: bool,
}

impl<K> Default for Listed<K> {
    fn default() -> Self {
        Self {
            objects: BTreeMap::new(),
            next: BTreeMap::new(),
            complete: false,
        }
    }
}

impl<K: ResourceExt> Listed<K> {
    fn take(&mut self, event: Event<K>) {
        let key = |object: &K| (object.namespace().unwrap_or_default(), object.name_any());
        match event {
            Event::Init => self.next.clear(),
            Event::InitApply(object) => {
                self.next.insert(key(&object), object);
            }
            Event::InitDone => {
                self.objects = std::mem::take(&mut self.next);
                self.complete = true;
            }
            Event::Apply(object) => {
                self.objects.insert(key(&object), object);
            }
            Event::Delete(object) => {
                self.objects.remove(&key(&object));
            }
        }
    }
}

struct Scheduler {
    client: Client,
    recorder: Recorder,
    nodes: Listed<Node>,
    pods: Listed<Pod>,
}

impl Scheduler {
    /// Gives every pod that waits to a node, or says why not.
    async fn schedule(&mut self) {
        let waiting: Vec<_> = self
            .pods
            .objects
            .iter()
            .filter(|(_, pod)| waits(pod))
            .map(|(key, _)| key.clone())
            .collect();
        for key in waiting {
            let Some(pod) = self.pods.objects.get(&key) else {
                continue;
            };
            let Some(spec) = &pod.spec else { continue };
            let candidates: Vec<Candidate<'_>> =
                self.nodes.objects.values().map(candidate).collect();
            let occupants: Vec<Occupant<'_>> =
                self.pods.objects.values().filter_map(occupant).collect();
            match pick(&wish(pod, spec), &candidates, &occupants) {
                Ok(node) => {
                    let node = node.to_owned();
                    if self.bind(pod, &node).await
                        && let Some(pod) = self.pods.objects.get_mut(&key)
                        && let Some(spec) = &mut pod.spec
                    {
                        // The watch says so too, but the next pod is now.
                        spec.node_name = Some(node);
                    }
                }
                Err(reason) => self.refuse(pod, reason).await,
            }
        }
    }

    async fn bind(&self, pod: &Pod, node: &str) -> bool {
        let name = pod.name_any();
        let binding = json!({
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name, "uid": pod.metadata.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        });
        let bound: kube::Result<Status> = self
            .api(pod)
            .create_subresource("binding", &name, &PostParams::default(), &binding)
            .await;
        match bound {
            Ok(_) => {
                let namespace = pod.namespace().unwrap_or_default();
                let message = format!("Successfully assigned {namespace}/{name} to {node}");
                self.recorder.normal(pod, "Scheduled", message);
                true
            }
            Err(error) => {
                // Deleted or bound meanwhile: the watch will say so.
                tracing::info!(pod = name, node, error = chain(&error), "pod was not bound");
                false
            }
        }
    }

    /// Says once why the pod has no node; the next change of anything tries
    /// again.
    async fn refuse(&self, pod: &Pod, reason: String) {
        let conditions = pod
            .status
            .as_ref()
            .and_then(|status| status.conditions.clone());
        let mut conditions = conditions.unwrap_or_default();
        let known = |condition: &k8s_openapi::api::core::v1::PodCondition| {
            condition.type_ == "PodScheduled" && condition.message.as_deref() == Some(&reason)
        };
        if conditions.iter().any(known) {
            return;
        }
        conditions.retain(|condition| condition.type_ != "PodScheduled");
        let mut all: Vec<_> = conditions
            .iter()
            .map(|condition| json!(condition))
            .collect();
        all.push(json!({
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": reason,
            "lastTransitionTime": Time(Timestamp::now()),
        }));
        let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": all}});
        let name = pod.name_any();
        let patched = self
            .api(pod)
            .patch_status(&name, &PatchParams::default(), &Patch::Merge(patch))
            .await;
        match patched {
            Ok(_) => self.recorder.warning(pod, "FailedScheduling", reason),
            Err(error) => tracing::info!(
                pod = name,
                error = chain(&error),
                "condition was not written"
            ),
        }
    }

    fn api(&self, pod: &Pod) -> Api<Pod> {
        Api::namespaced(
            self.client.clone(),
            pod.metadata.namespace.as_deref().unwrap_or("default"),
        )
    }
}

/// Whether the pod waits for this scheduler.
fn waits(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let ours = spec
        .scheduler_name
        .as_deref()
        .is_none_or(|name| name == "default-scheduler");
    ours && spec.node_name.as_deref().unwrap_or_default().is_empty()
        && pod.metadata.deletion_timestamp.is_none()
        && spec.scheduling_gates.iter().flatten().next().is_none()
}

fn wish<'a>(pod: &'a Pod, spec: &'a PodSpec) -> Wish<'a> {
    Wish {
        namespace: pod.metadata.namespace.as_deref().unwrap_or_default(),
        labels: pod.metadata.labels.as_ref(),
        spec,
    }
}

fn candidate(node: &Node) -> Candidate<'_> {
    let spec = node.spec.as_ref();
    Candidate {
        name: node.metadata.name.as_deref().unwrap_or_default(),
        node,
        ready: is_ready(node),
        cordoned: spec.is_some_and(|spec| spec.unschedulable == Some(true)),
    }
}

/// A pod that takes up room on a node: not one that has finished.
fn occupant(pod: &Pod) -> Option<Occupant<'_>> {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    if matches!(phase, Some("Succeeded" | "Failed")) {
        return None;
    }
    let node = pod
        .spec
        .as_ref()?
        .node_name
        .as_deref()
        .filter(|name| !name.is_empty())?;
    Some(Occupant {
        node,
        namespace: pod.metadata.namespace.as_deref().unwrap_or_default(),
        labels: pod.metadata.labels.as_ref(),
    })
}
