use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use podway_kernel::nft::{Data, Element, Ruleset, Set, TableDump, Transaction, Type, Value};
use podway_model::{IpFamily, ObjectName};
use podway_plan::policy::{Changed, PeerGroup, PeerSelector, PodRules, PolicyChange, PolicyTable};

use super::groups::{GroupId, Groups};
use super::layout::{self, Map, TABLE};
use super::lists::Lists;
use super::narrowing;
use super::ports::Ports;
use super::rendering::{Judgements, PodElements, is_ordered, member, of_group, selectors, suspect};
use crate::policy::PolicyOptions;

/// What the kernel holds, as far as it follows from policies.
#[derive(Debug, Clone)]
pub(super) struct State {
    sets: BTreeMap<Map, Arc<Set>>,
    groups: Groups,
    lists: Lists,
    pods: BTreeMap<ObjectName, Held>,
    /// The pods that have something of a selector.
    users: BTreeMap<Arc<PeerSelector>, BTreeSet<ObjectName>>,
    /// Addresses whose connections are judged again.
    suspects: BTreeSet<IpAddr>,
}

/// What the maps hold of a pod.
#[derive(Debug, Clone, Default)]
struct Held {
    elements: PodElements,
    selectors: BTreeSet<Arc<PeerSelector>>,
    is_ordered: bool,
}

/// What is to be written.
#[derive(Debug, Default)]
struct Edit {
    delete: BTreeMap<Map, Vec<Element>>,
    add: BTreeMap<Map, Vec<Element>>,
    /// Ports that elements ceased to lead to.
    released: BTreeSet<Ports>,
    /// Addresses that may have lost something that they were allowed.
    narrowed: BTreeSet<IpAddr>,
}

/// A group that came into being or went away.
struct Regrouped {
    group: Arc<PeerGroup>,
    id: GroupId,
    is_new: bool,
}

impl State {
    /// What the kernel should hold for a table. Groups and lists get the numbers
    /// that they have in the kernel already, and who is suspect stays so.
    pub(super) fn of(table: &PolicyTable, held: Option<&TableDump>) -> Self {
        let groups = Groups::adopt(&table.peers, &held.map(held_groups).unwrap_or_default());
        let mut judgements = Judgements::new(&groups);
        let mut users: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        let mut pods = BTreeMap::new();
        for (name, rules) in &table.pods {
            let of_pod = Held {
                elements: judgements.pod(rules),
                selectors: selectors(rules),
                is_ordered: is_ordered(rules),
            };
            for selector in &of_pod.selectors {
                let names = users.entry(selector.clone()).or_default();
                names.insert(name.clone());
            }
            pods.insert(name.clone(), of_pod);
        }
        let used = pods.values().flat_map(|of_pod| of_pod.elements.values());
        Self {
            sets: Map::all().map(|map| (map, map.set())).collect(),
            lists: Lists::adopt(used, held),
            suspects: held.map(held_suspects).unwrap_or_default(),
            groups,
            pods,
            users,
        }
    }

    /// The whole table as the kernel should hold it.
    pub(super) fn ruleset(&self, table: &PolicyTable, options: &PolicyOptions) -> Ruleset {
        let mut elements: BTreeMap<Map, Vec<Element>> = BTreeMap::new();
        let mut put = |(map, element)| elements.entry(map).or_default().push(element);
        for (address, group) in &table.peers {
            if let Some(id) = self.groups.id(group) {
                put(member(*address, id));
            }
        }
        for ((map, key), ports) in self.pods.values().flat_map(|of_pod| &of_pod.elements) {
            put((*map, self.element(key, ports)));
        }
        for element in self.lists.elements() {
            put(element);
        }
        for address in &self.suspects {
            put(suspect(*address));
        }
        let mut ruleset = Ruleset::new(TABLE);
        for (map, set) in &self.sets {
            let elements = elements.remove(map).unwrap_or_default();
            ruleset.sets.push((set.clone(), elements));
        }
        ruleset.chains = layout::chains(options);
        ruleset
    }

    fn element(&self, key: &Element, ports: &Ports) -> Element {
        Element {
            data: self.lists.data(ports),
            ..key.clone()
        }
    }

