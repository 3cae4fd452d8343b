//! Commands that run in a namespace of the lab.

use std::ffi::OsString;
use std::fs::File;
use std::process::Command;

use podway_kernel::netns;
use podway_kernel::spawn::Isolation;

use crate::kubelet::{PodRecord, beside};
use crate::record::LabRecord;
use crate::{Error, LabName, marks, roles, underlay};

/// A command that will run in a container of the pod: in its namespaces, with
/// its environment. The caller runs it (`CommandExt::exec` to become it).
/// Without `container` it is the pod's first that runs.
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
    let record = LabRecord::existing(name)?;
    let missing = |hint: String| Error::NoContainer {
        lab: name.clone(),
        namespace: namespace.to_owned(),
        pod: pod.to_owned(),
        hint,
    };
    let mut pods = record
        .node_names()
        .into_iter()
        .flat_map(|node| PodRecord::all_in(&roles::node_paths(name, &node).pods()))
        .filter(|record| record.namespace == namespace && record.name == pod);
    // A pod that was replaced may still be ending: the one that runs counts.
    let Some(record) = pods.find(|record| record.pause().is_some()) else {
        return Err(missing(format!(
            "see `kubectl get pod -n {namespace} {pod}`"
        )));
    };
    let running = record
        .containers
        .iter()
        .filter(|(found, _)| container.is_none_or(|wanted| wanted == found.as_str()))
        .find_map(|(_, container)| container.running());
    let Some(process) = running else {
        let names = |record: &PodRecord| {
            record
                .containers
                .keys()
                .cloned()
                .collect::<Vec<_>>()
                .join(", ")
        };
        return Err(missing(format!("its containers are {}", names(&record))));
    };
    let (mut command, isolation) =
        beside(process, command).map_err(Error::io(format!("enter pod {namespace}/{pod}")))?;
    keep_terminal(&mut command);
    isolation.apply(&mut command);
    Ok(command)
}

/// A command that will run in the outside client's network namespace.
///
/// # Errors
/// When the lab does not exist.
pub fn client(name: &LabName, command: &[OsString]) -> Result<Command, Error> {
    LabRecord::existing(name)?;
    inside(name, underlay::CLIENT, command)
}

/// A command that will run in a node's network namespace.
///
/// # Errors
/// When the lab or the node does not exist.
pub fn node(name: &LabName, node: &str, command: &[OsString]) -> Result<Command, Error> {
    LabRecord::existing(name)?.node(name, node)?;
    let mut command = inside(name, node, command)?;
    command.env(marks::NODE, node);
    Ok(command)
}

fn inside(name: &LabName, place: &str, words: &[OsString]) -> Result<Command, Error> {
    let [program, arguments @ ..] = words else {
        return Err(Error::Setting {
            setting: "command",
            value: String::new(),
            reason: "it is empty".to_owned(),
        });
    };
    let path = netns::named_path(&name.namespace(place))?;
    let namespace = File::open(&path).map_err(Error::io(format!("open {}", path.display())))?;
    let mut command = Command::new(program);
    command.args(arguments);
    Isolation::new()
        .join(namespace)
        .own_sysfs()
        .apply(&mut command);
    Ok(command)
}

/// A person's terminal is his, not the container's: its kind comes along.
fn keep_terminal(command: &mut Command) {
    if let Some(kind) = std::env::var_os("TERM") {
        command.env("TERM", kind);
    }
}
