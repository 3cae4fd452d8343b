//! What the agent writes to the API server: its status, the annotations by which
//! nodes find each other, Events about objects that are not understood.
//!
//! Each has a task of its own that takes the latest and never writes more than
//! once a second, so that neither a busy cluster nor a failing API server makes
//! the agent one of its heavier clients.

mod event;
mod live;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Node};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use podway_model::ObjectRef;
use podway_watch::objects::Fault;
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use crate::feature::{Report, chain};
use crate::health_checks::Wanted;
use crate::status::{DATA_KEY, NAMESPACE, NODE_LABEL, NodeStatus, config_map_name};
use crate::sync::Outbox;

pub(crate) use live::Live;

/// The least time between two writes of the same kind.
const PACE: Duration = Duration::from_secs(1);

/// Pauses after failed writes: doubled from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Rights do not come by themselves: kube-proxy's do not hold ConfigMaps.
const FORBIDDEN_PAUSE: Duration = Duration::from_secs(600);

/// Events that may wait to be written; a cluster with more broken objects has
/// them in the status.
const MOST_EVENTS: usize = 256;

type Annotations = BTreeMap<&'static str, Option<String>>;

/// The sync thread's side.
pub(crate) struct Post {
    status: watch::Sender<NodeStatus>,
    annotations: watch::Sender<Annotations>,
    network: watch::Sender<bool>,
    health_checks: watch::Sender<Wanted>,
    bulletin: Bulletin,
    changed: mpsc::Sender<Live>,
}

/// Where what is to become an Event is told, from any thread.
#[derive(Debug, Clone)]
pub(crate) struct Bulletin(Option<mpsc::Sender<News>>);

/// Something that is to become an Event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum News {
    /// A field of an object is not understood: every node finds the same.
    Fault(Fault),
    /// Something that this node has to say.
    Occurrence {
        /// About which object.
        object: ObjectRef,
        severity: Severity,
        reason: &'static str,
        message: String,
    },
}

/// `type` of an Event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Severity {
    Normal,
    Warning,
}

impl Bulletin {
    /// Says something of this node.
    pub(crate) fn about_node(
        &self,
        node: &Arc<str>,
        severity: Severity,
        reason: &'static str,
        message: String,
    ) {
        self.tell(News::Occurrence {
            object: ObjectRef::Node(node.clone()),
            severity,
            reason,
            message,
        });
    }

    pub(crate) fn tell(&self, news: News) {
        if let Some(events) = &self.0 {
            // A full channel means more than anybody reads as Events.
            let _ = events.try_send(news);
        }
    }
}

/// The API server's side.
pub(crate) struct Publisher {
    client: Client,
    node: Arc<str>,
    status: watch::Receiver<NodeStatus>,
    annotations: watch::Receiver<Annotations>,
    /// The Node has to be told that its network is there.
    network: watch::Receiver<bool>,
    /// `None` where the agent is not to publish a status or Events.
    events: Option<mpsc::Receiver<News>>,
    bulletin: Bulletin,
    /// Policies to be seen through.
    changed: mpsc::Receiver<Live>,
}

/// Both sides. Without `observability`, only annotations are written.
pub(crate) fn post(client: Client, node: Arc<str>, observability: bool) -> (Post, Publisher) {
    let (status, status_received) = watch::channel(NodeStatus::default());
    let (annotations, annotations_received) = watch::channel(Annotations::new());
    let (network, network_received) = watch::channel(false);
    let (events, events_received) = mpsc::channel(MOST_EVENTS);
    let (changed, changed_received) = mpsc::channel(MOST_EVENTS);
    let bulletin = Bulletin(observability.then_some(events));
    let post = Post {
        status,
        annotations,
        network,
        health_checks: watch::channel(Wanted::default()).0,
        bulletin: bulletin.clone(),
        changed,
    };
    let publisher = Publisher {
        client,
        node,
        status: status_received,
        annotations: annotations_received,
        network: network_received,
        events: observability.then_some(events_received),
        bulletin,
        changed: changed_received,
    };
    (post, publisher)
}

impl Outbox for Post {
    fn report(&mut self, report: Report) {
        self.status
            .send_if_modified(|status| replace(status, report.status));
        self.annotations
            .send_if_modified(|annotations| replace(annotations, report.annotations));
        self.network
            .send_if_modified(|network| replace(network, report.network_is_unannounced));
        self.health_checks
            .send_if_modified(|wanted| replace(wanted, report.health_checks));
    }

    fn changed(&mut self, live: Live) {
        // A full channel means more changes than anybody reads as Events.
        let _ = self.changed.try_send(live);
    }

    fn fault(&mut self, fault: &Fault) {
        tracing::warn!(object = %fault.object, field = fault.field, reason = fault.reason, "not understood");
        self.bulletin.tell(News::Fault(fault.clone()));
    }
}

impl Post {
    pub(crate) fn bulletin(&self) -> Bulletin {
        self.bulletin.clone()
    }

    /// What to answer at health check node ports.
    pub(crate) fn health_checks(&self) -> watch::Receiver<Wanted> {
        self.health_checks.subscribe()
    }
}

/// A bulletin, and what is told by it.
#[cfg(test)]
pub(crate) fn bulletin_for_tests() -> (Bulletin, mpsc::Receiver<News>) {
    let (told, heard) = mpsc::channel(MOST_EVENTS);
    (Bulletin(Some(told)), heard)
}

