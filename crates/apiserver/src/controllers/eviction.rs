//! Pods on nodes that are not ready, or gone.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Plan, node, nodes, pod_kind, pods};

/// The next step for a pod that is bound to `node`; `None` if that is gone.
pub(crate) fn reconcile(pod: &Pod, node: Option<&Node>, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let Some(node) = node else {
        plan.delete(pod_kind(), &pod.metadata);
        return plan;
    };
    let lost = node::ready(node).is_some_and(|ready| ready.status != "True");
    if lost && pods::is_ready(pod) {
        plan.status(pod_kind(), &not_ready(pod, now));
    }
    if !pods::is_terminating(pod) {
        evict(pod, node, now, &mut plan);
    }
    plan
}

/// The pod, not ready any more: its endpoints have to go.
fn not_ready(pod: &Pod, now: Timestamp) -> Pod {
    let mut pod = pod.clone();
    let conditions = pod
        .status
        .iter_mut()
        .flat_map(|status| &mut status.conditions);
    for condition in conditions
        .flatten()
        .filter(|condition| condition.type_ == "Ready")
    {
        condition.status = "False".to_owned();
        condition.reason = Some("NodeNotReady".to_owned());
        condition.message = Some("the node of the pod is not ready".to_owned());
        condition.last_transition_time = Some(Time(now));
    }
    pod
}

/// Deletes a pod that does not tolerate the node's taints, or not any longer.
fn evict(pod: &Pod, node: &Node, now: Timestamp, plan: &mut Plan) {
    let tolerations = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.tolerations.as_deref());
    let tolerations = tolerations.unwrap_or_default();
    let effects = ["NoExecute"];
    if nodes::untolerated(tolerations, node, &effects)
        .next()
        .is_some()
    {
        plan.delete(pod_kind(), &pod.metadata);
        return;
    }
    let ends = nodes::untolerated(&[], node, &effects).filter_map(|taint| {
        let all = tolerations
            .iter()
            .filter(|other| nodes::tolerates(other, taint));
        let seconds = all
            .filter_map(|toleration| toleration.toleration_seconds)
            .min()?;
        let since = taint.time_added.as_ref().map_or(now, |time| time.0);
        since
            .checked_add(SignedDuration::from_secs(seconds.max(0)))
            .ok()
    });
    match ends.min().map(|end| end.duration_since(now)) {
        None => {}
        Some(left) if left.is_positive() => plan.look_again(left),
        Some(_) => plan.delete(pod_kind(), &pod.metadata),
    }
}
