//! Update and patch, of the object or of its status.

use std::sync::Arc;

use serde_json::Value;

use super::{
    Context, Target, definitions, delete, has_finalizers, is_terminating, owners, services,
};
use crate::apply::{Author, Managers, Ownership};
use crate::kinds::{Decoded, Part};
use crate::patch::{self, PatchType};
use crate::status::Status;
use crate::store::{Object, Transaction, metadata_text, owner_references, take_managed_fields};

/// The new value of an object.
pub(crate) struct Change {
    pub(crate) content: Content,
    pub(crate) part: Part,
    /// Unknown and duplicate fields in a patch's result are refused.
    pub(crate) strict: bool,
    /// Who then owns what changed; `None` for the server itself, which owns
    /// nothing.
    pub(crate) author: Option<Author>,
}

/// Where a new value comes from.
pub(crate) enum Content {
    /// A decoded object (PUT).
    Object(Value),
    /// A patch, for the object as it is when its turn comes (PATCH).
    Patch(PatchType, bytes::Bytes),
}

/// Who owns the parts of a new value.
pub(super) enum Owners<'a> {
    /// As before, but for what this author changed.
    Changed(Option<&'a Author>),
    /// These.
    Settled(Managers),
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
            let decoded: Decoded =
                patch::apply(&target.kind, format, &target.in_its_version(&old), &body)?;
            if change.strict && !decoded.strict.is_empty() {
                return Err(patch::strict_error(&decoded).into());
            }
            (decoded.object, decoded.strict)
        }
    };
    require_same(target, &new, &old)?;
    let owners = Owners::Changed(change.author.as_ref());
    let object = replace(transaction, context, target, new, &old, change.part, owners)?;
    Ok((object, warnings))
}

/// Name and namespace are the URL's, uid and resourceVersion (if given) the
/// stored object's.
pub(super) fn require_same(target: &Target, new: &Value, old: &Object) -> Result<(), Status> {
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
    owners: Owners<'_>,
) -> Result<Arc<Object>, Status> {
    if let Some(metadata) = new.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("selfLink");
    }
    // Owners that cannot be read are no owners' change.
    let given = take_managed_fields(&mut new).and_then(|list| Managers::decode(&list));
    if target.kind.namespaced {
        super::set_metadata(&mut new, "namespace", target.namespace.clone());
    }
    let mut new = target.kind.admit_update(new, old.value(), part)?;
    let before = managers_of(old);
    let managers = match owners {
        Owners::Settled(managers) => managers,
        Owners::Changed(author) => {
            let given = given.unwrap_or_else(|| before.clone());
            recorded(target, context, author, given, old.value(), &new)
        }
    };
    services::admit(
        transaction,
        context,
        &target.kind,
        &mut new,
        Some(old.value()),
    )?;
    definitions::admit(transaction, target, &mut new, false)?;
    super::set_metadata(&mut new, "resourceVersion", old.metadata("resourceVersion"));
    if new == *old.value() && managers == before {
        return Ok(Arc::clone(old));
    }
    if !managers.is_empty() {
        super::set_metadata(&mut new, "managedFields", managers.encode());
    }
    let stored = transaction.put(&target.resource(), new);
    let awaited_finalizers = has_finalizers(old.value()) && is_terminating(old);
    if awaited_finalizers && !has_finalizers(stored.value()) {
        return Ok(delete::finish(transaction, context, target, &stored));
    }
    if !owner_references(stored.value()).eq(owner_references(old.value())) {
        // A new owner may have gone already.
        owners::collect_one(transaction, context, target, &stored);
        return Ok(target.find(transaction).unwrap_or(stored));
    }
    if !definitions::is_definition(&target.kind) {
        return Ok(stored);
    }
    let group = stored.value()["spec"]["group"].as_str().unwrap_or_default();
    definitions::settle(transaction, context, group);
    target.find(transaction)
}

/// Who owns the parts of a stored object.
pub(super) fn managers_of(object: &Object) -> Managers {
    let list = object.managed_fields();
    list.and_then(|list| Managers::decode(&list))
        .unwrap_or_default()
}

/// An object without owners was made by the server itself; it has none until
/// somebody applies.
fn recorded(
    target: &Target,
    context: &Context<'_>,
    author: Option<&Author>,
    managers: Managers,
    old: &Value,
    new: &Value,
) -> Managers {
    if managers.is_empty() {
        return managers;
    }
    let ownership = Ownership::new(&target.kind, super::timestamp(context));
    ownership
        .record(managers.clone(), author, old, new)
        .unwrap_or(managers)
}
