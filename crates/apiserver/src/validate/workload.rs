//! Deployment, ReplicaSet, DaemonSet and Job.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{
    ControllerRevision, DaemonSet, DaemonSetSpec, Deployment, DeploymentSpec, ReplicaSet,
};
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};

use super::{FieldErrors, Path, metadata, pod, port, selector};

const IMMUTABLE: &str = "field is immutable";

/// Numbers that cannot be negative.
fn not_negative<N: Into<i64> + Copy>(
    fields: &[(&str, Option<N>)],
    path: &Path,
    errors: &mut FieldErrors,
) {
    for (name, number) in fields {
        if let Some(number) = number.map(Into::into).filter(|number: &i64| *number < 0) {
            let detail = "must be greater than or equal to 0";
            errors.invalid(&path.child(name), number, detail);
        }
    }
}

/// The selector of a workload and the pods that it makes.
struct Pods<'a> {
    selector: &'a LabelSelector,
    template: &'a PodTemplateSpec,
    /// What `restartPolicy` may be.
    restart: &'a [&'a str],
    /// As messages call the workload.
    name: &'a str,
}

impl Pods<'_> {
    fn validate(&self, path: &Path, errors: &mut FieldErrors) {
        let empty = LabelSelector::default();
        let at = path.child("selector");
        selector::label_selector(self.selector, &at, errors);
        if *self.selector == empty {
            let detail = format!("empty selector is invalid for {}", self.name);
            errors.invalid(&at, encode(self.selector), &detail);
        }
        let path = path.child("template");
        let none = BTreeMap::new();
        let given = self
            .template
            .metadata
            .as_ref()
            .and_then(|m| m.labels.as_ref());
        let labels = given.unwrap_or(&none);
        if *self.selector != empty && !selector::selects(self.selector, labels) {
            errors.invalid(
                &path.child("metadata").child("labels"),
                json!(labels),
                "`selector` does not match template `labels`",
            );
        }
        validate_template(self.template, self.restart, &path, errors);
    }
}

fn validate_template(
    template: &PodTemplateSpec,
    restart: &[&str],
    path: &Path,
    errors: &mut FieldErrors,
) {
    if let Some(labels) = template.metadata.as_ref().and_then(|m| m.labels.as_ref()) {
        metadata::validate_labels(labels, &path.child("labels"), errors);
    }
    let path = path.child("spec");
    let Some(spec) = &template.spec else {
        errors.required(&path.child("containers"), "");
        return;
    };
    pod::validate_spec(spec, &path, errors);
    if let Some(policy) = &spec.restart_policy {
        port::supported(policy, &path.child("restartPolicy"), restart, errors);
    }
}

/// A selector cannot change: the pods that it has selected would be lost.
fn same_selector(new: &LabelSelector, old: &LabelSelector, errors: &mut FieldErrors) {
    if new != old {
        errors.invalid(&Path::from("spec.selector"), encode(new), IMMUTABLE);
    }
}

fn encode<T: serde::Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

pub(crate) fn deployment(deployment: &Deployment, errors: &mut FieldErrors) {
    let path = Path::new("spec");
    let Some(spec) = &deployment.spec else {
        errors.required(&path.child("selector"), "");
        return;
    };
    let pods = Pods {
        selector: &spec.selector,
        template: &spec.template,
        restart: &["Always"],
        name: "deployment",
    };
    pods.validate(&path, errors);
    not_negative(
        &[
            ("replicas", spec.replicas),
            ("minReadySeconds", spec.min_ready_seconds),
            ("revisionHistoryLimit", spec.revision_history_limit),
            ("progressDeadlineSeconds", spec.progress_deadline_seconds),
        ],
        &path,
        errors,
    );
    if let Some(deadline) = spec.progress_deadline_seconds
        && deadline <= spec.min_ready_seconds.unwrap_or(0)
    {
        let detail = "must be greater than minReadySeconds";
        errors.invalid(&path.child("progressDeadlineSeconds"), deadline, detail);
    }
    deployment_strategy(spec, &path.child("strategy"), errors);
}

