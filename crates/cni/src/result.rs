//! What ADD prints.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Map, Value, json};

use crate::config::Config;
use crate::interface::{PodInterface, host_name, ifb_name};
use crate::ipam::Assigned;
use crate::version;

/// The result in the configuration's version: what earlier plugins have made,
/// and the pod's interface.
pub(crate) fn of(pod: &PodInterface<'_>, config: &Config) -> Value {
    if !version::is_since(&config.network.version, "0.3.0") {
        return of_one_address_each(pod, config);
    }
    let mut result = match config.previous.clone() {
        Some(Value::Object(previous)) => previous,
        _ => Map::new(),
    };
    let before = list(&mut result, "interfaces").len();
    let interfaces = interfaces(pod, config);
    let own = before + POD;
    let ips = pod.ips.iter().map(|ip| address(ip, own, config));
    list(&mut result, "ips").extend(ips);
    list(&mut result, "interfaces").extend(interfaces);
    list(&mut result, "routes").extend(pod.ips.iter().map(route));
    result.insert("cniVersion".into(), json!(config.network.version));
    let silent = config.dns.as_object().is_none_or(Map::is_empty);
    if !(silent && result.contains_key("dns")) {
        result.insert("dns".into(), config.dns.clone());
    }
    Value::Object(result)
}

/// The list of that name, which may have been left out or be null.
fn list<'a>(result: &'a mut Map<String, Value>, key: &str) -> &'a mut Vec<Value> {
    let entry = result.entry(key).or_insert_with(|| json!([]));
    if !entry.is_array() {
        *entry = json!([]);
    }
    entry.as_array_mut().expect("it was made one")
}

/// Where the pod's end is among those.
const POD: usize = 1;

/// The node's end, the pod's, and what is for the limits.
fn interfaces(pod: &PodInterface<'_>, config: &Config) -> Vec<Value> {
    let mut node = json!({ "name": host_name(&pod.target.owner) });
    let mut own = json!({ "name": pod.target.owner.ifname, "sandbox": pod.namespace.path() });
    for (interface, mac) in [(&mut node, pod.gateway_mac()), (&mut own, pod.mac)] {
        if let Some(mac) = mac {
            interface["mac"] = json!(mac.to_string());
        }
        if version::is_since(&config.network.version, "1.1.0") {
            interface["mtu"] = json!(config.mtu);
        }
    }
    let mut all = vec![node, own];
    if config.bandwidth.egress(config.mtu).is_some() {
        all.push(json!({ "name": ifb_name(&pod.target.owner) }));
    }
    all
}

fn address(ip: &Assigned, interface: usize, config: &Config) -> Value {
    let mut entry = json!({
        "address": IpNet::from(ip.address),
        "gateway": ip.gateway,
        "interface": interface,
    });
    if !version::is_since(&config.network.version, "1.0.0") {
        entry["version"] = json!(if ip.address.is_ipv4() { "4" } else { "6" });
    }
    entry
}

fn route(ip: &Assigned) -> Value {
    json!({ "dst": anywhere(ip.gateway), "gw": ip.gateway })
}

const fn anywhere(address: IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => "0.0.0.0/0",
        IpAddr::V6(_) => "::/0",
    }
}

/// As it was before 0.3.0: no interfaces, no chaining.
fn of_one_address_each(pod: &PodInterface<'_>, config: &Config) -> Value {
    let mut result = json!({ "cniVersion": config.network.version, "dns": config.dns });
    for ip in pod.ips {
        let key = if ip.address.is_ipv4() { "ip4" } else { "ip6" };
        result[key] = json!({
            "ip": IpNet::from(ip.address),
            "gateway": ip.gateway,
            "routes": [route(ip)],
        });
    }
    result
}
