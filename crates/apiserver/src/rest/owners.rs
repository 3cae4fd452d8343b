//! Owner references: what is deleted with what.
//!
//! Kubernetes' garbage collector does this some time later, by watching. Here it
//! is part of the transaction that deletes, so nobody ever reads a dependent
//! whose owner is gone.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::{Value, json};

use super::delete::{self, DeleteOptions};
use super::{Context, Target, is_terminating};
use crate::store::{Object, Transaction, owner_references};

/// What becomes of an object's dependents when it is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Propagation {
    /// They are deleted after it.
    #[default]
    Background,
    /// They are deleted before it; it stays until those that block it are gone.
    Foreground,
    /// They stay, without an owner.
    Orphan,
}

/// Keeps an object that is deleted in the foreground.
pub(super) const FOREGROUND: &str = "foregroundDeletion";

impl Propagation {
    /// `propagationPolicy` of a delete.
    pub(crate) fn parse(text: &str) -> Option<Propagation> {
        match text {
            "Background" => Some(Propagation::Background),
            "Foreground" => Some(Propagation::Foreground),
            "Orphan" => Some(Propagation::Orphan),
            _ => None,
        }
    }
}

/// What deletions of one transaction leave to be looked at. A queue and not a
/// recursion: a chain of owners may be long.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    queue: RefCell<VecDeque<Next>>,
    /// Somebody further up works on the queue.
    busy: Cell<bool>,
}

#[derive(Debug)]
enum Next {
    /// The dependents of what has this uid.
    Collect(String),
    /// The owners of what is gone.
    Release(Arc<Object>),
}

/// What one owner reference leads to.
enum Owner {
    /// It lives, or nobody here can say.
    Lives,
    /// It waits for its dependents to be deleted.
    Waits,
    Gone,
}

/// An object's dependents, as they are now.
pub(super) fn dependents(
    transaction: &Transaction<'_>,
    context: &Context<'_>,
    uid: &str,
) -> Vec<(Target, Arc<Object>)> {
    let objects = transaction.objects();
    let found = objects.dependents(uid).filter_map(|(resource, object)| {
        let target = Target {
            kind: Arc::clone(context.kinds.by_store_name(resource)?),
            namespace: object.namespace().to_owned(),
            name: object.name().to_owned(),
        };
        Some((target, Arc::clone(object)))
    });
    found.collect()
}

/// Takes the reference to an owner out of all its dependents.
pub(super) fn orphan(transaction: &mut Transaction<'_>, context: &Context<'_>, uid: &str) {
    for (target, object) in dependents(transaction, context, uid) {
        keep_references(transaction, &target, &object, |owner| owner["uid"] != uid);
    }
}

fn keep_references(
    transaction: &mut Transaction<'_>,
    target: &Target,
    object: &Object,
    keep: impl Fn(&Value) -> bool,
) {
    let kept: Vec<Value> = owner_references(object.value())
        .filter(|owner| keep(owner))
        .cloned()
        .collect();
    let mut value = object.to_value();
    if let Some(metadata) = value["metadata"].as_object_mut() {
        match kept.is_empty() {
            true => metadata.remove("ownerReferences"),
            false => metadata.insert("ownerReferences".to_owned(), json!(kept)),
        };
    }
    transaction.put(&target.resource(), value);
}

/// Deletes what nobody owns any more, after an owner has gone or begun to wait.
pub(super) fn collect(transaction: &mut Transaction<'_>, context: &Context<'_>, uid: &str) {
    follow(transaction, context, Next::Collect(uid.to_owned()));
}

/// After a dependent has gone: finishes owners that waited for it alone.
pub(super) fn release(
    transaction: &mut Transaction<'_>,
    context: &Context<'_>,
    gone: &Arc<Object>,
) {
    if owner_references(gone.value()).next().is_some() {
        follow(transaction, context, Next::Release(Arc::clone(gone)));
    }
}

fn follow(transaction: &mut Transaction<'_>, context: &Context<'_>, next: Next) {
    let pending = &context.pending;
    pending.queue.borrow_mut().push_back(next);
    if pending.busy.replace(true) {
        return;
    }
    loop {
        let next = pending.queue.borrow_mut().pop_front();
        match next {
            Some(Next::Collect(uid)) => {
                for (target, object) in dependents(transaction, context, &uid) {
                    collect_one(transaction, context, &target, &object);
                }
            }
            Some(Next::Release(gone)) => release_owners(transaction, context, &gone),
            None => break,
        }
    }
    pending.busy.set(false);
}

