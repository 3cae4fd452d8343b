//! Where a lab's files lie.

use std::path::{Path, PathBuf};

use crate::LabName;

/// The folder of all labs. Under `/run`, since nothing of a lab outlives the
/// namespaces that it is made of.
pub(crate) const LABS: &str = "/run/podway";

/// The files of one lab.
#[derive(Debug, Clone)]
pub(crate) struct LabPaths {
    root: PathBuf,
}

impl LabPaths {
    pub(crate) fn new(name: &LabName) -> Self {
        Self::at(Path::new(LABS).join(name.as_str()))
    }

    pub(crate) fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn control_plane(&self) -> PathBuf {
        self.root.join("control-plane")
    }

    /// What the lab was asked to be.
    pub(crate) fn record(&self) -> PathBuf {
        self.root.join("lab.json")
    }

    /// The administrator's kubeconfig, for this machine's loopback.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.control_plane().join("kubeconfig")
    }

    /// The kubeconfig of agents and kubelets, for the underlay.
    pub(crate) fn node_kubeconfig(&self) -> PathBuf {
        self.control_plane().join("node.kubeconfig")
    }

    /// The loopback port that the API server took at its first start.
    pub(crate) fn port(&self) -> PathBuf {
        self.control_plane().join("port")
    }

    pub(crate) fn node(&self, node: &str) -> NodePaths {
        NodePaths::at(self.root.join(node))
    }
}

/// The files of one node.
#[derive(Debug, Clone)]
pub(crate) struct NodePaths {
    root: PathBuf,
}

impl NodePaths {
    pub(crate) fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn agent_config(&self) -> PathBuf {
        self.root.join("agent.yaml")
    }

    pub(crate) fn agent_socket(&self) -> PathBuf {
        self.root.join("agent.sock")
    }

    pub(crate) fn kubelet_socket(&self) -> PathBuf {
        self.root.join("kubelet.sock")
    }

    /// What the agent keeps while it is down.
    pub(crate) fn agent_state(&self) -> PathBuf {
        self.root.join("agent")
    }

    /// Conflists, which the agent writes.
    pub(crate) fn network_configs(&self) -> PathBuf {
        self.root.join("cni/net.d")
    }

    /// State of the CNI plugin.
    pub(crate) fn network_state(&self) -> PathBuf {
        self.root.join("cni/state")
    }

    /// Bind mounts of the pods' network namespaces, named by the pods' uids.
    pub(crate) fn namespaces(&self) -> PathBuf {
        self.root.join("netns")
    }

    pub(crate) fn pods(&self) -> PathBuf {
        self.root.join("pods")
    }

    pub(crate) fn pod(&self, uid: &str) -> PodPaths {
        PodPaths {
            namespace: self.namespaces().join(uid),
            root: self.pods().join(uid),
        }
    }
}

/// The files of one pod.
#[derive(Debug, Clone)]
pub(crate) struct PodPaths {
    root: PathBuf,
    namespace: PathBuf,
}

impl PodPaths {
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The bind mount of its network namespace.
    pub(crate) fn namespace(&self) -> &Path {
        &self.namespace
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.root.join(STATE_FILE)
    }

    pub(crate) fn hosts(&self) -> PathBuf {
        self.root.join("hosts")
    }

    pub(crate) fn resolv_conf(&self) -> PathBuf {
        self.root.join("resolv.conf")
    }

    /// The output of a container's run; runs count from 0.
    pub(crate) fn log(&self, container: &str, run: u32) -> PathBuf {
        self.root.join(format!("{container}.{run}.log"))
    }
}

/// The file of a pod's folder that says what runs.
pub(crate) const STATE_FILE: &str = "state.json";
