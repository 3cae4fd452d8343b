use std::fmt::{self, Display as _};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::field::{Field, Type};
use super::rule::Verdict;
use super::set_userdata;
use super::text::{Key, Span};
use super::value::Value;

/// A named set or map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// Its name within the table.
    pub name: Arc<str>,
    /// The fields whose values are the key.
    pub key: Vec<Field>,
    /// What an element leads to; `None` for a set.
    pub data: Option<MapData>,
    /// What it can do.
    pub flags: SetFlags,
    /// The most elements it takes; `None` is no limit. A dynamic set needs one,
    /// or packets fill memory.
    pub size: Option<u32>,
    /// How long elements live that do not say.
    pub timeout: Option<Duration>,
}

/// What the elements of a map lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MapData {
    /// A verdict.
    Verdict,
    /// Values, concatenated.
    Fields(Vec<Field>),
}

/// What a set can do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetFlags {
    /// Keys are prefixes and ranges.
    pub interval: bool,
    /// Packets write it.
    pub dynamic: bool,
    /// Elements end by themselves.
    pub timeout: bool,
    /// Each element counts the packets that find it.
    pub counter: bool,
}

/// One element: key, and what it leads to.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Element {
    /// The key's bytes, each field padded to 4 where there are several; of an
    /// interval, the first key.
    pub key: Box<[u8]>,
    /// The last key of an interval, included.
    pub key_end: Option<Box<[u8]>>,
    /// What it leads to.
    pub data: Option<Data>,
    /// How long it lives; `None` is the set's own timeout.
    pub timeout: Option<Duration>,
    /// A comment, at most 127 bytes.
    pub comment: Option<Arc<str>>,
}

/// What an element of a map leads to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Data {
    /// A verdict.
    Verdict(Verdict),
    /// The bytes of values, padded as in a key.
    Values(Box<[u8]>),
}

/// One field of an element's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// One value.
    Value(Value),
    /// An address in this prefix.
    Prefix(IpNet),
    /// First to last, both included.
    Range(Value, Value),
}

/// A set as the kernel describes it: equal shapes are the same set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SetShape {
    pub(super) flags: u32,
    pub(super) key_type: u32,
    pub(super) key_length: u32,
    pub(super) data_type: u32,
    pub(super) data_length: u32,
    pub(super) size: u32,
    pub(super) counter: bool,
    pub(super) timeout_ms: u64,
    pub(super) userdata: Vec<u8>,
}

const FLAG_INTERVAL: u32 = 0x4;
const FLAG_MAP: u32 = 0x8;
const FLAG_TIMEOUT: u32 = 0x10;
const FLAG_DYNAMIC: u32 = 0x20;
const FLAG_CONCATENATION: u32 = 0x80;
/// `NFT_DATA_VERDICT` as a data type.
const DATA_VERDICT: u32 = 0xffff_ff00;
/// `struct nft_verdict`, as long as a register.
const VERDICT_LENGTH: u32 = 16;
/// What fits in nft's userdata, its zero left out.
const COMMENT: usize = 127;

/// Cuts a comment to what nft can read back.
pub(super) fn comment(text: &str) -> Arc<str> {
    let end = (0..=text.len().min(COMMENT))
        .rev()
        .find(|end| text.is_char_boundary(*end))
        .unwrap_or(0);
    let clean = |character: char| character == '"' || character.is_control();
    text[..end].replace(clean, "").into()
}

impl Set {
    /// A set of keys.
    pub fn keys(name: impl Into<Arc<str>>, key: impl Into<Vec<Field>>) -> Self {
        Self {
            name: name.into(),
            key: key.into(),
            data: None,
            flags: SetFlags::default(),
            size: None,
            timeout: None,
        }
    }

    /// A map to values.
    pub fn map(
        name: impl Into<Arc<str>>,
        key: impl Into<Vec<Field>>,
        data: impl Into<Vec<Field>>,
    ) -> Self {
        Self {
            data: Some(MapData::Fields(data.into())),
            ..Self::keys(name, key)
        }
    }

    /// A map to verdicts.
    pub fn verdict_map(name: impl Into<Arc<str>>, key: impl Into<Vec<Field>>) -> Self {
        Self {
            data: Some(MapData::Verdict),
            ..Self::keys(name, key)
        }
    }

    /// Keys are prefixes and ranges.
    #[must_use]
    pub const fn interval(mut self) -> Self {
        self.flags.interval = true;
        self
    }

