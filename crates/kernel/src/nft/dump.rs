use std::collections::BTreeMap;

use super::chain::{BaseChain, ChainPolicy, ChainType, Hook};
use super::error::Error;
use super::expression::Expressions;
use super::message::{
    ELEMENT_FLAG_INTERVAL_END, GET_CHAIN, GET_ELEMENT, GET_RULE, GET_SET, NEW_CHAIN, NEW_ELEMENT,
    NEW_RULE, NEW_SET, NEW_TABLE, SET_EXPRESSION, SUBSYSTEM, header,
};
use super::rule::Verdict;
use super::set::{Data, Element, SetShape};
use crate::netlink::{Attribute, Attributes, Messages, Socket, attributes};

const GET_TABLE: u16 = 1;
const FLAG_INTERVAL: u32 = 0x4;
const FLAG_DYNAMIC: u32 = 0x20;
const FLAG_CONCATENATION: u32 = 0x80;

/// A table as the kernel holds it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableDump {
    /// Its sets and maps.
    pub sets: BTreeMap<String, SetDump>,
    /// Its chains.
    pub chains: BTreeMap<String, ChainDump>,
}

/// A set as the kernel holds it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SetDump {
    /// What it is.
    pub shape: SetShape,
    /// Its elements in no order; none where packets add them.
    pub elements: Vec<Element>,
}

/// A chain as the kernel holds it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChainDump {
    /// Where packets enter it.
    pub base: Option<BaseChain>,
    /// Its rules in order.
    pub rules: Vec<RuleDump>,
}

/// A rule as the kernel holds it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleDump {
    /// What it does.
    pub expressions: Expressions,
    /// Its comment; empty where it has none.
    pub comment: String,
}

/// What an element of a counting set has counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Count {
    /// The element's key.
    pub key: Box<[u8]>,
    /// Packets that found it since it was added.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl SetDump {
    /// Whether packets add its elements.
    #[must_use]
    pub const fn is_dynamic(&self) -> bool {
        self.shape.flags & FLAG_DYNAMIC != 0
    }
}

/// Reads a whole table; `None` where there is none.
pub(super) fn read(socket: &mut Socket, table: &str) -> Result<Option<TableDump>, Error> {
    let exists = list(socket, GET_TABLE, |_| {})?
        .iter()
        .any(|message| message.kind == kind(NEW_TABLE) && text(message.body, 1) == table);
    if !exists {
        return Ok(None);
    }
    let mut dump = TableDump::default();
    read_chains(socket, table, &mut dump)?;
    read_rules(socket, table, &mut dump)?;
    read_sets(socket, table, &mut dump)?;
    for (name, set) in &mut dump.sets {
        if !set.is_dynamic() {
            set.elements = read_elements(socket, table, name, set.shape.flags)?;
        }
    }
    Ok(Some(dump))
}

const fn kind(message: u16) -> u16 {
    SUBSYSTEM << 8 | message
}

fn list(
    socket: &mut Socket,
    message: u16,
    filter: impl FnOnce(&mut Attributes<'_>),
) -> Result<Messages, Error> {
    let mut body = header().to_vec();
    filter(&mut Attributes::new(&mut body));
    Ok(socket.dump(kind(message), &body)?)
}

/// The attributes of a message, behind `struct nfgenmsg`.
fn body(bytes: &[u8]) -> impl Iterator<Item = Attribute<'_>> {
    attributes(bytes.get(4..).unwrap_or_default())
}

fn text(bytes: &[u8], kind: u16) -> &str {
    body(bytes)
        .find(|attribute| attribute.kind == kind)
        .map_or("", |attribute| attribute.text())
}