/// Deletes an object if all its owners are gone (or wait for that); otherwise
/// forgets those that are.
pub(super) fn collect_one(
    transaction: &mut Transaction<'_>,
    context: &Context<'_>,
    target: &Target,
    object: &Arc<Object>,
) {
    let (mut lives, mut waits, mut gone) = (0, 0, 0);
    for owner in owner_references(object.value()) {
        match owner_of(transaction, context, object, owner) {
            Owner::Lives => lives += 1,
            Owner::Waits => waits += 1,
            Owner::Gone => gone += 1,
        }
    }
    if waits + gone == 0 {
        return;
    }
    if lives > 0 {
        let owners: Vec<Value> = owner_references(object.value()).cloned().collect();
        let living = owners
            .into_iter()
            .filter(|owner| matches!(owner_of(transaction, context, object, owner), Owner::Lives));
        let living: Vec<Value> = living.collect();
        keep_references(transaction, target, object, |owner| living.contains(owner));
        return;
    }
    let has_own = transaction
        .objects()
        .dependents(object.metadata("uid"))
        .next()
        .is_some();
    let propagation = match waits > 0 && has_own {
        true => Propagation::Foreground,
        false => Propagation::Background,
    };
    let options = DeleteOptions {
        propagation: Some(propagation),
        ..DeleteOptions::default()
    };
    if let Err(status) = delete::delete(transaction, context, target, &options) {
        let (kind, name) = (&target.kind.kind, &target.name);
        tracing::debug!(kind, name, %status, "a dependent was not deleted");
    }
}

fn owner_of(
    transaction: &Transaction<'_>,
    context: &Context<'_>,
    dependent: &Object,
    owner: &Value,
) -> Owner {
    match find(transaction, context, dependent, owner) {
        None => Owner::Lives,
        Some(None) => Owner::Gone,
        Some(Some((_, owner))) if is_waiting(&owner) => Owner::Waits,
        Some(Some(_)) => Owner::Lives,
    }
}

/// The owner that a reference names: `None` if its kind is not served,
/// `Some(None)` if there is no such object.
#[expect(
    clippy::option_option,
    reason = "not known and not there are two answers"
)]
fn find(
    transaction: &Transaction<'_>,
    context: &Context<'_>,
    dependent: &Object,
    owner: &Value,
) -> Option<Option<(Target, Arc<Object>)>> {
    let text = |field: &str| owner[field].as_str().unwrap_or_default();
    let kind = context.kinds.by_kind(text("apiVersion"), text("kind"))?;
    let namespace = match kind.namespaced {
        // What belongs to the cluster cannot say in which namespace its owner is.
        true if dependent.namespace().is_empty() => return None,
        true => dependent.namespace(),
        false => "",
    };
    let target = Target {
        kind: Arc::clone(kind),
        namespace: namespace.to_owned(),
        name: text("name").to_owned(),
    };
    let found = target.find(transaction).ok();
    let same = found.filter(|object| object.metadata("uid") == text("uid"));
    Some(same.map(|object| (target, object)))
}

fn is_waiting(object: &Object) -> bool {
    is_terminating(object) && finalizers(object.value()).any(|name| name == FOREGROUND)
}

fn finalizers(object: &Value) -> impl Iterator<Item = &Value> {
    let list = object
        .pointer("/metadata/finalizers")
        .and_then(Value::as_array);
    list.into_iter().flatten()
}

/// Whether dependents keep an object that is deleted in the foreground.
pub(super) fn is_blocked(transaction: &Transaction<'_>, uid: &str) -> bool {
    transaction.objects().dependents(uid).any(|(_, dependent)| {
        owner_references(dependent.value())
            .any(|owner| owner["uid"] == uid && owner["blockOwnerDeletion"] == true)
    })
}

fn release_owners(transaction: &mut Transaction<'_>, context: &Context<'_>, gone: &Object) {
    let owners: Vec<Value> = owner_references(gone.value()).cloned().collect();
    for owner in owners {
        let Some(Some((target, owner))) = find(transaction, context, gone, &owner) else {
            continue;
        };
        if is_waiting(&owner) && !is_blocked(transaction, owner.metadata("uid")) {
            release_owner(transaction, context, &target, &owner);
        }
    }
}

/// Takes away the finalizer of foreground deletion, and the object with it if it
/// was the last.
pub(super) fn release_owner(
    transaction: &mut Transaction<'_>,
    context: &Context<'_>,
    target: &Target,
    owner: &Arc<Object>,
) -> Option<Arc<Object>> {
    let left: Vec<Value> = finalizers(owner.value())
        .filter(|name| *name != FOREGROUND)
        .cloned()
        .collect();
    let mut value = owner.to_value();
    value["metadata"]["finalizers"] = json!(left);
    let freed = transaction.put(&target.resource(), value);
    left.is_empty()
        .then(|| delete::finish(transaction, context, target, &freed))
}
