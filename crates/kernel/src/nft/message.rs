//! Operations as netlink messages. `linux/netfilter/nf_tables.h` names the
//! numbers.

use super::chain::{Chain, ChainPolicy};
use super::encode::put_verdict;
use super::error::Error;
use super::rule::Rule;
use super::set::{Data, Element, Set, milliseconds};
use super::transaction::{Operation, Transaction};
use crate::netlink::{Attributes, FLAG_ACK, FLAG_APPEND, FLAG_CREATE, FLAG_EXCLUSIVE, put_message};

pub(super) const SUBSYSTEM: u16 = 10;
pub(super) const NEW_TABLE: u16 = 0;
const DELETE_TABLE: u16 = 2;
pub(super) const NEW_CHAIN: u16 = 3;
pub(super) const GET_CHAIN: u16 = 4;
const DELETE_CHAIN: u16 = 5;
pub(super) const NEW_RULE: u16 = 6;
pub(super) const GET_RULE: u16 = 7;
const DELETE_RULE: u16 = 8;
pub(super) const NEW_SET: u16 = 9;
pub(super) const GET_SET: u16 = 10;
const DELETE_SET: u16 = 11;
pub(super) const NEW_ELEMENT: u16 = 12;
pub(super) const GET_ELEMENT: u16 = 13;
const DELETE_ELEMENT: u16 = 14;

const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
pub(super) const FAMILY_INET: u8 = 1;

/// The list of elements is one attribute, of at most 64 kB. Below that, a
/// message with a long list costs the kernel no more than many short ones.
const ELEMENTS_PER_MESSAGE: usize = 60 * 1024;

/// `NFTA_SET_EXPR`: what each element does to a packet that finds it.
pub(super) const SET_EXPRESSION: u16 = 17;
pub(super) const ELEMENT_FLAG_INTERVAL_END: u32 = 1;

/// A transaction as bytes for one `sendmsg`.
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    /// Sequence number of the message that opens the batch.
    pub(super) first: u32,
    /// Sequence number of the last message before the end; it asks for the
    /// acknowledgement of all (the end itself cannot before Linux 6.10).
    pub(super) last: u32,
    /// For each message after the opening: which operation it is of.
    pub(super) operations: Vec<usize>,
}

/// Encodes a transaction for a table of a family (`NFPROTO_*`). `sequence` is the
/// number of its opening message.
pub(super) fn encode(transaction: &Transaction, family: u8, sequence: u32) -> Result<Batch, Error> {
    let mut writer = Writer {
        table: &transaction.table,
        family,
        batch: Batch {
            bytes: Vec::with_capacity(256 + 96 * transaction.elements()),
            first: sequence,
            last: sequence,
            operations: Vec::new(),
        },
        last_start: 0,
    };
    writer.bracket(BATCH_BEGIN, sequence);
    for (index, operation) in transaction.operations.iter().enumerate() {
        writer.operation(index, operation)?;
    }
    let flags = writer.last_start + 6;
    let bytes = &mut writer.batch.bytes;
    let acknowledged = u16::from_ne_bytes([bytes[flags], bytes[flags + 1]]) | FLAG_ACK;
    bytes[flags..flags + 2].copy_from_slice(&acknowledged.to_ne_bytes());
    writer.bracket(BATCH_END, writer.batch.last.wrapping_add(1));
    Ok(writer.batch)
}

struct Writer<'a> {
    table: &'a str,
    family: u8,
    batch: Batch,
    last_start: usize,
}

