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
    lists: BTreeMap<Ports, List>,
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
        for ports in used.into_iter().filter(|ports| is_list(ports)) {
            let known = lists.lists.contains_key(ports);
            match held.get(ports) {
                Some(_) if known => {
                    lists.retain(ports);
                }
                Some(id) if lists.numbers.adopt(*id) => {
                    let list = List { id: *id, users: 1 };
                    lists.lists.insert(ports.clone(), list);
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
    pub(super) fn retain(&mut self, ports: &Ports) -> Vec<(Map, Element)> {
        if !is_list(ports) {
            return Vec::new();
        }
        if let Some(list) = self.lists.get_mut(ports) {
            list.users += 1;
            return Vec::new();
        }
        let id = self.numbers.take();
        self.lists.insert(ports.clone(), List { id, users: 1 });
        elements_of(id, ports)
    }

    /// One element fewer leads to these ports. Whether it was the last.
    pub(super) fn release(&mut self, ports: &Ports) -> bool {
        let Some(list) = self.lists.get_mut(ports) else {
            return false;
        };
        list.users -= 1;
        list.users == 0
    }

    /// Forgets a list that nothing leads to, and returns its elements. Its number
    /// may be another list's in the next transaction, not in this one.
    pub(super) fn forget_unused(&mut self, ports: &Ports) -> Vec<(Map, Element)> {
        match self.lists.get(ports) {
            Some(List { id, users: 0 }) => {
                let id = *id;
                self.lists.remove(ports);
                self.numbers.give_back(id);
                elements_of(id, ports)
            }
            _ => Vec::new(),
        }
    }

    /// What an element holds that leads to these ports.
    pub(super) fn data(&self, ports: &Ports) -> Option<Data> {
        let class = match ports {
            Ports::None => return None,
            Ports::All => layout::ALLOWED,
            Ports::Only(ranges) if ranges.is_empty() => layout::DENIED,
            _ => layout::list_class(self.lists.get(ports)?.id),
        };
        Some(Data::values(&[Value::Class(class)]))
    }

    /// The elements of every list.
    pub(super) fn elements(&self) -> impl Iterator<Item = (Map, Element)> {
        self.lists
            .iter()
            .flat_map(|(ports, list)| elements_of(list.id, ports))
    }
}

/// Whether there is a list of the ports: all and none are classes of their own.
fn is_list(ports: &Ports) -> bool {
    match ports {
        Ports::None | Ports::All => false,
        Ports::Some(_) | Ports::AllBut(_) => true,
        Ports::Only(ranges) => !ranges.is_empty(),
    }
}

/// What a list says of the ports that are in it, and of those that are not.
const fn meaning(ports: &Ports) -> (u32, Option<u32>) {
    match ports {
        Ports::AllBut(_) => (layout::DENIED, Some(layout::ALLOWED)),
        Ports::Only(_) => (layout::ALLOWED, Some(layout::DENIED)),
        Ports::Some(_) | Ports::None | Ports::All => (layout::ALLOWED, None),
    }
}

fn elements_of(id: ListId, ports: &Ports) -> Vec<(Map, Element)> {
    let (listed, others) = meaning(ports);
    let list = Value::Class(layout::list_class(id));
    let element = |range: &PortRange| {
        let element = Element::interval(&[
            Part::Value(list.clone()),
            Part::Value(Value::Protocol(range.protocol.number())),
            Part::Range(Value::Port(range.first), Value::Port(range.last)),
        ]);
        (
            Map::Ports,
            element.to(Data::values(&[Value::Class(listed)])),
        )
    };
    let others = others.map(|others| {
        let element =
            Element::new(std::slice::from_ref(&list)).to(Data::values(&[Value::Class(others)]));
        (Map::OtherPorts, element)
    });
    ports.named().iter().map(element).chain(others).collect()
}

/// The numbers that lists have in the kernel.
fn held_lists(held: &TableDump) -> BTreeMap<Ports, ListId> {
    let elements = |map: Map| {
        let set = held.sets.get(&map.name());
        set.into_iter().flat_map(|set| &set.elements)
    };
    let mut lists: BTreeMap<ListId, Vec<PortRange>> = BTreeMap::new();
    for (id, range) in elements(Map::Ports).filter_map(read_range) {
        lists.entry(id).or_default().push(range);
    }
    let others: BTreeMap<ListId, u32> = elements(Map::OtherPorts)
        .filter_map(|element| Some((read_list(element)?, read_class(element)?)))
        .collect();
    let in_order = |(id, mut ranges): (ListId, Vec<PortRange>)| {
        ranges.sort_unstable();
        let ports = match others.get(&id) {
            None => Ports::Some(ranges),
            Some(&layout::ALLOWED) => Ports::AllBut(ranges),
            Some(_) => Ports::Only(ranges),
        };
        (ports, id)
    };
    lists.into_iter().map(in_order).collect()
}

fn read_list(element: &Element) -> Option<ListId> {
    match Value::decode(Type::Class, &element.key)? {
        Value::Class(class) => layout::list_of_class(class),
        _ => None,
    }
}

fn read_class(element: &Element) -> Option<u32> {
    let Some(Data::Values(data)) = &element.data else {
        return None;
    };
    match Value::decode(Type::Class, data)? {
        Value::Class(class) => Some(class),
        _ => None,
    }
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
