//! What ADD prints.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use ipnet::IpNet;
use podway_kernel::route::Mac;
use serde_json::{Value, json};

use crate::config::Config;

/// An interface that was made.
#[derive(Debug)]
pub(crate) struct Attached<'a> {
    pub(crate) host: String,
    pub(crate) host_mac: Option<Mac>,
    pub(crate) ifname: &'a str,
    pub(crate) mac: Option<Mac>,
    pub(crate) namespace: &'a Path,
    pub(crate) addresses: &'a [IpAddr],
    pub(crate) gateways: &'a [IpAddr],
}

/// Where the pod's own interface is in the list of interfaces.
const POD: usize = 1;

/// The result in the configuration's version.
pub(crate) fn of(attached: &Attached<'_>, config: &Config) -> Value {
    let version = config.version.as_str();
    let pairs = attached.addresses.iter().zip(attached.gateways);
    let ips: Vec<Value> = pairs
        .map(|(address, gateway)| ip(*address, *gateway, version))
        .collect();
    let routes: Vec<Value> = attached.gateways.iter().map(|ip| route(*ip)).collect();
    json!({
        "cniVersion": version,
        "interfaces": interfaces(attached, config),
        "ips": ips,
        "routes": routes,
        "dns": config.dns,
    })
}

fn interfaces(attached: &Attached<'_>, config: &Config) -> Value {
    let mut node = json!({ "name": attached.host });
    let mut pod = json!({ "name": attached.ifname, "sandbox": attached.namespace });
    for (interface, mac) in [(&mut node, attached.host_mac), (&mut pod, attached.mac)] {
        if let Some(mac) = mac {
            interface["mac"] = json!(mac.to_string());
        }
        // New in 1.1.0.
        if config.version == "1.1.0" {
            interface["mtu"] = json!(config.mtu);
        }
    }
    json!([node, pod])
}

fn ip(address: IpAddr, gateway: IpAddr, version: &str) -> Value {
    let mut ip = json!({
        "address": IpNet::from(address),
        "gateway": gateway,
        "interface": POD,
    });
    // Gone since 1.0.0.
    if version.starts_with("0.") {
        ip["version"] = json!(if address.is_ipv4() { "4" } else { "6" });
    }
    ip
}

fn route(gateway: IpAddr) -> Value {
    let any: IpAddr = match gateway {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    json!({ "dst": format!("{any}/0"), "gw": gateway })
}
