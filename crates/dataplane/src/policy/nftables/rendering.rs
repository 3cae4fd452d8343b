//! From rules to elements of maps.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ptr;
use std::sync::Arc;

use podway_kernel::nft::{Data, Element, Part, Value};
use podway_model::IpFamily;
use podway_plan::policy::{Block, PeerGroup, PeerSelector, Peers, PodRules, RuleSet};

use super::groups::{GroupId, Groups};
use super::layout::{self, Gate, Map};
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
        let anybody = ports_of(set, |peers| *peers == Peers::Any);
        let selectors = set.matches().flat_map(|one| one.peers.selectors());
        let meant: BTreeMap<GroupId, &Arc<PeerGroup>> =
            selectors.flat_map(|s| groups.meant_by(s)).collect();
        let blocks: Vec<(&Block, &Peers)> = set
            .matches()
            .flat_map(|one| one.peers.blocks().iter().map(|block| (block, &one.peers)))
            .collect();
        let together = |rules: &[&Peers]| {
            let meant: BTreeSet<*const Peers> = rules.iter().copied().map(ptr::from_ref).collect();
            ports_of(set, |peers| {
                meant.contains(&ptr::from_ref(peers)) || set.has_tiers() && *peers == Peers::Any
            })
        };
        Self {
            anybody,
            groups: meant
                .into_iter()
                .map(|(id, group)| (id, ports_of_group(set, group)))
                .collect(),
            ranges: IpFamily::ALL
                .map(|family| (family, ranges::disjoint(&blocks, family, together)))
                .into(),
        }
    }
}

/// The ports that a rule set allows those peers that its rules mean by what
/// `applies` says. Where rules are ordered, that is all there is to say.
fn ports_of(set: &RuleSet, applies: impl Fn(&Peers) -> bool) -> Ports {
    if set.has_tiers() {
        return set.allowed_ports(|one| applies(&one.peers)).into();
    }
    let mut ports = Ports::default();
    for allow in set.allows.iter().filter(|one| applies(&one.matches.peers)) {
        ports.allow(&allow.matches.ports);
    }
    ports
}

fn ports_of_group(set: &RuleSet, group: &PeerGroup) -> Ports {
    ports_of(set, |peers| {
        let mut selectors = peers.selectors().iter();
        selectors.any(|s| group.selectors.contains(s)) || set.has_tiers() && *peers == Peers::Any
    })
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
        for (gate, set) in judged(rules) {
            let judgement = self.of(set);
            for address in &rules.addresses {
                isolate(&mut pod, gate, *address, &judgement);
            }
        }
        pod
    }
}

/// What a pod has in the maps because of one group of peers.
pub(super) fn of_group(rules: &PodRules, group: &PeerGroup, id: GroupId) -> PodElements {
    let mut pod = PodElements::new();
    for (gate, set) in judged(rules) {
        let selectors = set.matches().flat_map(|one| one.peers.selectors());
        if !selectors.into_iter().any(|s| group.selectors.contains(s)) {
            continue;
        }
        let ports = ports_of_group(set, group);
        for address in &rules.addresses {
            allow_group(&mut pod, gate, *address, id, &ports);
        }
    }
    pod
}

/// The selectors of everything that is judged for a pod.
pub(super) fn selectors(rules: &PodRules) -> BTreeSet<Arc<PeerSelector>> {
    judged(rules)
        .flat_map(|(_, set)| set.matches())
        .flat_map(|one| one.peers.selectors())
        .cloned()
        .collect()
}

/// Whether a peer may lose something by being meant by more selectors.
pub(super) fn is_ordered(rules: &PodRules) -> bool {
    rules.enforced.sets().any(|set| set.has_tiers())
}

/// What has to be judged. Who allows everybody everything need not be asked.
fn judged(rules: &PodRules) -> impl Iterator<Item = (Gate, &Arc<RuleSet>)> {
    let is_open = |set: &RuleSet| {
        let mut allows = set.allows.iter().map(|allow| &allow.matches);
        !set.has_tiers() && allows.any(|one| one.peers == Peers::Any && one.ports.is_empty())
    };
    let set_of = |gate: Gate| match gate.is_audit {
        false => rules.enforced.get(gate.direction),
        true => rules.audited.get(gate.direction),
    };
    Gate::ALL
        .into_iter()
        .filter_map(move |gate| Some((gate, set_of(gate)?)))
        .filter(move |(_, set)| !is_open(set))
}

fn isolate(pod: &mut PodElements, gate: Gate, address: IpAddr, judgement: &Judgement) {
    let family = IpFamily::of(&address);
    let key = || Element::new(&[address.into()]);
    pod.insert((Map::Pods(gate, family), key()), Ports::None);
    pod.insert((Map::Denied(gate, family), key()), Ports::None);
    for (group, ports) in &judgement.groups {
        allow_group(pod, gate, address, *group, ports);
    }
    for (first, last, ports) in judgement.ranges.get(&family).into_iter().flatten() {
        let range = Part::Range((*first).into(), (*last).into());
        let key = Element::interval(&[Part::Value(address.into()), range]);
        allow(pod, Map::Blocks(gate, family), key, ports);
    }
    let map = Map::Anybody(gate, family);
    allow(pod, map, key(), &judgement.anybody);
}

fn allow_group(pod: &mut PodElements, gate: Gate, address: IpAddr, group: GroupId, ports: &Ports) {
    let class = Value::Class(layout::group_class(group));
    let key = Element::new(&[class, address.into()]);
    let map = Map::Peers(gate, IpFamily::of(&address));
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
