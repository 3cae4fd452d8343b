//! From the watch of this node's pods to their workers.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use tokio::sync::{mpsc, watch};

use crate::kubelet::host::Host;
use crate::kubelet::record::PodRecord;
use crate::kubelet::worker::{Message, Worker};

/// The workers of the node's pods, by uid.
struct Workers {
    host: Arc<Host>,
    senders: BTreeMap<String, mpsc::UnboundedSender<Message>>,
    /// Pods that an earlier kubelet started and that the API has not named yet.
    remembered: BTreeMap<String, PodRecord>,
}

/// Watches the pods that are bound to this node and keeps a worker for each,
/// until the future is dropped. Workers and pods outlive it.
pub(crate) async fn watch_pods(host: Arc<Host>, mut network: watch::Receiver<bool>) {
    let records = PodRecord::all_in(&host.paths.pods());
    let mut workers = Workers {
        remembered: records
            .into_iter()
            .map(|record| (record.uid.clone(), record))
            .collect(),
        senders: BTreeMap::new(),
        host: Arc::clone(&host),
    };
    let config = watcher::Config::default().fields(&format!("spec.nodeName={}", host.node));
    let mut events = pin!(watcher(Api::all(host.client.clone()), config).default_backoff());
    let mut listed = BTreeSet::new();
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            changed = network.changed() => {
                if changed.is_err() {
                    return;
                }
                workers.tell_all(|| Message::Look);
                continue;
            }
        };
        match event {
            None => return,
            Some(Err(error)) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "pods cannot be watched"
                );
            }
            Some(Ok(Event::Init)) => listed.clear(),
            Some(Ok(Event::InitApply(pod))) => listed.extend(workers.put(pod)),
            Some(Ok(Event::InitDone)) => workers.keep(&listed),
            Some(Ok(Event::Apply(pod))) => {
                workers.put(pod);
            }
            Some(Ok(Event::Delete(pod))) => workers.gone(&pod.metadata.uid.unwrap_or_default()),
        }
    }
}

impl Workers {
    /// Hands a pod to its worker and returns its uid.
    fn put(&mut self, pod: Pod) -> Option<String> {
        let uid = pod.metadata.uid.clone()?;
        let pod = Arc::new(pod);
        let undelivered = match self.senders.get(&uid) {
            Some(sender) => sender.send(Message::Pod(Arc::clone(&pod))).is_err(),
            None => true,
        };
        // A worker ends after it has deleted its pod: what the watch still says
        // about that one is old news.
        if undelivered && self.senders.remove(&uid).is_none() {
            let record = self.remembered.remove(&uid);
            self.start(uid.clone(), pod, record);
        }
        Some(uid)
    }

    /// Ends the pods that a complete list does not name.
    fn keep(&mut self, listed: &BTreeSet<String>) {
        let missing: Vec<String> = self
            .senders
            .keys()
            .filter(|&uid| !listed.contains(uid))
            .cloned()
            .collect();
        for uid in missing {
            self.gone(&uid);
        }
        for (uid, record) in std::mem::take(&mut self.remembered) {
            let pod = Arc::new(forgotten(&record));
            self.start(uid.clone(), pod, Some(record));
            self.gone(&uid);
        }
    }

    fn gone(&mut self, uid: &str) {
        if let Some(sender) = self.senders.remove(uid) {
            // A worker that has ended has nothing left to end.
            let _ = sender.send(Message::Gone);
        }
    }

    fn start(&mut self, uid: String, pod: Arc<Pod>, record: Option<PodRecord>) {
        let (worker, sender) = Worker::new(Arc::clone(&self.host), pod, record);
        self.senders.insert(uid, sender);
        tokio::spawn(worker.run());
    }

    fn tell_all(&self, message: impl Fn() -> Message) {
        for sender in self.senders.values() {
            let _ = sender.send(message());
        }
    }
}

/// A pod that the API has no longer, as far as its end needs it.
fn forgotten(record: &PodRecord) -> Pod {
    let mut pod = Pod::default();
    pod.metadata.name = Some(record.name.clone());
    pod.metadata.namespace = Some(record.namespace.clone());
    pod.metadata.uid = Some(record.uid.clone());
    pod
}
