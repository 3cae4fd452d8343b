//! What there is of a lab.

use std::net::IpAddr;
use std::path::PathBuf;

use crate::{Error, LabName};

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

/// What there is of the lab now.
///
/// # Errors
/// When there is no such lab.
pub fn status(name: &LabName) -> Result<Status, Error> {
    Err(Error::NoLab(name.clone()))
}

/// The names of the labs that are up on this machine, in order.
///
/// # Errors
/// When `/run/podway` cannot be read.
pub fn running() -> Result<Vec<LabName>, Error> {
    Ok(Vec::new())
}

/// What a shell needs to talk to the lab.
///
/// # Errors
/// When there is no such lab.
pub fn env(name: &LabName) -> Result<Environment, Error> {
    Err(Error::NoLab(name.clone()))
}
