//! The network configuration on standard input.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;
use serde_json::Value;

use crate::error::Error;
use crate::ipam::Range;
use crate::version;

/// A configuration that has been checked.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) version: String,
    pub(crate) network: String,
    pub(crate) mtu: u32,
    /// At most one of each family; at least one for ADD.
    pub(crate) ranges: Vec<Range>,
    pub(crate) data_dir: PathBuf,
    pub(crate) agent_socket: Option<PathBuf>,
    pub(crate) policy_wait: Duration,
    pub(crate) dns: Value,
}

/// The keys, with the types that they must have.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Keys {
    #[serde(default)]
    cni_version: String,
    #[serde(default)]
    name: String,
    mtu: Option<u32>,
    #[serde(default, rename = "podCIDRs")]
    pod_cidrs: Vec<IpNet>,
    data_dir: Option<PathBuf>,
    agent_socket: Option<PathBuf>,
    policy_wait_seconds: Option<u64>,
    prev_result: Option<Value>,
    dns: Option<Value>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

/// Keys that the specification or its conventions give a meaning which needs
/// nothing from this plugin.
const HARMLESS: [&str; 5] = [
    "type",
    "capabilities",
    "runtimeConfig",
    "args",
    "cniVersions",
];

const DEFAULT_DATA_DIR: &str = "/run/podway/cni";
const DEFAULT_MTU: u32 = 1500;
const DEFAULT_POLICY_WAIT: Duration = Duration::from_secs(10);

/// The version that a configuration names, as far as it can be read at all; for
/// the answer to a command that fails.
pub(crate) fn version_of(input: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(input).ok()?;
    let version = value.get("cniVersion")?.as_str()?;
    version::is_supported(version).then(|| version.to_owned())
}

impl Config {
    /// Reads what ADD needs; everything in it must make sense.
    pub(crate) fn for_add(input: &[u8]) -> Result<Self, Error> {
        let keys = Keys::read(input)?;
        if let Some((key, value)) = keys.unsupported() {
            return Err(Error::UnsupportedField {
                network: keys.name,
                key,
                value,
            });
        }
        if keys.prev_result.is_some() {
            let reason = "podway-cni makes the pod's interface: it must be the first plugin";
            return Err(invalid("prevResult", reason));
        }
        let ranges = ranges(&keys.pod_cidrs)?;
        let config = keys.checked(ranges)?;
        config.check_mtu()?;
        Ok(config)
    }

    /// Reads what DEL needs, from a configuration that may have become
    /// unusable for ADD: what ADD made must still go away.
    pub(crate) fn for_del(input: &[u8]) -> Result<Self, Error> {
        Keys::read(input)?.checked(Vec::new())
    }

    fn check_mtu(&self) -> Result<(), Error> {
        let ipv6 = self
            .ranges
            .iter()
            .any(|range| range.prefix().addr().is_ipv6());
        // RFC 791 and RFC 8200, section 5: what every link must carry.
        let (smallest, family) = if ipv6 { (1280, "IPv6") } else { (68, "IPv4") };
        if !(smallest..=65535).contains(&self.mtu) {
            let reason = format!(
                "{} is not between {smallest} ({family}) and 65535",
                self.mtu
            );
            return Err(invalid("mtu", reason));
        }
        Ok(())
    }
}

impl Keys {
    fn read(input: &[u8]) -> Result<Self, Error> {
        let keys: Self = serde_json::from_slice(input).map_err(Error::Decode)?;
        if !version::is_supported(&keys.cni_version) {
            return Err(Error::Version {
                version: keys.cni_version,
            });
        }
        Ok(keys)
    }

    fn unsupported(&self) -> Option<(String, String)> {
        self.others
            .iter()
            .find(|(key, _)| !HARMLESS.contains(&key.as_str()) && !key.starts_with("cni.dev/"))
            .map(|(key, value)| (key.clone(), value.to_string()))
    }

    fn checked(self, ranges: Vec<Range>) -> Result<Config, Error> {
        check_network(&self.name)?;
        Ok(Config {
            version: self.cni_version,
            network: self.name,
            mtu: self.mtu.unwrap_or(DEFAULT_MTU),
            ranges,
            data_dir: self.data_dir.unwrap_or_else(|| DEFAULT_DATA_DIR.into()),
            agent_socket: self.agent_socket,
            policy_wait: self
                .policy_wait_seconds
                .map_or(DEFAULT_POLICY_WAIT, Duration::from_secs),
            dns: self
                .dns
                .unwrap_or_else(|| Value::Object(Default::default())),
        })
    }
}

fn ranges(prefixes: &[IpNet]) -> Result<Vec<Range>, Error> {
    let mut ranges: Vec<Range> = Vec::new();
    for prefix in prefixes {
        let range = Range::new(*prefix).ok_or_else(|| {
            invalid(
                "podCIDRs",
                format!("{prefix} has no room for a gateway and a pod"),
            )
        })?;
        let ipv4 = prefix.addr().is_ipv4();
        if ranges
            .iter()
            .any(|other| other.prefix().addr().is_ipv4() == ipv4)
        {
            let reason = format!("{prefix} is the second one of its family");
            return Err(invalid("podCIDRs", reason));
        }
        ranges.push(range);
    }
    if ranges.is_empty() {
        return Err(invalid(
            "podCIDRs",
            "there must be one of IPv4, of IPv6 or of both",
        ));
    }
    Ok(ranges)
}

/// The specification's rule; the name becomes a directory of the state.
fn check_network(name: &str) -> Result<(), Error> {
    let mut characters = name.chars();
    let first = characters.next().is_some_and(|c| c.is_ascii_alphanumeric());
    let rest = characters.all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
    if first && rest {
        return Ok(());
    }
    let reason =
        format!("{name:?} is not a letter or digit, then letters, digits, \"_\", \".\" and \"-\"");
    Err(invalid("name", reason))
}

fn invalid(field: &'static str, reason: impl Into<String>) -> Error {
    Error::Config {
        field,
        reason: reason.into(),
    }
}
