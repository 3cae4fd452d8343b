//! The containers of a pod: started, started again, probed.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Container;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Message, Running, Worker, earliest, now};
use crate::kubelet::container::{self, Surroundings};
use crate::kubelet::etc;
use crate::kubelet::live::LiveContainer;
use crate::kubelet::probe::{self, Probed};
use crate::kubelet::record::{ContainerRecord, Ended, Exit};
use crate::kubelet::run;
use crate::kubelet::status::{self, Waiting};
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
    pub(super) fn start_containers(&mut self, pause: Process) -> Option<Instant> {
        let pod = std::sync::Arc::clone(&self.pod);
        let mut next: Option<Instant> = None;
        for container in status::containers(&pod) {
            let name = &container.name;
            if self.running.contains_key(name) {
                continue;
            }
            let ended = self
                .record
                .containers
                .get(name)
                .and_then(|record| record.ended.as_ref());
            if ended.is_some_and(|ended| !status::restarts(&pod, ended)) {
                continue;
            }
            if self.due.get(name).is_none_or(|&due| due <= Instant::now()) {
                self.start(container, pause);
            }
            next = earliest(next, self.due.get(name).copied());
        }
        next
    }

    fn start(&mut self, container: &Container, pause: Process) {
        match self.try_start(container, pause) {
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

    fn try_start(&mut self, container: &Container, pause: Process) -> Result<(), Waiting> {
        let name = &container.name;
        let mut environment = self.host.marks(&self.record.uid);
        environment.insert(
            "HOSTNAME".to_owned(),
            etc::hostname(&self.pod, &self.host.node),
        );
        let around = Surroundings {
            program: &self.host.program,
            environment: &environment,
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
        let container = status::containers(&self.pod)
            .iter()
            .find(|container| container.name == name);
        if container.is_some_and(|container| container.readiness_probe.is_some()) {
            self.probed.insert(name.to_owned(), ready);
        }
        self.follow(name, process, ready);
    }

    /// Shows a run to logs and exec, and probes it.
    fn follow(&mut self, name: &str, process: Process, ready: bool) {
        let sender = self.publish(name, Some(process));
        let probe = self.probe(name, process, ready);
        let running = Running {
            process: sender,
            probe,
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

    fn probe(&self, name: &str, process: Process, ready: bool) -> Option<tokio::task::AbortHandle> {
        let containers = status::containers(&self.pod);
        let container = containers.iter().find(|container| container.name == name)?;
        let probed = Probed {
            probe: container.readiness_probe.clone()?,
            container: container.clone(),
            process,
            address: self
                .record
                .addresses
                .first()
                .copied()
                .unwrap_or(IpAddr::from([0, 0, 0, 0])),
        };
        let (sender, container) = (self.sender.clone(), name.to_owned());
        let report = move |ready, words| {
            let container = container.clone();
            let _ = sender.send(Message::Probed {
                container,
                process,
                ready,
                words,
            });
        };
        Some(tokio::spawn(probe::watch(probed, ready, report)).abort_handle())
    }

    pub(super) fn container_probed(
        &mut self,
        name: &str,
        process: Process,
        ready: bool,
        words: &str,
    ) {
        let current = self
            .record
            .containers
            .get(name)
            .and_then(ContainerRecord::running);
        if current != Some(process) {
            return;
        }
        self.probed.insert(name.to_owned(), ready);
        if !ready {
            let message = format!("Readiness probe failed: {words}");
            self.host.recorder.warning(&self.pod, "Unhealthy", message);
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
            if let Some(probe) = running.probe {
                probe.abort();
            }
        }
        self.probed.remove(name);
        if status::restarts(&self.pod, &ended) && self.stopping.is_none() {
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
            .filter(|ended| status::restarts(&self.pod, ended))
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
