//! kube-proxy's configuration, and what it means to us.
//!
//! The file is `KubeProxyConfiguration` of `kubeproxy.config.k8s.io/v1alpha1`.
//! As in Go, a field that is null, empty or left out has its default: kubeadm
//! writes files that are full of them.

mod check;
mod duration;
mod meaning;

use std::collections::BTreeMap;
use std::path::Path;

use podway_watch::yaml::{self, Mistakes};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use crate::source::Loaded;
pub use duration::GoDuration;

/// `apiVersion` of the file.
pub const API_VERSION: &str = "kubeproxy.config.k8s.io/v1alpha1";
/// `kind` of the file.
pub const KIND: &str = "KubeProxyConfiguration";

/// kube-proxy's configuration, every field of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(
    missing_docs,
    reason = "the fields are kube-proxy's: docs/kube-proxy.md has what each does"
)]
pub struct KubeProxyConfiguration {
    pub api_version: String,
    pub kind: String,
    #[serde(deserialize_with = "or_default")]
    pub feature_gates: BTreeMap<String, bool>,
    #[serde(deserialize_with = "or_default")]
    pub client_connection: ClientConnection,
    #[serde(
        deserialize_with = "or_default",
        skip_serializing_if = "Value::is_null"
    )]
    pub logging: Value,
    #[serde(deserialize_with = "or_default")]
    pub hostname_override: String,
    #[serde(deserialize_with = "or_default")]
    pub bind_address: String,
    #[serde(deserialize_with = "or_default")]
    pub healthz_bind_address: String,
    #[serde(deserialize_with = "or_default")]
    pub metrics_bind_address: String,
    #[serde(deserialize_with = "or_default")]
    pub bind_address_hard_fail: bool,
    #[serde(deserialize_with = "or_default")]
    pub enable_profiling: bool,
    #[serde(deserialize_with = "or_default")]
    pub show_hidden_metrics_for_version: String,
    #[serde(deserialize_with = "or_default")]
    pub mode: String,
    #[serde(deserialize_with = "or_default")]
    pub iptables: Iptables,
    #[serde(deserialize_with = "or_default")]
    pub ipvs: Ipvs,
    #[serde(deserialize_with = "or_default")]
    pub nftables: Nftables,
    #[serde(deserialize_with = "or_default")]
    pub winkernel: Winkernel,
    #[serde(deserialize_with = "or_default")]
    pub detect_local_mode: String,
    #[serde(deserialize_with = "or_default")]
    pub detect_local: DetectLocal,
    #[serde(rename = "clusterCIDR", deserialize_with = "or_default")]
    pub cluster_cidr: String,
    #[serde(deserialize_with = "or_default")]
    pub node_port_addresses: Vec<String>,
    pub oom_score_adj: Option<i32>,
    #[serde(deserialize_with = "or_default")]
    pub conntrack: Conntrack,
    #[serde(deserialize_with = "or_default")]
    pub config_sync_period: GoDuration,
    #[serde(deserialize_with = "or_default")]
    pub port_range: String,
    #[serde(deserialize_with = "or_default")]
    pub windows_run_as_service: bool,
}

/// How the API server is reached.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs, reason = "as above")]
pub struct ClientConnection {
    #[serde(deserialize_with = "or_default")]
    pub kubeconfig: String,
    #[serde(deserialize_with = "or_default")]
    pub accept_content_types: String,
    #[serde(deserialize_with = "or_default")]
    pub content_type: String,
    #[serde(deserialize_with = "or_default")]
    pub qps: f64,
    #[serde(deserialize_with = "or_default")]
    pub burst: i32,
}

/// Mode `iptables`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs, reason = "as above")]
pub struct Iptables {
    pub masquerade_bit: Option<i32>,
    #[serde(deserialize_with = "or_default")]
    pub masquerade_all: bool,
    pub localhost_node_ports: Option<bool>,
    #[serde(deserialize_with = "or_default")]
    pub sync_period: GoDuration,
    #[serde(deserialize_with = "or_default")]
    pub min_sync_period: GoDuration,
}

/// Mode `ipvs`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs, reason = "as above")]
pub struct Ipvs {
    #[serde(deserialize_with = "or_default")]
    pub sync_period: GoDuration,
    #[serde(deserialize_with = "or_default")]
    pub min_sync_period: GoDuration,
    #[serde(deserialize_with = "or_default")]
    pub scheduler: String,
    #[serde(rename = "excludeCIDRs", deserialize_with = "or_default")]
    pub exclude_cidrs: Vec<String>,
    #[serde(rename = "strictARP", deserialize_with = "or_default")]
    pub strict_arp: bool,
    #[serde(deserialize_with = "or_default")]
    pub tcp_timeout: GoDuration,
    #[serde(deserialize_with = "or_default")]
    pub tcp_fin_timeout: GoDuration,
    #[serde(deserialize_with = "or_default")]
    pub udp_timeout: GoDuration,
}

