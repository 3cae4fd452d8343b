//! What writing a definition brings with it: the status of all definitions of
//! its group, and the end of the objects that it defined.

use std::sync::Arc;

use serde_json::Value;

use super::delete::{self, DeleteOptions, Deleted};
use super::{Context, Target, is_terminating};
use crate::definitions::{self, Names};
use crate::kinds::{Kind, known};
use crate::status::Status;
use crate::store::{Object, Transaction};

/// Whether the kind is that of definitions.
pub(super) fn is_definition(kind: &Kind) -> bool {
    kind.kind == "CustomResourceDefinition" && kind.group == "apiextensions.k8s.io"
}

/// Brings the status of every definition of a group to what it should be, after
/// one of them came, changed or went.
pub(super) fn settle(transaction: &mut Transaction<'_>, context: &Context<'_>, group: &str) {
    let all: Vec<Arc<Object>> = transaction
        .objects()
        .list(definitions::RESOURCE, None)
        .filter(|definition| definition.value()["spec"]["group"] == group)
        .cloned()
        .collect();
    for definition in &all {
        let others = all.iter().filter(|other| other.name() != definition.name());
        let mut taken: Vec<Names> = others
            .filter_map(|other| {
                let newest = transaction
                    .objects()
                    .find(definitions::RESOURCE, "", other.name());
                definitions::accepted(newest?.value())
            })
            .collect();
        let builtin = crate::kinds::builtin().iter();
        taken.extend(
            builtin
                .filter(|kind| kind.group == group)
                .map(|kind| definitions::of_kind(kind)),
        );
        let status = definitions::settle(definition.value(), &taken, context.now);
        if definition.value().get("status") != Some(&status) {
            let mut value = definition.to_value();
            value["status"] = status;
            transaction.put(definitions::RESOURCE, value);
        }
    }
}

/// Deletes a definition with its objects: at once, or when the last of those
/// that others have to finish is gone.
pub(super) fn delete(
    transaction: &mut Transaction<'_>,
    context: &Context<'_>,
    target: &Target,
    definition: &Arc<Object>,
    options: &DeleteOptions,
) -> Result<Deleted, Status> {
    if let Some(kind) = context.kinds.by_store_name(&target.name) {
        let content = Target {
            kind: Arc::clone(kind),
            namespace: String::new(),
            name: String::new(),
        };
        let options = DeleteOptions {
            grace: options.grace,
            ..DeleteOptions::default()
        };
        delete::delete_collection(transaction, context, &content, &options, &|_| true)?;
    }
    let waits = delete::has_reason_to_stay(definition)
        || transaction
            .objects()
            .list(&target.name, None)
            .next()
            .is_some();
    if !waits {
        return Ok(Deleted::Removed(delete::finish(
            transaction,
            context,
            target,
            definition,
        )));
    }
    delete::mark(transaction, context.now, target, definition, 0).map(Deleted::Marked)
}

/// Removes a definition that only waited for the last of its objects.
pub(super) fn remove_if_last(
    transaction: &mut Transaction<'_>,
    context: &Context<'_>,
    resource: &str,
) {
    let found = transaction
        .objects()
        .find(definitions::RESOURCE, "", resource);
    let Some(definition) = found.cloned() else {
        return;
    };
    let empty = transaction.objects().list(resource, None).next().is_none();
    if empty && is_terminating(&definition) && !delete::has_reason_to_stay(&definition) {
        let target = Target {
            kind: Arc::clone(known("apiextensions.k8s.io/v1", "CustomResourceDefinition")),
            namespace: String::new(),
            name: resource.to_owned(),
        };
        delete::finish(transaction, context, &target, &definition);
    }
}

/// Nothing new comes into what is going away, and every object is stored in one
/// version.
pub(super) fn admit(
    transaction: &Transaction<'_>,
    target: &Target,
    object: &mut Value,
    is_new: bool,
) -> Result<(), Status> {
    let found = transaction
        .objects()
        .find(definitions::RESOURCE, "", &target.resource());
    let Some(definition) = found else {
        return Ok(());
    };
    if is_new && is_terminating(definition) {
        return Err(Status::new(
            405,
            "MethodNotAllowed",
            "create not allowed while custom resource definition is terminating",
        ));
    }
    if let Some(version) = definitions::storage_version(definition.value()) {
        object["apiVersion"] = format!("{}/{version}", target.kind.group).into();
    }
    Ok(())
}
