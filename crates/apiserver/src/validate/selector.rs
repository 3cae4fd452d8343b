//! Label selectors inside objects.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use super::{FieldErrors, Path, metadata, names};

pub(crate) fn label_selector(selector: &LabelSelector, path: &Path, errors: &mut FieldErrors) {
    if let Some(labels) = &selector.match_labels {
        metadata::validate_labels(labels, &path.child("matchLabels"), errors);
    }
    for (index, requirement) in selector.match_expressions.iter().flatten().enumerate() {
        validate_requirement(
            requirement,
            &path.child("matchExpressions").index(index),
            errors,
        );
    }
}

fn validate_requirement(
    requirement: &LabelSelectorRequirement,
    path: &Path,
    errors: &mut FieldErrors,
) {
    let values = requirement.values.as_deref().unwrap_or_default();
    match requirement.operator.as_str() {
        "In" | "NotIn" if values.is_empty() => errors.required(
            &path.child("values"),
            "must be specified when `operator` is 'In' or 'NotIn'",
        ),
        "In" | "NotIn" => {}
        "Exists" | "DoesNotExist" if !values.is_empty() => errors.forbidden(
            &path.child("values"),
            "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        ),
        "Exists" | "DoesNotExist" => {}
        other => errors.invalid(
            &path.child("operator"),
            other,
            "not a valid selector operator",
        ),
    }
    let key = &requirement.key;
    errors.invalid_each(&path.child("key"), key, names::qualified_name(key));
    for (index, value) in values.iter().enumerate() {
        let path = path.child("values").index(index);
        errors.invalid_each(&path, value, names::label_value(value));
    }
}
