mod regroup;
mod touched;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use podway_model::{ClusterNetworkPolicy, ClusterState, Object, ObjectName, Update};

use super::claims::{Claims, Known};
use super::compile::{cluster_rules_of, rules_of};
use super::peer_index::PeerIndex;
use super::policy_index::{PolicyIndex, namespace_labels};
use super::port_numbers::PortNumbers;
use super::rule_sets::RuleSets;
use super::selecting::Selecting;
use super::{Changed, Directions, PodRules, PolicyChange, PolicyTable, RuleSet};

/// Keeps the policy table of a node, or of all nodes, as the cluster changes.
///
/// Work is proportional to the change. A pod's change re-plans the pod and its
/// addresses; a policy's the pods that it selects or selected; a namespace's
/// its pods and their addresses, where a selector in use tells the labels apart;
/// a node's its addresses.
#[derive(Debug, Clone, Default)]
pub struct PolicyPlanner {
    node: Option<Arc<str>>,
    claims: Claims,
    /// The nodes that have each address.
    nodes_at: BTreeMap<IpAddr, BTreeSet<Arc<str>>>,
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
        let cluster = state.cluster_policies().cloned();
        let nodes = state.nodes().cloned().map(Object::Node);
        let pods = state.pods().cloned().map(Object::Pod);
        let updates: Vec<Update> = policies
            .chain(cluster.map(Object::ClusterNetworkPolicy))
            .chain(nodes)
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
            self.touch(state, update, &mut dirty);
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

    /// The rules of a pod, where it is a subject here and has some.
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
        let policies = self.policies.selecting(state, pod);
        let enforced = policies.enforced();
        let (rule_sets, numbers) = (&mut self.rule_sets, &self.numbers);
        let mut plan =
            |policies: &Selecting<'_>, direction| rule_sets.plan(pod, policies, direction, numbers);
        let rules = PodRules {
            node: pod.node.clone(),
            addresses,
            enforced: Directions::of(|direction| plan(&enforced, direction)),
            audited: Directions::of(|direction| {
                let all = policies.in_direction(direction);
                all.has_audit().then(|| plan(&all, direction)).flatten()
            }),
        };
        rules.has_rules().then_some(rules)
    }

    /// The rules of a pod whose labels are not known: nothing is allowed where
    /// some policy might deny something.
    fn unannounced(&self, state: &ClusterState, name: &ObjectName) -> Option<PodRules> {
        let labels = namespace_labels(state, &name.namespace);
        let deny = |direction| {
            let network = state
                .policies_in(&name.namespace)
                .filter(|policy| !policy.audit && rules_of(policy, direction).is_some())
                .map(|policy| policy.name.clone());
            let over = self.policies.over(&labels);
            let cluster = over
                .filter(|policy| !policy.audit && !cluster_rules_of(policy, direction).is_empty())
                .map(ClusterNetworkPolicy::object_name);
            let isolated_by: BTreeSet<ObjectName> = network.chain(cluster).collect();
            let set = RuleSet {
                isolated_by,
                ..RuleSet::default()
            };
            (!set.isolated_by.is_empty()).then(|| Arc::new(set))
        };
        let rules = PodRules {
            node: self.node.clone(),
            addresses: self.claims.owned(state, name),
            enforced: Directions::of(deny),
            audited: Directions::default(),
        };
        rules.has_rules().then_some(rules)
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
}
