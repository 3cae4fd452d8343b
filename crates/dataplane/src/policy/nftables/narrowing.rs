//! Whose established connections a change may deny. Too many addresses cost a
//! second look at their connections; one too few would let one live on.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use podway_kernel::nft::{Element, Operation, Transaction};

use super::layout::Map;
use super::rendering::PodElements;

/// The addresses at which a pod may have lost something that it was allowed.
pub(super) fn of_pod(before: &PodElements, after: &PodElements) -> BTreeSet<IpAddr> {
    let mut narrowed = BTreeSet::new();
    for key @ (map, element) in before.keys().chain(after.keys()) {
        let Some(address) = map.address_of(element) else {
            continue;
        };
        let narrows = match *map {
            Map::Pods(gate, _) => !gate.is_audit && !before.contains_key(key),
            Map::Peers(gate, family) | Map::Blocks(gate, family) | Map::Anybody(gate, family) => {
                let pod = Element::new(&[address.into()]);
                let is_judged = after.contains_key(&(Map::Pods(gate, family), pod));
                let held = |elements: &PodElements| elements.get(key).cloned().unwrap_or_default();
                !gate.is_audit && is_judged && !held(after).cover(&held(before))
            }
            _ => false,
        };
        if narrows {
            narrowed.insert(address);
        }
    }
    narrowed
}

/// The addresses that may lose something by a comparison with the kernel, of
/// which nobody knows what was there before. Where rules are ordered, more
/// elements may allow less.
pub(super) fn of_transaction(transaction: &Transaction, is_ordered: bool) -> BTreeSet<IpAddr> {
    let maps: BTreeMap<String, Map> = Map::all().map(|map| (map.name(), map)).collect();
    let mut narrowed = BTreeSet::new();
    for operation in &transaction.operations {
        let (set, elements, is_new) = match operation {
            Operation::AddElements { set, elements } => (set, elements, true),
            Operation::DeleteElements { set, elements } => (set, elements, false),
            _ => continue,
        };
        let Some(map) = maps.get(&*set.name) else {
            continue;
        };
        let narrows = match map {
            Map::Pods(gate, _) => is_new && !gate.is_audit,
            Map::Groups(_) => !is_new || is_ordered,
            Map::Peers(gate, _) | Map::Blocks(gate, _) | Map::Anybody(gate, _) => {
                (!is_new || is_ordered) && !gate.is_audit
            }
            // A list of ports that loses one is another list, to which other
            // elements lead.
            Map::Ports | Map::OtherPorts | Map::Denied(..) | Map::Suspects(_) => false,
        };
        if narrows {
            narrowed.extend(
                elements
                    .iter()
                    .filter_map(|element| map.address_of(element)),
            );
        }
    }
    narrowed
}
