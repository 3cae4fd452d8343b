//! The containers of a pod: started, started again, probed.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Container, Secret};
use kube::api::Api;
use nix::sys::signal::Signal;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::{Message, Running, Worker, chain, earliest, now};
use crate::kubelet::container::{self, Sources, Surroundings};
use crate::kubelet::etc;
use crate::kubelet::live::LiveContainer;
use crate::kubelet::probe::{self, Probed, Purpose, Verdict};
use crate::kubelet::record::{ContainerRecord, Ended, Exit};
use crate::kubelet::run;
use crate::kubelet::status::{self, Role, Waiting};
use crate::process::Process;

/// The pause before the second restart, doubled with each one up to the longest.
const FIRST_BACK_OFF: Duration = Duration::from_secs(10);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(300);
/// How soon a container that could not be started at all is tried again.
const START_AGAIN: Duration = Duration::from_secs(10);

/// The pause before a container's restart with this number, from 1: none before
/// the first, as Kubernetes does.
fn back_off(restart: u32) -> Duration {
    match restart {
        0 | 1 => Duration::ZERO,
        _ => FIRST_BACK_OFF
            .saturating_mul(1 << (restart - 2).min(8))
            .min(LONGEST_BACK_OFF),
    }
}

impl Worker {
    /// Starts every container that should run and may; when the next one may.
    pub(super) async fn start_containers(&mut self, pause: Process) -> Option<Instant> {
        let pod = std::sync::Arc::clone(&self.pod);
        let begun = status::containers(&pod)
            .iter()
            .any(|container| self.record.containers.contains_key(&container.name));
        let mut next: Option<Instant> = None;
        for (container, role) in status::all(&pod) {
            next = earliest(next, self.keep(container, pause).await);
            // Once one of the others has begun, nothing holds them back any more.
            if !begun && self.holds_back(container, role) {
                break;
            }
        }
        next
    }

    /// Whether the containers after this one have to wait for it.
    fn holds_back(&self, container: &Container, role: Role) -> bool {
        let name = &container.name;
        let record = self.record.containers.get(name);
        match role {
            Role::Main => false,
            Role::Sidecar => {
                let starts = container.startup_probe.is_some() && !self.started.contains(name);
                starts || !self.running.contains_key(name)
            }
            Role::Init => record
                .and_then(|record| record.ended.as_ref())
                .is_none_or(|ended| ended.exit.code() != 0),
        }
    }

    /// Starts a container if it should run and may; otherwise when it may.
    async fn keep(&mut self, container: &Container, pause: Process) -> Option<Instant> {
        let name = &container.name;
        if self.running.contains_key(name) {
            return None;
        }
        let record = self.record.containers.get(name);
        let ended = record.and_then(|record| record.ended.as_ref());
        if ended.is_some_and(|ended| !status::restarts(&self.pod, name, ended)) {
            return None;
        }
        if self.due.get(name).is_none_or(|&due| due <= Instant::now()) {
            self.start(container, pause).await;
        }
        self.due.get(name).copied()
    }

    /// The config maps and secrets that a container's variables name.
    async fn sources(&self, container: &Container) -> Result<Sources, Waiting> {
        let (maps, secrets) = container::named(container);
        let mut sources = Sources::default();
        for name in maps {
            if let Some(map) = self.read::<ConfigMap>(name).await? {
                let data = map.data.unwrap_or_default();
                sources.config_maps.insert(name.to_owned(), data);
            }
        }
        for name in secrets {
            if let Some(secret) = self.read::<Secret>(name).await? {
                let data = secret.data.unwrap_or_default().into_iter();
                let text = |bytes: ByteString| String::from_utf8_lossy(&bytes.0).into_owned();
                let data = data.map(|(key, value)| (key, text(value)));
                sources.secrets.insert(name.to_owned(), data.collect());
            }
        }
        Ok(sources)
    }

