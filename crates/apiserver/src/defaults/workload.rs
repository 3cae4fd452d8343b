//! Deployment, ReplicaSet, DaemonSet and Job.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, DeploymentStrategy, ReplicaSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{absent, pod};

const ROLLING: &str = "RollingUpdate";
/// Old revisions that are kept for going back to.
const REVISIONS: i32 = 10;

fn template(template: &mut PodTemplateSpec) {
    if let Some(spec) = &mut template.spec {
        pod::default_spec(spec);
    }
}

pub(crate) fn deployment(deployment: &mut Deployment) {
    let Some(spec) = &mut deployment.spec else {
        return;
    };
    template(&mut spec.template);
    spec.replicas.get_or_insert(1);
    spec.revision_history_limit.get_or_insert(REVISIONS);
    spec.progress_deadline_seconds.get_or_insert(600);
    let strategy = spec
        .strategy
        .get_or_insert_with(DeploymentStrategy::default);
    absent(&mut strategy.type_, ROLLING);
    if strategy.type_.as_deref() == Some(ROLLING) {
        let rolling = strategy.rolling_update.get_or_insert_default();
        let quarter = || IntOrString::String("25%".to_owned());
        rolling.max_surge.get_or_insert_with(quarter);
        rolling.max_unavailable.get_or_insert_with(quarter);
    }
}

pub(crate) fn replica_set(set: &mut ReplicaSet) {
    let Some(spec) = &mut set.spec else { return };
    if let Some(pods) = &mut spec.template {
        template(pods);
    }
    spec.replicas.get_or_insert(1);
}

pub(crate) fn daemon_set(set: &mut DaemonSet) {
    let Some(spec) = &mut set.spec else { return };
    template(&mut spec.template);
    spec.revision_history_limit.get_or_insert(REVISIONS);
    let strategy = spec.update_strategy.get_or_insert_default();
    absent(&mut strategy.type_, ROLLING);
    if strategy.type_.as_deref() == Some(ROLLING) {
        let rolling = strategy.rolling_update.get_or_insert_default();
        rolling.max_surge.get_or_insert(IntOrString::Int(0));
        rolling.max_unavailable.get_or_insert(IntOrString::Int(1));
    }
}

pub(crate) fn job(job: &mut Job) {
    let Some(spec) = &mut job.spec else { return };
    template(&mut spec.template);
    if spec.completions.is_none() && spec.parallelism.is_none() {
        spec.completions = Some(1);
    }
    spec.parallelism.get_or_insert(1);
    spec.backoff_limit.get_or_insert(6);
    spec.suspend.get_or_insert(false);
    absent(&mut spec.completion_mode, "NonIndexed");
    let policy = match spec.pod_failure_policy {
        Some(_) => "Failed",
        None => "TerminatingOrFailed",
    };
    absent(&mut spec.pod_replacement_policy, policy);
}

/// A job finds its pods by labels that no other job's pods have.
pub(crate) fn new_job(job: &mut Job) {
    job.status = None;
    let ObjectMeta { name, uid, .. } = &job.metadata;
    let (name, uid) = (
        name.clone().unwrap_or_default(),
        uid.clone().unwrap_or_default(),
    );
    let Some(spec) = &mut job.spec else { return };
    if spec.manual_selector == Some(true) {
        return;
    }
    let metadata = spec.template.metadata.get_or_insert_default();
    let labels = metadata.labels.get_or_insert_default();
    for (key, value) in [
        ("batch.kubernetes.io/controller-uid", &uid),
        ("controller-uid", &uid),
        ("batch.kubernetes.io/job-name", &name),
        ("job-name", &name),
    ] {
        labels.insert(key.to_owned(), value.clone());
    }
    let own = BTreeMap::from([("batch.kubernetes.io/controller-uid".to_owned(), uid)]);
    spec.selector = Some(LabelSelector {
        match_labels: Some(own),
        ..LabelSelector::default()
    });
}
