//! The environment by which a lab's processes are known.

use std::collections::BTreeMap;

use crate::LabName;
use crate::paths::{LabPaths, NodePaths};

/// The lab's name.
pub(crate) const LAB: &str = "PODWAY_LAB";
/// The lab's folder. A person may have `PODWAY_LAB` in a shell of his own; only
/// together the two make a process one of the lab's.
pub(crate) const LAB_FOLDER: &str = "PODWAY_LAB_DIR";
/// The node, where a process belongs to one.
pub(crate) const NODE: &str = "PODWAY_NODE";
/// The pod's uid, where a process belongs to one.
pub(crate) const POD: &str = "PODWAY_POD";

/// The marks of a process of the lab that belongs to no node.
pub(crate) fn of_lab(lab: &LabName, paths: &LabPaths) -> BTreeMap<String, String> {
    BTreeMap::from([
        (LAB.to_owned(), lab.to_string()),
        (LAB_FOLDER.to_owned(), paths.root().display().to_string()),
    ])
}

/// The marks of a node's process.
pub(crate) fn of_node(lab: &LabName, paths: &NodePaths, node: &str) -> BTreeMap<String, String> {
    let folder = paths.root().parent().unwrap_or(paths.root());
    let mut marks = of_lab(lab, &LabPaths::at(folder));
    marks.insert(NODE.to_owned(), node.to_owned());
    marks
}
