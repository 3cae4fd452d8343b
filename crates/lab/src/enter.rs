//! Commands that run in a namespace of the lab.

use std::ffi::OsString;
use std::process::Command;

use crate::{Error, LabName};

/// A command that will run in a container of the pod: in its namespaces, with
/// its environment. The caller runs it (`CommandExt::exec` to become it).
/// Without `container` it is the pod's first.
///
/// # Errors
/// When the lab, the pod or the container is not running.
pub fn exec(
    name: &LabName,
    namespace: &str,
    pod: &str,
    container: Option<&str>,
    command: &[OsString],
) -> Result<Command, Error> {
    let _ = (namespace, pod, container, command);
    Err(Error::NoLab(name.clone()))
}

/// A command that will run in the outside client's network namespace.
///
/// # Errors
/// When the lab does not exist.
pub fn client(name: &LabName, command: &[OsString]) -> Result<Command, Error> {
    let _ = command;
    Err(Error::NoLab(name.clone()))
}

/// A command that will run in a node's network namespace.
///
/// # Errors
/// When the lab or the node does not exist.
pub fn node(name: &LabName, node: &str, command: &[OsString]) -> Result<Command, Error> {
    let _ = (node, command);
    Err(Error::NoLab(name.clone()))
}
