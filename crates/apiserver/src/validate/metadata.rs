//! Validation of `metadata`, the same for every kind.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::names::{self, NameRule};
use super::{FieldErrors, Path};

/// All annotations together: keys and values.
const ANNOTATIONS_MAX: usize = 256 * 1024;

pub(crate) fn validate(
    metadata: &ObjectMeta,
    namespaced: bool,
    rule: NameRule,
    errors: &mut FieldErrors,
) {
    let path = Path::new("metadata");
    match metadata.name.as_deref() {
        None | Some("") => {
            errors.required(&path.child("name"), "name or generateName is required");
        }
        Some(name) => errors.invalid_each(&path.child("name"), name, rule(name)),
    }
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    match (namespaced, namespace) {
        (true, "") => errors.required(&path.child("namespace"), ""),
        (true, name) => {
            errors.invalid_each(&path.child("namespace"), name, names::dns_label(name));
        }
        (false, "") => {}
        (false, _) => {
            errors.forbidden(&path.child("namespace"), "not allowed on this type");
        }
    }
    if let Some(labels) = &metadata.labels {
        validate_labels(labels, &path.child("labels"), errors);
    }
    if let Some(annotations) = &metadata.annotations {
        validate_annotations(annotations, &path.child("annotations"), errors);
    }
    for finalizer in metadata.finalizers.iter().flatten() {
        let details = names::qualified_name(finalizer);
        errors.invalid_each(&path.child("finalizers"), finalizer, details);
    }
    if let Some(owners) = &metadata.owner_references {
        validate_owners(owners, &path.child("ownerReferences"), errors);
    }
}

/// The keys and values of labels, or of a selector that is a map of labels.
pub(crate) fn validate_labels(
    labels: &BTreeMap<String, String>,
    path: &Path,
    errors: &mut FieldErrors,
) {
    for (key, value) in labels {
        errors.invalid_each(path, key, names::qualified_name(key));
        errors.invalid_each(path, value, names::label_value(value));
    }
}

fn validate_annotations(
    annotations: &BTreeMap<String, String>,
    path: &Path,
    errors: &mut FieldErrors,
) {
    for key in annotations.keys() {
        errors.invalid_each(path, key, names::qualified_name(&key.to_ascii_lowercase()));
    }
    if annotations
        .iter()
        .map(|(k, v)| k.len() + v.len())
        .sum::<usize>()
        > ANNOTATIONS_MAX
    {
        errors.too_long(path, ANNOTATIONS_MAX);
    }
}

fn validate_owners(owners: &[OwnerReference], path: &Path, errors: &mut FieldErrors) {
    let mut controller: Option<&OwnerReference> = None;
    for (index, owner) in owners.iter().enumerate() {
        let path = path.index(index);
        for (field, value) in [
            ("apiVersion", &owner.api_version),
            ("kind", &owner.kind),
            ("name", &owner.name),
            ("uid", &owner.uid),
        ] {
            if value.is_empty() {
                errors.invalid(
                    &path.child(field),
                    value.as_str(),
                    &format!("{field} must not be empty"),
                );
            }
        }
        if owner.controller != Some(true) {
            continue;
        }
        match controller {
            None => controller = Some(owner),
            Some(first) => errors.invalid(
                &Path::new("metadata.ownerReferences"),
                format!("{}/{}", owner.kind, owner.name),
                &format!(
                    "Only one reference can have Controller set to true. Found \"true\" in \
                     references for {}/{} and {}/{}",
                    first.kind, first.name, owner.kind, owner.name
                ),
            ),
        }
    }
}

/// What an update may leave out of the metadata, and what only the server sets.
pub(crate) fn carry_over(new: &mut ObjectMeta, old: &ObjectMeta) {
    if new.uid.is_none() {
        new.uid.clone_from(&old.uid);
    }
    if new.creation_timestamp.is_none() {
        new.creation_timestamp.clone_from(&old.creation_timestamp);
    }
    new.generation = old.generation;
    new.self_link = None;
    new.deletion_timestamp.clone_from(&old.deletion_timestamp);
    new.deletion_grace_period_seconds = old.deletion_grace_period_seconds;
}

pub(crate) fn validate_update(new: &ObjectMeta, old: &ObjectMeta, errors: &mut FieldErrors) {
    let path = Path::new("metadata");
    for (field, new, old) in [
        ("name", &new.name, &old.name),
        ("namespace", &new.namespace, &old.namespace),
        ("uid", &new.uid, &old.uid),
    ] {
        if new != old {
            errors.invalid(&path.child(field), new.clone(), "field is immutable");
        }
    }
    if new.creation_timestamp != old.creation_timestamp {
        let value = new
            .creation_timestamp
            .as_ref()
            .map(|time| time.0.to_string());
        errors.invalid(
            &path.child("creationTimestamp"),
            value,
            "field is immutable",
        );
    }
    if old.deletion_timestamp.is_some() {
        let kept = old.finalizers.iter().flatten().collect::<Vec<_>>();
        let added: Vec<_> = new
            .finalizers
            .iter()
            .flatten()
            .filter(|f| !kept.contains(f))
            .collect();
        if !added.is_empty() {
            errors.forbidden(
                &path.child("finalizers"),
                &format!(
                    "no new finalizers can be added if the object is being deleted, found new \
                     finalizers []string{added:?}"
                ),
            );
        }
    }
}