fn replace<T: PartialEq>(present: &mut T, latest: T) -> bool {
    let differs = *present != latest;
    *present = latest;
    differs
}

impl Publisher {
    /// Publishes until the sync thread is gone.
    pub(crate) async fn run(self) {
        let annotating = annotate(self.client.clone(), self.node.clone(), self.annotations);
        let announcing = announce(self.client.clone(), self.node.clone(), self.network);
        let telling_nodes = futures_util::future::join(annotating, announcing);
        let Some(events) = self.events else {
            telling_nodes.await;
            return;
        };
        let reporting = report(self.client.clone(), self.node.clone(), self.status);
        let seeing = live::see_through(self.client.clone(), self.bulletin, self.changed);
        let telling = event::tell(self.client, self.node, events);
        futures_util::future::join4(telling_nodes, reporting, telling, seeing).await;
    }
}

async fn annotate(client: Client, node: Arc<str>, mut latest: watch::Receiver<Annotations>) {
    let nodes: Api<Node> = Api::all(client);
    let mut pacer = Pacer::default();
    while latest.changed().await.is_ok() {
        loop {
            let annotations = latest.borrow_and_update().clone();
            if annotations.is_empty() {
                break;
            }
            let patch = json!({ "metadata": { "annotations": annotations } });
            let written = nodes
                .patch(&node, &PatchParams::default(), &Patch::Merge(&patch))
                .await;
            match written {
                Ok(_) => {
                    tracing::info!(?annotations, "annotated the Node");
                    pacer.succeeded().await;
                    break;
                }
                Err(error) => pacer.failed("annotate the Node", &error).await,
            }
        }
    }
}

/// Sets the Node's condition NetworkUnavailable to False: clouds keep pods off a
/// node (taint `node.kubernetes.io/network-unavailable`) until somebody does.
async fn announce(client: Client, node: Arc<str>, mut is_unannounced: watch::Receiver<bool>) {
    let nodes: Api<Node> = Api::all(client);
    let mut pacer = Pacer::default();
    while is_unannounced.changed().await.is_ok() {
        while *is_unannounced.borrow_and_update() {
            let now = Time(Timestamp::now());
            let condition = json!({
                "type": "NetworkUnavailable",
                "status": "False",
                "reason": "PodwayIsUp",
                "message": "Podway's overlay is in force on this node",
                "lastHeartbeatTime": now,
                "lastTransitionTime": now,
            });
            // Strategic: conditions are merged by type, and the others stay.
            let patch = Patch::Strategic(json!({ "status": { "conditions": [condition] } }));
            match nodes
                .patch_status(&node, &PatchParams::default(), &patch)
                .await
            {
                Ok(_) => {
                    tracing::info!("the Node's network is announced");
                    pacer.succeeded().await;
                    break;
                }
                Err(error) => pacer.failed("announce the Node's network", &error).await,
            }
        }
    }
}

async fn report(client: Client, node: Arc<str>, mut latest: watch::Receiver<NodeStatus>) {
    let maps: Api<ConfigMap> = Api::namespaced(client, NAMESPACE);
    let mut pacer = Pacer::default();
    while latest.changed().await.is_ok() {
        loop {
            let status = latest.borrow_and_update().clone();
            // Before that it says nothing that "no agent has reported" does not.
            if !status.synced {
                break;
            }
            match write_status(&maps, &node, &status).await {
                Ok(()) => {
                    pacer.succeeded().await;
                    break;
                }
                Err(kube::Error::Api(response)) if response.code == 403 => {
                    tracing::warn!(
                        reason = response.message,
                        "the status is not published: podway status knows nothing of this node"
                    );
                    sleep(FORBIDDEN_PAUSE).await;
                }
                Err(error) => pacer.failed("publish the status", &error).await,
            }
        }
    }
}

/// Patches the ConfigMap, or creates it where there is none.
async fn write_status(maps: &Api<ConfigMap>, node: &str, status: &NodeStatus) -> kube::Result<()> {
    let name = config_map_name(node);
    let text = serde_json::to_string(status).map_err(kube::Error::SerdeError)?;
    let patch = json!({
        "metadata": { "labels": { NODE_LABEL: node } },
        "data": { DATA_KEY: text },
    });
    let patched = maps
        .patch(&name, &PatchParams::default(), &Patch::Merge(&patch))
        .await;
    match patched {
        Err(kube::Error::Api(response)) if response.code == 404 => {
            let mut map = ConfigMap::default();
            map.metadata.name = Some(name);
            map.metadata.labels = Some([(NODE_LABEL.to_owned(), node.to_owned())].into());
            map.data = Some([(DATA_KEY.to_owned(), text)].into());
            maps.create(&PostParams::default(), &map).await.map(|_| ())
        }
        outcome => outcome.map(|_| ()),
    }
}

/// Keeps writes apart.
#[derive(Default)]
struct Pacer {
    failures: u32,
}

impl Pacer {
    async fn succeeded(&mut self) {
        self.failures = 0;
        sleep_until(Instant::now() + PACE).await;
    }

    async fn failed(&mut self, what: &str, error: &kube::Error) {
        let pause = FIRST_PAUSE
            .saturating_mul(1 << self.failures.min(16))
            .min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        let error = chain(error);
        tracing::debug!(what, error, ?pause, "API server does not take it");
        sleep(pause.mul_f64(rand::random_range(0.5..=1.0))).await;
    }
}
