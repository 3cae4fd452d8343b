//! The node's own object in the API.

use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::Error;
use crate::up::is_ready;

/// What the node says about itself.
#[derive(Debug, Clone)]
pub(crate) struct Registration {
    pub(crate) name: String,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) pod_prefixes: Vec<IpNet>,
}

/// The pause after a request that failed.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(200);

/// How often the node looks whether the API still says what it said.
const LOOK: std::time::Duration = std::time::Duration::from_secs(5);

impl Registration {
    /// Registers the node and keeps its condition Ready as `network` says,
    /// until the future is dropped. Goes on when the API server is away.
    pub(crate) async fn keep(&self, client: &Client, mut network: watch::Receiver<bool>) {
        loop {
            let ready = *network.borrow_and_update();
            while let Err(error) = self.tell(client, ready).await {
                tracing::warn!(
                    node = self.name,
                    error = &error as &dyn std::error::Error,
                    "node cannot be registered yet"
                );
                sleep(PAUSE).await;
            }
            tracing::info!(node = self.name, ready, "node registered");
            tokio::select! {
                changed = network.changed() => if changed.is_err() {
                    return;
                },
                () = self.contradicted(client, ready) => {}
            }
        }
    }

    /// Waits until the API says something else of the node: after a silence the
    /// control plane has taken it for lost.
    async fn contradicted(&self, client: &Client, ready: bool) {
        let nodes: Api<Node> = Api::all(client.clone());
        loop {
            sleep(LOOK).await;
            match nodes.get_opt(&self.name).await {
                Ok(Some(node)) if is_ready(&node) != ready => return,
                // A node that somebody deleted stays deleted.
                Ok(_) => {}
                Err(error) => tracing::debug!(
                    node = self.name,
                    error = &error as &dyn std::error::Error,
                    "node cannot be read"
                ),
            }
        }
    }

    async fn tell(&self, client: &Client, ready: bool) -> Result<(), Error> {
        let nodes: Api<Node> = Api::all(client.clone());
        let failed = |what: &str| Error::request(format!("{what} node {}", self.name));
        let before = nodes.get_opt(&self.name).await.map_err(failed("read"))?;
        let before = match before {
            Some(node) => {
                let patch = Patch::Merge(self.specification());
                let patched = nodes
                    .patch(&self.name, &PatchParams::default(), &patch)
                    .await;
                patched.map_err(failed("update"))?;
                node
            }
            None => {
                let node =
                    serde_json::from_value(self.specification()).map_err(|error| Error::State {
                        path: self.name.clone().into(),
                        reason: error.to_string(),
                    })?;
                nodes
                    .create(&PostParams::default(), &node)
                    .await
                    .map_err(failed("create"))?
            }
        };
        let patch = Patch::Strategic(self.status(&before, ready));
        let patched = nodes
            .patch_status(&self.name, &PatchParams::default(), &patch)
            .await;
        patched.map(drop).map_err(failed("update the status of"))
    }

    fn specification(&self) -> Value {
        let prefixes: Vec<String> = self.pod_prefixes.iter().map(ToString::to_string).collect();
        json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": self.name,
                "labels": {
                    "kubernetes.io/hostname": self.name,
                    "kubernetes.io/os": "linux",
                    "kubernetes.io/arch": architecture(),
                },
            },
            "spec": {"podCIDR": prefixes.first(), "podCIDRs": prefixes},
        })
    }

    /// A strategic merge patch: other conditions (the overlay's
    /// NetworkUnavailable) stay as they are.
    fn status(&self, before: &Node, ready: bool) -> Value {
        let conditions = before
            .status
            .as_ref()
            .and_then(|status| status.conditions.as_deref());
        let conditions = conditions.unwrap_or_default();
        let status = if ready { "True" } else { "False" };
        let same = conditions
            .iter()
            .find(|other| other.type_ == "Ready" && other.status == status);
        let now = Time(Timestamp::now());
        let since = same.and_then(|same| same.last_transition_time.clone());
        let (reason, message) = if ready {
            (
                "KubeletReady",
                "the kubelet is running and the pod network is ready",
            )
        } else {
            (
                "KubeletNotReady",
                "the pod network is not ready: the agent has written no CNI configuration yet",
            )
        };
        let condition = json!({
            "type": "Ready",
            "status": status,
            "reason": reason,
            "message": message,
            "lastHeartbeatTime": now,
            "lastTransitionTime": since.unwrap_or_else(|| now.clone()),
        });
        // Kubernetes merges addresses by their type, of which a dual-stack node
        // has two alike: the list has to be replaced.
        let mut addresses = vec![json!({"$patch": "replace"})];
        addresses.extend(
            self.addresses
                .iter()
                .map(|address| json!({"type": "InternalIP", "address": address})),
        );
        addresses.push(json!({"type": "Hostname", "address": self.name}));
        let resources = json!({"pods": "250"});
        json!({"status": {
            "addresses": addresses,
            "conditions": [condition],
            "capacity": resources,
            "allocatable": resources,
            "nodeInfo": node_info(),
        }})
    }
}

/// `status.nodeInfo`, of which `kubectl get nodes -o wide` shows a part.
fn node_info() -> Value {
    let text = |path: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.trim_end().to_owned()
    };
    let release = text("/etc/os-release");
    let name = release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="));
    let version = concat!("podway-", env!("CARGO_PKG_VERSION"));
    json!({
        "architecture": architecture(),
        "operatingSystem": "linux",
        "kernelVersion": text("/proc/sys/kernel/osrelease"),
        "osImage": name.unwrap_or("Linux").trim_matches('"'),
        "bootID": text("/proc/sys/kernel/random/boot_id"),
        "machineID": text("/etc/machine-id"),
        "systemUUID": "",
        "containerRuntimeVersion": concat!("podway://", env!("CARGO_PKG_VERSION")),
        "kubeletVersion": version,
        "kubeProxyVersion": version,
    })
}

/// The architecture as Kubernetes names it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
