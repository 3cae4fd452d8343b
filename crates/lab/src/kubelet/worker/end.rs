//! The end of a pod: asked to stop, made to stop, taken down, forgotten.

use std::fs;
use std::time::Duration;

use kube::api::{DeleteParams, Preconditions};
use nix::sys::signal::Signal;
use tokio::time::Instant;

use super::{FIRST_PAUSE, Next, Worker, chain};
use crate::Error;
use crate::kubelet::record::ContainerRecord;
use crate::kubelet::{run, sandbox};

/// How far the containers have been asked to stop.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stopping {
    /// When patience ends.
    until: Instant,
    /// Patience has ended.
    killed: bool,
}

/// The grace of a pod that says nothing about it.
const GRACE: Duration = Duration::from_secs(30);
/// The grace of a pod that the API has no longer.
const GRACE_GONE: Duration = Duration::from_secs(1);

impl Worker {
    /// Brings the pod to its end: SIGTERM, the grace, SIGKILL, then the sandbox,
    /// the files and the API object.
    pub(super) async fn end(&mut self) -> Next {
        if let Some(until) = self.stop_containers() {
            return Next::Wait(Some(until));
        }
        if let Err(error) = self.forget().await {
            tracing::warn!(
                pod = self.name(),
                error = chain(&error),
                "pod cannot be taken down yet"
            );
            let message = format!("cannot take the pod down: {}", chain(&error));
            self.host
                .recorder
                .warning(&self.pod, "FailedKillPod", message);
            return Next::Wait(Some(Instant::now() + FIRST_PAUSE));
        }
        Next::Done
    }

    /// A pod whose containers have all ended for good gives its sandbox back;
    /// its logs stay until it is deleted.
    pub(super) async fn release(&mut self) -> Next {
        self.waiting.clear();
        match sandbox::remove(&self.host, &mut self.record).await {
            Ok(()) => Next::Wait(None),
            Err(error) => {
                tracing::warn!(
                    pod = self.name(),
                    error = chain(&error),
                    "sandbox cannot be taken down yet"
                );
                Next::Wait(Some(Instant::now() + FIRST_PAUSE))
            }
        }
    }

    /// When to look again, while a container runs.
    fn stop_containers(&mut self) -> Option<Instant> {
        let running: Vec<_> = self
            .record
            .containers
            .values()
            .filter_map(ContainerRecord::running)
            .collect();
        if running.is_empty() {
            return None;
        }
        let Some(stopping) = &mut self.stopping else {
            let until = Instant::now() + self.grace();
            self.stopping = Some(Stopping {
                until,
                killed: false,
            });
            for process in running {
                run::signal(process, Signal::SIGTERM);
            }
            let message = "Stopping the pod's containers".to_owned();
            self.host.recorder.normal(&self.pod, "Killing", message);
            return Some(until);
        };
        if stopping.killed {
            // A killed process is gone as soon as the kernel has freed it; the
            // message of its end comes first.
            return Some(Instant::now() + FIRST_PAUSE);
        }
        if stopping.until > Instant::now() {
            return Some(stopping.until);
        }
        stopping.killed = true;
        for process in running {
            run::signal(process, Signal::SIGKILL);
        }
        Some(Instant::now() + FIRST_PAUSE)
    }

    fn grace(&self) -> Duration {
        if self.gone {
            return GRACE_GONE;
        }
        let seconds = self.pod.metadata.deletion_grace_period_seconds;
        let seconds = seconds.and_then(|seconds| u64::try_from(seconds).ok());
        seconds.map_or(GRACE, Duration::from_secs)
    }

    async fn forget(&mut self) -> Result<(), Error> {
        sandbox::remove(&self.host, &mut self.record).await?;
        if !self.gone {
            let parameters = DeleteParams {
                grace_period_seconds: Some(0),
                preconditions: Some(Preconditions {
                    uid: Some(self.record.uid.clone()),
                    ..Preconditions::default()
                }),
                ..DeleteParams::default()
            };
            match self.api().delete(&self.record.name, &parameters).await {
                Ok(_) => {}
                // Somebody else was faster; 409: a new pod has the name.
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
                Err(error) => {
                    return Err(Error::request(format!("delete pod {}", self.name()))(error));
                }
            }
        }
        let folder = self.host.paths.pod(&self.record.uid).root().to_owned();
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io(format!("remove {}", folder.display()))(error))
            }
            _ => Ok(()),
        }
    }
}
