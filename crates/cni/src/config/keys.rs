//! The keys of the configuration, and what they must satisfy together.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use podway_kernel::route::Mac;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::runtime::{ByConvention, Requested, RuntimeConfig};
use super::{Config, Network, invalid};
use crate::environment::Args;
use crate::error::Error;
use crate::host_ports::PortMapping;
use crate::ipam::Range;

/// The keys that are read besides those of [`Network`].
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Keys {
    mtu: Option<u32>,
    #[serde(default, rename = "podCIDRs")]
    pod_cidrs: Vec<IpNet>,
    #[serde(default)]
    reserved: Vec<Requested>,
    policy_wait_seconds: Option<u64>,
    #[serde(default)]
    fail_open: bool,
    prev_result: Option<Map<String, Value>>,
    dns: Option<Value>,
    #[serde(default)]
    runtime_config: RuntimeConfig,
    #[serde(default)]
    args: ByConvention,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

/// Keys that [`Network`] reads, and those that the specification or its
/// conventions give a meaning which needs nothing from this plugin.
const KNOWN: [&str; 8] = [
    "cniVersion",
    "name",
    "dataDir",
    "agentSocket",
    "hostLocalDir",
    "type",
    "capabilities",
    "cniVersions",
];

const DEFAULT_MTU: u32 = 1500;
const DEFAULT_POLICY_WAIT: Duration = Duration::from_secs(10);

impl Keys {
    pub(super) fn unsupported(&self) -> Option<(String, String)> {
        self.others
            .iter()
            .find(|(key, _)| !KNOWN.contains(&key.as_str()) && !key.starts_with("cni.dev/"))
            .map(|(key, value)| (key.clone(), value.to_string()))
    }

    pub(super) fn checked(self, network: Network, args: &Args) -> Result<Config, Error> {
        let sets = match &self.runtime_config.ip_ranges[..] {
            [] => of_prefixes(&self.pod_cidrs)?,
            sets => of_runtime(sets)?,
        };
        check_families(&sets)?;
        let port_mappings = self.runtime_config.port_mappings.clone();
        port_mappings.iter().try_for_each(PortMapping::check)?;
        self.runtime_config.bandwidth.check()?;
        Ok(Config {
            network,
            mtu: self.mtu.unwrap_or(DEFAULT_MTU),
            sets,
            addresses: self.addresses(args)?,
            mac: self.mac(args)?,
            reserved: self.reserved.iter().map(|asked| asked.0).collect(),
            policy_wait: self
                .policy_wait_seconds
                .map_or(DEFAULT_POLICY_WAIT, Duration::from_secs),
            fail_open: self.fail_open,
            dns: match &self.runtime_config.dns {
                Some(dns) => dns.of_result(),
                None => self.dns.unwrap_or_else(|| Value::Object(Map::new())),
            },
            port_mappings,
            bandwidth: self.runtime_config.bandwidth,
            previous: self.prev_result.map(Value::Object),
        })
    }

    /// What all places together ask for.
    fn addresses(&self, args: &Args) -> Result<Vec<IpAddr>, Error> {
        let conventional = self.args.cni.ips.iter().chain(&self.runtime_config.ips);
        let mut addresses = args.addresses.clone();
        for asked in conventional {
            let address = asked.0.addr();
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        let ipv4 = addresses.iter().filter(|address| address.is_ipv4()).count();
        if ipv4 > 1 || addresses.len() - ipv4 > 1 {
            let reason = format!("a pod has one address of each family: {addresses:?}");
            return Err(invalid("ips", reason));
        }
        Ok(addresses)
    }

    /// The last of the conventions counts.
    fn mac(&self, args: &Args) -> Result<Option<Mac>, Error> {
        let text = self.runtime_config.mac.as_ref();
        let Some(text) = text.or(self.args.cni.mac.as_ref()) else {
            return Ok(args.mac);
        };
        let mac: Mac = text
            .parse()
            .map_err(|error: podway_kernel::route::MacError| invalid("mac", error.to_string()))?;
        if !mac.is_unicast() {
            return Err(invalid("mac", format!("{mac} is no station's address")));
        }
        Ok(Some(mac))
    }
}

/// Each prefix by itself.
fn of_prefixes(prefixes: &[IpNet]) -> Result<Vec<Vec<Range>>, Error> {
    let range = |prefix: &IpNet| {
        let reason = || format!("{prefix} has no room for a gateway and a pod");
        Range::of_prefix(*prefix)
            .map(|range| vec![range])
            .ok_or_else(|| invalid("podCIDRs", reason()))
    };
    prefixes.iter().map(range).collect()
}

/// The runtime's ranges in place of the podCIDRs.
fn of_runtime(sets: &[Vec<crate::ipam::RangeKeys>]) -> Result<Vec<Vec<Range>>, Error> {
    let mut checked: Vec<Vec<Range>> = Vec::new();
    for set in sets.iter().filter(|set| !set.is_empty()) {
        let mut ranges: Vec<Range> = Vec::new();
        for keys in set {
            let range = Range::of_keys(keys).map_err(|reason| invalid("ipRanges", reason))?;
            let others = checked.iter().flatten().chain(&ranges);
            if let Some(other) = others.clone().find(|other| other.overlaps(&range)) {
                let reason = format!("{} and {} overlap", other.bounds(), range.bounds());
                return Err(invalid("ipRanges", reason));
            }
            if ranges
                .iter()
                .any(|other| other.is_ipv4() != range.is_ipv4())
            {
                return Err(invalid("ipRanges", "a set has ranges of both families"));
            }
            ranges.push(range);
        }
        checked.push(ranges);
    }
    Ok(checked)
}

fn check_families(sets: &[Vec<Range>]) -> Result<(), Error> {
    let mut seen = Vec::new();
    for range in sets.iter().filter_map(|set| set.first()) {
        if seen.contains(&range.is_ipv4()) {
            let reason = format!("{} is the second one of its family", range.prefix());
            return Err(invalid("podCIDRs", reason));
        }
        seen.push(range.is_ipv4());
    }
    if seen.is_empty() {
        let reason = "there must be one of IPv4, of IPv6 or of both";
        return Err(invalid("podCIDRs", reason));
    }
    Ok(())
}