fn read_chains(socket: &mut Socket, table: &str, dump: &mut TableDump) -> Result<(), Error> {
    for message in list(socket, GET_CHAIN, |out| {
        out.text(1, table);
    })?
    .iter()
    {
        // Kernels before 6.x list the chains of every table.
        if message.kind != kind(NEW_CHAIN) || text(message.body, 1) != table {
            continue;
        }
        let name = text(message.body, 3).to_owned();
        dump.chains.insert(
            name,
            ChainDump {
                base: base_chain(message.body),
                rules: Vec::new(),
            },
        );
    }
    Ok(())
}

fn base_chain(bytes: &[u8]) -> Option<BaseChain> {
    let find = |kind| body(bytes).find(|attribute| attribute.kind == kind);
    let hook = find(4)?;
    let priority = hook.find(2)?.number();
    Some(BaseChain {
        kind: ChainType::parse(find(7)?.text())?,
        hook: Hook::parse(hook.find(1)?.number())?,
        priority: i32::from_ne_bytes(priority.to_ne_bytes()),
        policy: match find(5)?.number() {
            0 => ChainPolicy::Drop,
            _ => ChainPolicy::Accept,
        },
    })
}

fn read_rules(socket: &mut Socket, table: &str, dump: &mut TableDump) -> Result<(), Error> {
    for message in list(socket, GET_RULE, |out| {
        out.text(1, table);
    })?
    .iter()
    {
        if message.kind != kind(NEW_RULE) || text(message.body, 1) != table {
            continue;
        }
        let Some(chain) = dump.chains.get_mut(text(message.body, 2)) else {
            continue;
        };
        let mut rule = RuleDump::default();
        for attribute in body(message.body) {
            match attribute.kind {
                4 => rule.expressions = Expressions::read(attribute.value),
                7 => rule.comment = comment(attribute.value).to_owned(),
                _ => {}
            }
        }
        chain.rules.push(rule);
    }
    Ok(())
}

fn read_sets(socket: &mut Socket, table: &str, dump: &mut TableDump) -> Result<(), Error> {
    for message in list(socket, GET_SET, |out| {
        out.text(1, table);
    })?
    .iter()
    {
        if message.kind != kind(NEW_SET) || text(message.body, 1) != table {
            continue;
        }
        let name = text(message.body, 2).to_owned();
        let mut shape = SetShape::default();
        for attribute in body(message.body) {
            match attribute.kind {
                3 => shape.flags = attribute.number(),
                4 => shape.key_type = attribute.number(),
                5 => shape.key_length = attribute.number(),
                6 => shape.data_type = attribute.number(),
                7 => shape.data_length = attribute.number(),
                9 => shape.size = attribute.find(1).map_or(0, |size| size.number()),
                11 => shape.timeout_ms = attribute.long(),
                13 => shape.userdata = attribute.value.to_vec(),
                SET_EXPRESSION => {
                    shape.counter = attribute.find(1).is_some_and(|n| n.text() == "counter");
                }
                _ => {}
            }
        }
        let elements = Vec::new();
        dump.sets.insert(name, SetDump { shape, elements });
    }
    Ok(())
}

fn read_elements(
    socket: &mut Socket,
    table: &str,
    set: &str,
    flags: u32,
) -> Result<Vec<Element>, Error> {
    let messages = list(socket, GET_ELEMENT, |out| {
        out.text(1, table).text(2, set);
    })?;
    let elements = messages
        .iter()
        .filter(|message| message.kind == kind(NEW_ELEMENT))
        .flat_map(|message| body(message.body))
        .filter(|attribute| attribute.kind == 3)
        .flat_map(|list| list.nest())
        .map(|element| read_element(&element));
    let tree = flags & FLAG_INTERVAL != 0 && flags & FLAG_CONCATENATION == 0;
    Ok(if tree {
        join_ends(elements.collect())
    } else {
        elements.map(|(element, _)| element).collect()
    })
}

