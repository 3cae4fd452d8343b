use std::collections::BTreeMap;
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
use super::rendering::{Judgements, PodElements, member, of_group};

/// What the kernel holds, as far as it follows from policies.
#[derive(Debug, Clone)]
pub(super) struct State {
    sets: BTreeMap<Map, Arc<Set>>,
    groups: Groups,
    pods: BTreeMap<ObjectName, PodElements>,
    /// How many elements lead to each chain of ports.
    chains: BTreeMap<Ports, usize>,
}

/// Elements and chains to be written.
#[derive(Debug, Default)]
struct Edit {
    delete: BTreeMap<Map, Vec<Element>>,
    add: BTreeMap<Map, Vec<Element>>,
    /// Chains that elements began or ceased to lead to, and how many did before.
    chains: BTreeMap<Ports, usize>,
}

/// A group that came into being or went away.
struct Regrouped {
    group: Arc<PeerGroup>,
    id: GroupId,
    is_new: bool,
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
            for ports in pod.values().filter(|ports| ports.have_chain()) {
                *state.chains.entry(ports.clone()).or_default() += 1;
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
        let of_pods = self.pods.values().flat_map(|pod| pod.keys().cloned());
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
        let mut judgements = Judgements::new(&self.groups);
        let changed: Vec<(&ObjectName, PodElements)> = change
            .pods
            .keys()
            .map(|name| {
                let rules = table.pods.get(name);
                (
                    name,
                    rules.map(|rules| judgements.pod(rules)).unwrap_or_default(),
                )
            })
            .collect();
        for (name, after) in changed {
            self.replace(name, after, &mut edit);
        }
        if !regrouped.is_empty() {
            let others = table.pods.iter();
            for (name, rules) in others.filter(|(name, _)| !change.pods.contains_key(*name)) {
                self.follow_groups(name, rules, &regrouped, &mut edit);
            }
        }
        self.transaction(edit)
    }

    /// Moves addresses between groups. Returns the groups that came into being
    /// or went away: who names one of their selectors has other elements.
    fn regroup(&mut self, change: &PolicyChange, edit: &mut Edit) -> Vec<Regrouped> {
        let mut regrouped = Vec::new();
        for (address, changed) in &change.peers {
            if let Some(group) = &changed.after {
                let (id, is_new) = self.groups.join(group);
                edit.add(member(*address, id));
                regrouped.extend(is_new.then(|| Regrouped::new(group, id, true)));
            }
        }
        // Only now, so that no number has two meanings in one transaction.
        for (address, changed) in &change.peers {
            if let Some(group) = &changed.before
                && let Some((id, is_gone)) = self.groups.leave(group)
            {
                edit.delete(member(*address, id));
                regrouped.extend(is_gone.then(|| Regrouped::new(group, id, false)));
            }
        }
        regrouped
    }

    /// A pod's rules are other ones.
    fn replace(&mut self, name: &ObjectName, after: PodElements, edit: &mut Edit) {
        let before = self.pods.remove(name).unwrap_or_default();
        for (key, ports) in &before {
            if !after.contains_key(key) {
                edit.delete(key.clone());
                self.unlead(ports, edit);
            }
        }
        for (key, ports) in &after {
            if !before.contains_key(key) {
                edit.add(key.clone());
                self.lead(ports, edit);
            }
        }
        if !after.is_empty() {
            self.pods.insert(name.clone(), after);
        }
    }

    /// A pod's rules are the same, the groups that they mean are not.
    fn follow_groups(
        &mut self,
        name: &ObjectName,
        rules: &PodRules,
        regrouped: &[Regrouped],
        edit: &mut Edit,
    ) {
        for Regrouped { group, id, is_new } in regrouped {
            for (key, ports) in of_group(rules, group, *id) {
                let pod = self.pods.entry(name.clone()).or_default();
                if *is_new {
                    edit.add(key.clone());
                    pod.insert(key, ports.clone());
                    self.lead(&ports, edit);
                } else {
                    pod.remove(&key);
                    edit.delete(key);
                    self.unlead(&ports, edit);
                }
            }
        }
    }

    /// One more element leads to a chain of ports.
    fn lead(&mut self, ports: &Ports, edit: &mut Edit) {
        if ports.have_chain() {
            let elements = self.chains.entry(ports.clone()).or_default();
            edit.chains.entry(ports.clone()).or_insert(*elements);
            *elements += 1;
        }
    }

    /// One element fewer leads to a chain of ports.
    fn unlead(&mut self, ports: &Ports, edit: &mut Edit) {
        if let Some(elements) = self.chains.get_mut(ports) {
            edit.chains.entry(ports.clone()).or_insert(*elements);
            *elements -= 1;
        }
    }

    /// Chains before what leads to them; old elements out before new ones with
    /// the same key come in; chains that nothing leads to any more at the end.
    fn transaction(&mut self, edit: Edit) -> Transaction {
        let mut transaction = Transaction::new(TABLE);
        let mut obsolete = Vec::new();
        for (ports, before) in edit.chains {
            let now = self.chains.get(&ports).copied().unwrap_or(0);
            if now == 0 {
                self.chains.remove(&ports);
            }
            let Some((chain, rules)) = ports.chain() else {
                continue;
            };
            if before > 0 && now == 0 {
                obsolete.push(chain.name);
            } else if before == 0 && now > 0 {
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

impl Regrouped {
    fn new(group: &Arc<PeerGroup>, id: GroupId, is_new: bool) -> Self {
        Self {
            group: group.clone(),
            id,
            is_new,
        }
    }
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
