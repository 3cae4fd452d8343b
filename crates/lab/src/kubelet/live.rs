use std::collections::BTreeMap;
use std::path::PathBuf;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::process::Process;

/// The containers of this node as logs and exec need them, written by the
/// pods' workers.
#[derive(Debug, Default)]
pub(crate) struct LivePods {
    pods: Mutex<BTreeMap<(String, String), BTreeMap<String, LiveContainer>>>,
}

/// A container that was started.
#[derive(Debug, Clone)]
pub(crate) struct LiveContainer {
    /// The log of its newest run.
    pub(crate) log: PathBuf,
    /// The log of the run before.
    pub(crate) log_before: Option<PathBuf>,
    /// Its process while the run lasts; `None` afterwards.
    pub(crate) process: watch::Receiver<Option<Process>>,
}

impl LivePods {
    /// Replaces a pod's container.
    pub(crate) fn put(&self, namespace: &str, pod: &str, name: &str, container: LiveContainer) {
        let key = (namespace.to_owned(), pod.to_owned());
        let mut pods = self.pods.lock();
        pods.entry(key)
            .or_default()
            .insert(name.to_owned(), container);
    }

    /// Forgets a pod.
    pub(crate) fn remove(&self, namespace: &str, pod: &str) {
        self.pods
            .lock()
            .remove(&(namespace.to_owned(), pod.to_owned()));
    }

    /// A container of a pod.
    ///
    /// # Errors
    /// With a sentence for the person who asked.
    pub(crate) fn container(
        &self,
        namespace: &str,
        pod: &str,
        name: &str,
    ) -> Result<LiveContainer, String> {
        let pods = self.pods.lock();
        let containers = pods
            .get(&(namespace.to_owned(), pod.to_owned()))
            .ok_or_else(|| format!("pod {namespace}/{pod} has no container on this node yet"))?;
        containers.get(name).cloned().ok_or_else(|| {
            format!("container {name:?} of pod {namespace}/{pod} was not started yet")
        })
    }
}
