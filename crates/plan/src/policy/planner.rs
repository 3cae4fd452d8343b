use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use podway_model::{ClusterState, Namespace, NetworkPolicy, Object, ObjectName, Pod, Update};

use super::claims::{Claims, Known};
use super::compile::rules_of;
use super::peer_index::PeerIndex;
use super::policy_index::PolicyIndex;
use super::port_numbers::PortNumbers;
use super::rule_sets::RuleSets;
use super::{
    Changed, Direction, NamespaceScope, PeerSelector, PodRules, PolicyChange, PolicyTable, RuleSet,
};

/// Above this many new selectors the pods are asked which of them mean them,
/// below it the selectors which pods they mean.
const FEW_SELECTORS: usize = 16;

/// Keeps the policy table of a node, or of all nodes, as the cluster changes.
///
/// Work is proportional to the change. A pod's change re-plans the pod and its
/// addresses; a policy's the pods that it selects or selected; a namespace's
/// the addresses of its pods, where a selector in use tells the labels apart.
#[derive(Debug, Clone, Default)]
pub struct PolicyPlanner {
    node: Option<Arc<str>>,
    claims: Claims,
    policies: PolicyIndex,
    numbers: PortNumbers,
    rule_sets: RuleSets,
    peers: PeerIndex,
    table: PolicyTable,
}

/// What a change touches and has to be planned again.
#[derive(Default)]
struct Dirty {
    subjects: BTreeSet<ObjectName>,
    addresses: BTreeSet<IpAddr>,
}

impl PolicyPlanner {
    /// A planner for the pods of one node, or of all nodes (`None`).
    #[must_use]
    pub fn new(node: Option<Arc<str>>) -> Self {
        Self {
            node,
            ..Self::default()
        }
    }

    /// Plans everything that a state holds.
    #[must_use]
    pub fn plan(node: Option<Arc<str>>, state: &ClusterState) -> Self {
        let mut planner = Self::new(node);
        let policies = state.policies().cloned().map(Object::NetworkPolicy);
        let pods = state.pods().cloned().map(Object::Pod);
        let updates: Vec<Update> = policies
            .chain(pods)
            .map(|object| Update {
                before: None,
                after: Some(object),
            })
            .collect();
        planner.update(state, &updates);
        planner
    }

    /// The table as it is now.
    #[must_use]
    pub const fn table(&self) -> &PolicyTable {
        &self.table
    }

    /// Takes in what `ClusterState::apply` returned; `state` is the state after
    /// it. Every update must be passed, once and in order.
    pub fn update(&mut self, state: &ClusterState, updates: &[Update]) -> PolicyChange {
        let mut dirty = Dirty::default();
        for update in updates {
            let (before, after) = (update.before.as_ref(), update.after.as_ref());
            match before.or(after) {
                Some(Object::Pod(_)) => {
                    self.pod(state, pod_of(before), pod_of(after), &mut dirty);
                }
                Some(Object::NetworkPolicy(_)) => {
                    self.policy(state, policy_of(before), policy_of(after), &mut dirty);
                }
                Some(Object::Namespace(_)) => {
                    self.namespace(state, namespace_of(before), namespace_of(after), &mut dirty);
                }
                _ => {}
            }
        }
        self.replan(state, dirty)
    }

    /// A pod was attached to this node at these addresses: its rules are planned
    /// for them, whatever its status says, until `detach`.
    ///
    /// The pod may not be known yet, or only an older one of its name. Then its
    /// labels are not known either, and it is denied everything in each direction
    /// that some policy of its namespace isolates, until the pod arrives.
    pub fn attach(
        &mut self,
        state: &ClusterState,
        name: &ObjectName,
        uid: &str,
        addresses: &[IpAddr],
    ) -> PolicyChange {
        self.claims.attach(name, uid, addresses);
        let mut dirty = Dirty::default();
        self.reclaim(state, name, &mut dirty);
        self.replan(state, dirty)
    }