    /// Each element counts the packets that find it ([`super::Nftables::counts`]).
    #[must_use]
    pub const fn counting(mut self) -> Self {
        self.flags.counter = true;
        self
    }

    /// Packets write it, up to `size` elements that end by themselves.
    #[must_use]
    pub const fn dynamic(mut self, size: u32) -> Self {
        self.flags.dynamic = true;
        self.flags.timeout = true;
        self.size = Some(size);
        self
    }

    /// Whether keys are intervals of several fields, which the kernel keeps
    /// with both ends (pipapo); of one field it keeps a tree of ends.
    pub(super) fn is_concatenated_interval(&self) -> bool {
        self.flags.interval && self.key.len() > 1
    }

    /// How the kernel describes the set.
    #[must_use]
    pub fn shape(&self) -> SetShape {
        let mut flags = 0;
        for (set, flag) in [
            (self.flags.interval, FLAG_INTERVAL),
            (self.data.is_some(), FLAG_MAP),
            (self.flags.timeout, FLAG_TIMEOUT),
            (self.flags.dynamic, FLAG_DYNAMIC),
            (self.is_concatenated_interval(), FLAG_CONCATENATION),
        ] {
            flags |= if set { flag } else { 0 };
        }
        let (data_type, data_length) = match &self.data {
            None => (0, 0),
            Some(MapData::Verdict) => (DATA_VERDICT, VERDICT_LENGTH),
            Some(MapData::Fields(fields)) => (type_word(fields), total_length(fields)),
        };
        SetShape {
            flags,
            key_type: type_word(&self.key),
            key_length: total_length(&self.key),
            data_type,
            data_length,
            size: self.size.unwrap_or(0),
            counter: self.flags.counter,
            timeout_ms: self.timeout.map_or(0, milliseconds),
            userdata: set_userdata::encode(self),
        }
    }

    /// Whether some type has no name, so that nft needs the expressions.
    pub(super) fn needs_typeof(&self) -> bool {
        let data = match &self.data {
            Some(MapData::Fields(fields)) => fields.as_slice(),
            _ => &[],
        };
        self.key
            .iter()
            .chain(data)
            .any(|field| field.kind() == Type::Index)
    }
}

pub(super) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn type_word(fields: &[Field]) -> u32 {
    fields
        .iter()
        .fold(0, |word, field| word << 6 | field.kind().number())
}

/// Bytes of fields together: padded to 4 each, where there are several.
pub(super) fn total_length(fields: &[Field]) -> u32 {
    let length = |field: &Field| field.kind().length();
    let total: usize = match fields {
        [one] => length(one),
        several => several
            .iter()
            .map(|field| length(field).next_multiple_of(4))
            .sum(),
    };
    u32::try_from(total).expect("a key is at most 64 bytes")
}

fn join(values: &[Value], encode: fn(&Value, &mut Vec<u8>)) -> Box<[u8]> {
    let mut bytes = Vec::with_capacity(32);
    for value in values {
        encode(value, &mut bytes);
        if values.len() > 1 {
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
    }
    bytes.into_boxed_slice()
}

impl Data {
    /// Values, concatenated.
    #[must_use]
    pub fn values(values: &[Value]) -> Self {
        Self::Values(join(values, Value::encode))
    }
}

impl Element {
    /// An element of a set of single keys.
    #[must_use]
    pub fn new(key: &[Value]) -> Self {
        Self {
            key: join(key, Value::encode),
            ..Self::default()
        }
    }

    /// An element of an interval set.
    #[must_use]
    pub fn interval(parts: &[Part]) -> Self {
        let (first, last): (Vec<Value>, Vec<Value>) = parts.iter().map(Part::ends).unzip();
        Self {
            key: join(&first, Value::encode_ordered),
            key_end: Some(join(&last, Value::encode_ordered)),
            ..Self::default()
        }
    }

    /// What it leads to.
    #[must_use]
    pub fn to(mut self, data: Data) -> Self {
        self.data = Some(data);
        self
    }

    /// A comment, cut to what nft can read back.
    #[must_use]
    pub fn comment(mut self, text: &str) -> Self {
        self.comment = Some(comment(text));
        self
    }

    /// The element as `nft list` prints it in a set like this.
    #[must_use]
    pub fn display<'a>(&'a self, set: &'a Set) -> impl fmt::Display + 'a {
        Shown { element: self, set }
    }
}

impl Part {
    fn ends(&self) -> (Value, Value) {
        match self {
            Self::Value(value) => (value.clone(), value.clone()),
            Self::Prefix(prefix) => (prefix.network().into(), prefix.broadcast().into()),
            Self::Range(first, last) => (first.clone(), last.clone()),
        }
    }
}

struct Shown<'a> {
    element: &'a Element,
    set: &'a Set,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let element = self.element;
        let decode = if self.set.flags.interval {
            Value::decode_ordered
        } else {
            Value::decode
        };
        let last = element.key_end.as_deref();
        write_values(f, &self.set.key, (&element.key, last), decode)?;
        if let Some(timeout) = element.timeout {
            write!(f, " timeout {}", Span(timeout))?;
        }
        if self.set.flags.counter {
            f.write_str(" counter")?;
        }
        if let Some(comment) = &element.comment {
            write!(f, " comment \"{comment}\"")?;
        }
        match (&element.data, &self.set.data) {
            (Some(Data::Verdict(verdict)), _) => write!(f, " : {verdict}"),
            (Some(Data::Values(bytes)), Some(MapData::Fields(fields))) => {
                f.write_str(" : ")?;
                write_values(f, fields, (bytes, None), Value::decode)
            }
            _ => Ok(()),
        }
    }
}

