//! Delete: at once, or marked until somebody else is done with the object.
//!
//! Three things keep a deleted object: finalizers, a kubelet that still has to
//! stop the pod's containers, and the content of a namespace. Each waits for
//! another write, which finishes the deletion.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::owners::{self, Propagation};
use super::{Context, Target, definitions, has_finalizers, is_terminating, services, set_metadata};
use crate::clock;
use crate::status::Status;
use crate::store::{Object, Transaction};

/// A pod's containers have this long to stop if it does not say otherwise.
const DEFAULT_POD_GRACE: i64 = 30;
/// Without these the cluster does not work.
const KEPT_NAMESPACES: &[&str] = &["default", "kube-public", "kube-system"];

/// The `DeleteOptions` that matter here.
#[derive(Debug, Clone, Default)]
pub(crate) struct DeleteOptions {
    /// Seconds; `None` for the object's own.
    pub(crate) grace: Option<i64>,
    /// The object must have this uid.
    pub(crate) uid: Option<String>,
    /// The object must have this resourceVersion.
    pub(crate) revision: Option<String>,
    /// What becomes of dependents; `None` for the usual.
    pub(crate) propagation: Option<Propagation>,
}

/// What became of the object.
#[derive(Debug)]
pub(crate) enum Deleted {
    /// It is gone; its last state.
    Removed(Arc<Object>),
    /// It is marked and waits.
    Marked(Arc<Object>),
}

pub(super) fn delete(
    transaction: &mut Transaction<'_>,
    context: &Context<'_>,
    target: &Target,
    options: &DeleteOptions,
) -> Result<Deleted, Status> {
    let object = target.find(transaction)?;
    require(target, &object, options)?;
    if target.kind.kind == "Namespace" {
        return mark_namespace(transaction, context, target, &object).map(Deleted::Marked);
    }
    if definitions::is_definition(&target.kind) {
        return definitions::delete(transaction, context, target, &object, options);
    }
    let uid = object.metadata("uid");
    match options.propagation.unwrap_or_default() {
        Propagation::Background => {}
        Propagation::Orphan => owners::orphan(transaction, context, uid),
        Propagation::Foreground => {
            // Without dependents there is nothing to wait for.
            if transaction.objects().dependents(uid).next().is_some() {
                return foreground(transaction, context, target, &object);
            }
        }
    }
    let grace = match target.kind.kind.as_str() {
        "Pod" => pod_grace(transaction, &object, options.grace),
        _ => 0,
    };
    if grace == 0 && !has_finalizers(object.value()) {
        return Ok(Deleted::Removed(finish(
            transaction,
            context,
            target,
            &object,
        )));
    }
    mark(transaction, context.now, target, &object, grace).map(Deleted::Marked)
}

/// Marks the object, deletes its dependents and then, if none of them is left to
/// wait for, the object itself.
fn foreground(
    transaction: &mut Transaction<'_>,
    context: &Context<'_>,
    target: &Target,
    object: &Arc<Object>,
) -> Result<Deleted, Status> {
    let marked = mark(transaction, context.now, target, object, 0)?;
    let mut value = marked.to_value();
    let finalizers = &mut value["metadata"]["finalizers"];
    match finalizers.as_array_mut() {
        Some(list) if list.iter().any(|name| name == owners::FOREGROUND) => {}
        Some(list) => list.push(owners::FOREGROUND.into()),
        None => *finalizers = json!([owners::FOREGROUND]),
    }
    let waiting = transaction.put(&target.resource(), value);
    let uid = waiting.metadata("uid");
    owners::collect(transaction, context, uid);
    // Its last dependent may have taken it along.
    let Ok(waiting) = target.find(transaction) else {
        return Ok(Deleted::Removed(waiting));
    };
    if owners::is_blocked(transaction, uid) {
        return Ok(Deleted::Marked(waiting));
    }
    Ok(
        match owners::release_owner(transaction, context, target, &waiting) {
            Some(removed) => Deleted::Removed(removed),
            None => Deleted::Marked(target.find(transaction)?),
        },
    )
}

pub(super) fn delete_collection(
    transaction: &mut Transaction<'_>,
    context: &Context<'_>,
    target: &Target,
    options: &DeleteOptions,
    matches: &dyn Fn(&Object) -> bool,
) -> Result<Vec<Arc<Object>>, Status> {
    let namespace = Some(target.namespace.as_str()).filter(|namespace| !namespace.is_empty());
    let chosen: Vec<Arc<Object>> = transaction
        .objects()
        .list(&target.resource(), namespace)
        .filter(|object| matches(object))
        .cloned()
        .collect();
    for object in &chosen {
        let one = Target {
            kind: Arc::clone(&target.kind),
            namespace: object.namespace().to_owned(),
            name: object.name().to_owned(),
        };
        // It may have gone with its owner.
        if one.find(transaction).is_ok() {
            delete(transaction, context, &one, options)?;
        }
    }
    Ok(chosen)
}

fn require(target: &Target, object: &Object, options: &DeleteOptions) -> Result<(), Status> {
    let checks = [
        ("UID", &options.uid, object.metadata("uid")),
        (
            "ResourceVersion",
            &options.revision,
            object.metadata("resourceVersion"),
        ),
    ];
    for (what, wanted, actual) in checks {
        if let Some(wanted) = wanted
            && wanted != actual
        {
            let why = format!(
                "Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {actual}"
            );
            return Err(Status::conflict(&target.kind, &target.name, &why));
        }
    }
    Ok(())
}

