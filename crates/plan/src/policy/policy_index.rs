use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use podway_model::{
    ClusterNetworkPolicy, ClusterState, Labels, NetworkPolicy, ObjectName, Pod, Protocol, Tier,
};

use super::selecting::Selecting;
use super::selector_index::SelectorIndex;
use super::{Direction, compile};

/// The policies, found by the pods that they select and by the port names that
/// their egress rules use.
#[derive(Debug, Clone, Default)]
pub(super) struct PolicyIndex {
    policies: BTreeMap<ObjectName, Arc<NetworkPolicy>>,
    by_namespace: BTreeMap<Arc<str>, SelectorIndex<ObjectName>>,
    cluster: BTreeMap<Arc<str>, Arc<ClusterNetworkPolicy>>,
    /// By the labels of the namespace.
    cluster_subjects: SelectorIndex<Arc<str>>,
    by_egress_port: BTreeMap<(String, Protocol), BTreeSet<Named>>,
}

/// A policy of either kind.
#[derive(Debug, Clone)]
pub(super) enum AnyPolicy {
    /// A NetworkPolicy.
    Network(Arc<NetworkPolicy>),
    /// A ClusterNetworkPolicy.
    Cluster(Arc<ClusterNetworkPolicy>),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Named {
    Network(ObjectName),
    Cluster(Arc<str>),
}

impl PolicyIndex {
    /// Files a policy. One of the same name must have been removed before.
    pub(super) fn insert(&mut self, policy: &Arc<NetworkPolicy>) {
        self.by_namespace
            .entry(policy.name.namespace.clone())
            .or_default()
            .insert(&policy.subjects, &policy.name);
        self.policies.insert(policy.name.clone(), policy.clone());
        for key in egress_ports(policy) {
            self.file_port(key, Named::Network(policy.name.clone()));
        }
    }

    /// Takes a policy out.
    pub(super) fn remove(&mut self, name: &ObjectName) {
        let Some(policy) = self.policies.remove(name) else {
            return;
        };
        if let Some(index) = self.by_namespace.get_mut(&name.namespace) {
            index.remove(&policy.subjects, name);
            if index.is_empty() {
                self.by_namespace.remove(&name.namespace);
            }
        }
        for key in egress_ports(&policy) {
            self.unfile_port(&key, &Named::Network(name.clone()));
        }
    }

    /// Files a ClusterNetworkPolicy, as [`PolicyIndex::insert`] does.
    pub(super) fn insert_cluster(&mut self, policy: &Arc<ClusterNetworkPolicy>) {
        self.cluster_subjects
            .insert(&policy.subject.namespaces, &policy.name);
        self.cluster.insert(policy.name.clone(), policy.clone());
        for key in cluster_egress_ports(policy) {
            self.file_port(key, Named::Cluster(policy.name.clone()));
        }
    }

    /// Takes a ClusterNetworkPolicy out.
    pub(super) fn remove_cluster(&mut self, name: &Arc<str>) {
        let Some(policy) = self.cluster.remove(name) else {
            return;
        };
        self.cluster_subjects
            .remove(&policy.subject.namespaces, name);
        for key in cluster_egress_ports(&policy) {
            self.unfile_port(&key, &Named::Cluster(name.clone()));
        }
    }

    fn file_port(&mut self, key: (String, Protocol), policy: Named) {
        self.by_egress_port.entry(key).or_default().insert(policy);
    }

    fn unfile_port(&mut self, key: &(String, Protocol), policy: &Named) {
        if let Some(policies) = self.by_egress_port.get_mut(key) {
            policies.remove(policy);
            if policies.is_empty() {
                self.by_egress_port.remove(key);
            }
        }
    }

    /// The policies that select a pod.
    pub(super) fn selecting(&self, state: &ClusterState, pod: &Pod) -> Selecting<'_> {
        let names: BTreeSet<&ObjectName> = self
            .by_namespace
            .get(&pod.name.namespace)
            .into_iter()
            .flat_map(|index| index.candidates(&pod.labels))
            .collect();
        let network = names
            .into_iter()
            .filter_map(|name| self.policies.get(name))
            .map(|policy| &**policy)
            .filter(|policy| policy.subjects.matches(&pod.labels));
        let labels = namespace_labels(state, &pod.name.namespace);
        let cluster = self
            .over(&labels)
            .filter(|policy| policy.subject.pods.matches(&pod.labels));
        Selecting::of(network.collect(), cluster.collect())
    }

    /// The ClusterNetworkPolicies that select pods in a namespace with these
    /// labels.
    pub(super) fn over(&self, labels: &Labels) -> impl Iterator<Item = &ClusterNetworkPolicy> {
        let names: BTreeSet<&Arc<str>> = self.cluster_subjects.candidates(labels).collect();
        let policies = names.into_iter().filter_map(|name| self.cluster.get(name));
        policies
            .map(|policy| &**policy)
            .filter(|policy| policy.subject.namespaces.matches(labels))
    }

    /// The policies whose egress rules use a port name.
    pub(super) fn using_egress_port(&self, name: &str, protocol: Protocol) -> Vec<AnyPolicy> {
        let named = |named: &Named| match named {
            Named::Network(name) => Some(AnyPolicy::Network(self.policies.get(name)?.clone())),
            Named::Cluster(name) => Some(AnyPolicy::Cluster(self.cluster.get(name)?.clone())),
        };
        let policies = self.by_egress_port.get(&(name.to_owned(), protocol));
        policies.into_iter().flatten().filter_map(named).collect()
    }
}

/// The labels of a namespace. One that is not known has the name that the API
/// server gives each.
pub(crate) fn namespace_labels(state: &ClusterState, name: &str) -> Labels {
    state.namespace(name).map_or_else(
        || [("kubernetes.io/metadata.name".to_owned(), name.to_owned())].into(),
        |namespace| namespace.labels.clone(),
    )
}

/// When a ClusterNetworkPolicy is asked: by tier, priority, and then by name,
/// which the API leaves open.
pub(super) fn order(policy: &ClusterNetworkPolicy) -> (Tier, u16, &str) {
    (policy.tier, policy.priority, &policy.name)
}

fn egress_ports(policy: &NetworkPolicy) -> Vec<(String, Protocol)> {
    compile::port_names(policy, Direction::Egress)
        .map(|(name, protocol)| (name.to_owned(), protocol))
        .collect()
}

fn cluster_egress_ports(policy: &ClusterNetworkPolicy) -> Vec<(String, Protocol)> {
    compile::named_ports(policy, Direction::Egress)
        .flat_map(|name| Protocol::ALL.map(|protocol| (name.to_owned(), protocol)))
        .collect()
}
