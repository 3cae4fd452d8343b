//! `PodwayConfiguration`: the agent's one file.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use podway_dataplane::policy::{self, PolicyOptions};
use podway_watch::yaml::{self, Mistakes};
use serde::{Deserialize, Serialize};

/// `apiVersion` of the file.
pub const API_VERSION: &str = "podway.dev/v1alpha1";
/// `kind` of the file.
pub const KIND: &str = "PodwayConfiguration";

/// What the agent of a node is to do. Every section can be switched off, so that
/// Podway can run beside another product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Configuration {
    /// [`API_VERSION`].
    pub api_version: String,
    /// [`KIND`].
    pub kind: String,
    /// The node's name in the cluster. Default: the host name in lower case, as
    /// the kubelet's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// The kubeconfig. Default: the service account of the pod that the agent
    /// runs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<PathBuf>,
    /// The folder for what the agent keeps while it is down.
    #[serde(default = "default_state_dir")]
    pub state_dir: PathBuf,
    /// The socket on which the CNI plugin reaches the agent. Default:
    /// `agent.sock` in the state folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket: Option<PathBuf>,
    /// The pods' network on the node.
    #[serde(default)]
    pub pods: Pods,
    /// The network between the nodes.
    #[serde(default)]
    pub overlay: Overlay,
    /// Services.
    #[serde(default)]
    pub services: Services,
    /// NetworkPolicies.
    #[serde(default)]
    pub policies: Policies,
    /// Addresses of load balancers.
    #[serde(default)]
    pub load_balancer: LoadBalancer,
    /// What the agent tells others.
    #[serde(default)]
    pub observability: Observability,
}

/// Section `pods`: what the CNI plugin is told, and the masquerade of what
/// leaves the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Pods {
    /// Whether the agent configures the pods' network.
    pub enabled: bool,
    /// Whether packets from pods to addresses outside the cluster get the
    /// node's address.
    pub masquerade: bool,
    /// Networks outside of the cluster that know the way back to pods: towards
    /// them pods keep their addresses.
    pub unmasqueraded: Vec<IpNet>,
    /// The folder where the container runtime looks for CNI configurations.
    pub cni_conf_dir: PathBuf,
    /// The folder where the CNI plugin keeps the addresses that it gave.
    pub cni_data_dir: PathBuf,
    /// How long a pod's start waits for its policies, in seconds (1-60). After
    /// that the start fails, and the kubelet tries again.
    pub policy_wait_seconds: u32,
    /// Whether a pod starts all the same when its policies are not known to be
    /// in force by then.
    pub fail_open: bool,
    /// Addresses of this node that only those pods get that ask for them.
    pub reserved: Vec<IpNet>,
}

/// Section `overlay`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Overlay {
    /// Whether the agent connects the nodes.
    pub enabled: bool,
    /// The backend: `vxlan`, `host-gw`, `udp`, `none`.
    pub backend: String,
    /// The VXLAN network identifier, 1 to 16777215; the same on every node.
    pub vni: u32,
    /// The UDP port of the backend, the same on every node. Default: the
    /// backend's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<NonZeroU16>,
    /// The MTU of the network between the nodes. Default: the interface's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// The first two bytes of VXLAN devices' Ethernet addresses: `0e:2a`.
    /// Default: they follow from the node's name as the others do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac_prefix: Option<String>,
    /// Whether peers on the same segment are sent packets as they are.
    pub direct_routing: bool,
    /// The pods' prefixes of the whole cluster. A node whose podCIDR is outside
    /// does not take part; needed for `subnetFile`.
    pub networks: Vec<IpNet>,
    /// Backends whose packets are taken as well: while a cluster moves from one
    /// backend to another.
    pub also: Vec<String>,
    /// Flannel's configuration, `net-conf.json`. What it can say, it says
    /// instead of the fields above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub net_conf: Option<PathBuf>,
    /// Where flannel's `subnet.env` is written for those who read it; `null`
    /// writes none.
    pub subnet_file: Option<PathBuf>,
}

/// Section `policies`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Policies {
    /// Whether the agent enforces NetworkPolicies.
    pub enabled: bool,
    /// The backend: `nftables`.
    pub backend: String,
    /// Whether what a pod sends from an address that is not its own is dropped.
    pub anti_spoofing: bool,
    /// Whether the agent logs what is denied, with the names of pods; of many
    /// packets only some.
    pub log_denied: bool,
    /// What becomes of established connections that a change denies: `cut`, or
    /// `leave` for as long as they last.
    pub established: Established,
}

/// What becomes of established connections that a change denies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Established {
    /// Nothing of them passes any more.
    Cut,
    /// They stay for as long as they last.
    Leave,
}

/// Section `loadBalancer`: what MetalLB's speaker does, from MetalLB's own
/// configuration in the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LoadBalancer {
    /// Whether the agent announces addresses of Services.
    pub enabled: bool,
    /// The namespace of the configuration.
    pub namespace: String,
    /// The Secret there whose key `secretkey` the nodes share.
    pub secret: String,
    /// The UDP port on which nodes agree who holds an address, the same on all.
    pub port: NonZeroU16,
}

