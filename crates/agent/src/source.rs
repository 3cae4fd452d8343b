//! Where the configuration comes from.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::config::Configuration;

/// What the process is to the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A node's agent: everything that the configuration switches on.
    Agent,
    /// A drop-in for kube-proxy: Services only, with no more rights in the
    /// cluster than kube-proxy has.
    Proxy,
}

/// A configuration as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// What to do.
    pub config: Configuration,
    /// What `/configz` shows.
    pub shown: Value,
}

/// Where the configuration comes from, and how to read it again.
pub struct Source {
    /// What the process is.
    pub role: Role,
    /// The file that is watched, where there is one.
    pub file: Option<PathBuf>,
    /// The API server, where not the kubeconfig's.
    pub server: Option<String>,
    /// Reads it; the text says all that is wrong, with places.
    pub read: Box<dyn Fn() -> Result<Loaded, String> + Send + Sync>,
}

impl Source {
    /// An agent's configuration file.
    #[must_use]
    pub fn agent(file: &Path) -> Self {
        let path = file.to_owned();
        Self {
            role: Role::Agent,
            file: Some(file.to_owned()),
            server: None,
            read: Box::new(move || {
                let config = Configuration::read(&path).map_err(|wrong| wrong.to_string())?;
                let shown = json!({ "podway.dev": config });
                Ok(Loaded { config, shown })
            }),
        }
    }
}
