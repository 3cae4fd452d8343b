//! Events: what controllers did, and what they were refused.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Key, Role};
use crate::clock;
use crate::controllers::Write;
use crate::kinds::known;
use crate::rest::{Registry, Target};
use crate::status::Status;
use crate::store::Object;

/// An event that waits for the outcome of a write.
pub(super) struct Story {
    about: Arc<Object>,
    role: Role,
    write: What,
}

enum What {
    CreatesPod,
    DeletesPod(String),
    /// A replica set's name, how many pods it had and will have.
    Scales(String, i64, i64),
}

impl Role {
    /// The kind of its objects, the resource in the store and who speaks.
    fn names(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Role::Deployment => ("Deployment", "deployments.apps", "deployment-controller"),
            Role::ReplicaSet => ("ReplicaSet", "replicasets.apps", "replicaset-controller"),
            Role::DaemonSet => ("DaemonSet", "daemonsets.apps", "daemonset-controller"),
            Role::Job => ("Job", "jobs.batch", "job-controller"),
            Role::Node => ("Node", "nodes", "node-controller"),
            Role::Pod => ("Pod", "pods", "taint-eviction-controller"),
        }
    }

    fn api_version(self) -> &'static str {
        match self {
            Role::Deployment | Role::ReplicaSet | Role::DaemonSet => "apps/v1",
            Role::Job => "batch/v1",
            Role::Node | Role::Pod => "v1",
        }
    }
}

/// What a write will be worth telling; `None` for most.
pub(super) fn story(registry: &Registry, key: &Key, write: &Write) -> Option<Story> {
    let (_, resource, _) = key.role.names();
    let objects = registry.store().read();
    let about = objects.find(resource, &key.namespace, &key.name)?;
    let replicas = |object: &Value| object["spec"]["replicas"].as_i64().unwrap_or(0);
    let what = match write {
        Write::Create(kind, _) if kind.kind == "Pod" => What::CreatesPod,
        Write::Delete(kind, name) if kind.kind == "Pod" => What::DeletesPod(name.clone()),
        Write::Create(kind, set) | Write::Update(kind, set) if kind.kind == "ReplicaSet" => {
            let name = crate::store::metadata_text(set, "name");
            let before = objects.find("replicasets.apps", &key.namespace, name);
            let before = before.map_or(0, |before| replicas(before.value()));
            let after = replicas(set);
            if before == after {
                return None;
            }
            What::Scales(name.to_owned(), before, after)
        }
        _ => return None,
    };
    Some(Story {
        about: Arc::clone(about),
        role: key.role,
        write: what,
    })
}

impl Story {
    /// Writes the event. One that cannot be written is let go.
    pub(super) async fn tell(
        self,
        registry: &Registry,
        outcome: &Result<Option<Arc<Object>>, Status>,
    ) {
        let (reason, text) = match (&self.write, outcome) {
            (What::CreatesPod, Ok(Some(pod))) => {
                ("SuccessfulCreate", format!("Created pod: {}", pod.name()))
            }
            (What::CreatesPod, Err(status)) => {
                ("FailedCreate", format!("Error creating: {status}"))
            }
            (What::DeletesPod(name), Ok(Some(_))) if self.role == Role::Pod => {
                ("TaintManagerEviction", format!("Deleting pod {name}"))
            }
            (What::DeletesPod(name), Ok(Some(_))) => {
                ("SuccessfulDelete", format!("Deleted pod: {name}"))
            }
            (What::Scales(name, before, after), Ok(Some(_))) => {
                let way = if after > before { "up" } else { "down" };
                let text = format!("Scaled {way} replica set {name} from {before} to {after}");
                ("ScalingReplicaSet", text)
            }
            _ => return,
        };
        let failed = outcome.is_err();
        let event = self.event(reason, &text, failed);
        let target = Target {
            kind: Arc::clone(known("v1", "Event")),
            namespace: self.about.namespace().to_owned(),
            name: event["metadata"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        };
        if let Err(status) = registry.create(target, event, None, false).await {
            tracing::debug!(reason, %status, "an event was not written");
        }
    }

    fn event(&self, reason: &str, text: &str, failed: bool) -> Value {
        let (kind, _, component) = self.role.names();
        let about = &self.about;
        let now = Timestamp::now();
        json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {
                "namespace": about.namespace(),
                "name": format!("{}.{:x}", about.name(), now.as_nanosecond()),
            },
            "involvedObject": {
                "kind": kind, "apiVersion": self.role.api_version(),
                "namespace": about.namespace(), "name": about.name(),
                "uid": about.metadata("uid"),
                "resourceVersion": about.metadata("resourceVersion"),
            },
            "reason": reason, "message": text,
            "type": if failed { "Warning" } else { "Normal" },
            "source": { "component": component }, "reportingComponent": component,
            "reportingInstance": "", "count": 1,
            "firstTimestamp": clock::text(now), "lastTimestamp": clock::text(now),
        })
    }
}
