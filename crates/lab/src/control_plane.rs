//! The control plane's process: the API server and the scheduler.

use std::path::PathBuf;

use crate::{Error, LabName};

/// `podway lab control-plane`, which `up` starts.
#[derive(Debug, Clone, clap::Args)]
pub struct ControlPlaneArgs {
    /// The lab
    #[arg(long)]
    pub name: LabName,
    /// The lab's folder
    #[arg(long)]
    pub directory: PathBuf,
}

impl ControlPlaneArgs {
    /// Serves until SIGTERM.
    ///
    /// # Errors
    /// When the store or a port cannot be opened.
    pub fn run(self) -> Result<(), Error> {
        Err(Error::NoLab(self.name))
    }
}