/// Section `observability`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Observability {
    /// Whether the agent publishes its status (ConfigMap
    /// `kube-system/podway-node-<node>`) and Events about broken objects.
    pub enabled: bool,
    /// Where `/healthz` and `/livez` are answered: an address with a port, or
    /// `off`. Default: `0.0.0.0:10256` where the agent serves Services.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_address: Option<Listen>,
    /// Where `/metrics`, `/proxyMode` and `/configz` are answered. Default:
    /// `127.0.0.1:10249` where the agent serves Services.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics_address: Option<Listen>,
    /// Whether an address that cannot be bound ends the agent.
    pub bind_hard_fail: bool,
    /// A change that is not in force after so many seconds makes the answers
    /// 503.
    pub late_after_seconds: u32,
}

fn default_state_dir() -> PathBuf {
    PathBuf::from("/var/lib/podway")
}

impl Default for Configuration {
    fn default() -> Self {
        Self {
            api_version: API_VERSION.to_owned(),
            kind: KIND.to_owned(),
            node_name: None,
            kubeconfig: None,
            state_dir: default_state_dir(),
            socket: None,
            pods: Pods::default(),
            overlay: Overlay::default(),
            services: Services::default(),
            policies: Policies::default(),
            load_balancer: LoadBalancer::default(),
            observability: Observability::default(),
        }
    }
}

impl Default for Pods {
    fn default() -> Self {
        Self {
            enabled: true,
            masquerade: true,
            unmasqueraded: Vec::new(),
            cni_conf_dir: PathBuf::from("/etc/cni/net.d"),
            cni_data_dir: PathBuf::from("/var/lib/podway/cni"),
            policy_wait_seconds: 10,
            fail_open: false,
            reserved: Vec::new(),
        }
    }
}

impl Default for Overlay {
    fn default() -> Self {
        Self {
            enabled: true,
            backend: "vxlan".to_owned(),
            vni: 1,
            port: None,
            mtu: None,
            mac_prefix: None,
            direct_routing: false,
            networks: Vec::new(),
            also: Vec::new(),
            net_conf: None,
            subnet_file: Some(PathBuf::from("/run/flannel/subnet.env")),
        }
    }
}

impl Default for Policies {
    fn default() -> Self {
        Self {
            enabled: true,
            backend: "nftables".to_owned(),
            anti_spoofing: true,
            log_denied: false,
            established: Established::Cut,
        }
    }
}

impl Default for LoadBalancer {
    fn default() -> Self {
        Self {
            enabled: true,
            namespace: "metallb-system".to_owned(),
            secret: "memberlist".to_owned(),
            port: MESH_PORT,
        }
    }
}

/// The port of MetalLB's own mesh: firewalls let it through already.
const MESH_PORT: NonZeroU16 = NonZeroU16::new(7946).expect("it is not 0");

impl Default for Observability {
    fn default() -> Self {
        Self {
            enabled: true,
            health_address: None,
            metrics_address: None,
            bind_hard_fail: false,
            late_after_seconds: 60,
        }
    }
}

/// The kernel's log group of denied packets ("pw").
const LOG_GROUP: u16 = 0x7077;

impl Policies {
    /// The options of the backend.
    pub(crate) fn options(&self) -> PolicyOptions {
        PolicyOptions {
            anti_spoofing: self.anti_spoofing.then_some(podway_cni::LINK_GROUP),
            log: self.log_denied.then_some(LOG_GROUP),
            established: match self.established {
                Established::Cut => policy::Established::Cut,
                Established::Leave => policy::Established::Leave,
            },
        }
    }
}

impl Configuration {
    /// Reads and checks a file. Every mistake in it is reported, with its place.
    pub fn read(path: &Path) -> Result<Self, Mistakes> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| {
            Mistakes::of_file(&name, format!("configuration cannot be read: {error}"))
        })?;
        Self::parse(&name, &text)
    }

    /// Reads and checks a text that mistakes call `name`.
    pub fn parse(name: &str, text: &str) -> Result<Self, Mistakes> {
        yaml::read_one_checked(name, text, check::check)
    }

    /// The file's text.
    ///
    /// # Errors
    /// Values that YAML cannot hold: paths that are not UTF-8.
    pub fn to_yaml(&self) -> Result<String, serde_saphyr::SerializeError> {
        serde_saphyr::to_string(self)
    }

    /// Where health is answered, if anywhere.
    pub(crate) fn health_address(&self) -> Option<SocketAddr> {
        self.address(
            self.observability.health_address,
            10_256,
            Ipv4Addr::UNSPECIFIED,
        )
    }

    /// Where metrics are answered, if anywhere.
    pub(crate) fn metrics_address(&self) -> Option<SocketAddr> {
        self.address(
            self.observability.metrics_address,
            10_249,
            Ipv4Addr::LOCALHOST,
        )
    }

    /// Beside another proxy its ports are that one's.
    fn address(&self, given: Option<Listen>, port: u16, host: Ipv4Addr) -> Option<SocketAddr> {
        match given {
            Some(Listen::Off) => None,
            Some(Listen::At(address)) => Some(address),
            None => self
                .services
                .enabled
                .then(|| SocketAddr::from((host, port))),
        }
    }

    /// The socket on which the CNI plugin reaches the agent.
    #[must_use]
    pub fn socket_path(&self) -> PathBuf {
        self.socket
            .clone()
            .unwrap_or_else(|| self.state_dir.join("agent.sock"))
    }
}

mod check;
mod listen;
mod services;

pub use listen::Listen;
pub use services::{Conntrack, Ipvs, LocalPods, NodePortAddress, Services};

#[cfg(test)]
mod tests;
