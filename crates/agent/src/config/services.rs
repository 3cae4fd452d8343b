use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use podway_dataplane::service::ipvs::IpvsSettings;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Section `services`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Services {
    /// Whether the agent serves Services.
    pub enabled: bool,
    /// The mode: one of `podway_dataplane::service::BACKENDS`.
    pub mode: String,
    /// Masquerade every connection to a cluster IP.
    pub masquerade_all: bool,
    /// Which of the node's addresses serve node ports: prefixes, or `primary`
    /// for the Node's first address of each family. Empty: all but loopback.
    pub node_port_addresses: Vec<NodePortAddress>,
    /// Whether loopback addresses serve node ports too, in both families.
    pub localhost_node_ports: bool,
    /// The node's own addresses, where not as its Node object has them.
    pub node_addresses: Vec<IpAddr>,
    /// How pods of this node are told from other sources.
    pub local_pods: LocalPods,
    /// What cluster IPs are allocated from. A connection to an address of these
    /// that no Service has is dropped.
    #[serde(rename = "serviceCIDRs")]
    pub service_prefixes: Vec<IpNet>,
    /// How many clients of each family session affinity can keep at their
    /// endpoints. Further ones are served, and forgotten.
    pub affinity_clients: u32,
    /// What only mode `ipvs` asks for.
    pub ipvs: Ipvs,
    /// The kernel's connection table.
    pub conntrack: Conntrack,
}

/// Which addresses serve node ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodePortAddress {
    /// The Node's first address of each family.
    Primary,
    /// Those in a prefix.
    Prefix(IpNet),
}

/// How pods of this node are told from other sources.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LocalPods {
    /// Their addresses are in the Node's `spec.podCIDRs`.
    #[default]
    #[serde(rename = "podCIDRs")]
    PodPrefixes,
    /// Their addresses are in these.
    Prefixes(Vec<IpNet>),
    /// They come in by this interface, a bridge.
    Interface(String),
    /// They come in by interfaces whose names begin so.
    InterfacePrefix(String),
    /// Not at all: nothing is masqueraded for coming from elsewhere.
    None,
}

/// Section `services.ipvs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Ipvs {
    /// The scheduler of virtual servers.
    pub scheduler: String,
    /// Virtual servers at addresses in these prefixes are not ours.
    #[serde(rename = "excludeCIDRs")]
    pub exclude: Vec<IpNet>,
    /// Whether the node answers ARP only for addresses of the interface that
    /// was asked.
    #[serde(rename = "strictARP")]
    pub strict_arp: bool,
    /// Timeouts in seconds; 0: as the kernel has them.
    pub tcp_timeout_seconds: u32,
    /// After a FIN.
    pub tcp_fin_timeout_seconds: u32,
    /// Of UDP.
    pub udp_timeout_seconds: u32,
}

/// Section `services.conntrack`: parameters of the kernel that are set at the
/// start. Zero leaves one as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Conntrack {
    /// Flows that there is room for, for each processor.
    pub max_per_core: u32,
    /// Flows that there is room for at least.
    pub min: u32,
    /// How long an idle established TCP connection is remembered.
    pub tcp_established_seconds: u32,
    /// The same in CLOSE_WAIT.
    pub tcp_close_wait_seconds: u32,
    /// Whether segments outside of their window pass.
    pub tcp_be_liberal: bool,
    /// How long a UDP flow is remembered that was never answered.
    pub udp_seconds: u32,
    /// And one that was.
    pub udp_stream_seconds: u32,
}

impl Default for Services {
    fn default() -> Self {
        Self {
            enabled: true,
            mode: "nftables".to_owned(),
            masquerade_all: false,
            node_port_addresses: Vec::new(),
            localhost_node_ports: false,
            node_addresses: Vec::new(),
            local_pods: LocalPods::default(),
            service_prefixes: Vec::new(),
            affinity_clients: 65_536,
            ipvs: Ipvs::default(),
            conntrack: Conntrack::default(),
        }
    }
}

impl Default for Ipvs {
    fn default() -> Self {
        Self {
            scheduler: "rr".to_owned(),
            exclude: Vec::new(),
            strict_arp: false,
            tcp_timeout_seconds: 0,
            tcp_fin_timeout_seconds: 0,
            udp_timeout_seconds: 0,
        }
    }
}

impl Ipvs {
    pub(crate) fn settings(&self) -> IpvsSettings {
        let timeout = |seconds: u32| {
            let duration = Duration::from_secs(seconds.into());
            (seconds > 0).then_some(duration)
        };
        IpvsSettings {
            scheduler: self.scheduler.as_str().into(),
            exclude: self.exclude.clone(),
            strict_arp: self.strict_arp,
            tcp_timeout: timeout(self.tcp_timeout_seconds),
            tcp_fin_timeout: timeout(self.tcp_fin_timeout_seconds),
            udp_timeout: timeout(self.udp_timeout_seconds),
        }
    }
}

impl FromStr for NodePortAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "primary" {
            return Ok(Self::Primary);
        }
        let prefix: IpNet = text.parse().map_err(|_| {
            format!("{text:?} is not a prefix: expected primary, or as 10.0.0.0/8 or fd00::/64")
        })?;
        Ok(Self::Prefix(prefix.trunc()))
    }
}

impl fmt::Display for NodePortAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Primary => f.write_str("primary"),
            Self::Prefix(prefix) => prefix.fmt(f),
        }
    }
}

impl Serialize for NodePortAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for NodePortAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}
