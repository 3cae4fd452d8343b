//! Switching nodes off and on.

use std::fs;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::api::{Patch, PatchParams};
use podway_kernel::netns::{self, NetNs};
use serde_json::json;

use crate::belonging::Belonging;
use crate::lock::Lock;
use crate::paths::LabPaths;
use crate::record::LabRecord;
use crate::runtime::block_on;
use crate::step::{Outcome, Step};
use crate::up::{ensure_node, require_root, wait_until_ready};
use crate::{Error, LabName, marks, roles, underlay};

/// Switches a node off: its processes and its pods' end at once, its pods'
/// namespaces go, its link is down; its own namespace stays. The API says
/// that nothing is known of it any more.
///
/// # Errors
/// When the lab or node does not exist, or something cannot be ended.
pub fn kill_node(name: &LabName, node: &str, progress: &mut dyn FnMut(Step)) -> Result<(), Error> {
    require_root("change")?;
    let _lock = Lock::take(name)?;
    LabRecord::existing(name)?.node(name, node)?;
    underlay::disconnect(name, node)?;
    progress(Step::new(format!("link of {node}"), Outcome::Removed));
    let paths = roles::node_paths(name, node);
    let own = NetNs::named(&name.namespace(node))?;
    let belonging = Belonging {
        namespaces: vec![own.id()?],
        marks: marks::of_node(name, &paths, node)
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect(),
        ..Belonging::default()
    };
    let ended = belonging
        .end_all()
        .map_err(Error::io(format!("end the processes of {node}")))?;
    for (pid, program) in ended {
        progress(Step::new(
            format!("process {program} ({pid})"),
            Outcome::Removed,
        ));
    }
    for entry in fs::read_dir(paths.namespaces())
        .into_iter()
        .flatten()
        .flatten()
    {
        netns::delete_at(&entry.path())?;
        progress(Step::new(
            format!("namespace {}", entry.path().display()),
            Outcome::Removed,
        ));
    }
    block_on(report_unknown(name, node))
}

/// What a control plane concludes from missing heartbeats is known here at once.
async fn report_unknown(name: &LabName, node: &str) -> Result<(), Error> {
    let client = podway_watch::client::connect(Some(&LabPaths::new(name).kubeconfig())).await?;
    let nodes: Api<Node> = Api::all(client);
    let now = Time(Timestamp::now());
    let patch = json!({"status": {"conditions": [{
        "type": "Ready",
        "status": "Unknown",
        "reason": "NodeStatusUnknown",
        "message": "Kubelet stopped posting node status.",
        "lastHeartbeatTime": now,
        "lastTransitionTime": now,
    }]}});
    let patched = nodes
        .patch_status(node, &PatchParams::default(), &Patch::Strategic(patch))
        .await;
    patched
        .map(drop)
        .map_err(Error::request(format!("report that node {node} is off")))
}

/// Switches a node on again and waits until it is ready.
///
/// # Errors
/// As [`crate::up`].
pub fn start_node(name: &LabName, node: &str, progress: &mut dyn FnMut(Step)) -> Result<(), Error> {
    require_root("change")?;
    let _lock = Lock::take(name)?;
    let record = LabRecord::existing(name)?;
    let index = record.node(name, node)?;
    let underlay = underlay::ensure(name, record.segments, progress)?;
    ensure_node(name, &record, &underlay, index, progress)?;
    block_on(async {
        let client = podway_watch::client::connect(Some(&LabPaths::new(name).kubeconfig())).await?;
        wait_until_ready(&client, name, &[node.to_owned()], progress).await
    })
}