fn write_values(
    f: &mut fmt::Formatter<'_>,
    fields: &[Field],
    (first, last): (&[u8], Option<&[u8]>),
    decode: fn(Type, &[u8]) -> Option<Value>,
) -> fmt::Result {
    let mut at = 0;
    for (index, field) in fields.iter().enumerate() {
        if index > 0 {
            f.write_str(" . ")?;
        }
        let kind = field.kind();
        let value = |bytes: &[u8]| bytes.get(at..).and_then(|rest| decode(kind, rest));
        match (value(first), last.and_then(value)) {
            (Some(first), Some(last)) if first != last => write_interval(f, &first, &last)?,
            (Some(first), _) => first.fmt(f)?,
            (None, _) => f.write_str("?")?,
        }
        at += kind.length().next_multiple_of(4);
    }
    Ok(())
}

/// A prefix where the range is one, as nft does.
fn write_interval(f: &mut fmt::Formatter<'_>, first: &Value, last: &Value) -> fmt::Result {
    if let (Value::Ip(first), Value::Ip(last)) = (first, last) {
        let exact = (0..=128)
            .filter_map(|length| IpNet::new(*first, length).ok())
            .find(|prefix| prefix.network() == *first && prefix.broadcast() == *last);
        if let Some(prefix) = exact {
            return prefix.fmt(f);
        }
    }
    write!(f, "{first}-{last}")
}

impl fmt::Display for Set {
    /// The definition's lines, without braces and elements.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\t\t")?;
        if self.needs_typeof() {
            write!(f, "typeof {}", Key(&self.key))?;
            match &self.data {
                None => {}
                Some(MapData::Verdict) => f.write_str(" : verdict")?,
                Some(MapData::Fields(fields)) => write!(f, " : {}", Key(fields))?,
            }
        } else {
            write!(f, "type {}", types(&self.key))?;
            match &self.data {
                None => {}
                Some(MapData::Verdict) => f.write_str(" : verdict")?,
                Some(MapData::Fields(fields)) => write!(f, " : {}", types(fields))?,
            }
        }
        f.write_str("\n")?;
        if let Some(size) = self.size {
            writeln!(f, "\t\tsize {size}")?;
        }
        let flags: Vec<&str> = [
            (self.flags.interval, "interval"),
            (self.flags.dynamic, "dynamic"),
            (self.flags.timeout, "timeout"),
        ]
        .into_iter()
        .filter_map(|(set, name)| set.then_some(name))
        .collect();
        if !flags.is_empty() {
            writeln!(f, "\t\tflags {}", flags.join(","))?;
        }
        if let Some(timeout) = self.timeout {
            writeln!(f, "\t\ttimeout {}", Span(timeout))?;
        }
        if self.flags.counter {
            writeln!(f, "\t\tcounter")?;
        }
        Ok(())
    }
}

fn types(fields: &[Field]) -> String {
    let names: Vec<String> = fields
        .iter()
        .map(|field| field.kind().to_string())
        .collect();
    names.join(" . ")
}
