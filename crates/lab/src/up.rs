//! Starting a lab, and mending one.

mod nodes;
mod ready;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use podway_watch::manifest;

use crate::apply::apply_all;
use crate::files::make_folder;
use crate::lock::Lock;
use crate::paths::LabPaths;
use crate::record::LabRecord;
use crate::runtime::block_on;
use crate::step::{Outcome, Step};
use crate::{Error, LabName, Settings, Status, roles, underlay};

pub(crate) use nodes::ensure_node;
pub(crate) use ready::{is_ready, wait as wait_until_ready};

/// What a lab has besides what every cluster has: the namespace that MetalLB's
/// configurations name, so that a user's own can be applied as it is.
const OBJECTS: &str = "{apiVersion: v1, kind: Namespace, metadata: {name: metallb-system}}";

/// Starts the lab, or repairs what is missing of a running one and leaves the
/// rest alone. Returns once every node is ready and the manifests are applied.
///
/// # Errors
/// When not root, when a setting is out of range or a manifest has mistakes:
/// nothing was changed then. When the kernel, a file or a process of the lab
/// fails: what was made so far stays, a second `up` continues and `down`
/// removes it.
pub fn up(settings: &Settings, progress: &mut dyn FnMut(Step)) -> Result<Status, Error> {
    require_root("start")?;
    let mut documents = manifest::parse("the lab's own objects", OBJECTS)?;
    documents.extend(manifest::read(&settings.apply)?);
    require_programs(&settings.program)?;
    let name = &settings.name;
    let lock = Lock::take(name)?;
    let record = LabRecord::planned(settings, LabRecord::read(name)?.as_ref())?;
    nodes::check(name, &record)?;
    make_folder(&LabPaths::new(name).control_plane())?;
    record.write(name)?;
    let underlay = underlay::ensure(name, record.segments, progress)?;
    let segments = record.segments;
    underlay::ensure_place(name, &underlay, underlay::CLIENT, segments, progress)?;
    start_control_plane(name, &record, progress)?;
    for index in 1..=record.nodes {
        ensure_node(name, &record, &underlay, index, progress)?;
    }
    block_on(async {
        let kubeconfig = LabPaths::new(name).kubeconfig();
        let client = podway_watch::client::connect(Some(&kubeconfig)).await?;
        wait_until_ready(&client, name, &record.node_names(), progress).await?;
        apply_all(&client, &documents, progress).await
    })?;
    drop(lock);
    crate::status(name)
}

/// Only root may make namespaces, links and mounts.
pub(crate) fn require_root(verb: &'static str) -> Result<(), Error> {
    if nix::unistd::geteuid().is_root() {
        Ok(())
    } else {
        Err(Error::NotRoot(verb))
    }
}

/// The CNI plugin has to lie beside the binary.
fn require_programs(program: &Path) -> Result<(), Error> {
    for needed in [program.to_owned(), program.with_file_name("podway-cni")] {
        fs::metadata(&needed).map_err(Error::io(format!(
            "find {}: build both programs, `cargo build -p podway -p podway-cni`",
            needed.display()
        )))?;
    }
    Ok(())
}

/// Starts the control plane unless it runs, and waits until it serves.
fn start_control_plane(
    name: &LabName,
    record: &LabRecord,
    progress: &mut dyn FnMut(Step),
) -> Result<(), Error> {
    let place = roles::control_plane(name);
    if let Some(process) = place.running() {
        progress(Step::new(
            format!("process {} ({})", place.describe(), process.pid),
            Outcome::Kept,
        ));
        return Ok(());
    }
    let families: Vec<String> = record.families().iter().map(ToString::to_string).collect();
    let arguments = [
        "lab".to_owned(),
        "control-plane".to_owned(),
        format!("--name={name}"),
        format!("--ip-families={}", families.join(",").to_lowercase()),
    ];
    let mut child = place.start(&record.program, &arguments, None, Some(Stdio::piped()))?;
    // It says one line when it serves. If it ends first, so does its output.
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        let read = BufReader::new(stdout).read_line(&mut line);
        read.map_err(Error::io("wait for the control plane"))?;
    }
    if line.is_empty() {
        return Err(place.ended());
    }
    progress(Step::new(
        format!("process {} ({})", place.describe(), child.id()),
        Outcome::Made,
    ));
    Ok(())
}
