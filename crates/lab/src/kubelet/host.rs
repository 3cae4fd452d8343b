use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use kube::Client;

use crate::LabName;
use crate::events::Recorder;
use crate::kubelet::live::LivePods;
use crate::paths::NodePaths;

/// What every part of a kubelet knows of its node.
pub(crate) struct Host {
    pub(crate) lab: LabName,
    /// The node's name.
    pub(crate) node: String,
    /// The node's addresses, the primary family first.
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) paths: NodePaths,
    /// The binary `podway`.
    pub(crate) program: PathBuf,
    pub(crate) client: Client,
    pub(crate) recorder: Recorder,
    /// The pods that run now, for logs and exec.
    pub(crate) live: LivePods,
}

impl Host {
    /// Folders with CNI plugins: beside the binary, then where distributions
    /// put them.
    pub(crate) fn plugin_folders(&self) -> Vec<PathBuf> {
        let beside = self.program.parent().map(PathBuf::from);
        beside
            .into_iter()
            .chain([PathBuf::from("/opt/cni/bin"), PathBuf::from("/usr/lib/cni")])
            .collect()
    }

    /// Variables by which `down` finds the processes of a pod.
    pub(crate) fn marks(&self, uid: &str) -> BTreeMap<String, String> {
        let mut marks = crate::marks::of_node(&self.lab, &self.paths, &self.node);
        marks.insert(crate::marks::POD.to_owned(), uid.to_owned());
        marks
    }
}
