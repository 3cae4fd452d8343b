//! What the runtime says in environment variables.

use std::collections::BTreeMap;
use std::path::PathBuf;

use podway_kernel::route::check_interface_name;

use crate::error::{EnvironmentError, Error};

/// What the runtime wants done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    Add,
    Del,
    Version,
}

/// Which interface of which container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// `CNI_CONTAINERID`.
    pub(crate) container: String,
    /// `CNI_IFNAME`.
    pub(crate) ifname: String,
    /// `CNI_NETNS`; DEL may come without.
    pub(crate) netns: Option<PathBuf>,
    /// What Kubernetes says about the pod; `None` where there is no Kubernetes.
    pub(crate) pod: Option<PodName>,
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
const KNOWN_ARGS: [&str; 5] = [
    "IgnoreUnknown",
    "K8S_POD_NAMESPACE",
    "K8S_POD_NAME",
    "K8S_POD_UID",
    "K8S_POD_INFRA_CONTAINER_ID",
];

pub(crate) fn command(variables: &Variables) -> Result<Command, Error> {
    match value(variables, "CNI_COMMAND") {
        Some("ADD") => Ok(Command::Add),
        Some("DEL") => Ok(Command::Del),
        Some("VERSION") => Ok(Command::Version),
        Some(other) => Err(Error::Environment(EnvironmentError::Command {
            command: other.into(),
        })),
        None => Err(missing(vec!["CNI_COMMAND"])),
    }
}

pub(crate) fn target(command: Command, variables: &Variables) -> Result<Target, Error> {
    let mut needed = vec!["CNI_CONTAINERID", "CNI_IFNAME"];
    if command == Command::Add {
        needed.insert(1, "CNI_NETNS");
    }
    needed.retain(|name| value(variables, name).is_none());
    if !needed.is_empty() {
        return Err(missing(needed));
    }
    let text = |name| value(variables, name).unwrap_or_default().to_owned();
    let (container, ifname) = (text("CNI_CONTAINERID"), text("CNI_IFNAME"));
    check_container(&container)?;
    check_interface_name(&ifname)
        .map_err(|error| invalid("CNI_IFNAME", &ifname, error.to_string()))?;
    Ok(Target {
        container,
        ifname,
        netns: value(variables, "CNI_NETNS").map(PathBuf::from),
        pod: pod(&text("CNI_ARGS"))?,
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

fn pod(args: &str) -> Result<Option<PodName>, Error> {
    let mut values = BTreeMap::new();
    for pair in args.split(';').filter(|pair| !pair.is_empty()) {
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
    let value = |key: &str| values.get(key).copied().unwrap_or_default();
    let (namespace, name) = (value("K8S_POD_NAMESPACE"), value("K8S_POD_NAME"));
    if namespace.is_empty() || name.is_empty() {
        return Ok(None);
    }
    Ok(Some(PodName {
        namespace: namespace.into(),
        name: name.into(),
        uid: value("K8S_POD_UID").into(),
    }))
}

fn value<'a>(variables: &'a Variables, name: &str) -> Option<&'a str> {
    variables
        .get(name)
        .map(String::as_str)
        .filter(|value| !value.is_empty())
}

fn missing(names: Vec<&'static str>) -> Error {
    Error::Environment(EnvironmentError::Missing { names })
}

fn invalid(name: &'static str, value: &str, reason: String) -> Error {
    Error::Environment(EnvironmentError::Value {
        name,
        value: value.into(),
        reason,
    })
}
