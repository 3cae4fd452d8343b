//! Create.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::update::Owners;
use super::{
    Context, Target, definitions, is_terminating, owners, services, set_metadata, timestamp,
};
use crate::apply::{Author, Managers, Ownership};
use crate::kinds::{self, Kind};
use crate::status::Status;
use crate::store::{Object, Transaction, metadata_text, owner_references};
use crate::validate::Cause;

/// Letters of generated names: no vowels and no look-alikes, as Kubernetes has
/// them, so that no words arise.
const SUFFIX_LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX_LENGTH: usize = 5;
/// A generated name may not be longer than a label.
const GENERATED_NAME_MAX: usize = 63;
/// So often a new suffix is tried when the name is taken.
const SUFFIX_TRIES: usize = 8;
/// What a client cannot set in a new object.
const SERVER_FIELDS: &[&str] = &[
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "selfLink",
];

pub(super) fn create(
    transaction: &mut Transaction<'_>,
    context: &Context<'_>,
    target: &Target,
    mut object: Value,
    owners: Owners<'_>,
) -> Result<Arc<Object>, Status> {
    let kind = &*target.kind;
    stamp(&mut object, target, context)?;
    require_namespace(transaction, target, metadata_text(&object, "name"))?;
    choose_name(transaction, target, &mut object);
    let name = metadata_text(&object, "name").to_owned();
    let resource = target.resource();
    let taken = |name: &str| {
        transaction
            .objects()
            .find(&resource, &target.namespace, name)
    };
    if taken(&name).is_some() {
        return Err(Status::already_exists(kind, &name));
    }
    let mut object = kind.admit_create(object)?;
    let managers = match owners {
        Owners::Settled(managers) => managers,
        Owners::Changed(author) => recorded(kind, context, author, &object),
    };
    services::admit(transaction, context, kind, &mut object, None)?;
    definitions::admit(transaction, target, &mut object, true)?;
    if !managers.is_empty() {
        set_metadata(&mut object, "managedFields", managers.encode());
    }
    let stored = transaction.put(&resource, object);
    if owner_references(stored.value()).next().is_some() {
        // It may have been made for an owner that has just gone.
        let target = Target {
            name,
            ..target.clone()
        };
        owners::collect_one(transaction, context, &target, &stored);
        return Ok(target.find(transaction).unwrap_or(stored));
    }
    if !definitions::is_definition(kind) {
        return Ok(stored);
    }
    let group = stored.value()["spec"]["group"].as_str().unwrap_or_default();
    definitions::settle(transaction, context, group);
    let settled = transaction.objects().find(&resource, "", &name).cloned();
    Ok(settled.unwrap_or(stored))
}

/// What the server itself creates has no owners.
fn recorded(
    kind: &Kind,
    context: &Context<'_>,
    author: Option<&Author>,
    object: &Value,
) -> Managers {
    if author.is_none() {
        return Managers::default();
    }
    let nothing = Value::Object(Map::new());
    Ownership::new(kind, timestamp(context))
        .record(Managers::default(), author, &nothing, object)
        .unwrap_or_default()
}

/// Fills in and clears the metadata that is the server's.
fn stamp(object: &mut Value, target: &Target, context: &Context<'_>) -> Result<(), Status> {
    let namespace = metadata_text(object, "namespace");
    if !namespace.is_empty() && namespace != target.namespace {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    if !metadata_text(object, "resourceVersion").is_empty() {
        return Err(Status::bad_request(
            "resourceVersion should not be set on objects to be created",
        ));
    }
    if let Some(fields) = object.as_object_mut() {
        let metadata = fields
            .entry("metadata")
            .or_insert_with(|| Map::new().into());
        if let Some(metadata) = metadata.as_object_mut() {
            for field in SERVER_FIELDS {
                metadata.remove(*field);
            }
        }
    }
    set_metadata(object, "uid", uuid::Uuid::new_v4().to_string());
    set_metadata(object, "creationTimestamp", timestamp(context));
    if target.kind.namespaced {
        set_metadata(object, "namespace", target.namespace.clone());
    }
    Ok(())
}

/// A namespaced object needs its namespace, and not one that is going away.
fn require_namespace(
    transaction: &Transaction<'_>,
    target: &Target,
    name: &str,
) -> Result<(), Status> {
    if !target.kind.namespaced {
        return Ok(());
    }
    let wanted = &target.namespace;
    let Some(namespace) = transaction.objects().find("namespaces", "", wanted) else {
        return Err(Status::not_found(kinds::known("v1", "Namespace"), wanted));
    };
    if !is_terminating(namespace) {
        return Ok(());
    }
    let why = format!(
        "unable to create new content in namespace {wanted} because it is being terminated"
    );
    let mut status = Status::forbidden(&target.kind, name, &why);
    status.details.causes = vec![Cause {
        reason: "NamespaceTerminating",
        message: format!("namespace {wanted} is being terminated"),
        field: "metadata.namespace".to_owned(),
    }];
    Err(status)
}

/// `generateName` becomes a name that is free.
fn choose_name(transaction: &Transaction<'_>, target: &Target, object: &mut Value) {
    let prefix = metadata_text(object, "generateName").to_owned();
    if !metadata_text(object, "name").is_empty() || prefix.is_empty() {
        return;
    }
    let room = GENERATED_NAME_MAX - SUFFIX_LENGTH;
    let prefix: String = prefix.chars().take(room).collect();
    let resource = target.resource();
    for _ in 0..SUFFIX_TRIES {
        let suffix = std::array::from_fn(|_| {
            let index = rand::random_range(0..SUFFIX_LETTERS.len());
            char::from(SUFFIX_LETTERS[index])
        });
        let name = format!(
            "{prefix}{}",
            String::from_iter::<[char; SUFFIX_LENGTH]>(suffix)
        );
        let taken = transaction
            .objects()
            .find(&resource, &target.namespace, &name);
        set_metadata(object, "name", name);
        if taken.is_none() {
            return;
        }
    }
}
