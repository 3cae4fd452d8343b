//! Definitions that can be served: their names, versions and schemas.

use std::collections::BTreeSet;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionSpec, CustomResourceDefinitionVersion,
};
use serde_json::Value;

use super::json_path::JsonPath;
use super::schema::{Additional, Schema};
use crate::validate::{FieldErrors, Path, names, port};

const COLUMN_TYPES: &[&str] = &["boolean", "date", "integer", "number", "string"];
const TYPES: &[&str] = &["array", "boolean", "integer", "number", "object", "string"];

pub(crate) fn validate(definition: &CustomResourceDefinition, errors: &mut FieldErrors) {
    let spec = &definition.spec;
    let path = Path::new("spec");
    let wanted = format!("{}.{}", spec.names.plural, spec.group);
    let name = definition.metadata.name.as_deref().unwrap_or_default();
    if name != wanted {
        let detail = "must be spec.names.plural+\".\"+spec.group";
        errors.invalid(&Path::from("metadata.name"), name, detail);
    }
    match spec.group.as_str() {
        "" => errors.required(&path.child("group"), ""),
        group => {
            errors.invalid_each(&path.child("group"), group, names::dns_subdomain(group));
            if !group.contains('.') {
                let detail = "should be a domain with at least one dot";
                errors.invalid(&path.child("group"), group, detail);
            }
        }
    }
    port::supported(
        &spec.scope,
        &path.child("scope"),
        &["Cluster", "Namespaced"],
        errors,
    );
    if spec.preserve_unknown_fields == Some(true) {
        let detail = "must be false in order to use defaults in the schema";
        errors.invalid(&path.child("preserveUnknownFields"), true, detail);
    }
    validate_names(spec, &path.child("names"), errors);
    validate_versions(spec, &path.child("versions"), errors);
}

fn validate_names(spec: &CustomResourceDefinitionSpec, path: &Path, errors: &mut FieldErrors) {
    let names = &spec.names;
    let mut check = |field: &str, name: &str| match name {
        "" => errors.required(&path.child(field), ""),
        name => {
            let lower = name.to_ascii_lowercase();
            errors.invalid_each(&path.child(field), name, names::dns_1035_label(&lower));
        }
    };
    check("plural", &names.plural);
    check("singular", names.singular.as_deref().unwrap_or_default());
    check("kind", &names.kind);
    check("listKind", names.list_kind.as_deref().unwrap_or_default());
    for name in names.short_names.iter().flatten() {
        check("shortNames", name);
    }
    if names.list_kind.as_ref() == Some(&names.kind) {
        let detail = "kind and listKind may not be the same";
        errors.invalid(&path.child("listKind"), names.kind.as_str(), detail);
    }
}

fn validate_versions(spec: &CustomResourceDefinitionSpec, path: &Path, errors: &mut FieldErrors) {
    let mut seen = BTreeSet::new();
    for (index, version) in spec.versions.iter().enumerate() {
        let path = path.index(index);
        let name = version.name.as_str();
        errors.invalid_each(&path.child("name"), name, names::dns_1035_label(name));
        if !seen.insert(name) {
            let detail = "must contain unique version names";
            errors.invalid(&path.child("name"), name, detail);
        }
        validate_version(version, &path, errors);
    }
    if spec
        .versions
        .iter()
        .filter(|version| version.storage)
        .count()
        != 1
    {
        let names = Vec::from_iter(spec.versions.iter().map(|version| version.name.clone()));
        let detail = "must have exactly one version marked as storage version";
        errors.invalid(path, names, detail);
    }
}

