//! Objects as rows for people: what `kubectl get` prints, decided here.

mod age;
mod cluster;
mod custom;
mod endpoints;
mod event;
mod pod;
mod service;
mod workload;

#[cfg(test)]
mod tests;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::kinds::Kind;
use crate::selector;
use crate::store::Object;

pub(crate) use age::since;

/// One column.
struct Column {
    name: &'static str,
    /// `string` or `integer`.
    cell_type: &'static str,
    /// Shown only with `-o wide`.
    wide: bool,
}

/// How a kind is shown.
struct Layout {
    columns: &'static [Column],
    /// One cell for each column.
    cells: fn(&Value, Timestamp) -> Vec<Value>,
}

const fn column(name: &'static str) -> Column {
    Column {
        name,
        cell_type: "string",
        wide: false,
    }
}

const fn wide(name: &'static str) -> Column {
    Column {
        name,
        cell_type: "string",
        wide: true,
    }
}

const fn number(name: &'static str) -> Column {
    Column {
        name,
        cell_type: "integer",
        wide: false,
    }
}

/// Kinds without a layout of their own.
const PLAIN: Layout = Layout {
    columns: &[column("Name"), column("Age")],
    cells: |object, now| vec![json!(name(object)), json!(age_of(object, now))],
};

fn layout(kind: &Kind) -> Layout {
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "Namespace") => cluster::NAMESPACE,
        ("", "Node") => cluster::NODE,
        ("", "ConfigMap") => cluster::CONFIG_MAP,
        ("", "Secret") => cluster::SECRET,
        ("", "ServiceAccount") => cluster::SERVICE_ACCOUNT,
        ("apiextensions.k8s.io", "CustomResourceDefinition") => cluster::DEFINITION,
        ("coordination.k8s.io", "Lease") => cluster::LEASE,
        ("apps", "Deployment") => workload::DEPLOYMENT,
        ("apps", "ReplicaSet") => workload::REPLICA_SET,
        ("apps", "DaemonSet") => workload::DAEMON_SET,
        ("apps", "ControllerRevision") => workload::CONTROLLER_REVISION,
        ("batch", "Job") => workload::JOB,
        ("networking.k8s.io", "Ingress") => service::INGRESS,
        ("networking.k8s.io", "IngressClass") => service::INGRESS_CLASS,
        ("", "Pod") => pod::POD,
        ("", "Service") => service::SERVICE,
        ("", "Endpoints") => endpoints::ENDPOINTS,
        ("discovery.k8s.io", "EndpointSlice") => endpoints::ENDPOINT_SLICE,
        ("networking.k8s.io", "NetworkPolicy") => service::NETWORK_POLICY,
        ("", "Event") => event::EVENT,
        _ => PLAIN,
    }
}

/// What comes with each row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rows {
    /// Nothing.
    Bare,
    /// The object's metadata.
    Metadata,
    /// The object, for clients that sort by its fields.
    Object,
}

/// Which form of a table a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    /// The version of meta.k8s.io.
    pub(crate) version: &'static str,
    pub(crate) rows: Rows,
}

/// A `Table` of meta.k8s.io/`version` with one row for each object.
pub(crate) fn table<'o>(
    kind: &Kind,
    style: Style,
    objects: impl IntoIterator<Item = &'o Object>,
    metadata: &Value,
) -> Value {
    let now = Timestamp::now();
    let (columns, cells): (Vec<Value>, Box<Cells<'_>>) = match &kind.printer {
        Some(columns) => (
            custom::definitions(columns),
            Box::new(custom::cells(columns)),
        ),
        None => {
            let layout = layout(kind);
            (
                layout.columns.iter().map(definition).collect(),
                Box::new(layout.cells),
            )
        }
    };
    let Style { version, rows } = style;
    let rows = objects.into_iter().map(|object| {
        let mut row = json!({ "cells": cells(object.value(), now) });
        match rows {
            Rows::Bare => {}
            Rows::Metadata => row["object"] = partial(object, version),
            Rows::Object => {
                row["object"] = object.to_value();
                row["object"]["apiVersion"] = kind.api_version().into();
            }
        }
        row
    });
    json!({
        "kind": "Table",
        "apiVersion": format!("meta.k8s.io/{version}"),
        "metadata": metadata,
        "columnDefinitions": columns,
        "rows": rows.collect::<Vec<Value>>(),
    })
}

/// From an object to its row.
type Cells<'k> = dyn Fn(&Value, Timestamp) -> Vec<Value> + 'k;

fn definition(column: &Column) -> Value {
    json!({
        "name": column.name,
        "type": column.cell_type,
        "format": if column.name == "Name" { "name" } else { "" },
        "description": "",
        "priority": i32::from(column.wide),
    })
}

/// The metadata of a table of one object.
pub(crate) fn list_metadata(object: &Object) -> Value {
    json!({ "resourceVersion": object.metadata("resourceVersion") })
}

/// The object without spec and status.
pub(crate) fn partial(object: &Object, version: &str) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": format!("meta.k8s.io/{version}"),
        "metadata": object.value().get("metadata"),
    })
}

/// The text at `pointer`, empty if there is none.
fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The list at `pointer`, empty if there is none.
fn list<'v>(value: &'v Value, pointer: &str) -> &'v [Value] {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

fn or_else<'t>(text: &'t str, other: &'t str) -> &'t str {
    if text.is_empty() { other } else { text }
}

fn or_none(text: &str) -> &str {
    or_else(text, "<none>")
}

fn joined_or<'t>(texts: impl IntoIterator<Item = &'t str>, none: &str) -> String {
    let texts: Vec<&str> = texts.into_iter().collect();
    or_else(&texts.join(","), none).to_owned()
}

fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

fn age_of(object: &Value, now: Timestamp) -> String {
    since(text(object, "/metadata/creationTimestamp"), now)
}

/// The label selector at `pointer` in the syntax of `kubectl -l`, or `<none>`.
fn selector_of(object: &Value, pointer: &str) -> String {
    let selector = object.pointer(pointer).map(selector::text);
    or_none(&selector.unwrap_or_default()).to_owned()
}

/// `app=web,tier=front`, or `<none>`.
fn labels(value: Option<&Value>) -> String {
    let pairs = value.and_then(Value::as_object).into_iter().flatten();
    let pairs: Vec<String> = pairs
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    joined_or(pairs.iter().map(String::as_str), "<none>")
}