/// How long the pod's kubelet gets. Nobody has to stop a pod that was never
/// bound, has finished, or whose node is gone.
fn pod_grace(transaction: &Transaction<'_>, pod: &Object, asked: Option<i64>) -> i64 {
    let text = |pointer| {
        pod.value()
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let node = text("/spec/nodeName");
    let finished = matches!(text("/status/phase"), "Succeeded" | "Failed");
    if node.is_empty() || finished || transaction.objects().find("nodes", "", node).is_none() {
        return 0;
    }
    let own = pod
        .value()
        .pointer("/spec/terminationGracePeriodSeconds")
        .and_then(Value::as_i64);
    // A negative period means one second (Kubernetes' own rule).
    match asked.or(own).unwrap_or(DEFAULT_POD_GRACE) {
        ..0 => 1,
        seconds => seconds,
    }
}

/// Whether somebody still has to agree that the object goes.
pub(super) fn has_reason_to_stay(object: &Object) -> bool {
    has_finalizers(object.value())
}

/// Sets deletionTimestamp and deletionGracePeriodSeconds; a second delete can
/// only shorten them.
pub(super) fn mark(
    transaction: &mut Transaction<'_>,
    now: Timestamp,
    target: &Target,
    object: &Arc<Object>,
    grace: i64,
) -> Result<Arc<Object>, Status> {
    let current = object
        .value()
        .pointer("/metadata/deletionGracePeriodSeconds")
        .and_then(Value::as_i64);
    if is_terminating(object) && current.unwrap_or(0) <= grace {
        return Ok(Arc::clone(object));
    }
    let end = now
        .checked_add(SignedDuration::from_secs(grace))
        .map_err(|_| {
            Status::bad_request(format!("a grace period of {grace} seconds never ends"))
        })?;
    let mut value = object.to_value();
    set_metadata(&mut value, "deletionTimestamp", clock::text(end));
    set_metadata(&mut value, "deletionGracePeriodSeconds", grace);
    if let Some(generation) = value
        .pointer("/metadata/generation")
        .and_then(Value::as_i64)
    {
        set_metadata(&mut value, "generation", generation + 1);
    }
    Ok(transaction.put(&target.resource(), value))
}

/// Takes the object away and, if it was the last of a namespace that is going,
/// the namespace as well.
pub(super) fn finish(
    transaction: &mut Transaction<'_>,
    context: &Context<'_>,
    target: &Target,
    object: &Arc<Object>,
) -> Arc<Object> {
    services::release(transaction, context, &target.kind, object.value());
    let resource = target.resource();
    let removed = transaction.remove(&resource, &target.namespace, &target.name);
    definitions::remove_if_last(transaction, context, &resource);
    if definitions::is_definition(&target.kind) {
        let group = object.value()["spec"]["group"].as_str().unwrap_or_default();
        definitions::settle(transaction, context, group);
    }
    owners::collect(transaction, context, object.metadata("uid"));
    owners::release(transaction, context, object);
    if !target.namespace.is_empty() {
        remove_if_empty(transaction, &target.namespace);
    }
    removed.unwrap_or_else(|| Arc::clone(object))
}

/// Only marks: the namespaces' controller empties it later (see there why).
fn mark_namespace(
    transaction: &mut Transaction<'_>,
    context: &Context<'_>,
    target: &Target,
    namespace: &Arc<Object>,
) -> Result<Arc<Object>, Status> {
    let name = target.name.as_str();
    if KEPT_NAMESPACES.contains(&name) {
        let why = "this namespace may not be deleted";
        return Err(Status::forbidden(&target.kind, name, why));
    }
    if is_terminating(namespace) {
        return Ok(Arc::clone(namespace));
    }
    let mut value = namespace.to_value();
    set_metadata(&mut value, "deletionTimestamp", clock::text(context.now));
    value["status"] = json!({ "phase": "Terminating" });
    Ok(transaction.put(&target.resource(), value))
}

/// Deletes what a terminating namespace holds, and the namespace itself unless
/// something is left that others have to finish.
pub(super) fn empty_namespace(
    transaction: &mut Transaction<'_>,
    context: &Context<'_>,
    name: &str,
) -> Result<(), Status> {
    let namespace = transaction.objects().find("namespaces", "", name);
    if !namespace.is_some_and(|namespace| is_terminating(namespace)) {
        return Ok(());
    }
    let options = DeleteOptions::default();
    for kind in context.kinds.iter().filter(|kind| kind.namespaced) {
        let content = Target {
            kind: Arc::clone(kind),
            namespace: name.to_owned(),
            name: String::new(),
        };
        delete_collection(transaction, context, &content, &options, &|_| true)?;
    }
    remove_if_empty(transaction, name);
    Ok(())
}

fn remove_if_empty(transaction: &mut Transaction<'_>, name: &str) {
    let Some(namespace) = transaction.objects().find("namespaces", "", name) else {
        return;
    };
    let empty = transaction.objects().inside(name).next().is_none();
    if is_terminating(namespace) && empty && !has_finalizers(namespace.value()) {
        transaction.remove("namespaces", "", name);
    }
}