/// Reads what the elements of a set have counted.
pub(super) fn read_counts(
    socket: &mut Socket,
    table: &str,
    set: &str,
) -> Result<Vec<Count>, Error> {
    let messages = list(socket, GET_ELEMENT, |out| {
        out.text(1, table).text(2, set);
    })?;
    let counts = messages
        .iter()
        .filter(|message| message.kind == kind(NEW_ELEMENT))
        .flat_map(|message| body(message.body))
        .filter(|attribute| attribute.kind == 3)
        .flat_map(|list| list.nest())
        .filter_map(|element| read_count(&element));
    Ok(counts.collect())
}

/// `NFTA_SET_ELEM_EXPR` holds a name and the counter's own attributes.
fn read_count(element: &Attribute<'_>) -> Option<Count> {
    const KEY: u16 = 1;
    const EXPRESSION: u16 = 7;
    let counter = element.find(EXPRESSION)?.find(2)?;
    let number = |kind| counter.find(kind).map_or(0, |number| number.long());
    Some(Count {
        key: value(&element.find(KEY)?),
        packets: number(2),
        bytes: number(1),
    })
}

/// An element, and whether it ends an interval of a tree.
fn read_element(attribute: &Attribute<'_>) -> (Element, bool) {
    let mut element = Element::new(&[]);
    let mut is_end = false;
    for attribute in attribute.nest() {
        match attribute.kind {
            1 => element.key = value(&attribute),
            2 => element.data = data(&attribute),
            3 => is_end = attribute.number() & ELEMENT_FLAG_INTERVAL_END != 0,
            6 => {
                let text = comment(attribute.value);
                element.comment = (!text.is_empty()).then(|| text.into());
            }
            10 => element.key_end = Some(value(&attribute)),
            _ => {}
        }
    }
    (element, is_end)
}

fn value(attribute: &Attribute<'_>) -> Box<[u8]> {
    attribute
        .find(1)
        .map_or_else(Box::default, |value| value.value.into())
}

fn data(attribute: &Attribute<'_>) -> Option<Data> {
    let Some(verdict) = attribute.find(2) else {
        return Some(Data::Values(value(attribute)));
    };
    let code = i32::from_ne_bytes(verdict.find(1)?.number().to_ne_bytes());
    let chain = || Some(verdict.find(2)?.text().into());
    Some(Data::Verdict(match code {
        0 => Verdict::Drop,
        1 => Verdict::Accept,
        -3 => Verdict::Jump(chain()?),
        -4 => Verdict::Goto(chain()?),
        -5 => Verdict::Return,
        _ => return None,
    }))
}

/// A tree keeps the two ends of an interval as elements of their own, the
/// second excluded. The last interval of all has no second end.
fn join_ends(mut ends: Vec<(Element, bool)>) -> Vec<Element> {
    // Where one interval ends and the next begins, the end comes first.
    ends.sort_unstable_by(|(a, a_ends), (b, b_ends)| (&a.key, b_ends).cmp(&(&b.key, a_ends)));
    let mut joined: Vec<Element> = Vec::with_capacity(ends.len() / 2);
    for (element, is_end) in ends {
        if !is_end {
            let last = vec![0xff; element.key.len()].into_boxed_slice();
            joined.push(Element {
                key_end: Some(last),
                ..element
            });
        } else if let Some(open) = joined.last_mut() {
            open.key_end = Some(before(&element.key));
        }
    }
    joined
}

fn before(key: &[u8]) -> Box<[u8]> {
    let mut previous: Box<[u8]> = key.into();
    for byte in previous.iter_mut().rev() {
        let (difference, borrow) = byte.overflowing_sub(1);
        *byte = difference;
        if !borrow {
            break;
        }
    }
    previous
}

/// nft's comment in userdata: type 0, length, text with a zero.
fn comment(userdata: &[u8]) -> &str {
    let [0, length, rest @ ..] = userdata else {
        return "";
    };
    let text = rest.get(..usize::from(*length)).unwrap_or_default();
    let end = text
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(text.len());
    std::str::from_utf8(&text[..end]).unwrap_or_default()
}
