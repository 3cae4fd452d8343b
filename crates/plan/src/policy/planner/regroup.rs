//! Which selectors mean an address.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use podway_model::{ClusterState, Pod};

use super::PolicyPlanner;
use crate::policy::claims::Known;
use crate::policy::{Changed, NamespaceScope, PeerGroup, PeerSelector, PolicyChange, Who};

/// Above this many new selectors the addresses are asked which of them mean
/// them, below it the selectors which addresses they mean.
const FEW_SELECTORS: usize = 16;

impl PolicyPlanner {
    /// Adds the addresses that selectors mean which came into use, and those
    /// that selectors meant which went out of use.
    pub(super) fn collect_regrouped(
        &mut self,
        state: &ClusterState,
        addresses: &mut BTreeSet<IpAddr>,
    ) {
        let (mut new, mut gone) = (Vec::new(), Vec::new());
        for (selector, in_use) in self.peers.take_changed() {
            if in_use { &mut new } else { &mut gone }.push(selector);
        }
        if new.len() > FEW_SELECTORS {
            addresses.extend(self.claims.addresses());
            addresses.extend(self.nodes_at.keys());
            return;
        }
        for selector in new {
            match &selector.who {
                Who::Nodes(_) => self.collect_nodes(state, &selector, addresses),
                Who::Pods(pods) => match &pods.namespaces {
                    NamespaceScope::One(name) => {
                        self.collect_pods(state, state.pods_in(name), &selector, addresses);
                    }
                    NamespaceScope::Matching(_) => {
                        self.collect_pods(state, state.pods(), &selector, addresses);
                    }
                },
            }
        }
        if !gone.is_empty() {
            let meant = self.table.peers.iter().filter(|(_, group)| {
                gone.iter()
                    .any(|selector| group.selectors.contains(selector))
            });
            addresses.extend(meant.map(|(address, _)| *address));
        }
    }

    fn collect_pods<'a>(
        &self,
        state: &ClusterState,
        pods: impl Iterator<Item = &'a Arc<Pod>>,
        selector: &PeerSelector,
        addresses: &mut BTreeSet<IpAddr>,
    ) {
        for pod in pods {
            let namespace = state.namespace(&pod.name.namespace).map(|n| &**n);
            let claimed = self.claims.claims(&pod.name);
            addresses.extend(claimed.filter(|a| selector.selects(pod, namespace, *a)));
        }
    }

    fn collect_nodes(
        &self,
        state: &ClusterState,
        selector: &PeerSelector,
        addresses: &mut BTreeSet<IpAddr>,
    ) {
        for node in state.nodes() {
            let of_node = node.addresses.iter().copied();
            addresses.extend(of_node.filter(|a| selector.selects_node(node, *a)));
        }
    }

    pub(super) fn regroup(
        &mut self,
        state: &ClusterState,
        address: IpAddr,
        change: &mut PolicyChange,
    ) {
        let after = self.group_at(state, address);
        if self.table.peers.get(&address).map(|group| &**group) == after.as_ref() {
            return;
        }
        let after = after.map(|group| self.peers.intern(group));
        let before = match &after {
            Some(group) => self.table.peers.insert(address, group.clone()),
            None => self.table.peers.remove(&address),
        };
        if let Some(group) = &before {
            self.peers.give_back(group);
        }
        change.peers.insert(address, Changed { before, after });
    }

    /// The group of the pod at an address, or of the node.
    fn group_at(&self, state: &ClusterState, address: IpAddr) -> Option<PeerGroup> {
        if let Some(name) = self.claims.owner(state, address) {
            return match self.claims.known(state, name) {
                Known::Pod { pod, .. } => {
                    let namespace = state.namespace(&name.namespace).map(|n| &**n);
                    self.peers.group(pod, namespace, address)
                }
                Known::Unannounced | Known::Nothing => None,
            };
        }
        let node = self.nodes_at.get(&address)?.first()?;
        self.peers.group_of_node(state.node(node)?, address)
    }
}