/// Mode `nftables`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs, reason = "as above")]
pub struct Nftables {
    pub masquerade_bit: Option<i32>,
    #[serde(deserialize_with = "or_default")]
    pub masquerade_all: bool,
    #[serde(deserialize_with = "or_default")]
    pub sync_period: GoDuration,
    #[serde(deserialize_with = "or_default")]
    pub min_sync_period: GoDuration,
}

/// Windows' mode: read, and nothing else.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs, reason = "as above")]
pub struct Winkernel {
    #[serde(deserialize_with = "or_default")]
    pub network_name: String,
    #[serde(deserialize_with = "or_default")]
    pub source_vip: String,
    #[serde(rename = "enableDSR", deserialize_with = "or_default")]
    pub enable_dsr: bool,
    #[serde(deserialize_with = "or_default")]
    pub root_hns_endpoint_name: String,
    #[serde(deserialize_with = "or_default")]
    pub forward_health_check_vip: bool,
}

/// By which interface local pods come in.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs, reason = "as above")]
pub struct DetectLocal {
    #[serde(deserialize_with = "or_default")]
    pub bridge_interface: String,
    #[serde(deserialize_with = "or_default")]
    pub interface_name_prefix: String,
}

/// Parameters of the kernel's connection table. Zero leaves one as it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs, reason = "as above")]
pub struct Conntrack {
    pub max_per_core: Option<i32>,
    pub min: Option<i32>,
    pub tcp_established_timeout: Option<GoDuration>,
    pub tcp_close_wait_timeout: Option<GoDuration>,
    #[serde(deserialize_with = "or_default")]
    pub tcp_be_liberal: bool,
    #[serde(deserialize_with = "or_default")]
    pub udp_timeout: GoDuration,
    #[serde(deserialize_with = "or_default")]
    pub udp_stream_timeout: GoDuration,
}

fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl Default for KubeProxyConfiguration {
    /// Every field as in an empty file.
    fn default() -> Self {
        Self {
            api_version: API_VERSION.to_owned(),
            kind: KIND.to_owned(),
            feature_gates: BTreeMap::new(),
            client_connection: ClientConnection::default(),
            logging: Value::Null,
            hostname_override: String::new(),
            bind_address: String::new(),
            healthz_bind_address: String::new(),
            metrics_bind_address: String::new(),
            bind_address_hard_fail: false,
            enable_profiling: false,
            show_hidden_metrics_for_version: String::new(),
            mode: String::new(),
            iptables: Iptables::default(),
            ipvs: Ipvs::default(),
            nftables: Nftables::default(),
            winkernel: Winkernel::default(),
            detect_local_mode: String::new(),
            detect_local: DetectLocal::default(),
            cluster_cidr: String::new(),
            node_port_addresses: Vec::new(),
            oom_score_adj: None,
            conntrack: Conntrack::default(),
            config_sync_period: GoDuration::default(),
            port_range: String::new(),
            windows_run_as_service: false,
        }
    }
}

impl KubeProxyConfiguration {
    /// Reads and checks a file. Every mistake in it is reported, with its place.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn read(path: &Path) -> Result<Self, Mistakes> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| {
            Mistakes::of_file(&name, format!("configuration cannot be read: {error}"))
        })?;
        Self::parse(&name, &text)
    }

    /// Reads and checks a text that mistakes call `name`.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn parse(name: &str, text: &str) -> Result<Self, Mistakes> {
        yaml::read_one_checked(name, text, |config: &Self| check::check(&config.complete()))
    }

    /// What is wrong with it: fields and reasons. For one that was made of
    /// flags; a file is checked when it is read.
    #[must_use]
    pub fn mistakes(&self) -> Vec<(&'static str, String)> {
        check::check(&self.complete())
    }

    /// The file's text, every default written out.
    ///
    /// # Errors
    /// None that is known.
    pub fn to_yaml(&self) -> Result<String, serde_saphyr::SerializeError> {
        serde_saphyr::to_string(&self.complete())
    }

    /// What an agent is to do for it.
    #[must_use]
    pub fn loaded(&self) -> Loaded {
        let complete = self.complete();
        Loaded {
            config: complete.meaning(),
            shown: json!({ "kubeproxy.config.k8s.io": complete }),
        }
    }
}

#[cfg(test)]
mod tests;
