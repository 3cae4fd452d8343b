//! Server-side apply: create or change an object as a configuration says.

use std::sync::Arc;

use serde_json::{Value, json};

use super::update::{self, Owners};
use super::{Context, Target, create, timestamp};
use crate::apply::{ApplyError, Configuration, Conflict, Ownership, before_first_apply};
use crate::status::Status;
use crate::store::{Object, Transaction, metadata_text};
use crate::validate::Cause;

/// What came of it, and whether the object is new.
pub(super) fn apply(
    transaction: &mut Transaction<'_>,
    context: &Context<'_>,
    target: &Target,
    mut configuration: Configuration,
) -> Result<(Arc<Object>, bool), Status> {
    let kind = &*target.kind;
    let found = transaction
        .objects()
        .find(&target.resource(), &target.namespace, &target.name);
    let old = match found.cloned() {
        None if configuration.author.subresource.is_empty() => None,
        None => return Err(Status::not_found(kind, &target.name)),
        some => some,
    };
    prepare(target, &mut configuration, old.as_deref())?;
    let now = timestamp(context);
    let ownership = Ownership::new(kind, now.clone());
    let Some(old) = old else {
        let nothing = json!({ "apiVersion": kind.api_version(), "kind": kind.kind });
        let managers = Default::default();
        let applied = ownership.apply(managers, &nothing, &configuration);
        let (object, managers) = applied.map_err(|error| refused(target, error))?;
        let object = kind.decode_value(object)?.object;
        let owners = Owners::Settled(managers);
        let created = create::create(transaction, context, target, object, owners)?;
        return Ok((created, true));
    };
    let managers = match update::managers_of(&old) {
        none if none.is_empty() => before_first_apply(kind, old.value(), &now),
        managers => managers,
    };
    let applied = ownership.apply(managers, old.value(), &configuration);
    let (object, managers) = applied.map_err(|error| refused(target, error))?;
    let object = kind.decode_value(object)?.object;
    let (part, owners) = (configuration.part, Owners::Settled(managers));
    let object = update::replace(transaction, context, target, object, &old, part, owners)?;
    Ok((object, false))
}

/// Completes and checks the configuration's metadata, and drops what a write to
/// this part ignores.
fn prepare(
    target: &Target,
    configuration: &mut Configuration,
    old: Option<&Object>,
) -> Result<(), Status> {
    let value = &mut configuration.value;
    if value
        .pointer("/metadata/managedFields")
        .is_some_and(|list| !list.is_null())
    {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    if !value["metadata"].is_object() {
        value["metadata"] = json!({});
    }
    if metadata_text(value, "name").is_empty() {
        super::set_metadata(value, "name", target.name.clone());
    }
    if target.kind.namespaced && metadata_text(value, "namespace").is_empty() {
        super::set_metadata(value, "namespace", target.namespace.clone());
    }
    match old {
        Some(old) => update::require_same(target, value, old)?,
        None => require_new(target, value)?,
    }
    if let Some(fields) = value.as_object_mut() {
        match configuration.part {
            crate::kinds::Part::Status => fields.remove("spec"),
            crate::kinds::Part::Object if target.kind.has_status() => fields.remove("status"),
            crate::kinds::Part::Object => None,
        };
    }
    drop_nulls(value);
    Ok(())
}

/// A configuration that names an object by more than its name cannot create it.
fn require_new(target: &Target, value: &Value) -> Result<(), Status> {
    let (uid, version) = (
        metadata_text(value, "uid"),
        metadata_text(value, "resourceVersion"),
    );
    if uid.is_empty() && version.is_empty() {
        return Ok(());
    }
    let why = match uid {
        "" => "resourceVersion should not be set on objects to be created".to_owned(),
        uid => format!(
            "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
        ),
    };
    Err(Status::conflict(&target.kind, &target.name, &why))
}

/// In a configuration null says as little as absence.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.retain(|_, value| !value.is_null());
            object.values_mut().for_each(drop_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

fn refused(target: &Target, error: ApplyError) -> Status {
    let conflicts = match error {
        ApplyError::Duplicate(item) => {
            return Status::bad_request(format!(
                "failed to create typed patch object ({}/{}; {}, Kind={}): duplicate entries for \
                 key {item}",
                target.namespace,
                target.name,
                target.kind.api_version(),
                target.kind.kind
            ));
        }
        ApplyError::Conflicts(conflicts) => conflicts,
    };
    let mut status = Status::new(409, "Conflict", sentence(&conflicts));
    let causes = conflicts.into_iter().map(|conflict| Cause {
        reason: "FieldManagerConflict",
        message: format!("conflict with {}", conflict.manager),
        field: conflict.field,
    });
    status.details.causes = causes.collect();
    status
}

/// In Kubernetes' words, which people search for.
fn sentence(conflicts: &[Conflict]) -> String {
    if let [only] = conflicts {
        return format!(
            "Apply failed with 1 conflict: conflict with {}: {}",
            only.manager, only.field
        );
    }
    let mut text = format!("Apply failed with {} conflicts: ", conflicts.len());
    let mut lines = Vec::new();
    for of_one in conflicts.chunk_by(|a, b| a.manager == b.manager) {
        lines.push(format!("conflicts with {}:", of_one[0].manager));
        lines.extend(
            of_one
                .iter()
                .map(|conflict| format!("- {}", conflict.field)),
        );
    }
    text.push_str(&lines.join("\n"));
    text
}
