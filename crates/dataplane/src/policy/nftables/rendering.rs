//! From rules to elements of maps.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use podway_kernel::nft::{Data, Element, Part, Value};
use podway_model::IpFamily;
use podway_plan::policy::{Block, Direction, PeerGroup, PeerSelector, Peers, PodRules, RuleSet};

use super::groups::{GroupId, Groups};
use super::layout::{self, Map};
use super::ports::Ports;
use super::ranges::{self, Range};

/// What one pod has in the maps: the key of each element, and the ports that it
/// leads to. Elements of sets lead to none.
pub(super) type PodElements = BTreeMap<(Map, Element), Ports>;

/// A rule set with peers as groups and ranges: what every pod that has it
/// shares.
#[derive(Debug)]
pub(super) struct Judgement {
    anybody: Ports,
    groups: BTreeMap<GroupId, Ports>,
    ranges: BTreeMap<IpFamily, Vec<Range>>,
}

/// The judgements of one sync, by allocation of the rule set: pods share those.
pub(super) struct Judgements<'a> {
    groups: &'a Groups,
    known: BTreeMap<*const RuleSet, Arc<Judgement>>,
}

impl Judgement {
    fn of(set: &RuleSet, groups: &Groups) -> Self {
        let mut judgement = Self {
            anybody: Ports::default(),
            groups: BTreeMap::new(),
            ranges: BTreeMap::new(),
        };
        let mut blocks: Vec<(Block, Ports)> = Vec::new();
        for allow in &set.allows {
            let Peers::Some {
                selectors,
                blocks: of_rule,
            } = &allow.peers
            else {
                judgement.anybody.allow(&allow.ports);
                continue;
            };
            let meant: BTreeSet<GroupId> =
                selectors.iter().flat_map(|s| groups.meant_by(s)).collect();
            for group in meant {
                let ports = judgement.groups.entry(group).or_default();
                ports.allow(&allow.ports);
            }
            for block in of_rule {
                let mut ports = Ports::default();
                ports.allow(&allow.ports);
                blocks.push((block.clone(), ports));
            }
        }
        for family in IpFamily::ALL {
            let ranges = ranges::disjoint(&blocks, family);
            judgement.ranges.insert(family, ranges);
        }
        judgement
    }
}

impl<'a> Judgements<'a> {
    pub(super) const fn new(groups: &'a Groups) -> Self {
        Self {
            groups,
            known: BTreeMap::new(),
        }
    }

    fn of(&mut self, set: &Arc<RuleSet>) -> Arc<Judgement> {
        let judgement = self
            .known
            .entry(Arc::as_ptr(set))
            .or_insert_with(|| Arc::new(Judgement::of(set, self.groups)));
        judgement.clone()
    }

    /// Everything that a pod has in the maps.
    pub(super) fn pod(&mut self, rules: &PodRules) -> PodElements {
        let mut pod = PodElements::new();
        for (direction, set) in judged(rules) {
            let judgement = self.of(set);
            for address in &rules.addresses {
                isolate(&mut pod, direction, *address, &judgement);
            }
        }
        pod
    }
}

/// What a pod has in the maps because of one group of peers.
pub(super) fn of_group(rules: &PodRules, group: &PeerGroup, id: GroupId) -> PodElements {
    let mut pod = PodElements::new();
    for (direction, set) in judged(rules) {
        let mut ports = Ports::default();
        for allow in &set.allows {
            let selectors = allow.peers.selectors();
            if selectors.iter().any(|s| group.selectors.contains(s)) {
                ports.allow(&allow.ports);
            }
        }
        for address in &rules.addresses {
            allow_group(&mut pod, direction, *address, id, &ports);
        }
    }
    pod
}

/// The selectors of everything that is judged for a pod.
pub(super) fn selectors(rules: &PodRules) -> BTreeSet<Arc<PeerSelector>> {
    judged(rules)
        .flat_map(|(_, set)| &set.allows)
        .flat_map(|allow| allow.peers.selectors())
        .cloned()
        .collect()
}

/// The directions that have to be judged. Who allows everybody everything need
/// not be asked.
fn judged(rules: &PodRules) -> impl Iterator<Item = (Direction, &Arc<RuleSet>)> {
    let is_open = |set: &RuleSet| {
        set.allows
            .iter()
            .any(|a| a.peers == Peers::Any && a.ports.is_empty())
    };
    Direction::ALL
        .into_iter()
        .filter_map(|direction| Some((direction, rules.direction(direction)?)))
        .filter(move |(_, set)| !is_open(set))
}

fn isolate(pod: &mut PodElements, direction: Direction, address: IpAddr, judgement: &Judgement) {
    let family = IpFamily::of(&address);
    let key = || Element::new(&[address.into()]);
    pod.insert((Map::Pods(direction, family), key()), Ports::None);
    pod.insert((Map::Denied(direction, family), key()), Ports::None);
    for (group, ports) in &judgement.groups {
        allow_group(pod, direction, address, *group, ports);
    }
    for (first, last, ports) in judgement.ranges.get(&family).into_iter().flatten() {
        let range = Part::Range((*first).into(), (*last).into());
        let key = Element::interval(&[Part::Value(address.into()), range]);
        allow(pod, Map::Blocks(direction, family), key, ports);
    }
    let map = Map::Anybody(direction, family);
    allow(pod, map, key(), &judgement.anybody);
}

fn allow_group(
    pod: &mut PodElements,
    direction: Direction,
    address: IpAddr,
    group: GroupId,
    ports: &Ports,
) {
    let class = Value::Class(layout::group_class(group));
    let key = Element::new(&[class, address.into()]);
    let map = Map::Peers(direction, IpFamily::of(&address));
    allow(pod, map, key, ports);
}

fn allow(pod: &mut PodElements, map: Map, key: Element, ports: &Ports) {
    if *ports != Ports::None {
        pod.insert((map, key), ports.clone());
    }
}

/// The element that says which group an address is in.
pub(super) fn member(address: IpAddr, group: GroupId) -> (Map, Element) {
    let class = Value::Class(layout::group_class(group));
    let element = Element::new(&[address.into()]).to(Data::values(&[class]));
    (Map::Groups(IpFamily::of(&address)), element)
}

/// The element that has an address's connections judged again.
pub(super) fn suspect(address: IpAddr) -> (Map, Element) {
    let element = Element::new(&[address.into()]);
    (Map::Suspects(IpFamily::of(&address)), element)
}
