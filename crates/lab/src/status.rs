//! What there is of a lab.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use tokio::time::timeout;

use crate::kubelet::PodRecord;
use crate::paths::{LABS, LabPaths};
use crate::record::LabRecord;
use crate::roles::{self, Place};
use crate::runtime::block_on;
use crate::up::is_ready;
use crate::{Error, LabName, topology, underlay};

/// A lab as it is now.
#[derive(Debug, Clone, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Its name.
    pub name: String,
    /// Its folder.
    pub directory: PathBuf,
    /// The kubeconfig file for kubectl on this machine.
    pub kubeconfig: PathBuf,
    /// The API server's URL on loopback; `None` before its first start.
    pub server: Option<String>,
    /// The control plane's process.
    pub control_plane: ProcessStatus,
    /// The nodes, in order.
    pub nodes: Vec<NodeStatus>,
    /// Addresses of the outside client.
    pub client_addresses: Vec<IpAddr>,
}

/// A node as it is now.
#[derive(Debug, Clone, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// Its addresses on the underlay.
    pub addresses: Vec<IpAddr>,
    /// Its network namespace.
    pub namespace: String,
    /// Its agent's process.
    pub agent: ProcessStatus,
    /// Its kubelet's process.
    pub kubelet: ProcessStatus,
    /// Sandboxes that run on it.
    pub sandboxes: usize,
    /// Condition Ready in the API; `None` when the API cannot be asked.
    pub ready: Option<bool>,
}

/// A process of the lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ProcessStatus {
    /// It runs, with this process id.
    Running(i32),
    /// It does not run.
    Stopped,
}

/// What a shell needs to talk to the lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// For `KUBECONFIG`.
    pub kubeconfig: PathBuf,
}

/// How long the API server may take to answer a question about its nodes.
const PATIENCE: Duration = Duration::from_secs(2);

/// What there is of the lab now.
///
/// # Errors
/// When there is no such lab.
pub fn status(name: &LabName) -> Result<Status, Error> {
    let record = LabRecord::existing(name)?;
    let paths = LabPaths::new(name);
    let control_plane = ProcessStatus::of(&roles::control_plane(name));
    let ready = match control_plane {
        ProcessStatus::Running(_) => block_on(readiness(&paths))?,
        ProcessStatus::Stopped => None,
    };
    let nodes = record.node_names().into_iter().map(|node| {
        let [agent, kubelet] = roles::of_node(name, &node).map(|place| ProcessStatus::of(&place));
        let pods = PodRecord::all_in(&roles::node_paths(name, &node).pods());
        let address = |family| underlay::address(&node, record.segments, family);
        NodeStatus {
            addresses: topology::both(address),
            namespace: name.namespace(&node),
            agent,
            kubelet,
            sandboxes: pods.iter().filter(|pod| pod.pause().is_some()).count(),
            ready: ready.as_ref().map(|ready| ready.contains(&node)),
            name: node,
        }
    });
    let port = fs::read_to_string(paths.port()).ok();
    Ok(Status {
        nodes: nodes.collect(),
        name: name.to_string(),
        directory: paths.root().to_owned(),
        kubeconfig: paths.kubeconfig(),
        server: port.map(|port| format!("https://127.0.0.1:{}", port.trim_end())),
        control_plane,
        client_addresses: topology::both(topology::client),
    })
}

/// The nodes that are ready; `None` when the API server does not say.
async fn readiness(paths: &LabPaths) -> Result<Option<BTreeSet<String>>, Error> {
    let client = podway_watch::client::connect(Some(&paths.kubeconfig())).await?;
    let nodes: Api<Node> = Api::all(client);
    let list = timeout(PATIENCE, nodes.list(&ListParams::default())).await;
    let Ok(Ok(list)) = list else {
        return Ok(None);
    };
    let ready = list
        .iter()
        .filter(|node| is_ready(node))
        .map(ResourceExt::name_any);
    Ok(Some(ready.collect()))
}

impl ProcessStatus {
    fn of(place: &Place<'_>) -> Self {
        match place.running() {
            Some(process) => Self::Running(process.pid),
            None => Self::Stopped,
        }
    }
}

/// The names of the labs on this machine whose control plane runs, in order.
///
/// # Errors
/// When `/run/podway` cannot be read.
pub fn running() -> Result<Vec<LabName>, Error> {
    let entries = match fs::read_dir(LABS) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io(format!("read {LABS}"))(error)),
    };
    let mut names: Vec<LabName> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|name| roles::control_plane(name).running().is_some())
        .collect();
    names.sort();
    Ok(names)
}

/// What a shell needs to talk to the lab.
///
/// # Errors
/// When there is no such lab, or its API server has never run.
pub fn env(name: &LabName) -> Result<Environment, Error> {
    LabRecord::existing(name)?;
    let kubeconfig = LabPaths::new(name).kubeconfig();
    if kubeconfig.exists() {
        Ok(Environment { kubeconfig })
    } else {
        Err(Error::NoLab(name.clone()))
    }
}
