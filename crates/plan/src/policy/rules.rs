//! The rules of one pod, from the policies that select it.

use std::collections::BTreeSet;
use std::sync::Arc;

use podway_model::{ClusterState, NetworkPolicy, Pod};

use super::compile::{self, Destination};
use super::port_numbers::PortNumbers;
use super::{Direction, PodRules, RuleSet};

/// The rules of one pod, planned alone: what `PolicyPlanner` would put into its
/// table for it, with the addresses of its status (which may be none yet). Both
/// directions are open for a pod that policies do not apply to.
#[must_use]
pub fn rules_for(state: &ClusterState, pod: &Pod) -> PodRules {
    let selecting =
        |policy: &&Arc<NetworkPolicy>| pod.owns_addresses() && policy.subjects.matches(&pod.labels);
    let policies: Vec<&NetworkPolicy> = state
        .policies_in(&pod.name.namespace)
        .filter(selecting)
        .map(|policy| &**policy)
        .collect();
    let mut numbers = PortNumbers::default();
    for peer in state.pods().filter(|peer| peer.owns_addresses()) {
        numbers.add(peer);
    }
    let owned = pod.addresses.iter().copied().filter(|address| {
        let at = state.pod_at(*address);
        at.is_none_or(|at| at.name == pod.name)
    });
    PodRules {
        node: pod.node.clone(),
        addresses: owned.collect(),
        ingress: rule_set(
            &policies,
            Direction::Ingress,
            Destination::Subject(&pod.ports),
        )
        .map(Arc::new),
        egress: rule_set(&policies, Direction::Egress, Destination::Peers(&numbers)).map(Arc::new),
    }
}

/// What policies allow between them in a direction; `None` where none of them
/// isolates it.
pub(super) fn rule_set(
    policies: &[&NetworkPolicy],
    direction: Direction,
    destination: Destination<'_>,
) -> Option<RuleSet> {
    let isolating = || {
        policies
            .iter()
            .filter(|policy| compile::rules_of(policy, direction).is_some())
    };
    let isolated_by: BTreeSet<_> = isolating().map(|policy| policy.name.clone()).collect();
    (!isolated_by.is_empty()).then(|| RuleSet {
        isolated_by,
        allows: isolating()
            .flat_map(|policy| compile::allows(policy, direction, destination))
            .collect(),
    })
}
