use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use podway_kernel::nft::{
    Data, Element, Operation, Ruleset, Set, TableDump, Transaction, Type, Value,
};
use podway_model::{IpFamily, ObjectName};
use podway_plan::policy::{PeerGroup, PodRules, PolicyChange, PolicyTable};

use super::groups::{GroupId, Groups};
use super::layout::{self, Map, TABLE};
use super::ports::Ports;
use super::rendering::{Judgements, PodElements, member};

/// What the kernel holds, as far as it follows from policies.
#[derive(Debug, Clone)]
pub(super) struct State {
    sets: BTreeMap<Map, Arc<Set>>,
    groups: Groups,
    pods: BTreeMap<ObjectName, PodElements>,
    /// How many pods lead to each chain of ports.
    chains: BTreeMap<Ports, usize>,
}

/// Elements and chains to be written.
#[derive(Debug, Default)]
struct Edit {
    delete: BTreeMap<Map, Vec<Element>>,
    add: BTreeMap<Map, Vec<Element>>,
    /// Chains that pods began or ceased to lead to, and how many did before.
    chains: BTreeMap<Ports, usize>,
}

impl State {
    /// What the kernel should hold for a table. Groups get the numbers that
    /// their addresses have in the kernel already.
    pub(super) fn of(table: &PolicyTable, held: Option<&TableDump>) -> Self {
        let held = held.map(held_groups).unwrap_or_default();
        let mut state = Self {
            sets: Map::all().map(|map| (map, map.set())).collect(),
            groups: Groups::adopt(&table.peers, &held),
            pods: BTreeMap::new(),
            chains: BTreeMap::new(),
        };
        let mut judgements = Judgements::new(&state.groups);
        for (name, rules) in &table.pods {
            let pod = judgements.pod(rules);
            for chain in &pod.chains {
                *state.chains.entry(chain.clone()).or_default() += 1;
            }
            state.pods.insert(name.clone(), pod);
        }
        state
    }

    /// The whole table as the kernel should hold it.
    pub(super) fn ruleset(&self, table: &PolicyTable) -> Ruleset {
        let mut elements: BTreeMap<Map, Vec<Element>> = BTreeMap::new();
        let members = table.peers.iter().filter_map(|(address, group)| {
            let id = self.groups.id(group)?;
            Some(member(*address, id))
        });
        let of_pods = self.pods.values().flat_map(|pod| pod.elements.clone());
        for (map, element) in members.chain(of_pods) {
            elements.entry(map).or_default().push(element);
        }
        let mut ruleset = Ruleset::new(TABLE);
        for (map, set) in &self.sets {
            let elements = elements.remove(map).unwrap_or_default();
            ruleset.sets.push((set.clone(), elements));
        }
        ruleset.chains = layout::chains();
        ruleset
            .chains
            .extend(self.chains.keys().filter_map(Ports::chain));
        ruleset
    }

    /// Follows a change, and returns what has to be written for it.
    pub(super) fn follow(&mut self, table: &PolicyTable, change: &PolicyChange) -> Transaction {
        let mut edit = Edit::default();
        let regrouped = self.regroup(change, &mut edit);
        let mut pods: BTreeSet<&ObjectName> = change.pods.keys().collect();
        if !regrouped.is_empty() {
            let names = |rules: &PodRules| names_some(rules, &regrouped);
            pods.extend(
                table
                    .pods
                    .iter()
                    .filter(|(_, rules)| names(rules))
                    .map(|(name, _)| name),
            );
        }
        let mut judgements = Judgements::new(&self.groups);
        let after: Vec<(&ObjectName, Option<PodElements>)> = pods
            .into_iter()
            .map(|name| {
                (
                    name,
                    table.pods.get(name).map(|rules| judgements.pod(rules)),
                )
            })
            .collect();
        for (name, after) in after {
            self.put(name, after, &mut edit);
        }
        self.transaction(edit)
    }

