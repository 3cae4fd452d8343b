use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use podway_model::{Labels, Namespace, Node, Pod};

use super::selector_index::SelectorIndex;
use super::{NamespaceScope, PeerGroup, PeerSelector, PodSelector, RuleSet, Who};

/// The peer selectors that some rule set in use names, found by pod.
#[derive(Debug, Clone, Default)]
pub(super) struct PeerIndex {
    /// How many rule sets name each.
    users: BTreeMap<Arc<PeerSelector>, usize>,
    own: BTreeMap<Arc<str>, SelectorIndex<Arc<PeerSelector>>>,
    everywhere: SelectorIndex<Arc<PeerSelector>>,
    nodes: SelectorIndex<Arc<PeerSelector>>,
    /// Selectors whose use changed since the last `take_changed`, and whether
    /// they were in use then.
    touched: BTreeMap<Arc<PeerSelector>, bool>,
    /// One allocation for equal groups, with the addresses that share it.
    groups: BTreeMap<Arc<PeerGroup>, usize>,
}

impl PeerIndex {
    /// A rule set comes into use.
    pub(super) fn retain(&mut self, set: &RuleSet) {
        for selector in selectors(set) {
            let users = self.users.entry(selector.clone()).or_default();
            *users += 1;
            if *users == 1 {
                self.touched.entry(selector.clone()).or_insert(false);
                self.file(selector);
            }
        }
    }

    /// A rule set goes out of use.
    pub(super) fn release(&mut self, set: &RuleSet) {
        for selector in selectors(set) {
            let Some(users) = self.users.get_mut(selector) else {
                continue;
            };
            *users -= 1;
            if *users == 0 {
                self.users.remove(selector);
                self.touched.entry(selector.clone()).or_insert(true);
                self.unfile(selector);
            }
        }
    }

    /// The selectors that are in use and were not (`true`), or no longer are
    /// (`false`), since this was last asked.
    pub(super) fn take_changed(&mut self) -> Vec<(Arc<PeerSelector>, bool)> {
        std::mem::take(&mut self.touched)
            .into_iter()
            .filter_map(|(selector, was)| {
                let is = self.users.contains_key(&selector);
                (is != was).then_some((selector, is))
            })
            .collect()
    }

    /// Whether a selector in use tells two labellings of a namespace apart.
    pub(super) fn tells_apart(&self, before: Option<&Labels>, after: Option<&Labels>) -> bool {
        self.users
            .keys()
            .filter_map(|selector| match &selector.who {
                Who::Pods(PodSelector {
                    namespaces: NamespaceScope::Matching(namespaces),
                    ..
                }) => Some(namespaces),
                Who::Pods(_) | Who::Nodes(_) => None,
            })
            .any(|namespaces| {
                let matches =
                    |labels: Option<&Labels>| labels.is_some_and(|l| namespaces.matches(l));
                matches(before) != matches(after)
            })
    }

    /// The selectors that mean a pod at one of its addresses.
    pub(super) fn group(
        &self,
        pod: &Pod,
        namespace: Option<&Namespace>,
        address: IpAddr,
    ) -> Option<PeerGroup> {
        let own = self.own.get(&pod.name.namespace);
        let selectors = own
            .into_iter()
            .chain([&self.everywhere])
            .flat_map(|index| index.candidates(&pod.labels))
            .filter(|selector| selector.selects(pod, namespace, address))
            .cloned();
        group_of(selectors.collect())
    }

    /// The selectors that mean a node at one of its addresses.
    pub(super) fn group_of_node(&self, node: &Node, address: IpAddr) -> Option<PeerGroup> {
        let candidates = self.nodes.candidates(&node.labels);
        let selectors = candidates.filter(|selector| selector.selects_node(node, address));
        group_of(selectors.cloned().collect())
    }

    /// Shares a group with the addresses that have an equal one.
    pub(super) fn intern(&mut self, group: PeerGroup) -> Arc<PeerGroup> {
        if let Some((shared, _)) = self.groups.get_key_value(&group) {
            let shared = shared.clone();
            *self.groups.entry(shared.clone()).or_default() += 1;
            return shared;
        }
        let shared = Arc::new(group);
        self.groups.insert(shared.clone(), 1);
        shared
    }

    /// An address no longer has this group.
    pub(super) fn give_back(&mut self, group: &Arc<PeerGroup>) {
        if let Some(users) = self.groups.get_mut(group) {
            *users -= 1;
            if *users == 0 {
                self.groups.remove(group);
            }
        }
    }

    fn file(&mut self, selector: &Arc<PeerSelector>) {
        let (index, labels) = match &selector.who {
            Who::Nodes(labels) => (&mut self.nodes, labels),
            Who::Pods(pods) => match &pods.namespaces {
                NamespaceScope::One(name) => {
                    (self.own.entry(name.clone()).or_default(), &pods.pods)
                }
                NamespaceScope::Matching(_) => (&mut self.everywhere, &pods.pods),
            },
        };
        index.insert(labels, selector);
    }

    fn unfile(&mut self, selector: &Arc<PeerSelector>) {
        match &selector.who {
            Who::Nodes(labels) => self.nodes.remove(labels, selector),
            Who::Pods(pods) => match &pods.namespaces {
                NamespaceScope::Matching(_) => self.everywhere.remove(&pods.pods, selector),
                NamespaceScope::One(name) => {
                    if let Some(index) = self.own.get_mut(name) {
                        index.remove(&pods.pods, selector);
                        if index.is_empty() {
                            self.own.remove(name);
                        }
                    }
                }
            },
        }
    }
}

fn group_of(selectors: BTreeSet<Arc<PeerSelector>>) -> Option<PeerGroup> {
    (!selectors.is_empty()).then_some(PeerGroup { selectors })
}

fn selectors(set: &RuleSet) -> impl Iterator<Item = &Arc<PeerSelector>> {
    set.matches().flat_map(|one| one.peers.selectors())
}