impl Writer<'_> {
    fn bracket(&mut self, kind: u16, sequence: u32) {
        put_message(&mut self.batch.bytes, kind, 0, sequence, |out| {
            out.extend_from_slice(&[0, 0]);
            out.extend_from_slice(&SUBSYSTEM.to_be_bytes());
        });
    }

    fn message(
        &mut self,
        operation: usize,
        kind: u16,
        flags: u16,
        fill: impl FnOnce(&mut Attributes<'_>),
    ) {
        self.batch.last = self.batch.last.wrapping_add(1);
        self.batch.operations.push(operation);
        self.last_start = self.batch.bytes.len();
        let (table, family) = (self.table, self.family);
        let kind = SUBSYSTEM << 8 | kind;
        put_message(&mut self.batch.bytes, kind, flags, self.batch.last, |out| {
            out.extend_from_slice(&[family, 0, 0, 0]);
            let mut attributes = Attributes::new(out);
            attributes.text(1, table);
            fill(&mut attributes);
        });
    }

    fn operation(&mut self, index: usize, operation: &Operation) -> Result<(), Error> {
        match operation {
            Operation::AddTable => self.message(index, NEW_TABLE, FLAG_CREATE, |_| {}),
            Operation::DeleteTable => self.message(index, DELETE_TABLE, 0, |_| {}),
            Operation::AddSet(set) => {
                let id = u32::try_from(index).unwrap_or(u32::MAX);
                self.message(index, NEW_SET, FLAG_CREATE | FLAG_EXCLUSIVE, |out| {
                    put_set(out, set, id);
                });
            }
            Operation::DeleteSet(name) => self.message(index, DELETE_SET, 0, |out| {
                out.text(2, name);
            }),
            Operation::AddChain(chain) => {
                self.message(index, NEW_CHAIN, FLAG_CREATE | FLAG_EXCLUSIVE, |out| {
                    put_chain(out, chain);
                });
            }
            Operation::DeleteChain(name) => self.message(index, DELETE_CHAIN, 0, |out| {
                out.text(3, name);
            }),
            Operation::FlushChain(name) => self.message(index, DELETE_RULE, 0, |out| {
                out.text(2, name);
            }),
            Operation::AddRule { chain, rule } => {
                self.message(index, NEW_RULE, FLAG_CREATE | FLAG_APPEND, |out| {
                    put_rule(out, chain, rule);
                });
            }
            Operation::AddElements { set, elements } => {
                // EXCL: an element with other data must not pass for ours.
                let flags = FLAG_CREATE | FLAG_EXCLUSIVE;
                return self.elements(index, NEW_ELEMENT, flags, set, elements);
            }
            Operation::DeleteElements { set, elements } => {
                return self.elements(index, DELETE_ELEMENT, 0, set, elements);
            }
        }
        Ok(())
    }

    fn elements(
        &mut self,
        index: usize,
        kind: u16,
        flags: u16,
        set: &Set,
        elements: &[Element],
    ) -> Result<(), Error> {
        let full = kind == NEW_ELEMENT;
        let mut rest = elements;
        let mut list = Vec::with_capacity(ELEMENTS_PER_MESSAGE);
        let mut one = Vec::with_capacity(256);
        while !rest.is_empty() {
            list.clear();
            while let Some((element, following)) = rest.split_first() {
                one.clear();
                put_element(&mut one, set, element, full);
                if list.len() + one.len() > ELEMENTS_PER_MESSAGE {
                    break;
                }
                list.extend_from_slice(&one);
                rest = following;
            }
            if list.is_empty() {
                return Err(Error::TooLarge {
                    set: set.name.to_string(),
                });
            }
            self.message(index, kind, flags, |out| {
                // NFTA_SET_ELEM_LIST_SET, …_ELEMENTS; the list is written.
                out.text(2, &set.name).bytes(0x8000 | 3, &list);
            });
        }
        Ok(())
    }
}

/// `struct nfgenmsg` of family inet.
pub(super) const fn header() -> [u8; 4] {
    [FAMILY_INET, 0, 0, 0]
}

fn put_chain(out: &mut Attributes<'_>, chain: &Chain) {
    out.text(3, &chain.name);
    if let Some(base) = &chain.base {
        let policy = match base.policy {
            ChainPolicy::Drop => 0,
            ChainPolicy::Accept => 1,
        };
        out.nest(4, |hook| {
            hook.number(1, base.hook.number())
                .bytes(2, &base.priority.to_be_bytes());
        })
        .number(5, policy)
        .text(7, base.kind.name());
    }
}

