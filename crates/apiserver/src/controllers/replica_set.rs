//! `ReplicaSet`: so many pods of a template.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;

use super::{Plan, claim, controller_reference, pod_kind, pods};
use crate::kinds::{self, Kind};
use crate::validate::selector::selects;

/// So many pods are made or deleted in one step.
const BURST: usize = 500;

pub(super) fn kind() -> &'static Arc<Kind> {
    kinds::known("apps/v1", "ReplicaSet")
}

/// `candidates` are the pods that the set controls, and those of its namespace
/// that nobody does.
pub(crate) fn reconcile(set: &ReplicaSet, candidates: &[Pod], now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let Some(spec) = &set.spec else { return plan };
    let controller = controller_reference("apps/v1", "ReplicaSet", &set.metadata);
    let none = Default::default();
    let lives = set.metadata.deletion_timestamp.is_none();
    let (owned, changed) = claim(
        &controller,
        lives,
        candidates,
        |pod| &mut pod.metadata,
        |metadata| selects(&spec.selector, metadata.labels.as_ref().unwrap_or(&none)),
    );
    for pod in &changed {
        plan.update(pod_kind(), pod);
    }
    let active: Vec<&Pod> = owned.iter().filter(|pod| pods::is_active(pod)).collect();
    let wanted = usize::try_from(spec.replicas.unwrap_or(1)).unwrap_or(0);
    if lives && active.len() < wanted {
        let template = spec.template.clone().unwrap_or_default();
        let namespace = set.metadata.namespace.as_ref();
        let pod = pods::from_template(&template, &controller, namespace);
        for _ in 0..(wanted - active.len()).min(BURST) {
            plan.create(pod_kind(), &pod);
        }
    } else if lives && active.len() > wanted {
        let mut victims = active.clone();
        victims.sort_by_key(|pod| pods::worth(pod, now));
        for pod in victims.iter().take((active.len() - wanted).min(BURST)) {
            plan.delete(pod_kind(), &pod.metadata);
        }
    }
    let status = status(set, &active, now, &mut plan);
    if set.status.as_ref() != Some(&status) {
        let mut set = set.clone();
        set.status = Some(status);
        plan.status(kind(), &set);
    }
    plan
}

fn status(set: &ReplicaSet, active: &[&Pod], now: Timestamp, plan: &mut Plan) -> ReplicaSetStatus {
    let spec = set.spec.clone().unwrap_or_default();
    let template = spec
        .template
        .unwrap_or_default()
        .metadata
        .unwrap_or_default();
    let wanted = template.labels.unwrap_or_default();
    let labelled = active.iter().filter(|pod| {
        let labels = pod.metadata.labels.as_ref();
        let has = |(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value);
        wanted.iter().all(has)
    });
    let labelled = count(labelled.count());
    let (mut ready, mut available) = (0, 0);
    for pod in active {
        match pods::until_available(pod, spec.min_ready_seconds.unwrap_or(0), now) {
            None => {}
            Some(left) if left.is_zero() => {
                ready += 1;
                available += 1;
            }
            Some(left) => {
                ready += 1;
                plan.look_again(left);
            }
        }
    }
    let some = |number: i32| (number != 0).then_some(number);
    ReplicaSetStatus {
        replicas: count(active.len()),
        fully_labeled_replicas: some(labelled),
        ready_replicas: some(ready),
        available_replicas: some(available),
        observed_generation: set.metadata.generation,
        conditions: set
            .status
            .as_ref()
            .and_then(|status| status.conditions.clone()),
        terminating_replicas: None,
    }
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
