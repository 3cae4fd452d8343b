//! `ControllerRevision`s: the templates that a `DaemonSet` has had, for
//! `kubectl rollout history` and `undo`.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use serde_json::{Value, json};

use super::{Plan, encode, safe_hash};
use crate::kinds::{self, Kind};

/// Which revision a pod was made from.
pub(super) const HASH: &str = "controller-revision-hash";

pub(super) fn kind() -> &'static Arc<Kind> {
    kinds::known("apps/v1", "ControllerRevision")
}

/// What a revision remembers: a patch that brings the template back.
fn data(set: &DaemonSet) -> Value {
    let template = set.spec.as_ref().map(|spec| &spec.template);
    let mut template = encode(&template);
    template["$patch"] = json!("replace");
    json!({ "spec": { "template": template } })
}

/// The hash of the present template, after writing what its revision lacks.
pub(super) fn current(
    set: &DaemonSet,
    controller: &OwnerReference,
    revisions: &[ControllerRevision],
    plan: &mut Plan,
) -> String {
    let data = data(set);
    let newest = revisions
        .iter()
        .map(|revision| revision.revision)
        .max()
        .unwrap_or(0);
    let same = |revision: &&ControllerRevision| revision.data.as_ref().is_some_and(|d| d.0 == data);
    if let Some(found) = revisions.iter().find(same) {
        if found.revision < newest {
            // It was there before, and is gone back to.
            let mut next = found.clone();
            next.revision = newest + 1;
            plan.update(kind(), &next);
        }
        return hash_of(found).to_owned();
    }
    let taken = |hash: &String| revisions.iter().any(|revision| hash_of(revision) == hash);
    let text = data.to_string();
    let mut tries = (0_u32..).map(|collision| match collision {
        0 => safe_hash(&text),
        collision => safe_hash(&format!("{text}{collision}")),
    });
    let hash = tries
        .find(|hash| !taken(hash))
        .expect("one of endlessly many hashes is free");
    let template = set
        .spec
        .as_ref()
        .and_then(|spec| spec.template.metadata.as_ref());
    let mut labels = template.and_then(|m| m.labels.clone()).unwrap_or_default();
    labels.insert(HASH.to_owned(), hash.clone());
    let revision = ControllerRevision {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", controller.name)),
            namespace: set.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: set.metadata.annotations.clone(),
            owner_references: Some(vec![controller.clone()]),
            ..ObjectMeta::default()
        },
        data: Some(RawExtension(data)),
        revision: newest + 1,
    };
    plan.create(kind(), &revision);
    hash
}

pub(super) fn hash_of(revision: &ControllerRevision) -> &str {
    let labels = revision.metadata.labels.as_ref();
    labels
        .and_then(|labels| labels.get(HASH))
        .map_or("", String::as_str)
}

/// Deletes the oldest of the revisions that nothing is made of and that are not
/// kept.
pub(super) fn clean_up(
    revisions: &[ControllerRevision],
    limit: i32,
    used: impl Fn(&str) -> bool,
    plan: &mut Plan,
) {
    let mut unused: Vec<_> = revisions.iter().filter(|r| !used(hash_of(r))).collect();
    unused.sort_by_key(|revision| revision.revision);
    let kept = usize::try_from(limit).unwrap_or(0);
    let surplus = unused.len().saturating_sub(kept);
    for revision in unused.into_iter().take(surplus) {
        plan.delete(kind(), &revision.metadata);
    }
}
