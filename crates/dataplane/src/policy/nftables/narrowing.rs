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
    for key @ (map, element) in after.keys() {
        if matches!(map, Map::Pods(..)) && !before.contains_key(key) {
            narrowed.extend(map.address_of(element));
        }
    }
    for (key @ (map, element), ports) in before {
        let (Map::Peers(direction, family)
        | Map::Blocks(direction, family)
        | Map::Anybody(direction, family)) = *map
        else {
            continue;
        };
        let Some(address) = map.address_of(element) else {
            continue;
        };
        let is_isolated = || {
            let pod = Element::new(&[address.into()]);
            after.contains_key(&(Map::Pods(direction, family), pod))
        };
        if !after.get(key).is_some_and(|after| after.cover(ports)) && is_isolated() {
            narrowed.insert(address);
        }
    }
    narrowed
}

/// The addresses that may lose something by a comparison with the kernel, of
/// which nobody knows what was there before.
pub(super) fn of_transaction(transaction: &Transaction) -> BTreeSet<IpAddr> {
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
            Map::Pods(..) => is_new,
            Map::Groups(_) | Map::Peers(..) | Map::Blocks(..) | Map::Anybody(..) => !is_new,
            // A list of ports that loses one is another list, to which other
            // elements lead.
            Map::Ports | Map::Denied(..) | Map::Suspects(_) => false,
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
