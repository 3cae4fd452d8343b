//! Update and patch, of the object or of its status.

use std::sync::Arc;

use serde_json::Value;

use super::{Context, Target, delete, has_finalizers, is_terminating, services};
use crate::kinds::{Decoded, Part};
use crate::patch::{self, PatchType};
use crate::status::Status;
use crate::store::{Object, Transaction, metadata_text};

/// The new value of an object.
pub(crate) struct Change {
    pub(crate) content: Content,
    pub(crate) part: Part,
    /// Unknown and duplicate fields in a patch's result are refused.
    pub(crate) strict: bool,
}

/// Where a new value comes from.
pub(crate) enum Content {
    /// A decoded object (PUT).
    Object(Value),
    /// A patch, for the object as it is when its turn comes (PATCH).
    Patch(PatchType, bytes::Bytes),
}

pub(super) fn update(
    transaction: &mut Transaction<'_>,
    context: &Context<'_>,
    target: &Target,
    change: Change,
) -> Result<(Arc<Object>, Vec<String>), Status> {
    let old = target.find(transaction)?;
    let (new, warnings) = match change.content {
        Content::Object(new) => (new, Vec::new()),
        Content::Patch(format, body) => {
            let decoded: Decoded = patch::apply(&target.kind, format, old.value(), &body)?;
            if change.strict && !decoded.strict.is_empty() {
                return Err(patch::strict_error(&decoded).into());
            }
            (decoded.object, decoded.strict)
        }
    };
    require_same(target, &new, &old)?;
    let object = replace(transaction, context, target, new, &old, change.part)?;
    Ok((object, warnings))
}

/// Name and namespace are the URL's, uid and resourceVersion (if given) the
/// stored object's.
fn require_same(target: &Target, new: &Value, old: &Object) -> Result<(), Status> {
    let kind = &*target.kind;
    let given = |field| metadata_text(new, field);
    if given("name") != target.name {
        return Err(Status::bad_request(format!(
            "the name of the object ({}) does not match the name on the URL ({})",
            given("name"),
            target.name
        )));
    }
    if !given("namespace").is_empty() && given("namespace") != target.namespace {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    if !given("uid").is_empty() && given("uid") != old.metadata("uid") {
        let why = format!(
            "Precondition failed: UID in precondition: {}, UID in object meta: {}",
            given("uid"),
            old.metadata("uid")
        );
        return Err(Status::conflict(kind, &target.name, &why));
    }
    let version = given("resourceVersion");
    if !matches!(version, "" | "0") && version != old.metadata("resourceVersion") {
        return Err(Status::modified(kind, &target.name));
    }
    Ok(())
}

/// Admits and stores. An object that does not change keeps its revision: no
/// write, no event.
pub(super) fn replace(
    transaction: &mut Transaction<'_>,
    context: &Context<'_>,
    target: &Target,
    mut new: Value,
    old: &Arc<Object>,
    part: Part,
) -> Result<Arc<Object>, Status> {
    if let Some(metadata) = new.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
        metadata.remove("selfLink");
    }
    if target.kind.namespaced {
        super::set_metadata(&mut new, "namespace", target.namespace.clone());
    }
    let mut new = target.kind.admit_update(new, old.value(), part)?;
    services::admit(
        transaction,
        context,
        &target.kind,
        &mut new,
        Some(old.value()),
    )?;
    super::set_metadata(&mut new, "resourceVersion", old.metadata("resourceVersion"));
    if new == *old.value() {
        return Ok(Arc::clone(old));
    }
    let stored = transaction.put(&target.resource(), new);
    let awaited_finalizers = has_finalizers(old.value()) && is_terminating(old);
    if awaited_finalizers && !has_finalizers(stored.value()) {
        return Ok(delete::finish(transaction, context, target, &stored));
    }
    Ok(stored)
}
