//! How custom resources are decoded and admitted.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::schema::Schema;
use super::validate::validate;
use crate::kinds::{Behaviour, Kind, Part, TypeError, decode_metadata};
use crate::validate::{FieldErrors, Invalid, metadata, names};

/// The behaviour of a kind with a schema.
#[derive(Debug)]
pub(super) struct Custom {
    schema: Arc<Schema>,
}

impl Custom {
    pub(super) fn new(schema: Arc<Schema>) -> Custom {
        Custom { schema }
    }

    fn finish(
        &self,
        kind: &Kind,
        mut object: Value,
        metadata: &ObjectMeta,
        mut errors: FieldErrors,
    ) -> Result<Value, Invalid> {
        validate(&self.schema, &object, &mut errors);
        errors.into_result(kind, metadata.name.as_deref().unwrap_or_default())?;
        object["metadata"] = encoded(kind, metadata)?;
        Ok(object)
    }
}

impl Behaviour for Custom {
    fn decode(&self, value: &mut Value) -> Result<(Value, Vec<String>), TypeError> {
        let mut object = value.clone();
        let (metadata, mut unknown) = decode_metadata(value)?;
        object["metadata"] = metadata;
        unknown.extend(self.schema.prune(&mut object));
        Ok((object, unknown))
    }

    fn create(&self, kind: &Kind, mut object: Value) -> Result<Value, Invalid> {
        let mut metadata = metadata_of(kind, &object)?;
        if kind.has_status()
            && let Some(fields) = object.as_object_mut()
        {
            fields.remove("status");
        }
        metadata.generation = Some(1);
        self.schema.fill(&mut object);
        let mut errors = FieldErrors::default();
        metadata::validate(
            &metadata,
            kind.namespaced,
            names::dns_subdomain,
            &mut errors,
        );
        self.finish(kind, object, &metadata, errors)
    }

    fn update(
        &self,
        kind: &Kind,
        mut new: Value,
        old: &Value,
        part: Part,
    ) -> Result<Value, Invalid> {
        let (mut after, before) = (metadata_of(kind, &new)?, metadata_of(kind, old)?);
        match part {
            Part::Object if kind.has_status() => keep(&mut new, old, "status"),
            Part::Object => {}
            Part::Status => {
                let status = new.get("status").cloned();
                let taken = std::mem::replace(&mut new, old.clone());
                new["apiVersion"] = taken["apiVersion"].clone();
                set(&mut new, "status", status);
            }
        }
        metadata::carry_over(&mut after, &before);
        self.schema.fill(&mut new);
        let mut errors = FieldErrors::default();
        metadata::validate(&after, kind.namespaced, names::dns_subdomain, &mut errors);
        metadata::validate_update(&after, &before, &mut errors);
        if part == Part::Object && content(kind, &new) != content(kind, old) {
            after.generation = Some(before.generation.unwrap_or(0) + 1);
        }
        self.finish(kind, new, &after, errors)
    }
}

fn metadata_of(kind: &Kind, object: &Value) -> Result<ObjectMeta, Invalid> {
    let metadata = object.get("metadata").cloned().unwrap_or_default();
    serde_json::from_value(metadata).map_err(|error| Invalid::internal(kind, &error))
}

fn encoded(kind: &Kind, metadata: &ObjectMeta) -> Result<Value, Invalid> {
    serde_json::to_value(metadata).map_err(|error| Invalid::internal(kind, &error))
}

fn keep(new: &mut Value, old: &Value, field: &str) {
    set(new, field, old.get(field).cloned());
}

fn set(object: &mut Value, field: &str, value: Option<Value>) {
    let Value::Object(object) = object else {
        return;
    };
    match value {
        Some(value) => object.insert(field.to_owned(), value),
        None => object.remove(field),
    };
}

/// What `metadata.generation` counts the changes of.
fn content(kind: &Kind, object: &Value) -> Value {
    let mut content = object.clone();
    if let Value::Object(fields) = &mut content {
        fields.remove("metadata");
        fields.remove("apiVersion");
        if kind.has_status() {
            fields.remove("status");
        }
    }
    content
}
