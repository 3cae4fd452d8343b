//! The API server's objects as a stream of [`Notice`]s.

mod optional;
mod pauses;
mod undecoded;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{Stream, StreamExt, future};
use k8s_openapi::api::{
    core::v1 as core, discovery::v1 as discovery, networking::v1 as networking,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::watcher;
use kube::{Api, Client, Config};
use parking_lot::Mutex;
use podway_model::{Change, Object, ObjectKind, ObjectRef};
use serde::de::DeserializeOwned;

use crate::objects::cluster_network_policy::api::ClusterNetworkPolicy;
use crate::objects::{Fault, Readable, Reading};
use optional::follow_where_served;
use pauses::Pauses;
use undecoded::Undecoded;

/// What a watch tells.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    /// The cluster changed. The first of each kind is a complete
    /// [`Change::Replace`], as is the first after a relist.
    Change(Change),
    /// What is now wrong with an object; an empty list takes back what was.
    Faults(ObjectRef, Vec<Fault>),
    /// Every kind has been listed once: the state is complete. Sent once.
    Synced,
    /// The watch of a kind is interrupted and will be tried again.
    Lost(ObjectKind, String),
    /// The watch of a kind goes on after [`Notice::Lost`].
    Regained(ObjectKind),
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The kubeconfig cannot be used.
    #[error(
        "read kubeconfig {path}: check that it exists and names a cluster, a user and a context"
    )]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: kube::config::KubeconfigError,
    },
    /// There is no kubeconfig and this is not a pod.
    #[error("find the API server: no kubeconfig was given, and this process does not run in a pod")]
    InCluster(#[source] kube::config::InClusterError),
    /// The configuration cannot be used.
    #[error("connect to the API server at {url}")]
    Connect {
        /// Its address.
        url: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
}

/// A client of the API server that a kubeconfig names, or of the cluster whose
/// pod this process is. Connects on first use.
pub async fn connect(kubeconfig: Option<&Path>) -> Result<Client, ClientError> {
    let config = match kubeconfig {
        Some(path) => from_kubeconfig(path)
            .await
            .map_err(|source| ClientError::Kubeconfig {
                path: path.to_owned(),
                source,
            })?,
        None => Config::incluster().map_err(ClientError::InCluster)?,
    };
    let url = config.cluster_url.to_string();
    Client::try_from(config).map_err(|source| ClientError::Connect {
        url,
        source: Box::new(source),
    })
}

async fn from_kubeconfig(path: &Path) -> Result<Config, kube::config::KubeconfigError> {
    let kubeconfig = Kubeconfig::read_from(path)?;
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await
}

/// Lists and watches every kind, the last where the server serves it, until the
/// future is dropped. Errors are
/// retried with growing, jittered pauses; a resource version that is gone (410)
/// leads to a new complete list.
///
/// `tell` is called from the task that polls this future and must not block.
pub async fn watch(client: Client, tell: impl Fn(Notice) + Send + Sync) {
    let teller = Teller {
        tell,
        unlisted: Mutex::new(ObjectKind::ALL.into_iter().collect()),
    };
    future::join5(
        follow::<core::Namespace, _>(&client, ObjectKind::Namespace, &teller),
        follow::<core::Node, _>(&client, ObjectKind::Node, &teller),
        follow::<core::Pod, _>(&client, ObjectKind::Pod, &teller),
        follow::<core::Service, _>(&client, ObjectKind::Service, &teller),
        future::join3(
            follow::<discovery::EndpointSlice, _>(&client, ObjectKind::EndpointSlice, &teller),
            follow::<networking::NetworkPolicy, _>(&client, ObjectKind::NetworkPolicy, &teller),
            follow_where_served::<ClusterNetworkPolicy, _>(
                &client,
                ObjectKind::ClusterNetworkPolicy,
                &teller,
            ),
        ),
    )
    .await;
}

/// Passes notices on and knows which kinds are still to be listed.
struct Teller<F> {
    tell: F,
    unlisted: Mutex<BTreeSet<ObjectKind>>,
}

impl<F: Fn(Notice)> Teller<F> {
    fn listed(&self, kind: ObjectKind) {
        let mut unlisted = self.unlisted.lock();
        if unlisted.remove(&kind) && unlisted.is_empty() {
            (self.tell)(Notice::Synced);
        }
    }
}

async fn follow<K, F>(client: &Client, kind: ObjectKind, teller: &Teller<F>)
where
    K: k8s_openapi::Metadata<Ty = kube::core::ObjectMeta> + Readable,
    K: Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    F: Fn(Notice) + Send + Sync,
{
    let api: Api<Undecoded<K>> = Api::all(client.clone());
    let mut following = Following::new(kind);
    let mut pauses = Pauses::default();
    loop {
        let mut events = pin!(watcher(api.clone(), watcher::Config::default()));
        while let Some(event) = next(&mut events, &mut following, teller).await {
            let is_expired = event.as_ref().is_err_and(is_expired);
            let is_failure = event.is_err();
            for notice in following.take(event) {
                (teller.tell)(notice);
            }
            if following.is_listed {
                teller.listed(kind);
            }
            if is_failure {
                tokio::time::sleep(pauses.next(Instant::now())).await;
            }
            if is_expired {
                break;
            }
        }
    }
}

/// The next event. After a failure the watcher says nothing when its watch has
/// begun again, so that silence is taken for that.
async fn next<S, F: Fn(Notice)>(
    events: &mut S,
    following: &mut Following,
    teller: &Teller<F>,
) -> Option<S::Item>
where
    S: Stream + Unpin,
{
    if following.is_lost {
        if let Ok(event) = tokio::time::timeout(SETTLED, events.next()).await {
            return event;
        }
        following.regain().into_iter().for_each(&teller.tell);
    }
    events.next().await
}

/// A watch that has not failed in this time after it was tried again has begun:
/// a refusal comes at once.
const SETTLED: Duration = Duration::from_secs(2);

/// Whether the server no longer has the version from which the watch is to go
/// on, and answers so before the watch begins. The watcher would ask for the
/// same version for ever; the same answer within a watch it understands.
fn is_expired(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::WatchStartFailed(kube::Error::Api(status)) if status.code == 410)
}

