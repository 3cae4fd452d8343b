//! What a scheduler and kubelets do, without pods: binds, reports, removes.

use std::collections::BTreeMap;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

/// The nodes that the crew has.
pub(crate) const NODES: [&str; 2] = ["n1", "n2"];

/// Makes the nodes and works until the future is dropped.
pub(crate) async fn run(client: Client) {
    for name in NODES {
        // A test that needs no nodes may be over by now.
        let _ = register(&client, name).await;
    }
    let pods: Api<Pod> = Api::all(client.clone());
    let mut events = Box::pin(watcher(pods, watcher::Config::default()).default_backoff());
    let mut seen = BTreeMap::new();
    while let Some(event) = events.next().await {
        // The server is shutting down, or soon says so.
        let Ok(Event::Apply(pod) | Event::InitApply(pod)) = event else {
            continue;
        };
        let count = seen.len();
        let number = *seen.entry(pod.uid()).or_insert(count);
        // Refused means that somebody else was faster: their event follows.
        let _ = attend(&client, &pod, number).await;
    }
}

async fn register(client: &Client, name: &str) -> kube::Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    let mut node = Node::default();
    node.metadata.name = Some(name.to_owned());
    nodes.create(&PostParams::default(), &node).await?;
    let conditions = json!([{ "type": "Ready", "status": "True" }]);
    let ready = Patch::Merge(json!({ "status": { "conditions": conditions } }));
    nodes
        .patch_status(name, &PatchParams::default(), &ready)
        .await
        .map(drop)
}

async fn attend(client: &Client, pod: &Pod, number: usize) -> kube::Result<()> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap());
    let name = pod.name_any();
    if pod.metadata.deletion_timestamp.is_some() {
        let now = DeleteParams::default().grace_period(0);
        return pods.delete(&name, &now).await.map(drop);
    }
    let spec = pod.spec.as_ref().unwrap();
    if spec.node_name.is_none() {
        let target = json!({ "kind": "Node", "name": node_for(pod, number) });
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding",
            "metadata": { "name": name }, "target": target,
        });
        let bound: kube::Result<Value> = pods
            .create_subresource("binding", &name, &PostParams::default(), &binding)
            .await;
        return bound.map(drop);
    }
    if pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        != Some("Pending")
    {
        return Ok(());
    }
    let status = Patch::Merge(json!({ "status": status(pod, number) }));
    pods.patch_status(&name, &PatchParams::default(), &status)
        .await
        .map(drop)
}

/// A daemon set's pod names its node.
fn node_for(pod: &Pod, number: usize) -> String {
    let text = serde_json::to_string(&pod.spec.as_ref().unwrap().affinity).unwrap();
    let named = NODES
        .iter()
        .find(|name| text.contains(&format!("\"{name}\"")));
    (*named.unwrap_or(&NODES[number % NODES.len()])).to_owned()
}

/// Runs, or has done so if its command is `true` or `false`.
fn status(pod: &Pod, number: usize) -> Value {
    let containers = &pod.spec.as_ref().unwrap().containers;
    let command = containers[0].command.clone().unwrap_or_default();
    let now = "2026-11-20T10:00:00Z";
    let (phase, state) = match command.first().map(String::as_str) {
        Some("true") => (
            "Succeeded",
            json!({ "terminated": { "exitCode": 0, "finishedAt": now } }),
        ),
        Some("false") => (
            "Failed",
            json!({ "terminated": { "exitCode": 1, "finishedAt": now } }),
        ),
        _ => ("Running", json!({ "running": { "startedAt": now } })),
    };
    let ready = phase == "Running";
    let word = if ready { "True" } else { "False" };
    let statuses: Vec<Value> = containers
        .iter()
        .map(|container| {
            json!({
                "name": container.name, "image": container.image, "imageID": "", "ready": ready,
                "restartCount": 0, "state": state,
            })
        })
        .collect();
    let address = format!("10.244.{}.{}", number / 250, number % 250 + 2);
    json!({
        "phase": phase, "podIP": address, "podIPs": [{ "ip": address }],
        "startTime": now,
        "conditions": [
            { "type": "Ready", "status": word, "lastTransitionTime": now },
            { "type": "ContainersReady", "status": word, "lastTransitionTime": now },
        ],
        "containerStatuses": statuses,
    })
}
