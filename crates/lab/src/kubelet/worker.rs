//! One pod's life on the node: an actor that compares what the pod should be
//! with what it is after every message, and does the next thing.

mod containers;
mod end;
mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::api::Api;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use crate::Error;
use crate::kubelet::host::Host;
use crate::kubelet::probe::Verdict;
use crate::kubelet::record::{Exit, PodRecord};
use crate::kubelet::status::{self, Waiting};
use crate::kubelet::{run, sandbox};
use crate::process::Process;

/// What a worker is told.
#[derive(Debug)]
pub(crate) enum Message {
    /// The pod as the API has it now.
    Pod(Arc<Pod>),
    /// The API has it no longer.
    Gone,
    /// Something outside changed (the node's network, say): try again now.
    Look,
    /// A run of a container ended.
    Ended {
        container: String,
        process: Process,
        exit: Exit,
    },
    /// A pause process ended.
    PauseEnded(Process),
    /// A probe's verdict changed.
    Probed {
        container: String,
        process: Process,
        verdict: Verdict,
    },
}

/// The worker of one pod.
pub(crate) struct Worker {
    host: Arc<Host>,
    pod: Arc<Pod>,
    record: PodRecord,
    /// The API object is gone, or was never seen by this kubelet.
    gone: bool,
    messages: mpsc::UnboundedReceiver<Message>,
    sender: mpsc::UnboundedSender<Message>,
    running: BTreeMap<String, Running>,
    probed: BTreeMap<String, bool>,
    /// Containers whose startup probe has succeeded.
    started: BTreeSet<String>,
    waiting: BTreeMap<String, Waiting>,
    /// When each container may be started again.
    due: BTreeMap<String, Instant>,
    attempts: u32,
    retry: Option<Instant>,
    stopping: Option<end::Stopping>,
    reported: Option<PodStatus>,
}

/// What belongs to a run of a container.
#[derive(Debug)]
struct Running {
    process: watch::Sender<Option<Process>>,
    probes: Vec<AbortHandle>,
}

/// What comes after a look at the pod.
enum Next {
    /// Wait for a message, or until then.
    Wait(Option<Instant>),
    /// Nothing is left of the pod.
    Done,
}

/// The pauses after failed attempts to make a sandbox: 0.5 s doubled up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(500);

impl Worker {
    /// A worker for `pod`, which was started before if there is a `record`.
    /// Returns the sender of its messages as well.
    pub(crate) fn new(
        host: Arc<Host>,
        pod: Arc<Pod>,
        record: Option<PodRecord>,
    ) -> (Self, mpsc::UnboundedSender<Message>) {
        let (sender, messages) = mpsc::unbounded_channel();
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let record = record.unwrap_or_else(|| PodRecord {
            namespace: text(&pod.metadata.namespace),
            name: text(&pod.metadata.name),
            uid: text(&pod.metadata.uid),
            sandbox: None,
            addresses: Vec::new(),
            started: now(),
            containers: BTreeMap::new(),
        });
        let worker = Self {
            host,
            pod,
            record,
            gone: false,
            messages,
            sender: sender.clone(),
            running: BTreeMap::new(),
            probed: BTreeMap::new(),
            started: BTreeSet::new(),
            waiting: BTreeMap::new(),
            due: BTreeMap::new(),
            attempts: 0,
            retry: None,
            stopping: None,
            reported: None,
        };
        (worker, sender)
    }

    /// Works until nothing is left of the pod.
    pub(crate) async fn run(mut self) {
        self.adopt();
        loop {
            let next = self.advance().await;
            let until = match next {
                Next::Done => break,
                Next::Wait(until) => until,
            };
            let until = earliest(until, self.report().await);
            let message = match until {
                None => self.messages.recv().await,
                Some(until) => tokio::select! {
                    message = self.messages.recv() => message,
                    () = sleep_until(until) => continue,
                },
            };
            let Some(message) = message else { break };
            self.take(message);
            // Several messages at once need one look only.
            while let Ok(message) = self.messages.try_recv() {
                self.take(message);
            }
        }
        self.host
            .live
            .remove(&self.record.namespace, &self.record.name);
    }

    fn take(&mut self, message: Message) {
        match message {
            // The watch may lag behind the answer to our own last write.
            Message::Pod(pod) if revision(&pod) < revision(&self.pod) => {}
            Message::Pod(pod) => {
                // Somebody else said so: of a node that was silent, say.
                if status::is_ready(&pod) != status::is_ready(&self.pod) {
                    self.reported = None;
                }
                self.pod = pod;
            }
            Message::Gone => self.gone = true,
            Message::Look => self.retry = None,
            Message::Ended {
                container,
                process,
                exit,
            } => {
                self.container_ended(&container, process, exit);
            }
            // The next look at the pod sees that its pause is gone.
            Message::PauseEnded(process) => {
                tracing::info!(pod = self.name(), pid = process.pid, "pause process ended");
            }
            Message::Probed {
                container,
                process,
                verdict,
            } => self.container_probed(&container, process, &verdict),
        }
    }