/// One kind's watch: what the watcher's events mean to us.
struct Following {
    kind: ObjectKind,
    list: Vec<Object>,
    /// Objects with faults that were told and not taken back.
    faulty: BTreeSet<ObjectRef>,
    /// The faulty ones of the list that is being read.
    faulty_in_list: BTreeSet<ObjectRef>,
    is_listed: bool,
    is_lost: bool,
}

impl Following {
    fn new(kind: ObjectKind) -> Self {
        Self {
            kind,
            list: Vec::new(),
            faulty: BTreeSet::new(),
            faulty_in_list: BTreeSet::new(),
            is_listed: false,
            is_lost: false,
        }
    }

    fn take<K>(&mut self, event: watcher::Result<watcher::Event<Undecoded<K>>>) -> Vec<Notice>
    where
        K: k8s_openapi::Metadata<Ty = kube::core::ObjectMeta> + Readable + DeserializeOwned,
    {
        let mut notices = Vec::new();
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                let cause = cause(&error);
                let kind = self.kind;
                if self.is_lost {
                    tracing::debug!(?kind, cause, "watch still interrupted");
                } else {
                    tracing::warn!(?kind, cause, "watch interrupted");
                }
                self.is_lost = true;
                return vec![Notice::Lost(kind, cause)];
            }
        };
        notices.extend(self.regain());
        match event {
            watcher::Event::Init => {
                self.list.clear();
                self.faulty_in_list.clear();
            }
            watcher::Event::InitApply(object) => {
                let reading = object.read(self.kind);
                if !reading.faults.is_empty() {
                    self.faulty_in_list.insert(reading.reference.clone());
                }
                self.note_faults(&reading, &mut notices);
                self.list.extend(reading.object);
            }
            watcher::Event::InitDone => self.replace(&mut notices),
            watcher::Event::Apply(object) => {
                let reading = object.read(self.kind);
                self.note_faults(&reading, &mut notices);
                notices.push(Notice::Change(match reading.object {
                    Some(object) => Change::Upsert(object),
                    None => Change::Delete(reading.reference),
                }));
            }
            watcher::Event::Delete(object) => {
                let reference = object.reference(self.kind);
                if self.faulty.remove(&reference) {
                    notices.push(Notice::Faults(reference.clone(), Vec::new()));
                }
                notices.push(Notice::Change(Change::Delete(reference)));
            }
        }
        notices
    }

    fn regain(&mut self) -> Option<Notice> {
        let was_lost = std::mem::take(&mut self.is_lost);
        was_lost.then(|| {
            tracing::info!(kind = ?self.kind, "watch goes on");
            Notice::Regained(self.kind)
        })
    }

    fn replace(&mut self, notices: &mut Vec<Notice>) {
        let faulty = std::mem::take(&mut self.faulty_in_list);
        for healed in self.faulty.difference(&faulty) {
            notices.push(Notice::Faults(healed.clone(), Vec::new()));
        }
        self.faulty = faulty;
        let list = std::mem::take(&mut self.list);
        tracing::debug!(kind = ?self.kind, objects = list.len(), "listed");
        notices.push(Notice::Change(Change::Replace(self.kind, list)));
        self.is_listed = true;
    }

    fn note_faults(&mut self, reading: &Reading, notices: &mut Vec<Notice>) {
        let reference = &reading.reference;
        let changed = if reading.faults.is_empty() {
            self.faulty.remove(reference)
        } else {
            self.faulty.insert(reference.clone());
            true
        };
        if changed {
            notices.push(Notice::Faults(reference.clone(), reading.faults.clone()));
        }
    }
}

/// Why a watch is interrupted, in one line: the server's own words where it gave
/// any.
fn cause(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error) => format!("list: {}", said(error)),
        watcher::Error::WatchStartFailed(error) | watcher::Error::WatchFailed(error) => {
            format!("watch: {}", said(error))
        }
        watcher::Error::WatchError(status) => format!("watch: {}", status.message),
        watcher::Error::NoResourceVersion => error.to_string(),
    }
}

fn said(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return status.message.clone();
    }
    // The innermost cause: what wraps it names layers of the client.
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// Reference of an object of a kind by its names.
fn reference(kind: ObjectKind, metadata: &kube::core::ObjectMeta) -> ObjectRef {
    let name = metadata.name.as_deref().unwrap_or_default();
    let namespace = metadata.namespace.as_deref().unwrap_or("default");
    let namespaced = || podway_model::ObjectName::new(namespace, name);
    match kind {
        ObjectKind::Namespace => ObjectRef::Namespace(Arc::from(name)),
        ObjectKind::Node => ObjectRef::Node(Arc::from(name)),
        ObjectKind::Pod => ObjectRef::Pod(namespaced()),
        ObjectKind::Service => ObjectRef::Service(namespaced()),
        ObjectKind::EndpointSlice => ObjectRef::EndpointSlice(namespaced()),
        ObjectKind::NetworkPolicy => ObjectRef::NetworkPolicy(namespaced()),
        ObjectKind::ClusterNetworkPolicy => ObjectRef::ClusterNetworkPolicy(Arc::from(name)),
    }
}

#[cfg(test)]
mod tests;