fn put_rule(out: &mut Attributes<'_>, chain: &str, rule: &Rule) {
    out.text(2, chain)
        .bytes(0x8000 | 4, rule.expressions().bytes());
    if let Some(comment) = &rule.comment {
        out.bytes(7, &comment_userdata(comment));
    }
}

fn put_set(out: &mut Attributes<'_>, set: &Set, id: u32) {
    let shape = set.shape();
    out.text(2, &set.name)
        .number(3, shape.flags)
        .number(4, shape.key_type)
        .number(5, shape.key_length);
    if set.data.is_some() {
        out.number(6, shape.data_type).number(7, shape.data_length);
    }
    out.nest(9, |description| {
        if shape.size > 0 {
            description.number(1, shape.size);
        }
        if set.is_concatenated_interval() {
            description.nest(2, |concatenation| {
                for field in &set.key {
                    let length = u32::try_from(field.kind().length()).unwrap_or(0);
                    concatenation.nest(1, |one| {
                        one.number(1, length);
                    });
                }
            });
        }
    })
    .number(10, id);
    if shape.timeout_ms > 0 {
        out.long(11, shape.timeout_ms);
    }
    out.bytes(13, &shape.userdata);
    if shape.counter {
        out.nest(SET_EXPRESSION, |expression| {
            expression.text(1, "counter").nest(2, |_| {});
        });
    }
}

/// One element; an interval of one field becomes its two ends, the second
/// excluded, for that is how the kernel's tree keeps it.
fn put_element(out: &mut Vec<u8>, set: &Set, element: &Element, full: bool) {
    let tree = set.flags.interval && !set.is_concatenated_interval();
    put_one(out, &element.key, full.then_some(element), |attributes| {
        if let (Some(end), false) = (&element.key_end, tree) {
            attributes.nest(10, |key| {
                key.bytes(1, end);
            });
        }
    });
    if tree && let Some(after) = after(element.key_end.as_deref().unwrap_or(&element.key)) {
        put_one(out, &after, None, |attributes| {
            attributes.number(3, ELEMENT_FLAG_INTERVAL_END);
        });
    }
}

fn put_one(
    out: &mut Vec<u8>,
    key: &[u8],
    with: Option<&Element>,
    more: impl FnOnce(&mut Attributes<'_>),
) {
    Attributes::new(out).nest(1, |attributes| {
        attributes.nest(1, |nest| {
            nest.bytes(1, key);
        });
        more(attributes);
        let Some(element) = with else { return };
        match &element.data {
            None => {}
            Some(Data::Verdict(verdict)) => {
                attributes.nest(2, |nest| put_verdict(nest, verdict));
            }
            Some(Data::Values(values)) => {
                attributes.nest(2, |nest| {
                    nest.bytes(1, values);
                });
            }
        }
        if let Some(timeout) = element.timeout {
            attributes.long(4, milliseconds(timeout));
        }
        if let Some(comment) = &element.comment {
            attributes.bytes(6, &comment_userdata(comment));
        }
    });
}

/// nft's comment in the userdata of rules and elements: type 0, length, text.
fn comment_userdata(comment: &str) -> Vec<u8> {
    let length = u8::try_from(comment.len() + 1).unwrap_or(u8::MAX);
    let mut out = vec![0, length];
    out.extend_from_slice(comment.as_bytes());
    out.push(0);
    out
}

/// The key after this one; `None` after the last of all.
fn after(key: &[u8]) -> Option<Vec<u8>> {
    let mut next = key.to_vec();
    for byte in next.iter_mut().rev() {
        let (sum, overflow) = byte.overflowing_add(1);
        *byte = sum;
        if !overflow {
            return Some(next);
        }
    }
    None
}
