//! What an update touches and has to be planned again.

use std::collections::BTreeSet;
use std::sync::Arc;

use podway_model::{
    ClusterNetworkPolicy, ClusterState, Labels, Namespace, NetworkPolicy, Node, Object, ObjectName,
    Pod, Update,
};

use super::{Dirty, PolicyPlanner};
use crate::policy::policy_index::{AnyPolicy, namespace_labels};

impl PolicyPlanner {
    pub(super) fn touch(&mut self, state: &ClusterState, update: &Update, dirty: &mut Dirty) {
        let (before, after) = (update.before.as_ref(), update.after.as_ref());
        match before.or(after) {
            Some(Object::Pod(_)) => {
                self.pod(state, pod_of(before), pod_of(after), dirty);
            }
            Some(Object::NetworkPolicy(_)) => {
                self.policy(state, policy_of(before), policy_of(after), dirty);
            }
            Some(Object::ClusterNetworkPolicy(_)) => {
                let (before, after) = (cluster_policy_of(before), cluster_policy_of(after));
                self.cluster_policy(state, before, after, dirty);
            }
            Some(Object::Namespace(_)) => {
                self.namespace(state, namespace_of(before), namespace_of(after), dirty);
            }
            Some(Object::Node(_)) => self.node(node_of(before), node_of(after), dirty),
            _ => {}
        }
    }

    fn pod(
        &mut self,
        state: &ClusterState,
        before: Option<&Arc<Pod>>,
        after: Option<&Arc<Pod>>,
        dirty: &mut Dirty,
    ) {
        let Some(pod) = after.or(before) else {
            return;
        };
        if before.zip(after).is_some_and(|(b, a)| is_same_pod(b, a)) {
            return;
        }
        self.recount_ports(state, before, after, dirty);
        self.reclaim(state, &pod.name, dirty);
    }

    /// The pod itself, and whoever else claims an address that it claims or
    /// claimed, may have other addresses now.
    pub(super) fn reclaim(&mut self, state: &ClusterState, name: &ObjectName, dirty: &mut Dirty) {
        dirty.subjects.insert(name.clone());
        for address in self.claims.refresh(state, name) {
            dirty.addresses.insert(address);
            let claimants = self.claims.claimants(address).cloned();
            dirty.subjects.extend(claimants);
        }
    }

    /// Where a name of a port gains or loses a number, the policies whose egress
    /// rules use the name have other rules.
    fn recount_ports(
        &mut self,
        state: &ClusterState,
        before: Option<&Arc<Pod>>,
        after: Option<&Arc<Pod>>,
        dirty: &mut Dirty,
    ) {
        let mut changed = BTreeSet::new();
        if let Some(pod) = after.filter(|pod| pod.owns_addresses()) {
            changed.extend(self.numbers.add(pod));
        }
        if let Some(pod) = before.filter(|pod| pod.owns_addresses()) {
            changed.extend(self.numbers.remove(pod));
        }
        for (name, protocol) in changed {
            for policy in self.policies.using_egress_port(&name, protocol) {
                match policy {
                    AnyPolicy::Network(policy) => self.replan_policy(state, &policy, dirty),
                    AnyPolicy::Cluster(policy) => self.replan_cluster(state, &policy, dirty),
                }
            }
        }
    }

    fn policy(
        &mut self,
        state: &ClusterState,
        before: Option<&Arc<NetworkPolicy>>,
        after: Option<&Arc<NetworkPolicy>>,
        dirty: &mut Dirty,
    ) {
        if before.zip(after).is_some_and(|(b, a)| is_same_policy(b, a)) {
            return;
        }
        if let Some(policy) = before {
            self.policies.remove(&policy.name);
            self.replan_policy(state, policy, dirty);
        }
        if let Some(policy) = after {
            self.policies.insert(policy);
            self.replan_policy(state, policy, dirty);
        }
    }

    fn cluster_policy(
        &mut self,
        state: &ClusterState,
        before: Option<&Arc<ClusterNetworkPolicy>>,
        after: Option<&Arc<ClusterNetworkPolicy>>,
        dirty: &mut Dirty,
    ) {
        if before
            .zip(after)
            .is_some_and(|(b, a)| is_same_cluster_policy(b, a))
        {
            return;
        }
        if let Some(policy) = before {
            self.policies.remove_cluster(&policy.name);
            self.replan_cluster(state, policy, dirty);
        }
        if let Some(policy) = after {
            self.policies.insert_cluster(policy);
            self.replan_cluster(state, policy, dirty);
        }
    }

    fn replan_policy(&mut self, state: &ClusterState, policy: &NetworkPolicy, dirty: &mut Dirty) {
        self.rule_sets.forget(&policy.name);
        let namespace = &policy.name.namespace;
        let selected = state
            .pods_in(namespace)
            .filter(|pod| policy.subjects.matches(&pod.labels))
            .map(|pod| &pod.name);
        let unannounced = self.claims.unannounced(state, namespace);
        dirty.subjects.extend(selected.chain(unannounced).cloned());
    }

