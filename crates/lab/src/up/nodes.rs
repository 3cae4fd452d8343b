//! The nodes: their namespaces, files and processes.

use std::fs;
use std::net::IpAddr;

use podway_agent::config::{Configuration, Overlay, Pods, Services};
use podway_kernel::netns::NetNs;
use podway_model::IpFamily;

use crate::belonging::Belonging;
use crate::files::{make_folder, write_whole};
use crate::name::node_name;
use crate::paths::LabPaths;
use crate::record::LabRecord;
use crate::roles::{self, Place, Role};
use crate::step::{Outcome, Step};
use crate::{Error, LabName, marks, topology, underlay};

/// Refuses what an agent would refuse, before anything is made.
pub(super) fn check(lab: &LabName, record: &LabRecord) -> Result<(), Error> {
    let text = configuration(lab, record, 1)?;
    Configuration::parse("the agents' configuration", &text)?;
    Ok(())
}

/// Makes a node, or completes it: namespace, link, files, agent, kubelet.
pub(crate) fn ensure_node(
    lab: &LabName,
    record: &LabRecord,
    underlay: &NetNs,
    index: usize,
    progress: &mut dyn FnMut(Step),
) -> Result<(), Error> {
    let node = node_name(index);
    let namespace = underlay::ensure_place(lab, underlay, &node, record.segments, progress)?;
    let paths = roles::node_paths(lab, &node);
    for folder in [
        paths.network_configs(),
        paths.network_state(),
        paths.pods(),
        paths.namespaces(),
    ] {
        make_folder(&folder)?;
    }
    end_strays(lab, &node, &namespace)?;
    let changed = write_configuration(lab, record, index)?;
    for place in roles::of_node(lab, &node) {
        let arguments = match place.role {
            Role::Agent if changed => {
                place.end()?;
                agent_arguments(lab, &node)
            }
            Role::Agent => agent_arguments(lab, &node),
            Role::Kubelet | Role::ControlPlane => kubelet_arguments(lab, record, index),
        };
        ensure_process(&place, record, &arguments, &namespace, progress)?;
    }
    Ok(())
}

fn ensure_process(
    place: &Place<'_>,
    record: &LabRecord,
    arguments: &[String],
    namespace: &NetNs,
    progress: &mut dyn FnMut(Step),
) -> Result<(), Error> {
    let (pid, outcome) = match place.running() {
        Some(process) => (process.pid.unsigned_abs(), Outcome::Kept),
        None => {
            let child = place.start(&record.program, arguments, Some(namespace), None)?;
            (child.id(), Outcome::Made)
        }
    };
    progress(Step::new(
        format!("process {} ({pid})", place.describe()),
        outcome,
    ));
    Ok(())
}

/// Ends the node's processes that run in another namespace than the node's:
/// somebody deleted that one, and what was in it can be reached no longer.
fn end_strays(lab: &LabName, node: &str, namespace: &NetNs) -> Result<(), Error> {
    let id = namespace.id()?;
    for place in roles::of_node(lab, node) {
        let Some(process) = place.running() else {
            continue;
        };
        let inside = NetNs::of_process(process.pid.unsigned_abs()).and_then(|found| found.id());
        if inside.is_ok_and(|inside| inside == id) {
            continue;
        }
        let paths = roles::node_paths(lab, node);
        let marks = marks::of_node(lab, &paths, node);
        let belonging = Belonging {
            marks: marks
                .into_iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect(),
            ..Belonging::default()
        };
        belonging
            .end_all()
            .map_err(Error::io(format!("end what is left of {node}")))?;
    }
    Ok(())
}

/// Writes `agent.yaml`. Whether it says something else than before.
fn write_configuration(lab: &LabName, record: &LabRecord, index: usize) -> Result<bool, Error> {
    let path = roles::node_paths(lab, &node_name(index)).agent_config();
    let text = configuration(lab, record, index)?;
    let before = fs::read_to_string(&path).ok();
    if before.as_deref() == Some(&text) {
        return Ok(false);
    }
    write_whole(&path, &text)?;
    Ok(before.is_some())
}

fn configuration(lab: &LabName, record: &LabRecord, index: usize) -> Result<String, Error> {
    let node = node_name(index);
    let paths = roles::node_paths(lab, &node);
    let configuration = Configuration {
        node_name: Some(node),
        kubeconfig: Some(LabPaths::new(lab).node_kubeconfig()),
        state_dir: paths.agent_state(),
        socket: Some(paths.agent_socket()),
        pods: Pods {
            cni_conf_dir: paths.network_configs(),
            cni_data_dir: paths.network_state(),
            ..Pods::default()
        },
        overlay: Overlay {
            backend: record.overlay.clone(),
            also: record.also.clone(),
            direct_routing: record.direct_routing,
            ..Overlay::default()
        },
        services: Services {
            mode: record.proxy_mode.clone(),
            ..Services::default()
        },
        ..Configuration::default()
    };
    configuration.to_yaml().map_err(|error| Error::State {
        path: paths.agent_config(),
        reason: error.to_string(),
    })
}

fn agent_arguments(lab: &LabName, node: &str) -> Vec<String> {
    let config = roles::node_paths(lab, node).agent_config();
    vec!["agent".to_owned(), format!("--config={}", config.display())]
}

fn kubelet_arguments(lab: &LabName, record: &LabRecord, index: usize) -> Vec<String> {
    let node = node_name(index);
    let paths = LabPaths::new(lab);
    let families = record.families();
    let prefixes: Vec<String> = families
        .iter()
        .map(|&family| topology::node_pod_prefix(index, family).to_string())
        .collect();
    let addresses: Vec<String> = node_addresses(index, record.segments, &families)
        .iter()
        .map(ToString::to_string)
        .collect();
    vec![
        "lab".to_owned(),
        "kubelet".to_owned(),
        format!("--name={lab}"),
        format!("--node={node}"),
        format!("--directory={}", paths.node(&node).root().display()),
        format!("--program={}", record.program.display()),
        format!("--kubeconfig={}", paths.node_kubeconfig().display()),
        format!("--addresses={}", addresses.join(",")),
        format!("--pod-prefixes={}", prefixes.join(",")),
    ]
}

/// A node's addresses: those of the lab's families, the primary one first.
fn node_addresses(index: usize, segments: usize, families: &[IpFamily]) -> Vec<IpAddr> {
    families
        .iter()
        .map(|&family| topology::node(index, segments, family).addr())
        .collect()
}