    /// Moves addresses between groups. Returns the groups that came into being
    /// or went away: who names one of their selectors has other elements.
    fn regroup(&mut self, change: &PolicyChange, edit: &mut Edit) -> Vec<Arc<PeerGroup>> {
        let mut regrouped = Vec::new();
        for (address, changed) in &change.peers {
            if let Some(group) = &changed.after {
                let (id, is_new) = self.groups.join(group);
                edit.add(member(*address, id));
                regrouped.extend(is_new.then(|| group.clone()));
            }
        }
        for (address, changed) in &change.peers {
            if let Some(group) = &changed.before
                && let Some((id, is_gone)) = self.groups.leave(group)
            {
                edit.delete(member(*address, id));
                regrouped.extend(is_gone.then(|| group.clone()));
            }
        }
        regrouped
    }

    fn put(&mut self, name: &ObjectName, after: Option<PodElements>, edit: &mut Edit) {
        let before = self.pods.remove(name).unwrap_or_default();
        let new = after.unwrap_or_default();
        for (map, element) in before.elements.difference(&new.elements) {
            edit.delete((*map, element.clone()));
        }
        for (map, element) in new.elements.difference(&before.elements) {
            edit.add((*map, element.clone()));
        }
        for chain in new.chains.difference(&before.chains) {
            let users = self.chains.entry(chain.clone()).or_default();
            edit.chains.entry(chain.clone()).or_insert(*users);
            *users += 1;
        }
        for chain in before.chains.difference(&new.chains) {
            let users = self.chains.entry(chain.clone()).or_default();
            edit.chains.entry(chain.clone()).or_insert(*users);
            *users -= 1;
        }
        if !new.elements.is_empty() {
            self.pods.insert(name.clone(), new);
        }
    }

    /// Chains before what leads to them; old elements out before new ones with
    /// the same key come in; chains that nothing leads to any more at the end.
    fn transaction(&mut self, edit: Edit) -> Transaction {
        let mut transaction = Transaction::new(TABLE);
        let mut obsolete = Vec::new();
        for (ports, before) in edit.chains {
            let users = self.chains.get(&ports).copied().unwrap_or(0);
            if users == 0 {
                self.chains.remove(&ports);
            }
            let Some((chain, rules)) = ports.chain() else {
                continue;
            };
            if before > 0 && users == 0 {
                obsolete.push(chain.name);
            } else if before == 0 && users > 0 {
                let name = chain.name.clone();
                transaction.push(Operation::AddChain(chain));
                for rule in rules {
                    let chain = name.clone();
                    transaction.push(Operation::AddRule { chain, rule });
                }
            }
        }
        for (map, elements) in edit.delete {
            transaction.delete(&self.sets[&map], elements);
        }
        for (map, elements) in edit.add {
            transaction.add(&self.sets[&map], elements);
        }
        for chain in obsolete {
            transaction.push(Operation::FlushChain(chain.clone()));
            transaction.push(Operation::DeleteChain(chain));
        }
        transaction
    }
}

impl Edit {
    fn add(&mut self, (map, element): (Map, Element)) {
        self.add.entry(map).or_default().push(element);
    }

    fn delete(&mut self, (map, element): (Map, Element)) {
        self.delete.entry(map).or_default().push(element);
    }
}

/// Whether a rule of a pod names a selector of one of the groups.
fn names_some(rules: &PodRules, groups: &[Arc<PeerGroup>]) -> bool {
    rules
        .sets()
        .flat_map(|set| &set.allows)
        .flat_map(|allow| allow.peers.selectors())
        .any(|selector| groups.iter().any(|g| g.selectors.contains(selector)))
}

/// The numbers that addresses have in the kernel.
fn held_groups(held: &TableDump) -> BTreeMap<IpAddr, GroupId> {
    let mut groups = BTreeMap::new();
    for (family, kind) in [(IpFamily::V4, Type::Ipv4), (IpFamily::V6, Type::Ipv6)] {
        let map = held.sets.get(&Map::Groups(family).name());
        for element in map.into_iter().flat_map(|map| &map.elements) {
            let Some(Data::Values(data)) = &element.data else {
                continue;
            };
            let address = Value::decode(kind, &element.key);
            let group = Value::decode(Type::Class, data);
            if let (Some(Value::Ip(address)), Some(Value::Class(group))) = (address, group) {
                groups.insert(address, group);
            }
        }
    }
    groups
}