    /// Does what can be done now.
    async fn advance(&mut self) -> Next {
        if self.gone || self.pod.metadata.deletion_timestamp.is_some() {
            return self.end().await;
        }
        if status::is_finished(&self.pod, &self.record) {
            return self.release().await;
        }
        match self.ensure_sandbox().await {
            Ok(Some(pause)) => Next::Wait(self.start_containers(pause).await),
            Ok(None) => Next::Wait(self.retry),
            Err(error) => {
                self.sandbox_failed(&error);
                Next::Wait(self.retry)
            }
        }
    }

    /// The sandbox's pause; `None` while an attempt to make one has to wait.
    async fn ensure_sandbox(&mut self) -> Result<Option<Process>, Error> {
        if let Some(pause) = self.record.pause() {
            return Ok(Some(pause));
        }
        if self.retry.is_some_and(|retry| retry > Instant::now()) {
            return Ok(None);
        }
        if let Some(sandbox) = &self.record.sandbox {
            let text = "the sandbox is gone: its containers end and start again in a new one";
            if sandbox.pause.is_some() {
                self.host
                    .recorder
                    .normal(&self.pod, "SandboxChanged", text.to_owned());
            }
            sandbox::remove(&self.host, &mut self.record).await?;
        }
        let created = sandbox::create(&self.host, &self.pod, &mut self.record).await;
        if let Err(error) = self.undo(&created).await {
            tracing::warn!(
                pod = self.name(),
                error = chain(&error),
                "half a sandbox is left"
            );
        }
        let child = created?;
        self.attempts = 0;
        self.retry = None;
        let pause = self.record.pause();
        self.watch_pause(pause, Some(child));
        Ok(pause)
    }

    /// Takes half a sandbox down at once: nothing may stay of what has failed.
    async fn undo<T>(&mut self, created: &Result<T, Error>) -> Result<(), Error> {
        match created {
            Ok(_) => Ok(()),
            Err(_) => sandbox::remove(&self.host, &mut self.record).await,
        }
    }

    fn sandbox_failed(&mut self, error: &Error) {
        let pause = FIRST_PAUSE
            .saturating_mul(1 << self.attempts.min(8))
            .min(LONGEST_PAUSE);
        self.attempts += 1;
        self.retry = Some(Instant::now() + pause);
        let words = chain(error);
        tracing::warn!(pod = self.name(), error = words, "sandbox cannot be made");
        let message = format!("Failed to create pod sandbox: {words}");
        self.host
            .recorder
            .warning(&self.pod, "FailedCreatePodSandBox", message);
    }

    /// Finds again what an earlier kubelet started.
    fn adopt(&mut self) {
        self.watch_pause(self.record.pause(), None);
        let pod = Arc::clone(&self.pod);
        let statuses = pod.status.iter().flat_map(|status| {
            let init = status.init_container_statuses.iter().flatten();
            init.chain(status.container_statuses.iter().flatten())
        });
        let mut ready_before = BTreeMap::new();
        for status in statuses {
            ready_before.insert(status.name.clone(), status.ready);
            if status.started == Some(true) {
                self.started.insert(status.name.clone());
            }
        }
        let names: Vec<String> = self.record.containers.keys().cloned().collect();
        for name in names {
            let ready = ready_before.get(&name).copied().unwrap_or(false);
            self.adopt_container(&name, ready);
        }
    }

    fn watch_pause(&self, pause: Option<Process>, child: Option<tokio::process::Child>) {
        let Some(pause) = pause else { return };
        let sender = self.sender.clone();
        tokio::spawn(async move {
            match child {
                Some(child) => run::ended(child).await,
                None => run::adopted_ended(pause).await,
            };
            // The worker may have ended before its pause.
            let _ = sender.send(Message::PauseEnded(pause));
        });
    }

    fn save(&self) {
        if let Err(error) = self.record.write(&self.host.paths.pod(&self.record.uid)) {
            tracing::error!(
                pod = self.name(),
                error = chain(&error),
                "state cannot be written"
            );
        }
    }

    fn api(&self) -> Api<Pod> {
        Api::namespaced(self.host.client.clone(), &self.record.namespace)
    }

    fn name(&self) -> String {
        format!("{}/{}", self.record.namespace, self.record.name)
    }
}

/// The earlier of two times, either of which may be none.
fn earliest(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}

/// `metadata.resourceVersion` as a number; 0 where it is none.
fn revision(pod: &Pod) -> u64 {
    let version = pod.metadata.resource_version.as_deref().unwrap_or_default();
    version.parse().unwrap_or(0)
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

/// The time as Kubernetes writes it, in whole seconds.
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}