    /// Follows a change. What has to be written for it, and the addresses that
    /// may have lost something that they were allowed.
    pub(super) fn follow(
        &mut self,
        table: &PolicyTable,
        change: &PolicyChange,
    ) -> (Transaction, BTreeSet<IpAddr>) {
        let mut edit = Edit::default();
        let regrouped = self.regroup(change, &mut edit);
        let mut judgements = Judgements::new(&self.groups);
        let changed: Vec<(&ObjectName, Held)> = change
            .pods
            .keys()
            .map(|name| {
                let rules = table.pods.get(name);
                let after = rules.map(|rules| Held {
                    elements: judgements.pod(rules),
                    selectors: selectors(rules),
                    is_ordered: is_ordered(rules),
                });
                (name, after.unwrap_or_default())
            })
            .collect();
        for (name, after) in changed {
            self.replace(name, after, &mut edit);
        }
        for regrouped in &regrouped {
            for name in self.users_of(&regrouped.group) {
                let rules = table.pods.get(&name);
                let unchanged = rules.filter(|_| !change.pods.contains_key(&name));
                if let Some(rules) = unchanged {
                    self.follow_group(&name, rules, regrouped, &mut edit);
                }
            }
        }
        edit.narrowed.extend(self.reselected(change));
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
            let Some(group) = &changed.before else {
                continue;
            };
            if let Some((id, is_gone)) = self.groups.leave(group) {
                edit.delete(member(*address, id));
                regrouped.extend(is_gone.then(|| Regrouped::new(group, id, false)));
            }
        }
        regrouped
    }

    /// The addresses that a selector in use means no longer, or means now where
    /// rules are ordered. One that nobody uses is no loss, and who ceased to use
    /// it has other rules.
    fn reselected(&self, change: &PolicyChange) -> BTreeSet<IpAddr> {
        let selectors = |group: &Option<Arc<PeerGroup>>| {
            let selectors = group.as_ref().map(|group| group.selectors.clone());
            selectors.unwrap_or_default()
        };
        let is_ordered = |name| self.pods.get(name).is_some_and(|pod| pod.is_ordered);
        let loses = |changed: &Changed<PeerGroup>| {
            let (before, after) = (selectors(&changed.before), selectors(&changed.after));
            let mut lost = before.difference(&after);
            let gained = after.difference(&before);
            let mut users = gained.filter_map(|selector| self.users.get(selector));
            lost.any(|selector| self.users.contains_key(selector))
                || users.any(|names| names.iter().any(is_ordered))
        };
        let peers = change.peers.iter();
        peers
            .filter(|(_, changed)| loses(changed))
            .map(|(address, _)| *address)
            .collect()
    }

    /// Whether a peer may lose something by being meant by more selectors.
    pub(super) fn is_ordered(&self) -> bool {
        self.pods.values().any(|of_pod| of_pod.is_ordered)
    }

    fn users_of(&self, group: &PeerGroup) -> BTreeSet<ObjectName> {
        let users = group.selectors.iter().filter_map(|s| self.users.get(s));
        users.flatten().cloned().collect()
    }

    /// A pod's rules are other ones.
    fn replace(&mut self, name: &ObjectName, after: Held, edit: &mut Edit) {
        let before = self.pods.remove(name).unwrap_or_default();
        for (key, ports) in &after.elements {
            if before.elements.get(key) != Some(ports) {
                self.add(key, ports, edit);
            }
        }
        for (key, ports) in &before.elements {
            if after.elements.get(key) != Some(ports) {
                edit.delete(key.clone());
                edit.released.insert(ports.clone());
                self.lists.release(ports);
            }
        }
        edit.narrowed
            .extend(narrowing::of_pod(&before.elements, &after.elements));
        for selector in before.selectors.difference(&after.selectors) {
            if let Some(names) = self.users.get_mut(selector) {
                names.remove(name);
                if names.is_empty() {
                    self.users.remove(selector);
                }
            }
        }
        for selector in after.selectors.difference(&before.selectors) {
            let names = self.users.entry(selector.clone()).or_default();
            names.insert(name.clone());
        }
        if !after.elements.is_empty() {
            self.pods.insert(name.clone(), after);
        }
    }

    fn add(&mut self, (map, key): &(Map, Element), ports: &Ports, edit: &mut Edit) {
        for element in self.lists.retain(ports) {
            edit.add(element);
        }
        edit.add((*map, self.element(key, ports)));
    }

    /// A pod's rules are the same, a group that they mean is new or gone.
    fn follow_group(
        &mut self,
        name: &ObjectName,
        rules: &PodRules,
        Regrouped { group, id, is_new }: &Regrouped,
        edit: &mut Edit,
    ) {
        for (key, ports) in of_group(rules, group, *id) {
            if *is_new {
                self.add(&key, &ports, edit);
                let of_pod = self.pods.entry(name.clone()).or_default();
                of_pod.elements.insert(key, ports);
            } else if let Some(of_pod) = self.pods.get_mut(name) {
                of_pod.elements.remove(&key);
                self.lists.release(&ports);
                edit.delete(key);
                edit.released.insert(ports);
            }
        }
    }

    /// Old elements out before new ones with the same key come in. What is
    /// allowed and leads to a list that comes or goes does so in one step with it.
    fn transaction(&mut self, mut edit: Edit) -> (Transaction, BTreeSet<IpAddr>) {
        for ports in &edit.released {
            for (map, element) in self.lists.forget_unused(ports) {
                edit.delete.entry(map).or_default().push(element);
            }
        }
        let mut transaction = Transaction::new(TABLE);
        for (map, elements) in edit.delete {
            transaction.delete(&self.sets[&map], elements);
        }
        for (map, elements) in edit.add {
            transaction.add(&self.sets[&map], elements);
        }
        (transaction, edit.narrowed)
    }

    /// Has the connections of these addresses judged again.
    pub(super) fn suspect(&mut self, addresses: &BTreeSet<IpAddr>, transaction: &mut Transaction) {
        let mut new: BTreeMap<Map, Vec<Element>> = BTreeMap::new();
        for address in addresses.difference(&self.suspects) {
            let (map, element) = suspect(*address);
            new.entry(map).or_default().push(element);
        }
        for (map, elements) in new {
            transaction.add(&self.sets[&map], elements);
        }
        self.suspects.extend(addresses);
    }

    /// What has to be written for these addresses to be suspect no longer.
    pub(super) fn clear(&mut self, addresses: &BTreeSet<IpAddr>) -> Transaction {
        let mut transaction = Transaction::new(TABLE);
        let mut gone: BTreeMap<Map, Vec<Element>> = BTreeMap::new();
        for address in addresses {
            if self.suspects.remove(address) {
                let (map, element) = suspect(*address);
                gone.entry(map).or_default().push(element);
            }
        }
        for (map, elements) in gone {
            transaction.delete(&self.sets[&map], elements);
        }
        transaction
    }

    /// Nobody's connections are judged again.
    pub(super) fn forget_suspects(&mut self) {
        self.suspects.clear();
    }

    /// Whose connections are judged again.
    pub(super) const fn suspects(&self) -> &BTreeSet<IpAddr> {
        &self.suspects
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
    for (map, element) in held_elements(held, Map::Groups) {
        let Some(Data::Values(data)) = &element.data else {
            continue;
        };
        if let (Some(address), Some(Value::Class(class))) =
            (map.address_of(element), Value::decode(Type::Class, data))
            && let Some(group) = layout::group_of_class(class)
        {
            groups.insert(address, group);
        }
    }
    groups
}

fn held_suspects(held: &TableDump) -> BTreeSet<IpAddr> {
    held_elements(held, Map::Suspects)
        .filter_map(|(map, element)| map.address_of(element))
        .collect()
}

fn held_elements(
    held: &TableDump,
    map: fn(IpFamily) -> Map,
) -> impl Iterator<Item = (Map, &Element)> {
    IpFamily::ALL.into_iter().flat_map(move |family| {
        let map = map(family);
        let set = held.sets.get(&map.name());
        set.into_iter()
            .flat_map(|set| &set.elements)
            .map(move |element| (map, element))
    })
}
