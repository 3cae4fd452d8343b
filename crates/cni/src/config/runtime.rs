//! What the runtime adds to the configuration for one pod.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::bandwidth::Bandwidth;
use crate::host_ports::PortMapping;
use crate::ipam::RangeKeys;

/// `runtimeConfig`: the values of the capabilities that the list declares.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RuntimeConfig {
    pub(super) ips: Vec<Requested>,
    pub(super) mac: Option<String>,
    pub(super) ip_ranges: Vec<Vec<RangeKeys>>,
    pub(super) dns: Option<RuntimeDns>,
    pub(super) port_mappings: Vec<PortMapping>,
    pub(super) bandwidth: Bandwidth,
}

/// `args`, where runtimes put wishes before there were capabilities.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ByConvention {
    pub(super) cni: Wishes,
}

/// What may be wished for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Wishes {
    pub(super) ips: Vec<Requested>,
    pub(super) mac: Option<String>,
}

/// An address with or without the length of its network.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Requested(pub(super) IpNet);

impl TryFrom<String> for Requested {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let address = text.parse::<IpAddr>().map(IpNet::from);
        address
            .or_else(|_| text.parse())
            .map(Self)
            .map_err(|_| format!("{text:?} is neither an address nor a prefix"))
    }
}

/// The DNS settings of a pod; the result spells them differently.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RuntimeDns {
    servers: Vec<String>,
    searches: Vec<String>,
    options: Vec<String>,
}

impl RuntimeDns {
    pub(super) fn of_result(&self) -> Value {
        json!({
            "nameservers": self.servers,
            "search": self.searches,
            "options": self.options,
        })
    }
}
