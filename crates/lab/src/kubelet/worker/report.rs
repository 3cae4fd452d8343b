//! What the API is told of a pod.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::time::{Instant, timeout};

use super::{FIRST_PAUSE, Worker, chain, now};
use crate::kubelet::status::{self, View};

/// How long a write may keep the worker from its pod.
const LIMIT: Duration = Duration::from_secs(5);

impl Worker {
    /// Tells the API, unless it knows. When to try again, where that failed.
    pub(super) async fn report(&mut self) -> Option<Instant> {
        if self.gone {
            return None;
        }
        let status = status::pod_status(View {
            pod: &self.pod,
            record: &self.record,
            probed: &self.probed,
            started: &self.started,
            waiting: &self.waiting,
            host: &self.host.addresses,
            now: now(),
        });
        if self.reported.as_ref() == Some(&status) || self.pod.status.as_ref() == Some(&status) {
            return None;
        }
        // The uid keeps the status off a new pod of the same name.
        let patch = json!({"metadata": {"uid": self.record.uid}, "status": status});
        match timeout(LIMIT, self.patch(&patch)).await {
            Ok(Ok(pod)) => {
                self.reported = Some(status);
                self.pod = Arc::new(pod);
                None
            }
            // It is deleted, or another pod has the name: the watch will say so.
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => None,
            Ok(Err(error)) => {
                tracing::warn!(
                    pod = self.name(),
                    error = chain(&error),
                    "status cannot be written"
                );
                Some(Instant::now() + FIRST_PAUSE)
            }
            Err(_) => {
                tracing::warn!(pod = self.name(), "the API server does not answer");
                Some(Instant::now() + FIRST_PAUSE)
            }
        }
    }

    async fn patch(&self, patch: &serde_json::Value) -> kube::Result<Pod> {
        let parameters = PatchParams::default();
        self.api()
            .patch_status(&self.record.name, &parameters, &Patch::Merge(patch))
            .await
    }
}
