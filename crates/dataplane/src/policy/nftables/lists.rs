use std::collections::BTreeMap;

use podway_kernel::nft::{Data, Element, Part, TableDump, Type, Value};
use podway_model::Protocol;
use podway_plan::policy::PortRange;

use super::layout::{self, Map};
use super::numbers::Numbers;
use super::ports::Ports;

/// The number of a list of ports on this node: 1 and up.
type ListId = u32;

/// The lists of ports in use, with a number each.
#[derive(Debug, Clone, Default)]
pub(super) struct Lists {
    lists: BTreeMap<Vec<PortRange>, List>,
    numbers: Numbers,
}

#[derive(Debug, Clone, Copy)]
struct List {
    id: ListId,
    /// How many elements lead to it.
    users: usize,
}

impl Lists {
    /// Lists in use get the numbers that they have in the kernel.
    pub(super) fn adopt<'a>(
        used: impl IntoIterator<Item = &'a Ports>,
        held: Option<&TableDump>,
    ) -> Self {
        let held = held.map(held_lists).unwrap_or_default();
        let mut lists = Self::default();
        let mut without = Vec::new();
        for ports in used {
            let Ports::Some(ranges) = ports else { continue };
            let known = lists.lists.contains_key(ranges);
            match held.get(ranges) {
                Some(_) if known => {
                    lists.retain(ports);
                }
                Some(id) if lists.numbers.adopt(*id) => {
                    let list = List { id: *id, users: 1 };
                    lists.lists.insert(ranges.clone(), list);
                }
                _ => without.push(ports),
            }
        }
        for ports in without {
            lists.retain(ports);
        }
        lists
    }

    /// One more element leads to these ports. The elements of a list that is new.
    pub(super) fn retain(&mut self, ports: &Ports) -> Vec<Element> {
        let Ports::Some(ranges) = ports else {
            return Vec::new();
        };
        if let Some(list) = self.lists.get_mut(ranges) {
            list.users += 1;
            return Vec::new();
        }
        let id = self.numbers.take();
        self.lists.insert(ranges.clone(), List { id, users: 1 });
        elements_of(id, ranges)
    }

    /// One element fewer leads to these ports. Whether it was the last.
    pub(super) fn release(&mut self, ports: &Ports) -> bool {
        let Ports::Some(ranges) = ports else {
            return false;
        };
        let Some(list) = self.lists.get_mut(ranges) else {
            return false;
        };
        list.users -= 1;
        list.users == 0
    }

    /// Forgets a list that nothing leads to, and returns its elements. Its number
    /// may be another list's in the next transaction, not in this one.
    pub(super) fn forget_unused(&mut self, ports: &Ports) -> Vec<Element> {
        let Ports::Some(ranges) = ports else {
            return Vec::new();
        };
        match self.lists.get(ranges) {
            Some(List { id, users: 0 }) => {
                let id = *id;
                self.lists.remove(ranges);
                self.numbers.give_back(id);
                elements_of(id, ranges)
            }
            _ => Vec::new(),
        }
    }

    /// What an element holds that leads to these ports.
    pub(super) fn data(&self, ports: &Ports) -> Option<Data> {
        let class = match ports {
            Ports::None => return None,
            Ports::Some(ranges) => layout::list_class(self.lists.get(ranges)?.id),
            Ports::All => layout::ALLOWED,
        };
        Some(Data::values(&[Value::Class(class)]))
    }

    /// The elements of every list.
    pub(super) fn elements(&self) -> impl Iterator<Item = Element> {
        self.lists
            .iter()
            .flat_map(|(ranges, list)| elements_of(list.id, ranges))
    }
}

fn elements_of(id: ListId, ranges: &[PortRange]) -> Vec<Element> {
    let element = |range: &PortRange| {
        let (first, last) = (Value::Port(range.first), Value::Port(range.last));
        Element::interval(&[
            Part::Value(Value::Class(layout::list_class(id))),
            Part::Value(Value::Protocol(range.protocol.number())),
            Part::Range(first, last),
        ])
        .to(Data::values(&[Value::Class(layout::ALLOWED)]))
    };
    ranges.iter().map(element).collect()
}

/// The numbers that lists have in the kernel.
fn held_lists(held: &TableDump) -> BTreeMap<Vec<PortRange>, ListId> {
    let mut lists: BTreeMap<ListId, Vec<PortRange>> = BTreeMap::new();
    let map = held.sets.get(&Map::Ports.name());
    for element in map.into_iter().flat_map(|map| &map.elements) {
        if let Some((id, range)) = read_range(element) {
            lists.entry(id).or_default().push(range);
        }
    }
    let in_order = |(id, mut ranges): (ListId, Vec<PortRange>)| {
        ranges.sort_unstable();
        (ranges, id)
    };
    lists.into_iter().map(in_order).collect()
}

/// The three fields of a key are padded to 4 bytes each.
fn read_range(element: &Element) -> Option<(ListId, PortRange)> {
    let last = element.key_end.as_deref()?;
    let read = |kind, bytes: &[u8], at| Value::decode_ordered(kind, bytes.get(at..)?);
    let Value::Class(class) = read(Type::Class, &element.key, 0)? else {
        return None;
    };
    let Value::Protocol(protocol) = read(Type::Protocol, &element.key, 4)? else {
        return None;
    };
    let Value::Port(first) = read(Type::Port, &element.key, 8)? else {
        return None;
    };
    let Value::Port(last) = read(Type::Port, last, 8)? else {
        return None;
    };
    let range = PortRange {
        protocol: Protocol::from_number(protocol)?,
        first,
        last,
    };
    Some((layout::list_of_class(class)?, range))
}