fn deployment_strategy(spec: &DeploymentSpec, path: &Path, errors: &mut FieldErrors) {
    let strategy = spec.strategy.clone().unwrap_or_default();
    let kind = strategy.type_.as_deref().unwrap_or_default();
    port::supported(
        kind,
        &path.child("type"),
        &["Recreate", "RollingUpdate"],
        errors,
    );
    let path = path.child("rollingUpdate");
    match (&strategy.rolling_update, kind) {
        (Some(_), "Recreate") => errors.forbidden(
            &path,
            "may not be specified when strategy `type` is 'Recreate'",
        ),
        (Some(rolling), _) => {
            rolling_update(
                rolling.max_unavailable.as_ref(),
                rolling.max_surge.as_ref(),
                &path,
                errors,
            );
        }
        (None, _) => {}
    }
}

fn rolling_update(
    unavailable: Option<&IntOrString>,
    surge: Option<&IntOrString>,
    path: &Path,
    errors: &mut FieldErrors,
) {
    amount(unavailable, 100, &path.child("maxUnavailable"), errors);
    amount(surge, i32::MAX, &path.child("maxSurge"), errors);
    let none = |value: Option<&IntOrString>| value.and_then(number).unwrap_or(0) == 0;
    if none(unavailable) && none(surge) {
        let value = unavailable.map(encode).unwrap_or_default();
        let detail = "may not be 0 when `maxSurge` is 0";
        errors.invalid(&path.child("maxUnavailable"), value, detail);
    }
}

/// The number in `3` or `25%`.
fn number(value: &IntOrString) -> Option<i32> {
    match value {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(text) => text.strip_suffix('%')?.parse().ok(),
    }
}

fn amount(value: Option<&IntOrString>, most: i32, path: &Path, errors: &mut FieldErrors) {
    let Some(value) = value else { return };
    let percent = matches!(value, IntOrString::String(_));
    match number(value) {
        None => errors.invalid(
            path,
            encode(value),
            "a valid percent string must be a numeric string followed by an ending '%' (e.g. \
             '1%',  or '93%', regex used for validation is '[0-9]+%')",
        ),
        Some(..0) => {
            errors.invalid(path, encode(value), "must be greater than or equal to 0");
        }
        Some(number) if percent && number > most => {
            errors.invalid(path, encode(value), "must not be greater than 100%");
        }
        Some(_) => {}
    }
}

pub(crate) fn deployment_update(new: &Deployment, old: &Deployment, errors: &mut FieldErrors) {
    if let (Some(new), Some(old)) = (&new.spec, &old.spec) {
        same_selector(&new.selector, &old.selector, errors);
    }
}

pub(crate) fn replica_set(set: &ReplicaSet, errors: &mut FieldErrors) {
    let path = Path::new("spec");
    let Some(spec) = &set.spec else {
        errors.required(&path.child("selector"), "");
        return;
    };
    let pods = Pods {
        selector: &spec.selector,
        template: &spec.template.clone().unwrap_or_default(),
        restart: &["Always"],
        name: "replicaset",
    };
    pods.validate(&path, errors);
    not_negative(
        &[
            ("replicas", spec.replicas),
            ("minReadySeconds", spec.min_ready_seconds),
        ],
        &path,
        errors,
    );
}

pub(crate) fn replica_set_update(new: &ReplicaSet, old: &ReplicaSet, errors: &mut FieldErrors) {
    if let (Some(new), Some(old)) = (&new.spec, &old.spec) {
        same_selector(&new.selector, &old.selector, errors);
    }
}

pub(crate) fn daemon_set(set: &DaemonSet, errors: &mut FieldErrors) {
    let path = Path::new("spec");
    let Some(spec) = &set.spec else {
        errors.required(&path.child("selector"), "");
        return;
    };
    let pods = Pods {
        selector: &spec.selector,
        template: &spec.template,
        restart: &["Always"],
        name: "daemonset",
    };
    pods.validate(&path, errors);
    not_negative(
        &[
            ("minReadySeconds", spec.min_ready_seconds),
            ("revisionHistoryLimit", spec.revision_history_limit),
        ],
        &path,
        errors,
    );
    daemon_set_strategy(spec, &path.child("updateStrategy"), errors);
}

