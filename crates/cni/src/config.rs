//! The network configuration on standard input.

mod keys;
mod runtime;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use podway_kernel::route::Mac;
use serde::Deserialize;
use serde_json::Value;

use crate::bandwidth::Bandwidth;
use crate::environment::Args;
use crate::error::Error;
use crate::host_ports::PortMapping;
use crate::ipam::{Range, Request};
use crate::owner::Owner;
use crate::version;
use keys::Keys;

/// What every command needs. DEL and GC read no more than this: what ADD made
/// must go away also where the rest has become unusable.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    pub(crate) version: String,
    pub(crate) name: String,
    pub(crate) data_dir: PathBuf,
    pub(crate) agent_socket: Option<PathBuf>,
    /// Where host-local keeps the addresses of pods that other plugins made.
    pub(crate) host_local_dir: PathBuf,
}

/// A configuration that has been checked: what ADD, CHECK and STATUS need.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) network: Network,
    pub(crate) mtu: u32,
    /// One address of each set is given to a pod. At most one set of each
    /// family, at least one; the ranges of a set are of one family.
    pub(crate) sets: Vec<Vec<Range>>,
    /// Given only to those who ask for them.
    pub(crate) reserved: Vec<IpNet>,
    /// The addresses that this pod asks for.
    pub(crate) addresses: Vec<IpAddr>,
    /// The Ethernet address that this pod asks for.
    pub(crate) mac: Option<Mac>,
    pub(crate) policy_wait: Duration,
    /// Whether a pod starts although its policies are not known to be in force.
    pub(crate) fail_open: bool,
    pub(crate) dns: Value,
    pub(crate) port_mappings: Vec<PortMapping>,
    pub(crate) bandwidth: Bandwidth,
    /// What the plugins before this one made; for CHECK, what all have made.
    pub(crate) previous: Option<Value>,
}

/// The version that a configuration names, as far as it can be read at all; for
/// the answer to a command that fails.
pub(crate) fn version_of(input: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(input).ok()?;
    let version = value.get("cniVersion")?.as_str()?;
    version::is_supported(version).then(|| version.to_owned())
}

impl Config {
    /// Reads everything; all of it must make sense. `args` is what the
    /// environment asks for on top.
    pub(crate) fn read(input: &[u8], args: &Args) -> Result<Self, Error> {
        let network = Network::read(input)?;
        let keys: Keys = serde_json::from_slice(input).map_err(Error::Decode)?;
        if let Some((key, value)) = keys.unsupported() {
            return Err(Error::UnsupportedField {
                network: network.name,
                key,
                value,
            });
        }
        let config = keys.checked(network, args)?;
        config.check_mtu()?;
        Ok(config)
    }

    /// What this pod wants of the address management.
    pub(crate) fn request(&self) -> Request<'_> {
        Request {
            sets: &self.sets,
            addresses: &self.addresses,
            reserved: &self.reserved,
        }
    }

    fn check_mtu(&self) -> Result<(), Error> {
        let ipv6 = self.sets.iter().flatten().any(|range| !range.is_ipv4());
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

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NetworkKeys {
    #[serde(default)]
    cni_version: String,
    #[serde(default)]
    name: String,
    data_dir: Option<PathBuf>,
    agent_socket: Option<PathBuf>,
    host_local_dir: Option<PathBuf>,
}

#[derive(Deserialize)]
struct ValidKeys {
    #[serde(rename = "cni.dev/valid-attachments")]
    valid: Option<Vec<Owner>>,
    /// What runtimes called it before.
    #[serde(rename = "cni.dev/attachments")]
    attachments: Option<Vec<Owner>>,
}

const DEFAULT_DATA_DIR: &str = "/run/podway/cni";
/// host-local's own default.
const HOST_LOCAL_DIR: &str = "/var/lib/cni/networks";

impl Network {
    pub(crate) fn read(input: &[u8]) -> Result<Self, Error> {
        let keys: NetworkKeys = serde_json::from_slice(input).map_err(Error::Decode)?;
        if !version::is_supported(&keys.cni_version) {
            return Err(Error::Version {
                version: keys.cni_version,
            });
        }
        check_name(&keys.name)?;
        Ok(Self {
            version: keys.cni_version,
            name: keys.name,
            data_dir: keys.data_dir.unwrap_or_else(|| DEFAULT_DATA_DIR.into()),
            agent_socket: keys.agent_socket,
            host_local_dir: keys.host_local_dir.unwrap_or_else(|| HOST_LOCAL_DIR.into()),
        })
    }
}

/// The interfaces that GC must leave alone.
///
/// # Errors
/// Where they are not said: to take that as "none" would end every pod.
pub(crate) fn valid_attachments(input: &[u8]) -> Result<BTreeSet<Owner>, Error> {
    let keys: ValidKeys = serde_json::from_slice(input).map_err(Error::Decode)?;
    let valid = keys.valid.or(keys.attachments);
    let missing = || invalid("cni.dev/valid-attachments", "GC needs it");
    Ok(valid.ok_or_else(missing)?.into_iter().collect())
}

/// The specification's rule; the name becomes a directory of the state.
fn check_name(name: &str) -> Result<(), Error> {
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
