//! Kubernetes objects from YAML files: for `lab up --apply` and
//! `explain --state`.
//!
//! A file with any mistake is refused whole: syntax, unknown kinds and fields,
//! values of the wrong type or out of range, each with its place and, where it
//! can be guessed, what was meant.

mod files;
mod kind;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use podway_model::{Change, ClusterState, Namespace, Object};
use serde_json::Value;

use crate::objects::Reading;
use crate::yaml::{Mistake, Mistakes, Node, NodeValue, Position, Source, nearest};
use kind::KINDS;

/// One object of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// The object as the file has it, nothing defaulted.
    pub value: Value,
    /// Its `apiVersion`.
    pub api_version: &'static str,
    /// Its `kind`.
    pub kind: &'static str,
    /// Its namespace, where the file names one.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// The file, as the user named it.
    pub path: Arc<str>,
    /// Where in the file it begins.
    pub position: Position,
    /// What it means to a node's network; `None` for kinds that mean nothing to it.
    reading: Option<Reading>,
}

/// Reads the objects of files, of every `.yaml`, `.yml` and `.json` file in
/// folders (in the order of their names, subfolders not), and of standard input
/// for `-`. Each file holds documents, or `List`s of objects.
pub fn read(paths: &[PathBuf]) -> Result<Vec<Document>, Mistakes> {
    let mut documents = Vec::new();
    let mut mistakes = Vec::new();
    for outcome in files::read(paths) {
        match outcome {
            Ok((name, text)) => match parse(&name, &text) {
                Ok(parsed) => documents.extend(parsed),
                Err(found) => mistakes.extend_from_slice(found.list()),
            },
            Err(mistake) => mistakes.push(mistake),
        }
    }
    if mistakes.is_empty() {
        Ok(documents)
    } else {
        Err(Mistakes::new(mistakes))
    }
}

/// Reads the objects of a text that mistakes call `name`.
pub fn parse(name: &str, text: &str) -> Result<Vec<Document>, Mistakes> {
    let source = Source::new(name, text);
    let parsed = source.parse();
    let mut mistakes = parsed.mistakes;
    let mut documents = Vec::new();
    for node in &parsed.documents {
        for object in objects_of(node) {
            read_object(object, &source, &mut documents, &mut mistakes);
        }
    }
    if mistakes.is_empty() {
        return Ok(documents);
    }
    mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
    Err(Mistakes::new(mistakes))
}

/// The state of a cluster that has these objects; of two with the same name, the
/// later one. A namespace that objects are in exists, whether it is among them
/// or not.
#[must_use]
pub fn load_state(documents: &[Document]) -> ClusterState {
    let mut state = ClusterState::default();
    let objects = documents
        .iter()
        .filter_map(|document| document.reading.as_ref()?.object.clone());
    for object in objects {
        state.apply(Change::Upsert(object));
    }
    for name in namespaces_in_use(&state) {
        if state.namespace(&name).is_none() {
            let labels = [("kubernetes.io/metadata.name".to_owned(), name.to_string())];
            let namespace = Namespace {
                name,
                revision: 0,
                labels: labels.into(),
            };
            state.apply(Change::Upsert(Object::Namespace(Arc::new(namespace))));
        }
    }
    state
}

fn namespaces_in_use(state: &ClusterState) -> BTreeSet<Arc<str>> {
    let pods = state.pods().map(|pod| &pod.name);
    let services = state.services().map(|service| &service.name);
    let policies = state.policies().map(|policy| &policy.name);
    pods.chain(services)
        .chain(policies)
        .map(|name| name.namespace.clone())
        .collect()
}

/// The document itself, or the items of a `List`.
fn objects_of(node: &Node) -> Vec<&Node> {
    let kind = node.entry("kind").and_then(Node::text).unwrap_or_default();
    match node.entry("items").map(|items| &items.value) {
        Some(NodeValue::List(items)) if kind.ends_with("List") => items.iter().collect(),
        Some(NodeValue::Null) if kind.ends_with("List") => Vec::new(),
        _ => vec![node],
    }
}

fn read_object(
    node: &Node,
    source: &Source<'_>,
    documents: &mut Vec<Document>,
    mistakes: &mut Vec<Mistake>,
) {
    let before = mistakes.len();
    let Some(kind) = kind_of(node, source, mistakes) else {
        return;
    };
    let (reading, problems) = (kind.read)(node);
    mistakes.extend(problems.into_iter().map(|problem| source.locate(problem)));
    for fault in reading.iter().flat_map(|reading| &reading.faults) {
        let what = format!("{}: {}", fault.field, fault.reason);
        mistakes.push(source.mistake(node.position_of(&fault.field), what));
    }
    let metadata = node.entry("metadata");
    let text = |key| metadata.and_then(|m| m.entry(key)).and_then(Node::text);
    let name = text("name").unwrap_or_default();
    if name.is_empty() && mistakes.len() == before {
        let place = metadata.unwrap_or(node).position;
        mistakes.push(source.mistake(place, format!("{}: metadata.name is missing", kind.kind)));
    }
    documents.push(Document {
        value: node.to_json(),
        api_version: kind.api_version,
        kind: kind.kind,
        namespace: text("namespace").map(str::to_owned),
        name: name.to_owned(),
        path: source.path().clone(),
        position: node.position,
        reading,
    });
}

fn kind_of(
    node: &Node,
    source: &Source<'_>,
    mistakes: &mut Vec<Mistake>,
) -> Option<&'static kind::Kind> {
    let mut field = |key: &str| {
        let found = node.entry(key);
        let text = found.and_then(Node::text).filter(|text| !text.is_empty());
        if text.is_none() {
            let place = found.unwrap_or(node).position;
            let what = format!("{key} is missing: not a Kubernetes object");
            mistakes.push(source.mistake(place, what));
        }
        text
    };
    let (api_version, name) = (field("apiVersion"), field("kind"));
    let (api_version, name) = (api_version?, name?);
    let exact = KINDS.iter().find(|kind| kind.kind == name);
    match exact {
        Some(kind) if kind.api_version == api_version => Some(kind),
        Some(kind) => {
            let place = node.position_of("apiVersion");
            let what = format!("{name} is not known in apiVersion {api_version:?}");
            mistakes.push(Mistake {
                meant: Some(format!("apiVersion: {}", kind.api_version)),
                ..source.mistake(place, what)
            });
            None
        }
        None => {
            let known: Vec<&str> = KINDS.iter().map(|kind| kind.kind).collect();
            let what = format!("unknown kind {name:?}: known are {}", known.join(", "));
            let meant = nearest(name, known.iter().copied());
            mistakes.push(Mistake {
                meant: meant.map(|kind| format!("kind: {kind}")),
                ..source.mistake(node.position_of("kind"), what)
            });
            None
        }
    }
}

#[cfg(test)]
mod tests;