fn daemon_set_strategy(spec: &DaemonSetSpec, path: &Path, errors: &mut FieldErrors) {
    let strategy = spec.update_strategy.clone().unwrap_or_default();
    let kind = strategy.type_.as_deref().unwrap_or_default();
    port::supported(
        kind,
        &path.child("type"),
        &["OnDelete", "RollingUpdate"],
        errors,
    );
    if let Some(rolling) = &strategy.rolling_update {
        rolling_update(
            rolling.max_unavailable.as_ref(),
            rolling.max_surge.as_ref(),
            &path.child("rollingUpdate"),
            errors,
        );
    }
}

pub(crate) fn daemon_set_update(new: &DaemonSet, old: &DaemonSet, errors: &mut FieldErrors) {
    if let (Some(new), Some(old)) = (&new.spec, &old.spec) {
        same_selector(&new.selector, &old.selector, errors);
    }
}

pub(crate) fn job(job: &Job, errors: &mut FieldErrors) {
    let path = Path::new("spec");
    let none = JobSpec::default();
    let spec = job.spec.as_ref().unwrap_or(&none);
    let pods = Pods {
        selector: &spec.selector.clone().unwrap_or_default(),
        template: &spec.template,
        restart: &["OnFailure", "Never"],
        name: "job",
    };
    pods.validate(&path, errors);
    not_negative(
        &[
            ("parallelism", spec.parallelism),
            ("completions", spec.completions),
            ("backoffLimit", spec.backoff_limit),
            ("ttlSecondsAfterFinished", spec.ttl_seconds_after_finished),
        ],
        &path,
        errors,
    );
    not_negative(
        &[("activeDeadlineSeconds", spec.active_deadline_seconds)],
        &path,
        errors,
    );
    if let Some(mode) = &spec.completion_mode {
        let path = path.child("completionMode");
        port::supported(mode, &path, &["Indexed", "NonIndexed"], errors);
    }
}

pub(crate) fn job_update(new: &Job, old: &Job, errors: &mut FieldErrors) {
    let (Some(new), Some(old)) = (&new.spec, &old.spec) else {
        return;
    };
    for (field, changed, value) in [
        (
            "completions",
            new.completions != old.completions,
            json!(new.completions),
        ),
        (
            "selector",
            new.selector != old.selector,
            encode(&new.selector),
        ),
        (
            "template",
            new.template != old.template,
            encode(&new.template),
        ),
        (
            "completionMode",
            new.completion_mode != old.completion_mode,
            json!(new.completion_mode),
        ),
    ] {
        // A suspended job that never ran may still get another template.
        let may_change = field == "template" && old.suspend == Some(true);
        if changed && !may_change {
            errors.invalid(&Path::new("spec").child(field), value, IMMUTABLE);
        }
    }
}

pub(crate) fn scale(scale: &Scale, errors: &mut FieldErrors) {
    let replicas = scale.spec.as_ref().and_then(|spec| spec.replicas);
    not_negative(&[("replicas", replicas)], &Path::new("spec"), errors);
}

pub(crate) fn controller_revision(revision: &ControllerRevision, errors: &mut FieldErrors) {
    if revision.data.is_none() {
        errors.required(&Path::new("data"), "data is mandatory");
    }
    not_negative(
        &[("revision", Some(revision.revision))],
        &Path::new(""),
        errors,
    );
}

pub(crate) fn controller_revision_update(
    new: &ControllerRevision,
    old: &ControllerRevision,
    errors: &mut FieldErrors,
) {
    if new.data != old.data {
        errors.invalid(&Path::new("data"), encode(&new.data), IMMUTABLE);
    }
}
