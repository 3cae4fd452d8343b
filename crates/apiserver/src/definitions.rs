//! CustomResourceDefinitions: kinds that are data.
//!
//! A definition is stored like any object. What it defines becomes a [`Kind`]
//! for each served version, with a behaviour that follows its schema: unknown
//! fields are pruned, defaults filled in, values validated.
//!
//! Rules in CEL (`x-kubernetes-validations`) are stored and shown, but not
//! evaluated, and conversion between versions changes only the `apiVersion`.

mod check;
mod custom;
mod format;
mod json_path;
mod names;
mod schema;
mod shape;
mod validate;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as api;
use serde_json::Value;

pub(crate) use check::{validate, validate_update};
pub(crate) use json_path::JsonPath;
pub(crate) use names::{Names, accepted, established, of_kind, settle, storage_version};

use crate::kinds::{Kind, PrinterColumn, ScalePaths, Subresource};
use custom::Custom;
use schema::Schema;

/// Where definitions are in the store.
pub(crate) const RESOURCE: &str = "customresourcedefinitions.apiextensions.k8s.io";

/// What Kubernetes fills in.
pub(crate) fn default(definition: &mut api::CustomResourceDefinition) {
    let names = &mut definition.spec.names;
    let kind = names.kind.clone();
    names
        .singular
        .get_or_insert_with(|| kind.to_ascii_lowercase());
    names.list_kind.get_or_insert_with(|| format!("{kind}List"));
    let conversion = definition.spec.conversion.get_or_insert_default();
    if conversion.strategy.is_empty() {
        conversion.strategy = "None".to_owned();
    }
}

/// The kinds that a stored definition makes, if its names were accepted.
pub(crate) fn kinds(definition: &Value) -> Vec<Kind> {
    if !established(definition) {
        return Vec::new();
    }
    let parsed: Result<api::CustomResourceDefinition, _> =
        serde_json::from_value(definition.clone());
    let Ok(definition) = parsed else {
        return Vec::new();
    };
    let spec = &definition.spec;
    let served = spec.versions.iter().filter(|version| version.served);
    served.map(|version| kind(spec, version)).collect()
}

fn kind(
    spec: &api::CustomResourceDefinitionSpec,
    version: &api::CustomResourceDefinitionVersion,
) -> Kind {
    let names = &spec.names;
    let source = version
        .schema
        .as_ref()
        .and_then(|s| s.open_api_v3_schema.as_ref());
    let source = source.and_then(|schema| serde_json::to_value(schema).ok());
    let schema = source.as_ref().and_then(|source| Schema::read(source).ok());
    let schema = Arc::new(schema.unwrap_or_else(Schema::anything));
    let below = version.subresources.clone().unwrap_or_default();
    let mut subresources = Vec::new();
    if below.scale.is_some() {
        subresources.push(Subresource::scale());
    }
    if below.status.is_some() {
        subresources.push(Subresource::status(&names.kind));
    }
    let fields = version.selectable_fields.iter().flatten();
    Kind {
        group: spec.group.clone(),
        version: version.name.clone(),
        kind: names.kind.clone(),
        plural: names.plural.clone(),
        singular: names.singular.clone().unwrap_or_default(),
        list_kind: names.list_kind.clone().unwrap_or_default(),
        short_names: names.short_names.clone().unwrap_or_default(),
        categories: names.categories.clone().unwrap_or_default(),
        namespaced: spec.scope == "Namespaced",
        subresources,
        selectable_fields: fields
            .map(|field| field.json_path.trim_start_matches('.').to_owned())
            .collect(),
        scale: below.scale.as_ref().map(scale_paths),
        printer: Some(columns(version)),
        fields: Some(Arc::new(shape::object(&schema))),
        open_api: source,
        behaviour: Box::new(Custom::new(schema)),
    }
}

fn scale_paths(scale: &api::CustomResourceSubresourceScale) -> ScalePaths {
    let pointer = |path: &str| path.replace('.', "/");
    ScalePaths {
        replicas: pointer(&scale.spec_replicas_path),
        observed: pointer(&scale.status_replicas_path),
        selector: scale.label_selector_path.as_deref().map(pointer),
    }
}

fn columns(version: &api::CustomResourceDefinitionVersion) -> Vec<PrinterColumn> {
    let given = version
        .additional_printer_columns
        .clone()
        .unwrap_or_default();
    if given.is_empty() {
        let path = JsonPath::parse(".metadata.creationTimestamp").ok();
        return vec![PrinterColumn {
            name: "Age".to_owned(),
            cell_type: "date".to_owned(),
            description: String::new(),
            priority: 0,
            path: path.unwrap_or_default(),
        }];
    }
    given
        .into_iter()
        .map(|column| PrinterColumn {
            // Validation has parsed it before.
            path: JsonPath::parse(&column.json_path).unwrap_or_default(),
            name: column.name,
            cell_type: column.type_,
            description: column.description.unwrap_or_default(),
            priority: column.priority.unwrap_or(0),
        })
        .collect()
}
