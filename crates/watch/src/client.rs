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
    /// An API server's address that is none.
    #[error("{0:?} is not the URL of an API server: expected as https://10.0.0.1:6443")]
    Server(String),
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
    connect_to(kubeconfig, None).await
}

/// The same; a server that is given takes the place of the kubeconfig's. With a
/// server alone, it is talked to as nobody.
pub async fn connect_to(
    kubeconfig: Option<&Path>,
    server: Option<&str>,
) -> Result<Client, ClientError> {
    let server = match server {
        None => None,
        Some(url) => {
            let uri = url.parse();
            Some(uri.map_err(|_| ClientError::Server(url.to_owned()))?)
        }
    };
    let mut config = match kubeconfig {
        Some(path) => from_kubeconfig(path)
            .await
            .map_err(|source| ClientError::Kubeconfig {
                path: path.to_owned(),
                source,
            })?,
        None => match server.clone() {
            Some(uri) => Config::new(uri),
            None => Config::incluster().map_err(ClientError::InCluster)?,
        },
    };
    if let Some(uri) = server {
        config.cluster_url = uri;
    }
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

/// What to watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchScope {
    /// The kinds. Of the others nothing is known, and nothing is waited for.
    pub kinds: BTreeSet<ObjectKind>,
    /// Where it is set, of the Nodes only the one of this name: thousands of
    /// nodes that write their status are much to read for one that needs only
    /// itself.
    pub only_node: Option<Arc<str>>,
}

impl WatchScope {
    /// Everything.
    #[must_use]
    pub fn everything() -> Self {
        Self {
            kinds: ObjectKind::ALL.into_iter().collect(),
            only_node: None,
        }
    }

    /// What a proxy needs, and may read as `system:node-proxier`.
    #[must_use]
    pub fn of_proxy(node: Arc<str>) -> Self {
        Self {
            kinds: [
                ObjectKind::Node,
                ObjectKind::Service,
                ObjectKind::EndpointSlice,
            ]
            .into(),
            only_node: Some(node),
        }
    }

    fn config(&self, kind: ObjectKind) -> watcher::Config {
        let config = watcher::Config::default();
        match (&self.only_node, kind) {
            (Some(node), ObjectKind::Node) => config.fields(&format!("metadata.name={node}")),
            // As kube-proxy asks: headless Services and their slices, which are
            // nothing to a proxy, do not even come over the wire.
            (Some(_), ObjectKind::Service) => config
                .fields("spec.clusterIP!=None")
                .labels("!service.kubernetes.io/service-proxy-name"),
            (Some(_), ObjectKind::EndpointSlice) => {
                config.labels("!service.kubernetes.io/headless")
            }
            _ => config,
        }
    }
}

/// Lists and watches, the last kind where the server serves it, until the future
/// is dropped. Errors are retried with growing, jittered pauses; a resource
/// version that is gone (410) leads to a new complete list.
///
/// `tell` is called from the task that polls this future and must not block.
pub async fn watch(client: Client, watched: WatchScope, tell: impl Fn(Notice) + Send + Sync) {
    let teller = Teller {
        tell,
        unlisted: Mutex::new(watched.kinds.clone()),
    };
    let (client, watched, teller) = (&client, &watched, &teller);
    future::join5(
        follow::<core::Namespace, _>(client, watched, ObjectKind::Namespace, teller),
        follow::<core::Node, _>(client, watched, ObjectKind::Node, teller),
        follow::<core::Pod, _>(client, watched, ObjectKind::Pod, teller),
        follow::<core::Service, _>(client, watched, ObjectKind::Service, teller),
        future::join3(
            follow::<discovery::EndpointSlice, _>(
                client,
                watched,
                ObjectKind::EndpointSlice,
                teller,
            ),
            follow::<networking::NetworkPolicy, _>(
                client,
                watched,
                ObjectKind::NetworkPolicy,
                teller,
            ),
            follow_where_served::<ClusterNetworkPolicy, _>(
                client,
                watched,
                ObjectKind::ClusterNetworkPolicy,
                teller,
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

async fn follow<K, F>(client: &Client, watched: &WatchScope, kind: ObjectKind, teller: &Teller<F>)
where
    K: k8s_openapi::Metadata<Ty = kube::core::ObjectMeta> + Readable,
    K: Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    F: Fn(Notice) + Send + Sync,
{
    if !watched.kinds.contains(&kind) {
        return future::pending().await;
    }
    let api: Api<Undecoded<K>> = Api::all(client.clone());
    let mut following = Following::new(kind);
    let mut pauses = Pauses::default();
    loop {
        let mut events = pin!(watcher(api.clone(), watched.config(kind)));
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
    /// The highest revision in the list that is being read, also of objects
    /// that are not for us.
    listed_up_to: u64,
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
            listed_up_to: 0,
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
                self.listed_up_to = 0;
            }
            watcher::Event::InitApply(object) => {
                self.listed_up_to = self.listed_up_to.max(object.revision());
                let reading = object.read(self.kind);
                if !reading.faults.is_empty() {
                    self.faulty_in_list.insert(reading.reference.clone());
                }
                self.note_faults(&reading, &mut notices);
                self.list.extend(reading.object);
            }
            watcher::Event::InitDone => self.replace(&mut notices),
            watcher::Event::Apply(object) => {
                let revision = object.revision();
                let reading = object.read(self.kind);
                self.note_faults(&reading, &mut notices);
                match reading.object {
                    Some(object) => notices.push(Notice::Change(Change::Upsert(object))),
                    None => notices.extend(self.gone(reading.reference, revision)),
                }
            }
            watcher::Event::Delete(object) => {
                let reference = object.reference(self.kind);
                if self.faulty.remove(&reference) {
                    notices.push(Notice::Faults(reference.clone(), Vec::new()));
                }
                notices.extend(self.gone(reference, object.revision()));
            }
        }
        notices
    }

    /// The watch names the revision at which an object went, and no object has
    /// it: without a word of it nobody could tell that the deletion is in force.
    fn gone(&self, reference: ObjectRef, revision: u64) -> impl Iterator<Item = Notice> + use<> {
        let gone = Notice::Change(Change::Delete(reference));
        [gone].into_iter().chain(self.seen(revision))
    }

    fn seen(&self, revision: u64) -> Option<Notice> {
        (revision != 0).then_some(Notice::Change(Change::Seen(self.kind, revision)))
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
        notices.extend(self.seen(self.listed_up_to));
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
