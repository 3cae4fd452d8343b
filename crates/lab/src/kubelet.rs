//! A node's kubelet: runs the pods bound to the node and reports on them.

use std::path::PathBuf;

use crate::{Error, LabName};

/// `podway lab kubelet`, which `up` starts in each node's network namespace.
#[derive(Debug, Clone, clap::Args)]
pub struct KubeletArgs {
    /// The lab
    #[arg(long)]
    pub name: LabName,
    /// The node
    #[arg(long)]
    pub node: String,
    /// The node's folder
    #[arg(long)]
    pub directory: PathBuf,
}

impl KubeletArgs {
    /// Runs the node's pods until SIGTERM; the pods outlive it.
    ///
    /// # Errors
    /// When the kubeconfig, the state or the socket cannot be used.
    pub fn run(self) -> Result<(), Error> {
        Err(Error::NoLab(self.name))
    }
}
