use std::path::PathBuf;

use podway_model::IpFamily;

use crate::LabName;

/// What `podway lab up` was asked for.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The lab's name.
    pub name: LabName,
    /// How many nodes: 1 to 200. A running lab is grown to this number, never shrunk.
    pub nodes: usize,
    /// How many segments the underlay has, 1 or 2: nodes take turns on them, and a
    /// router is between. Stays as it is for a running lab.
    pub segments: usize,
    /// `services.mode` of every node's agent.
    pub proxy_mode: String,
    /// `overlay.backend` of every node's agent.
    pub overlay: String,
    /// `overlay.directRouting` of every node's agent.
    pub direct_routing: bool,
    /// The families of pods and services; the first is the primary one. The
    /// underlay always has both.
    pub ip_families: Vec<IpFamily>,
    /// Manifests to apply once the nodes are ready: files, or folders whose
    /// `.yaml`, `.yml` and `.json` files are taken in the order of their names.
    pub apply: Vec<PathBuf>,
    /// The binary `podway` that the lab's processes run; `podway-cni` lies beside it.
    pub program: PathBuf,
}

impl Settings {
    /// A lab of three nodes, nftables and vxlan, both families, run by `program`.
    #[must_use]
    pub fn new(name: LabName, program: PathBuf) -> Self {
        Self {
            name,
            nodes: 3,
            segments: 1,
            proxy_mode: "nftables".to_owned(),
            overlay: "vxlan".to_owned(),
            direct_routing: false,
            ip_families: vec![IpFamily::V4, IpFamily::V6],
            apply: Vec::new(),
            program,
        }
    }
}
