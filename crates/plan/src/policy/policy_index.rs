use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use podway_model::{NetworkPolicy, ObjectName, Pod, Protocol};

use super::selector_index::SelectorIndex;
use super::{Direction, compile};

/// The policies, found by the pods that they select and by the port names that
/// their egress rules use.
#[derive(Debug, Clone, Default)]
pub(super) struct PolicyIndex {
    policies: BTreeMap<ObjectName, Arc<NetworkPolicy>>,
    by_namespace: BTreeMap<Arc<str>, SelectorIndex<ObjectName>>,
    by_egress_port: BTreeMap<(String, Protocol), BTreeSet<ObjectName>>,
}

impl PolicyIndex {
    /// Files a policy. One of the same name must have been removed before.
    pub(super) fn insert(&mut self, policy: &Arc<NetworkPolicy>) {
        self.by_namespace
            .entry(policy.name.namespace.clone())
            .or_default()
            .insert(&policy.subjects, &policy.name);
        for (name, protocol) in compile::port_names(policy, Direction::Egress) {
            self.by_egress_port
                .entry((name.to_owned(), protocol))
                .or_default()
                .insert(policy.name.clone());
        }
        self.policies.insert(policy.name.clone(), policy.clone());
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
        for (port, protocol) in compile::port_names(&policy, Direction::Egress) {
            let key = (port.to_owned(), protocol);
            if let Some(names) = self.by_egress_port.get_mut(&key) {
                names.remove(name);
                if names.is_empty() {
                    self.by_egress_port.remove(&key);
                }
            }
        }
    }

    /// The policies that select a pod, in name order.
    pub(super) fn selecting(&self, pod: &Pod) -> Vec<&NetworkPolicy> {
        let names: BTreeSet<&ObjectName> = self
            .by_namespace
            .get(&pod.name.namespace)
            .into_iter()
            .flat_map(|index| index.candidates(&pod.labels))
            .collect();
        names
            .into_iter()
            .filter_map(|name| self.policies.get(name))
            .map(|policy| &**policy)
            .filter(|policy| policy.subjects.matches(&pod.labels))
            .collect()
    }

    /// The policies whose egress rules use a port name.
    pub(super) fn using_egress_port(
        &self,
        name: &str,
        protocol: Protocol,
    ) -> Vec<Arc<NetworkPolicy>> {
        self.by_egress_port
            .get(&(name.to_owned(), protocol))
            .into_iter()
            .flatten()
            .filter_map(|policy| self.policies.get(policy))
            .cloned()
            .collect()
    }
}