    /// A pod was detached. A detachment with other addresses than the pod was
    /// last attached with is one of an older sandbox and changes nothing.
    pub fn detach(
        &mut self,
        state: &ClusterState,
        name: &ObjectName,
        addresses: &[IpAddr],
    ) -> PolicyChange {
        let mut dirty = Dirty::default();
        if self.claims.detach(name, addresses) {
            self.reclaim(state, name, &mut dirty);
        }
        self.replan(state, dirty)
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
    fn reclaim(&mut self, state: &ClusterState, name: &ObjectName, dirty: &mut Dirty) {
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
                self.replan_policy(state, &policy, dirty);
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
        if self.peers.tells_apart(before.as_ref(), after.as_ref()) {
            for pod in state.pods_in(name) {
                dirty.addresses.extend(self.claims.claims(&pod.name));
            }
        }
    }

    fn replan(&mut self, state: &ClusterState, dirty: Dirty) -> PolicyChange {
        let mut change = PolicyChange::default();
        for name in &dirty.subjects {
            let rules = self.subject(state, name).map(Arc::new);
            self.put(name, rules, &mut change);
        }
        let mut addresses = dirty.addresses;
        self.collect_regrouped(state, &mut addresses);
        for address in addresses {
            self.regroup(state, address, &mut change);
        }
        change
    }

    /// The rules of a pod, where it is a subject here and isolated.
    fn subject(&mut self, state: &ClusterState, name: &ObjectName) -> Option<PodRules> {
        let (pod, attached) = match self.claims.known(state, name) {
            Known::Pod { pod, attached } => (pod, attached),
            Known::Unannounced => return self.unannounced(state, name),
            Known::Nothing => return None,
        };
        let here = self.node.is_none() || attached || pod.node == self.node;
        let addresses = self.claims.owned(state, name);
        if !here || addresses.is_empty() {
            return None;
        }
        let policies = self.policies.selecting(pod);
        let mut plan = |direction| {
            self.rule_sets
                .plan(pod, &policies, direction, &self.numbers)
        };
        let rules = PodRules {
            node: pod.node.clone(),
            addresses,
            ingress: plan(Direction::Ingress),
            egress: plan(Direction::Egress),
        };
        rules.is_isolated().then_some(rules)
    }

    /// The rules of a pod whose labels are not known: nothing is allowed where
    /// some policy might isolate it.
    fn unannounced(&self, state: &ClusterState, name: &ObjectName) -> Option<PodRules> {
        let deny = |direction| {
            let isolated_by: BTreeSet<ObjectName> = state
                .policies_in(&name.namespace)
                .filter(|policy| rules_of(policy, direction).is_some())
                .map(|policy| policy.name.clone())
                .collect();
            let allows = Vec::new();
            (!isolated_by.is_empty()).then(|| {
                Arc::new(RuleSet {
                    isolated_by,
                    allows,
                })
            })
        };
        let rules = PodRules {
            node: self.node.clone(),
            addresses: self.claims.owned(state, name),
            ingress: deny(Direction::Ingress),
            egress: deny(Direction::Egress),
        };
        rules.is_isolated().then_some(rules)
    }

    fn put(&mut self, name: &ObjectName, after: Option<Arc<PodRules>>, change: &mut PolicyChange) {
        for set in after.iter().flat_map(|rules| rules.sets()) {
            if self.rule_sets.adopt(set) {
                self.peers.retain(set);
            }
        }
        let before = match &after {
            Some(rules) => self.table.pods.insert(name.clone(), rules.clone()),
            None => self.table.pods.remove(name),
        };
        for set in before.iter().flat_map(|rules| rules.sets()) {
            if self.rule_sets.release(set) {
                self.peers.release(set);
            }
        }
        if before == after {
            return;
        }
        for address in before.iter().flat_map(|rules| &rules.addresses) {
            if self.table.pod_at.get(address) == Some(name) {
                self.table.pod_at.remove(address);
            }
        }
        for address in after.iter().flat_map(|rules| &rules.addresses) {
            self.table.pod_at.insert(*address, name.clone());
        }
        let changed = Changed { before, after };
        change.pods.insert(name.clone(), changed);
    }

    /// Adds the addresses that selectors mean which came into use, and those
    /// that selectors meant which went out of use.
    fn collect_regrouped(&mut self, state: &ClusterState, addresses: &mut BTreeSet<IpAddr>) {
        let (mut new, mut gone) = (Vec::new(), Vec::new());
        for (selector, in_use) in self.peers.take_changed() {
            if in_use { &mut new } else { &mut gone }.push(selector);
        }
        if new.len() > FEW_SELECTORS {
            addresses.extend(self.claims.addresses());
            return;
        }
        for selector in new {
            match &selector.namespaces {
                NamespaceScope::One(name) => {
                    self.collect_meant(state, state.pods_in(name), &selector, addresses);
                }
                NamespaceScope::Matching(_) => {
                    self.collect_meant(state, state.pods(), &selector, addresses);
                }
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

    fn collect_meant<'a>(
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

    fn regroup(&mut self, state: &ClusterState, address: IpAddr, change: &mut PolicyChange) {
        let owner = self.claims.owner(state, address);
        let after = owner.and_then(|name| match self.claims.known(state, name) {
            Known::Pod { pod, .. } => {
                let namespace = state.namespace(&name.namespace).map(|n| &**n);
                self.peers.group(pod, namespace, address)
            }
            Known::Unannounced | Known::Nothing => None,
        });
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

const fn namespace_of(object: Option<&Object>) -> Option<&Arc<Namespace>> {
    match object {
        Some(Object::Namespace(namespace)) => Some(namespace),
        _ => None,
    }
}
