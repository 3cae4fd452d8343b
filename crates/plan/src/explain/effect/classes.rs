//! Who is the same to every policy.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use podway_model::{ClusterState, IpFamily, ObjectName};

use crate::policy::{Block, PodRules, PolicyTable, RuleSet};

/// Pods, or addresses outside the cluster, of which policies say the same before
/// and after.
#[derive(Debug)]
pub(super) struct Class<'a> {
    pub(super) members: Members<'a>,
    /// One of them.
    pub(super) address: IpAddr,
    /// A second one, where there is one.
    pub(super) another: Option<IpAddr>,
    /// Their rules, before and after.
    pub(super) rules: [Option<&'a Arc<PodRules>>; 2],
}

#[derive(Debug)]
pub(super) enum Members<'a> {
    Pods(BTreeSet<&'a ObjectName>),
    /// Those that the words say.
    Outside(String),
}

/// What policies can tell a pod by: allocations of rules and groups, before and
/// after, and the blocks that it is in.
type Signature = ([[usize; 3]; 2], Vec<bool>);

/// Addresses for documentation stand for everybody whom no block names.
const ELSEWHERE: [[u8; 4]; 3] = [[203, 0, 113, 77], [198, 51, 100, 77], [192, 0, 2, 77]];

impl Class<'_> {
    pub(super) fn is_changed(&self) -> bool {
        let [before, after] = self.rules;
        let enforced = |rules: Option<&Arc<PodRules>>| rules.map(|rules| rules.enforced.clone());
        enforced(before).unwrap_or_default() != enforced(after).unwrap_or_default()
    }
}

/// Everybody with an address of a family.
pub(super) fn classes<'a>(
    state: &'a ClusterState,
    tables: [&'a PolicyTable; 2],
    family: IpFamily,
) -> Vec<Class<'a>> {
    let blocks = blocks(tables, family);
    let mut by_signature: BTreeMap<Signature, Class<'a>> = BTreeMap::new();
    for pod in state.pods().filter(|pod| pod.owns_addresses()) {
        let mut addresses = pod.addresses.iter().copied();
        let Some(address) = addresses.find(|address| IpFamily::of(address) == family) else {
            continue;
        };
        let rules = tables.map(|table| table.rules_at(address));
        let told = tables.map(|table| {
            let rules = table.rules_at(address);
            let set = |set: Option<&Arc<RuleSet>>| set.map_or(0, |set| Arc::as_ptr(set) as usize);
            let group = table.peers.get(&address);
            [
                rules.map_or(0, |rules| set(rules.enforced.ingress.as_ref())),
                rules.map_or(0, |rules| set(rules.enforced.egress.as_ref())),
                group.map_or(0, |group| Arc::as_ptr(group) as usize),
            ]
        });
        let within = blocks.iter().map(|block| block.contains(address)).collect();
        let class = by_signature.entry((told, within)).or_insert_with(|| Class {
            members: Members::Pods(BTreeSet::new()),
            address,
            another: None,
            rules,
        });
        if class.address != address {
            class.another.get_or_insert(address);
        }
        if let Members::Pods(pods) = &mut class.members {
            pods.insert(&pod.name);
        }
    }
    by_signature
        .into_values()
        .chain(outside(state, &blocks, family))
        .collect()
}

/// Every block that some rule has.
fn blocks(tables: [&PolicyTable; 2], family: IpFamily) -> Vec<Block> {
    let mut blocks = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let pods = tables.into_iter().flat_map(|table| table.pods.values());
    for set in pods.flat_map(|rules| rules.enforced.sets()) {
        if seen.insert(Arc::as_ptr(set) as usize) {
            let peers = set.matches().flat_map(|one| one.peers.blocks());
            blocks.extend(peers.cloned());
        }
    }
    let is_of = |block: &Block| IpFamily::of(&block.prefix.addr()) == family;
    blocks.into_iter().filter(is_of).collect()
}

/// Those outside the cluster: one in each block, and one in none, or in none but
/// those of every address.
fn outside<'a>(state: &ClusterState, blocks: &[Block], family: IpFamily) -> Vec<Class<'a>> {
    let is_everything = |block: &Block| block.prefix.prefix_len() == 0;
    let some: Vec<&Block> = blocks
        .iter()
        .filter(|block| !is_everything(block))
        .collect();
    let is_stranger =
        |address: &IpAddr| state.pod_at(*address).is_none() && state.node_at(*address).is_none();
    let class = |address, words| Class {
        members: Members::Outside(words),
        address,
        another: Some(address),
        rules: [None, None],
    };
    let elsewhere = ELSEWHERE.map(|octets| match family {
        IpFamily::V4 => IpAddr::from(octets),
        IpFamily::V6 => {
            let last = u16::from(octets[3]);
            Ipv6Addr::new(0x2001, 0xdb8, u16::from(octets[0]), 0, 0, 0, 0, last).into()
        }
    });
    let is_elsewhere =
        |address: &IpAddr| is_stranger(address) && !some.iter().any(|b| b.contains(*address));
    let anywhere = elsewhere.into_iter().find(is_elsewhere);
    let mut classes: Vec<Class<'a>> = anywhere
        .map(|address| class(address, "outside".to_owned()))
        .into_iter()
        .collect();
    for block in &some {
        let is_only_here = |address: &IpAddr| {
            let smaller = |other: &&&Block| other.prefix.prefix_len() > block.prefix.prefix_len();
            let mut smaller = some.iter().filter(smaller);
            block.contains(*address)
                && is_stranger(address)
                && !smaller.any(|other| other.contains(*address))
        };
        let found = probes(block).find(is_only_here);
        classes.extend(found.map(|address| class(address, format!("outside ({})", block.prefix))));
    }
    classes
}

/// Some addresses of a block: its ends, and what lies in its middle.
fn probes(block: &Block) -> impl Iterator<Item = IpAddr> {
    const TRIED: u32 = 8;
    let (first, last) = (block.prefix.network(), block.prefix.broadcast());
    (0..=TRIED).filter_map(move |step| match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            let (first, last) = (first.to_bits(), last.to_bits());
            let at = first + (last - first) / TRIED * step;
            Some(Ipv4Addr::from_bits(at).into())
        }
        (IpAddr::V6(first), IpAddr::V6(last)) => {
            let (first, last) = (first.to_bits(), last.to_bits());
            let at = first + (last - first) / u128::from(TRIED) * u128::from(step);
            Some(Ipv6Addr::from_bits(at).into())
        }
        _ => None,
    })
}