    fn replan_cluster(
        &mut self,
        state: &ClusterState,
        policy: &ClusterNetworkPolicy,
        dirty: &mut Dirty,
    ) {
        self.rule_sets.forget(&policy.object_name());
        let mut namespace: Option<(Arc<str>, bool)> = None;
        for pod in state.pods() {
            // Pods come by namespace.
            let name = &pod.name.namespace;
            if namespace.as_ref().is_none_or(|(last, _)| last != name) {
                let labels = namespace_labels(state, name);
                let is_meant = policy.subject.namespaces.matches(&labels);
                namespace = Some((name.clone(), is_meant));
            }
            let is_there = namespace.as_ref().is_some_and(|(_, is_meant)| *is_meant);
            if is_there && policy.subject.pods.matches(&pod.labels) {
                dirty.subjects.insert(pod.name.clone());
            }
        }
        let unannounced = self.claims.every_unannounced(state);
        dirty.subjects.extend(unannounced.cloned());
    }

    fn namespace(
        &self,
        state: &ClusterState,
        before: Option<&Arc<Namespace>>,
        after: Option<&Arc<Namespace>>,
        dirty: &mut Dirty,
    ) {
        let Some(name) = after.or(before).map(|namespace| &namespace.name) else {
            return;
        };
        let labels = |namespace: Option<&'_ Arc<Namespace>>| namespace.map(|n| n.labels.clone());
        let (before, after) = (labels(before), labels(after));
        if before == after {
            return;
        }
        if self.peers.tells_apart(before.as_ref(), after.as_ref()) {
            for pod in state.pods_in(name) {
                dirty.addresses.extend(self.claims.claims(&pod.name));
            }
        }
        let over = |labels: &Labels| -> Vec<Arc<str>> {
            let policies = self.policies.over(labels);
            policies.map(|policy| policy.name.clone()).collect()
        };
        // Without a Namespace the name stands for it.
        let unknown = || namespace_labels(&ClusterState::default(), name);
        if over(&before.unwrap_or_else(unknown)) != over(&after.unwrap_or_else(unknown)) {
            let known = state.pods_in(name).map(|pod| &pod.name);
            let unannounced = self.claims.unannounced(state, name);
            dirty.subjects.extend(known.chain(unannounced).cloned());
        }
    }

    fn node(&mut self, before: Option<&Arc<Node>>, after: Option<&Arc<Node>>, dirty: &mut Dirty) {
        let is_same = |(before, after): (&Arc<Node>, &Arc<Node>)| {
            before.labels == after.labels && before.addresses == after.addresses
        };
        if before.zip(after).is_some_and(is_same) {
            return;
        }
        if let Some(node) = before {
            for address in &node.addresses {
                if let Some(nodes) = self.nodes_at.get_mut(address) {
                    nodes.remove(&node.name);
                    if nodes.is_empty() {
                        self.nodes_at.remove(address);
                    }
                }
            }
            dirty.addresses.extend(&node.addresses);
        }
        if let Some(node) = after {
            for address in &node.addresses {
                let nodes = self.nodes_at.entry(*address).or_default();
                nodes.insert(node.name.clone());
            }
            dirty.addresses.extend(&node.addresses);
        }
    }
}

/// Whether nothing changed that policies depend on: most updates of a pod are
/// of its readiness.
fn is_same_pod(before: &Pod, after: &Pod) -> bool {
    let revision = after.revision;
    let ready = after.ready;
    let before = Pod {
        revision,
        ready,
        ..before.clone()
    };
    before == *after
}

fn is_same_policy(before: &NetworkPolicy, after: &NetworkPolicy) -> bool {
    before.subjects == after.subjects
        && before.ingress == after.ingress
        && before.egress == after.egress
        && before.audit == after.audit
}

fn is_same_cluster_policy(before: &ClusterNetworkPolicy, after: &ClusterNetworkPolicy) -> bool {
    let before = ClusterNetworkPolicy {
        revision: after.revision,
        generation: after.generation,
        ..before.clone()
    };
    before == *after
}

const fn pod_of(object: Option<&Object>) -> Option<&Arc<Pod>> {
    match object {
        Some(Object::Pod(pod)) => Some(pod),
        _ => None,
    }
}

const fn policy_of(object: Option<&Object>) -> Option<&Arc<NetworkPolicy>> {
    match object {
        Some(Object::NetworkPolicy(policy)) => Some(policy),
        _ => None,
    }
}

const fn cluster_policy_of(object: Option<&Object>) -> Option<&Arc<ClusterNetworkPolicy>> {
    match object {
        Some(Object::ClusterNetworkPolicy(policy)) => Some(policy),
        _ => None,
    }
}

const fn namespace_of(object: Option<&Object>) -> Option<&Arc<Namespace>> {
    match object {
        Some(Object::Namespace(namespace)) => Some(namespace),
        _ => None,
    }
}

const fn node_of(object: Option<&Object>) -> Option<&Arc<Node>> {
    match object {
        Some(Object::Node(node)) => Some(node),
        _ => None,
    }
}
