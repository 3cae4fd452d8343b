//! Pods as workloads see them.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

pub(super) fn phase(pod: &Pod) -> &str {
    let status = pod.status.as_ref();
    status
        .and_then(|status| status.phase.as_deref())
        .unwrap_or_default()
}

pub(super) fn is_terminating(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Neither finished nor on its way out.
pub(super) fn is_active(pod: &Pod) -> bool {
    !matches!(phase(pod), "Succeeded" | "Failed") && !is_terminating(pod)
}

/// Since when the pod is ready; `None` if it is not.
pub(super) fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions
        .iter()
        .find(|condition| condition.type_ == "Ready" && condition.status == "True")?;
    let since = ready.last_transition_time.as_ref();
    Some(since.map_or(Timestamp::UNIX_EPOCH, |time| time.0))
}

pub(super) fn is_ready(pod: &Pod) -> bool {
    ready_since(pod).is_some()
}

/// How much longer a ready pod must stay so until it counts as available;
/// nothing left if it does, `None` if it is not ready.
pub(super) fn until_available(
    pod: &Pod,
    min_ready_seconds: i32,
    now: Timestamp,
) -> Option<SignedDuration> {
    let since = ready_since(pod)?;
    let needed = SignedDuration::from_secs(i64::from(min_ready_seconds));
    let left = needed.saturating_sub(now.duration_since(since));
    Some(left.max(SignedDuration::ZERO))
}

/// A pod of a template, named after its controller.
pub(super) fn from_template(
    template: &PodTemplateSpec,
    controller: &OwnerReference,
    namespace: Option<&String>,
) -> Pod {
    let given = template.metadata.clone().unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", controller.name)),
            namespace: namespace.cloned(),
            labels: given.labels,
            annotations: given.annotations,
            finalizers: given.finalizers,
            owner_references: Some(vec![controller.clone()]),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

/// Which of several pods to delete first: the smaller, the less is lost.
pub(super) fn worth(pod: &Pod, now: Timestamp) -> impl Ord + use<> {
    const COST: &str = "controller.kubernetes.io/pod-deletion-cost";
    let bound = pod
        .spec
        .as_ref()
        .is_some_and(|spec| spec.node_name.is_some());
    let phase = match phase(pod) {
        "Pending" => 0,
        "Running" => 2,
        _ => 1,
    };
    let annotations = pod.metadata.annotations.as_ref();
    let cost = annotations.and_then(|annotations| annotations.get(COST));
    let cost: i64 = cost.and_then(|cost| cost.parse().ok()).unwrap_or(0);
    let age =
        |time: Option<Timestamp>| time.map_or(SignedDuration::ZERO, |t| now.duration_since(t));
    let statuses = pod
        .status
        .iter()
        .flat_map(|s| s.container_statuses.iter().flatten());
    let restarts: i32 = statuses.map(|status| status.restart_count).sum();
    let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    (
        bound,
        phase,
        is_ready(pod),
        cost,
        age(ready_since(pod)),
        -restarts,
        age(created),
    )
}

/// When the last of a finished pod's containers ended.
pub(super) fn ended(pod: &Pod) -> Option<Timestamp> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    let states = statuses.iter().filter_map(|status| status.state.as_ref());
    let ends = states.filter_map(|state| state.terminated.as_ref()?.finished_at.as_ref());
    ends.map(|time| time.0).max()
}
