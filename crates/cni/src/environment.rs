//! What the runtime says in environment variables.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use podway_kernel::route::{Mac, check_interface_name};

use crate::error::{EnvironmentError, Error};
use crate::owner::Owner;

/// What the runtime wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    Add(Target),
    Del(Target),
    Check(Target),
    Gc,
    Status,
    Version,
}

/// Which interface of which container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// `CNI_CONTAINERID` and `CNI_IFNAME`.
    pub(crate) owner: Owner,
    /// `CNI_NETNS`; DEL may come without.
    pub(crate) netns: Option<PathBuf>,
    /// `CNI_ARGS`.
    pub(crate) args: Args,
}

/// What `CNI_ARGS` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Args {
    /// What Kubernetes says about the pod; `None` where there is no Kubernetes.
    pub(crate) pod: Option<PodName>,
    /// `IP`: the addresses that the pod asks for.
    pub(crate) addresses: Vec<IpAddr>,
    /// `MAC`: the Ethernet address that it asks for.
    pub(crate) mac: Option<Mac>,
}

/// A pod, from `CNI_ARGS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodName {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
}

/// The variables, by name; empty ones count as not set.
pub type Variables = BTreeMap<String, String>;

/// Keys of `CNI_ARGS` that mean something here. The infra container is the
/// `CNI_CONTAINERID`.
const KNOWN_ARGS: [&str; 7] = [
    "IgnoreUnknown",
    "IP",
    "MAC",
    "K8S_POD_NAMESPACE",
    "K8S_POD_NAME",
    "K8S_POD_UID",
    "K8S_POD_INFRA_CONTAINER_ID",
];

pub(crate) fn command(variables: &Variables) -> Result<Command, Error> {
    const INTERFACE: [&str; 3] = ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"];
    match value(variables, "CNI_COMMAND") {
        Some("ADD") => target(variables, &INTERFACE).map(Command::Add),
        Some("DEL") => target(variables, &["CNI_CONTAINERID", "CNI_IFNAME"]).map(Command::Del),
        Some("CHECK") => target(variables, &INTERFACE).map(Command::Check),
        Some("GC") => require(variables, &["CNI_PATH"]).map(|()| Command::Gc),
        Some("STATUS") => Ok(Command::Status),
        Some("VERSION") => Ok(Command::Version),
        Some(other) => Err(Error::Environment(EnvironmentError::Command {
            command: other.into(),
        })),
        None => Err(Error::Environment(EnvironmentError::Missing {
            names: vec!["CNI_COMMAND"],
        })),
    }
}

fn require(variables: &Variables, names: &[&'static str]) -> Result<(), Error> {
    let mut names = names.to_vec();
    names.retain(|name| value(variables, name).is_none());
    if names.is_empty() {
        return Ok(());
    }
    Err(Error::Environment(EnvironmentError::Missing { names }))
}

fn target(variables: &Variables, needed: &[&'static str]) -> Result<Target, Error> {
    require(variables, needed)?;
    let text = |name| value(variables, name).unwrap_or_default().to_owned();
    let (container, ifname) = (text("CNI_CONTAINERID"), text("CNI_IFNAME"));
    check_container(&container)?;
    check_interface_name(&ifname)
        .map_err(|error| invalid("CNI_IFNAME", &ifname, error.to_string()))?;
    Ok(Target {
        owner: Owner { container, ifname },
        netns: value(variables, "CNI_NETNS").map(PathBuf::from),
        args: args(&text("CNI_ARGS"))?,
    })
}

fn check_container(id: &str) -> Result<(), Error> {
    let mut characters = id.chars();
    let first = characters.next().is_some_and(|c| c.is_ascii_alphanumeric());
    let rest = characters.all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
    if first && rest {
        return Ok(());
    }
    let reason = "a letter or digit, then letters, digits, \"_\", \".\" and \"-\"";
    Err(invalid("CNI_CONTAINERID", id, reason.into()))
}

fn args(text: &str) -> Result<Args, Error> {
    let mut values = BTreeMap::new();
    for pair in text.split(';').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair
            .split_once('=')
            .ok_or_else(|| invalid("CNI_ARGS", pair, "it must be KEY=VALUE;KEY=VALUE".into()))?;
        values.insert(key, value);
    }
    let ignore = values
        .get("IgnoreUnknown")
        .is_some_and(|value| matches!(*value, "1" | "true" | "True" | "TRUE"));
    let unknown = values.keys().find(|key| !KNOWN_ARGS.contains(key));
    if let Some(key) = unknown.filter(|_| !ignore) {
        let reason = "unknown key (IgnoreUnknown=1 would allow it)".into();
        return Err(invalid("CNI_ARGS", key, reason));
    }
    let value = |key: &str| values.get(key).copied().filter(|value| !value.is_empty());
    let pod = value("K8S_POD_NAMESPACE").zip(value("K8S_POD_NAME"));
    Ok(Args {
        pod: pod.map(|(namespace, name)| PodName {
            namespace: namespace.into(),
            name: name.into(),
            uid: value("K8S_POD_UID").unwrap_or_default().into(),
        }),
        addresses: value("IP").map(addresses).transpose()?.unwrap_or_default(),
        mac: value("MAC").map(mac).transpose()?,
    })
}

/// One address, or one of each family with a comma between.
fn addresses(text: &str) -> Result<Vec<IpAddr>, Error> {
    let address = |text: &str| {
        // Some runtimes write the length of the network behind it.
        let alone = text.split('/').next().unwrap_or_default();
        let wrong = |_| invalid("CNI_ARGS", text, "IP must be an address".into());
        alone.parse().map_err(wrong)
    };
    text.split(',').map(address).collect()
}

fn mac(text: &str) -> Result<Mac, Error> {
    let wrong = |reason| invalid("CNI_ARGS", text, reason);
    let mac: Mac = text
        .parse()
        .map_err(|error: podway_kernel::route::MacError| wrong(error.to_string()))?;
    if mac.is_unicast() {
        Ok(mac)
    } else {
        Err(wrong("MAC must be a station's address".into()))
    }
}

fn value<'a>(variables: &'a Variables, name: &str) -> Option<&'a str> {
    variables
        .get(name)
        .map(String::as_str)
        .filter(|value| !value.is_empty())
}

fn invalid(name: &'static str, value: &str, reason: String) -> Error {
    Error::Environment(EnvironmentError::Value {
        name,
        value: value.into(),
        reason,
    })
}
