//! What may change in a pod that exists: little, since its processes run.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Pod, PodSpec, Toleration};
use serde_json::Value;

use super::{FieldErrors, Path};

const ALLOWED: &str = "pod updates may not change fields other than \
    `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
    `spec.tolerations` (only additions to existing tolerations),\
    `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

pub(crate) fn validate_update(new: &Pod, old: &Pod, errors: &mut FieldErrors) {
    let (Some(new), Some(old)) = (&new.spec, &old.spec) else {
        return;
    };
    let path = Path::new("spec");
    let counts = |spec: &PodSpec| {
        (
            spec.containers.len(),
            spec.init_containers.as_ref().map_or(0, Vec::len),
        )
    };
    let ((new_main, new_init), (old_main, old_init)) = (counts(new), counts(old));
    for (field, changed) in [
        ("containers", new_main != old_main),
        ("initContainers", new_init != old_init),
    ] {
        if changed {
            errors.forbidden(
                &path.child(field),
                "pod updates may not add or remove containers",
            );
            return;
        }
    }
    validate_deadline(new, old, &path, errors);
    validate_tolerations(new, old, &path, errors);
    let changed = changed_fields(&masked(new, old), old);
    if !changed.is_empty() {
        errors.forbidden(
            &path,
            &format!("{ALLOWED}\nchanged: {}", changed.join(", ")),
        );
    }
}

fn changed_fields(new: &PodSpec, old: &PodSpec) -> Vec<String> {
    let encode = |spec: &PodSpec| serde_json::to_value(spec).unwrap_or_default();
    let (new, old) = (encode(new), encode(old));
    let fields = [&new, &old]
        .into_iter()
        .filter_map(Value::as_object)
        .flat_map(|spec| spec.keys());
    let changed: BTreeSet<String> = fields
        .filter(|field| new.get(*field) != old.get(*field))
        .map(|field| format!("spec.{field}"))
        .collect();
    changed.into_iter().collect()
}

/// The new specification with the old values of what may change.
fn masked(new: &PodSpec, old: &PodSpec) -> PodSpec {
    let mut masked = new.clone();
    let images = masked.containers.iter_mut().zip(&old.containers);
    let init = masked.init_containers.iter_mut().flatten();
    let init_images = init.zip(old.init_containers.iter().flatten());
    for (container, old) in images.chain(init_images) {
        container.image.clone_from(&old.image);
    }
    masked.active_deadline_seconds = old.active_deadline_seconds;
    masked.tolerations.clone_from(&old.tolerations);
    let was_negative = old
        .termination_grace_period_seconds
        .is_some_and(|seconds| seconds < 0);
    if was_negative && new.termination_grace_period_seconds == Some(1) {
        masked.termination_grace_period_seconds = old.termination_grace_period_seconds;
    }
    masked
}

/// A deadline may come, or come nearer.
fn validate_deadline(new: &PodSpec, old: &PodSpec, path: &Path, errors: &mut FieldErrors) {
    let path = path.child("activeDeadlineSeconds");
    match (new.active_deadline_seconds, old.active_deadline_seconds) {
        (Some(new), Some(old)) if new > old => {
            let detail = "must be less than or equal to previous value";
            errors.invalid(&path, new, detail);
        }
        (None, Some(_)) => {
            errors.invalid(
                &path,
                None::<i64>,
                "must not update from a positive integer to nil value",
            );
        }
        _ => {}
    }
}

fn validate_tolerations(new: &PodSpec, old: &PodSpec, path: &Path, errors: &mut FieldErrors) {
    let list = |spec: &PodSpec| -> Vec<Toleration> { spec.tolerations.clone().unwrap_or_default() };
    let new = list(new);
    if !list(old).iter().all(|toleration| new.contains(toleration)) {
        let detail = "existing toleration can not be modified except its tolerationSeconds";
        errors.forbidden(&path.child("tolerations"), detail);
    }
}
