//! The rules of one pod, from the policies that select it.

use std::sync::Arc;

use podway_model::{ClusterState, Pod};

use super::compile::Destination;
use super::policy_index::namespace_labels;
use super::port_numbers::PortNumbers;
use super::selecting::Selecting;
use super::{Direction, Directions, PodRules};

/// The rules of one pod, planned alone: what `PolicyPlanner` would put into its
/// table for it, with the addresses of its status (which may be none yet). Both
/// directions are open for a pod that policies do not apply to.
#[must_use]
pub fn rules_for(state: &ClusterState, pod: &Pod) -> PodRules {
    let labels = namespace_labels(state, &pod.name.namespace);
    let network = state
        .policies_in(&pod.name.namespace)
        .filter(|policy| pod.owns_addresses() && policy.subjects.matches(&pod.labels));
    let cluster = state.cluster_policies().filter(|policy| {
        let subject = &policy.subject;
        pod.owns_addresses()
            && subject.namespaces.matches(&labels)
            && subject.pods.matches(&pod.labels)
    });
    let selecting = Selecting::of(
        network.map(|policy| &**policy).collect(),
        cluster.map(|policy| &**policy).collect(),
    );
    let mut numbers = PortNumbers::default();
    for peer in state.pods().filter(|peer| peer.owns_addresses()) {
        numbers.add(peer);
    }
    let owned = pod.addresses.iter().copied().filter(|address| {
        let at = state.pod_at(*address);
        at.is_none_or(|at| at.name == pod.name)
    });
    let plan = |policies: &Selecting<'_>, direction| {
        let destination = match direction {
            Direction::Ingress => Destination::Subject(&pod.ports),
            Direction::Egress => Destination::Peers(&numbers),
        };
        policies.rule_set(direction, destination).map(Arc::new)
    };
    PodRules {
        node: pod.node.clone(),
        addresses: owned.collect(),
        enforced: Directions::of(|direction| plan(&selecting.enforced(), direction)),
        audited: Directions::of(|direction| {
            let all = selecting.in_direction(direction);
            all.has_audit().then(|| plan(&all, direction)).flatten()
        }),
    }
}