    async fn read<K>(&self, name: &str) -> Result<Option<K>, Waiting>
    where
        K: kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.host.client.clone(), &self.record.namespace);
        api.get_opt(name).await.map_err(|error| Waiting {
            reason: "CreateContainerConfigError",
            message: format!("cannot read {} {name:?}: {}", K::kind(&()), chain(&error)),
        })
    }

    async fn start(&mut self, container: &Container, pause: Process) {
        let started = match self.sources(container).await {
            Ok(sources) => self.try_start(container, pause, &sources),
            Err(waiting) => Err(waiting),
        };
        match started {
            Ok(()) => {
                self.waiting.remove(&container.name);
                self.due.remove(&container.name);
                let message = format!("Started container {}", container.name);
                self.host.recorder.normal(&self.pod, "Started", message);
            }
            Err(waiting) => {
                let message = format!("container {}: {}", container.name, waiting.message);
                self.due
                    .insert(container.name.clone(), Instant::now() + START_AGAIN);
                self.waiting.insert(container.name.clone(), waiting);
                self.host.recorder.warning(&self.pod, "Failed", message);
            }
        }
    }

    fn try_start(
        &mut self,
        container: &Container,
        pause: Process,
        sources: &Sources,
    ) -> Result<(), Waiting> {
        let name = &container.name;
        let mut environment = self.host.marks(&self.record.uid);
        environment.insert(
            "HOSTNAME".to_owned(),
            etc::hostname(&self.pod, &self.host.node),
        );
        let around = Surroundings {
            program: &self.host.program,
            environment: &environment,
            sources,
            addresses: &self.record.addresses,
            host: &self.host.addresses,
        };
        let plan = container::plan(&self.pod, container, around).map_err(|message| Waiting {
            reason: "CreateContainerConfigError",
            message,
        })?;
        let before = self.record.containers.get(name);
        let run = before.map_or(0, |record| record.run + 1);
        let paths = self.host.paths.pod(&self.record.uid);
        let failed = |error: std::io::Error| Waiting {
            reason: "RunContainerError",
            message: format!("cannot start {}: {error}", plan.program.display()),
        };
        let child = run::start(&plan, pause, &paths, &paths.log(name, run)).map_err(failed)?;
        let pid = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .unwrap_or_default();
        // A process that has ended already has no start time any more; its end
        // is reported by the task below like any other.
        let process = Process::running(pid).unwrap_or(Process { pid, started: 0 });
        let record = ContainerRecord {
            run,
            process,
            started: now(),
            ended: None,
            before: before.and_then(|record| record.ended.clone()),
        };
        self.record.containers.insert(name.clone(), record);
        self.save();
        let (sender, name_of_run) = (self.sender.clone(), name.clone());
        tokio::spawn(async move {
            let exit = run::ended(child).await;
            // The worker may have ended before its container.
            let _ = sender.send(Message::Ended {
                container: name_of_run,
                process,
                exit,
            });
        });
        self.probed.remove(name);
        self.started.remove(name);
        self.follow(name, process, false);
        Ok(())
    }

    pub(super) fn adopt_container(&mut self, name: &str, ready: bool) {
        let Some(record) = self
            .record
            .containers
            .get(name)
            .filter(|record| record.ended.is_none())
        else {
            self.publish(name, None);
            self.resume_back_off(name);
            return;
        };
        let process = record.process;
        let (sender, name_of_run) = (self.sender.clone(), name.to_owned());
        tokio::spawn(async move {
            let exit = run::adopted_ended(process).await;
            let _ = sender.send(Message::Ended {
                container: name_of_run,
                process,
                exit,
            });
        });
        let pod = std::sync::Arc::clone(&self.pod);
        let mut all = status::all(&pod).map(|(container, _)| container);
        let container = all.find(|container| container.name == name);
        if container.is_some_and(|container| container.readiness_probe.is_some()) {
            self.probed.insert(name.to_owned(), ready);
        }
        self.follow(name, process, ready);
    }

    /// Shows a run to logs and exec, and probes it.
    fn follow(&mut self, name: &str, process: Process, ready: bool) {
        let sender = self.publish(name, Some(process));
        let running = Running {
            process: sender,
            probes: self.probe(name, process, ready),
        };
        self.running.insert(name.to_owned(), running);
    }

    fn publish(&self, name: &str, process: Option<Process>) -> watch::Sender<Option<Process>> {
        let (sender, receiver) = watch::channel(process);
        let run = self
            .record
            .containers
            .get(name)
            .map_or(0, |record| record.run);
        let paths = self.host.paths.pod(&self.record.uid);
        let live = LiveContainer {
            log: paths.log(name, run),
            log_before: run.checked_sub(1).map(|before| paths.log(name, before)),
            process: receiver,
        };
        self.host
            .live
            .put(&self.record.namespace, &self.record.name, name, live);
        sender
    }

    /// Begins the probes whose turn it is: those that wait for a startup probe
    /// begin when that has succeeded.
    fn probe(&self, name: &str, process: Process, ready: bool) -> Vec<AbortHandle> {
        let mut all = status::all(&self.pod).map(|(container, _)| container);
        let Some(container) = all.find(|container| container.name == name) else {
            return Vec::new();
        };
        let purposes = match &container.startup_probe {
            Some(_) if !self.started.contains(name) => &[Purpose::Startup][..],
            _ => &[Purpose::Liveness, Purpose::Readiness],
        };
        let none = IpAddr::from([0, 0, 0, 0]);
        let address = self.record.addresses.first().copied().unwrap_or(none);
        let probes = purposes
            .iter()
            .filter_map(|&purpose| Probed::new(purpose, container, process, address));
        let begun = probes.map(|probed| {
            let (sender, container) = (self.sender.clone(), name.to_owned());
            let report = move |verdict| {
                let container = container.clone();
                // The worker may have ended before its probes.
                let _ = sender.send(Message::Probed {
                    container,
                    process,
                    verdict,
                });
            };
            tokio::spawn(probe::watch(probed, ready, report)).abort_handle()
        });
        begun.collect()
    }

    pub(super) fn container_probed(&mut self, name: &str, process: Process, verdict: &Verdict) {
        let record = self.record.containers.get(name);
        if record.and_then(ContainerRecord::running) != Some(process) {
            return;
        }
        if !verdict.good {
            let purpose = verdict.purpose.name();
            let message = format!("{purpose} probe failed: {}", verdict.words);
            self.host.recorder.warning(&self.pod, "Unhealthy", message);
        }
        match (verdict.purpose, verdict.good, verdict.settled) {
            (Purpose::Readiness, good, _) => drop(self.probed.insert(name.to_owned(), good)),
            (Purpose::Startup, true, _) => {
                self.started.insert(name.to_owned());
                let probes = self.probe(name, process, false);
                if let Some(running) = self.running.get_mut(name) {
                    running.probes.extend(probes);
                }
            }
            (purpose, false, true) => self.end_container(name, process, purpose),
            _ => {}
        }
    }

    /// Asks a container that failed its probe to end, and makes it end; what then
    /// becomes of it is up to the restart policy.
    fn end_container(&mut self, name: &str, process: Process, purpose: Purpose) {
        let purpose = purpose.name().to_lowercase();
        let message = format!("Container {name} failed {purpose} probe, will be restarted");
        self.host.recorder.normal(&self.pod, "Killing", message);
        run::signal(process, Signal::SIGTERM);
        let grace = self.pod.spec.as_ref();
        let grace = grace.and_then(|spec| spec.termination_grace_period_seconds);
        let grace = grace.and_then(|seconds| u64::try_from(seconds).ok());
        let grace = Duration::from_secs(grace.unwrap_or(30));
        let killing = tokio::spawn(async move {
            tokio::time::sleep(grace).await;
            run::signal(process, Signal::SIGKILL);
        });
        if let Some(running) = self.running.get_mut(name) {
            running.probes.push(killing.abort_handle());
        }
    }

    pub(super) fn container_ended(&mut self, name: &str, process: Process, exit: Exit) {
        let Some(record) = self.record.containers.get_mut(name) else {
            return;
        };
        if record.process != process || record.ended.is_some() {
            return;
        }
        let ended = Ended {
            exit,
            started: record.started,
            finished: now(),
        };
        record.ended = Some(ended.clone());
        let restart = record.run + 1;
        if let Some(running) = self.running.remove(name) {
            running.process.send_replace(None);
            for probe in running.probes {
                probe.abort();
            }
        }
        self.probed.remove(name);
        self.started.remove(name);
        if status::restarts(&self.pod, name, &ended) && self.stopping.is_none() {
            self.wait_to_restart(name, back_off(restart));
        }
        self.save();
    }

    fn wait_to_restart(&mut self, name: &str, pause: Duration) {
        self.due.insert(name.to_owned(), Instant::now() + pause);
        if !pause.is_zero() {
            let message = format!(
                "back-off {} s restarting failed container {name}",
                pause.as_secs()
            );
            let waiting = Waiting {
                reason: "CrashLoopBackOff",
                message,
            };
            self.waiting.insert(name.to_owned(), waiting);
        }
    }

    /// What is left of the pause that an earlier kubelet began.
    fn resume_back_off(&mut self, name: &str) {
        let Some(record) = self.record.containers.get(name) else {
            return;
        };
        let Some(ended) = record
            .ended
            .as_ref()
            .filter(|ended| status::restarts(&self.pod, name, ended))
        else {
            return;
        };
        let since = Timestamp::now().duration_since(ended.finished);
        let since = Duration::try_from(since).unwrap_or_default();
        let pause = back_off(record.run + 1).saturating_sub(since);
        self.wait_to_restart(name, pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restarts_slow_down_to_five_minutes() {
        let seconds: Vec<u64> = (1..10).map(|restart| back_off(restart).as_secs()).collect();
        assert_eq!(seconds, [0, 10, 20, 40, 80, 160, 300, 300, 300]);
        assert_eq!(back_off(u32::MAX).as_secs(), 300);
    }
}
