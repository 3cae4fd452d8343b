//! The CNI configuration: what tells the container runtime that pods can start.

use std::path::PathBuf;

use ipnet::IpNet;
use podway_cni::{CONFLIST_FILE, Conflist};

use crate::config::Pods;
use crate::files;
use crate::status::PodsStatus;

/// The name of the network; part of the path of the plugin's state.
const NETWORK_NAME: &str = "podway";

/// The MTU where no overlay takes some of it: Ethernet's.
const DEFAULT_MTU: u32 = 1500;

/// The CNI configuration of this node and its file.
#[derive(Debug)]
pub(crate) struct PodConfig {
    file: PathBuf,
    template: Conflist,
    /// Whether pods have no network before the overlay says its MTU.
    needs_overlay: bool,
    /// What the file says.
    written: Option<Conflist>,
    problem: Option<String>,
}

impl PodConfig {
    pub(crate) fn new(config: &Pods, agent_socket: Option<PathBuf>, needs_overlay: bool) -> Self {
        Self {
            file: config.cni_conf_dir.join(CONFLIST_FILE),
            template: Conflist {
                name: NETWORK_NAME.to_owned(),
                mtu: DEFAULT_MTU,
                pod_prefixes: Vec::new(),
                data_dir: config.cni_data_dir.clone(),
                agent_socket,
                policy_wait_seconds: config.policy_wait_seconds.into(),
                fail_open: config.fail_open,
                reserved: config.reserved.clone(),
            },
            needs_overlay,
            written: None,
            problem: None,
        }
    }

    /// Writes the file, where it does not say so already. Without prefixes, or
    /// before the overlay is up, there is nothing that it could say.
    pub(crate) fn configure(&mut self, prefixes: &[IpNet], mtu: Option<u32>) {
        if prefixes.is_empty() || (self.needs_overlay && mtu.is_none()) {
            return;
        }
        let conflist = Conflist {
            mtu: mtu.unwrap_or(DEFAULT_MTU),
            pod_prefixes: prefixes.to_vec(),
            ..self.template.clone()
        };
        if self.written.as_ref() == Some(&conflist) {
            return;
        }
        let file = self.file.display();
        match files::replace_if_different(&self.file, &conflist.to_json()) {
            Ok(changed) => {
                tracing::info!(%file, changed, mtu = conflist.mtu, "pods can be attached");
                self.written = Some(conflist);
                self.problem = None;
            }
            Err(error) => {
                tracing::error!(%file, %error, "CNI configuration not written");
                self.problem = Some(format!("write {file}: {error}"));
            }
        }
    }

    /// What keeps pods from being attached.
    pub(crate) fn problem(&self) -> Option<String> {
        if self.written.is_none() && self.problem.is_none() {
            return Some(
                "no pod can start: the Node has no podCIDRs yet, or the overlay is not up"
                    .to_owned(),
            );
        }
        self.problem.clone()
    }

    pub(crate) fn status(&self) -> PodsStatus {
        let prefixes = self.written.as_ref().map(|conflist| &conflist.pod_prefixes);
        PodsStatus {
            prefixes: prefixes
                .into_iter()
                .flatten()
                .map(ToString::to_string)
                .collect(),
            configured: self.written.is_some(),
        }
    }
}