fn validate_version(
    version: &CustomResourceDefinitionVersion,
    path: &Path,
    errors: &mut FieldErrors,
) {
    let schema = version
        .schema
        .as_ref()
        .and_then(|s| s.open_api_v3_schema.as_ref());
    let at = path.child("schema").child("openAPIV3Schema");
    match schema.and_then(|schema| serde_json::to_value(schema).ok()) {
        None => errors.required(&at, "schemas are required"),
        Some(source) => match Schema::read(&source) {
            Ok(schema) => structural(&schema, &source, &at, errors),
            Err(why) => errors.invalid(&at, "<schema>", &why),
        },
    }
    let columns = version.additional_printer_columns.iter().flatten();
    for (index, column) in columns.enumerate() {
        let path = path.child("additionalPrinterColumns").index(index);
        port::supported(&column.type_, &path.child("type"), COLUMN_TYPES, errors);
        if let Err(why) = JsonPath::parse(&column.json_path) {
            errors.invalid(&path.child("jsonPath"), column.json_path.as_str(), &why);
        }
    }
    let scale = version.subresources.as_ref().and_then(|s| s.scale.as_ref());
    if let Some(scale) = scale {
        let path = path.child("subresources").child("scale");
        for (field, given, prefix) in [
            ("specReplicasPath", &scale.spec_replicas_path, ".spec."),
            (
                "statusReplicasPath",
                &scale.status_replicas_path,
                ".status.",
            ),
        ] {
            if !given.starts_with(prefix) {
                let detail = format!("should be a json path under {prefix}");
                errors.invalid(&path.child(field), given.as_str(), &detail);
            }
        }
    }
}

/// A structural schema says of every field what it is.
fn structural(schema: &Schema, source: &Value, path: &Path, errors: &mut FieldErrors) {
    if schema.kind != "object" {
        let detail = "must be object at the root";
        errors.invalid(&path.child("type"), schema.kind.as_str(), detail);
    }
    typed(schema, source, path, errors);
}

fn typed(schema: &Schema, source: &Value, path: &Path, errors: &mut FieldErrors) {
    let open = schema.int_or_string || schema.preserve_unknown_fields;
    match schema.kind.as_str() {
        "" if open => {}
        "" => errors.required(
            &path.child("type"),
            "must not be empty for specified object fields",
        ),
        kind => port::supported(kind, &path.child("type"), TYPES, errors),
    }
    for field in [
        "$ref",
        "definitions",
        "dependencies",
        "id",
        "patternProperties",
    ] {
        if source.get(field).is_some() {
            errors.forbidden(&path.child(field), &format!("{field} is not supported"));
        }
    }
    if source.get("uniqueItems") == Some(&Value::Bool(true)) {
        let detail = "uniqueItems cannot be set to true since the runtime complexity becomes \
                      quadratic";
        errors.forbidden(&path.child("uniqueItems"), detail);
    }
    if schema.kind == "array" && schema.items.is_none() {
        errors.required(&path.child("items"), "must be specified");
    }
    if schema.list_type == "map" && schema.list_map_keys.is_empty() {
        let detail = "must not be empty if x-kubernetes-list-type is map";
        errors.required(&path.child("x-kubernetes-list-map-keys"), detail);
    }
    let additional = match &schema.additional_properties {
        Some(Additional::Schema(values)) => Some(values),
        Some(Additional::Allowed(_)) | None => None,
    };
    if schema.additional_properties.is_some() && !schema.properties.is_empty() {
        let detail = "additionalProperties and properties are mutual exclusive";
        errors.forbidden(&path.child("additionalProperties"), detail);
    }
    let below = |name: &str| source.get(name).cloned().unwrap_or_default();
    let properties = below("properties");
    for (name, schema) in &schema.properties {
        typed(
            schema,
            &properties[name],
            &path.child("properties").key(name),
            errors,
        );
    }
    if let Some(values) = additional {
        let path = path.child("additionalProperties");
        typed(values, &below("additionalProperties"), &path, errors);
    }
    if let Some(items) = &schema.items {
        typed(items, &below("items"), &path.child("items"), errors);
    }
}

/// What has objects cannot become something else.
pub(crate) fn validate_update(
    new: &CustomResourceDefinition,
    old: &CustomResourceDefinition,
    errors: &mut FieldErrors,
) {
    const IMMUTABLE: &str = "field is immutable";
    let path = Path::new("spec");
    for (field, new, old) in [
        ("group", &new.spec.group, &old.spec.group),
        ("scope", &new.spec.scope, &old.spec.scope),
    ] {
        if new != old {
            errors.invalid(&path.child(field), new.as_str(), IMMUTABLE);
        }
    }
    let (new, old) = (&new.spec.names, &old.spec.names);
    for (field, new, old) in [
        ("plural", &new.plural, &old.plural),
        ("kind", &new.kind, &old.kind),
    ] {
        if new != old {
            errors.invalid(&path.child("names").child(field), new.as_str(), IMMUTABLE);
        }
    }
}
