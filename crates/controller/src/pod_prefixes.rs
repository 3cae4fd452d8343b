//! Hands out podCIDRs: a Node without any gets one of each range. What Nodes have
//! already is theirs, whoever gave it, and is never changed (the API server would
//! not allow it).

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, ResourceExt};
use podway_model::Object;
use podway_plan::node_prefixes::NodePrefixes;
use podway_watch::objects::Readable;
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::events::{self, Note};

/// How long a request may take: a replica that is not elected any more must not
/// write after the next one has begun.
const LIMIT: Duration = Duration::from_secs(4);

/// The pause before a Node is tried again whose change failed.
const PAUSE: Duration = Duration::from_secs(2);

/// Works until the future is dropped.
pub(crate) async fn hand_out(client: Client, prefixes: NodePrefixes) {
    let nodes: Api<Node> = Api::all(client.clone());
    let events = watcher(nodes.clone(), watcher::Config::default());
    let mut events = pin!(events.default_backoff());
    let mut desk = Desk {
        client,
        nodes,
        prefixes,
        waiting: BTreeMap::new(),
        listed: None,
        refused: BTreeSet::new(),
    };
    let mut complained = false;
    let mut again = false;
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(Ok(event)) => {
                    complained = false;
                    desk.take(event).await;
                }
                Some(Err(error)) if !complained => {
                    complained = true;
                    tracing::warn!(%error, "nodes cannot be watched");
                }
                Some(Err(_)) => {}
                None => return,
            },
            () = sleep(PAUSE), if again => {}
        }
        again = desk.serve().await == Served::TryAgain;
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Served {
    All,
    TryAgain,
}

struct Desk {
    client: Client,
    nodes: Api<Node>,
    prefixes: NodePrefixes,
    /// Nodes without prefixes.
    waiting: BTreeMap<Arc<str>, Node>,
    /// What has come of a list; nothing is handed out before it is complete.
    listed: Option<Vec<Node>>,
    /// Who was told that nothing is left.
    refused: BTreeSet<Arc<str>>,
}

impl Desk {
    async fn take(&mut self, event: Event<Node>) {
        match event {
            Event::Init => self.listed = Some(Vec::new()),
            Event::InitApply(node) => self.listed.get_or_insert_default().push(node),
            Event::InitDone => {
                let nodes = self.listed.take().unwrap_or_default();
                self.prefixes
                    .keep_only(&nodes.iter().map(name_of).collect());
                self.waiting.clear();
                for node in nodes {
                    self.look_at(node).await;
                }
            }
            Event::Apply(node) => self.look_at(node).await,
            Event::Delete(node) => {
                let name = name_of(&node);
                self.waiting.remove(&name);
                self.refused.remove(&name);
                self.prefixes.forget(&name);
            }
        }
    }

    async fn look_at(&mut self, node: Node) {
        let name = name_of(&node);
        let has = prefixes_of(&node);
        for conflict in self.prefixes.tell(&name, &has) {
            let message = conflict.to_string();
            let note = Note::warning("PodCIDRConflict", &message);
            events::tell(&self.client, &node, note).await;
        }
        if has.is_empty() && node.metadata.deletion_timestamp.is_none() {
            self.waiting.insert(name, node);
        } else {
            self.waiting.remove(&name);
            self.refused.remove(&name);
        }
    }

    /// Gives every node that waits what it waits for.
    async fn serve(&mut self) -> Served {
        let mut served = Served::All;
        if self.listed.is_some() {
            return served;
        }
        for (name, node) in self.waiting.clone() {
            match self.prefixes.give(&name) {
                Ok(given) => match self.write(&name, &node, &given).await {
                    Written::Done => {
                        self.waiting.remove(&name);
                    }
                    // The watch tells what there is instead.
                    Written::Refused => {
                        self.prefixes.forget(&name);
                        self.waiting.remove(&name);
                    }
                    // What it is given stays its own: it may have been written.
                    Written::Unknown => served = Served::TryAgain,
                },
                Err(full) if self.refused.insert(name) => {
                    let message = full.to_string();
                    let note = Note::warning("CIDRNotAvailable", &message);
                    events::tell(&self.client, &node, note).await;
                }
                Err(_) => {}
            }
        }
        served
    }

    async fn write(&self, name: &str, node: &Node, given: &[IpNet]) -> Written {
        let given: Vec<String> = given.iter().map(ToString::to_string).collect();
        // With its uid: another Node of that name has not been looked at.
        let patch = Patch::Merge(json!({
            "metadata": { "uid": node.metadata.uid },
            "spec": { "podCIDR": given.first(), "podCIDRs": given },
        }));
        let params = PatchParams::default();
        match timeout(LIMIT, self.nodes.patch(name, &params, &patch)).await {
            Ok(Ok(_)) => {
                tracing::info!(node = name, prefixes = ?given, "podCIDRs given");
                Written::Done
            }
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409 | 422) => {
                let reason = status.message;
                tracing::warn!(node = name, reason, "podCIDRs not taken");
                Written::Refused
            }
            Ok(Err(error)) => {
                tracing::warn!(node = name, %error, "podCIDRs cannot be written yet");
                Written::Unknown
            }
            Err(_) => {
                tracing::warn!(node = name, "podCIDRs cannot be written yet: no answer");
                Written::Unknown
            }
        }
    }
}

enum Written {
    Done,
    Refused,
    Unknown,
}

fn name_of(node: &Node) -> Arc<str> {
    Arc::from(node.name_any())
}

fn prefixes_of(node: &Node) -> Vec<IpNet> {
    match node.read().object {
        Some(Object::Node(node)) => node.pod_prefixes.clone(),
        _ => Vec::new(),
    }
}
