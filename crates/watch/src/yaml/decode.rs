use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess,
    SeqAccess, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::{Entry, Node, NodeValue, Position, nearest};

/// Something wrong at a place of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub position: Position,
    /// What.
    pub what: String,
    /// What was probably meant.
    pub meant: Option<String>,
}

impl Problem {
    pub(super) fn new(position: Position, what: impl Into<String>) -> Self {
        Self {
            position,
            what: what.into(),
            meant: None,
        }
    }
}

/// Wrong values after which the rest of a document is no longer looked at.
const ENOUGH: usize = 20;

/// Decodes a document strictly: a field that the type does not have is a
/// problem. After a value of the wrong type it goes on without that value, to
/// find the next one; the result is `Some` only where every value was right.
pub fn decode<T: DeserializeOwned>(document: &Node) -> (Option<T>, Vec<Problem>) {
    let mut node = document.clone();
    let mut problems: Vec<Problem> = Vec::new();
    // Mappings that a wrong value was taken out of.
    let mut incomplete: BTreeSet<Position> = BTreeSet::new();
    let decoded = loop {
        let unknown = RefCell::default();
        let outcome = T::deserialize(NodeDeserializer {
            node: &node,
            unknown: &unknown,
        });
        problems.extend(unknown.into_inner());
        let error = match outcome {
            Ok(value) => break incomplete.is_empty().then_some(value),
            Err(error) => error,
        };
        let position = error.position.unwrap_or(node.position);
        // A field is missing where its wrong value was taken out: no news.
        if !(error.is_missing_field() && incomplete.contains(&position)) {
            problems.push(error.into_problem(document, position));
        }
        match node.remove(position) {
            Some(parent) if incomplete.len() < ENOUGH => incomplete.insert(parent),
            _ => break None,
        };
    };
    problems.sort_by(|a, b| (a.position, &a.what).cmp(&(b.position, &b.what)));
    problems.dedup();
    (decoded, problems)
}

#[derive(Debug)]
struct DecodeError {
    /// Of the innermost value that was being decoded.
    position: Option<Position>,
    what: String,
    meant: Option<String>,
}

impl DecodeError {
    fn at(mut self, node: &Node) -> Self {
        self.position.get_or_insert(node.position);
        self
    }

    fn is_missing_field(&self) -> bool {
        self.what.starts_with("missing field")
    }

    fn into_problem(self, document: &Node, position: Position) -> Problem {
        let field = document.field_at(position).unwrap_or_default();
        let what = if field.is_empty() {
            self.what
        } else {
            format!("{field}: {}", self.what)
        };
        Problem {
            position,
            what,
            meant: self.meant,
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for DecodeError {}

impl de::Error for DecodeError {
    fn custom<T: fmt::Display>(what: T) -> Self {
        Self {
            position: None,
            what: what.to_string(),
            meant: None,
        }
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self {
            position: None,
            what: format!("{variant:?} is not one of {}", expected.join(", ")),
            meant: nearest(variant, expected.iter().copied()).map(str::to_owned),
        }
    }
}

/// A value as serde's data format; fields that structs do not have are put into
/// `unknown` and left out.
#[derive(Clone, Copy)]
struct NodeDeserializer<'a> {
    node: &'a Node,
    unknown: &'a RefCell<Vec<Problem>>,
}

impl<'a> NodeDeserializer<'a> {
    fn under(self, node: &'a Node) -> Self {
        Self { node, ..self }
    }

    /// A value where the type wants a text: YAML took it for something else.
    fn refuse_unquoted(self) -> Result<(), DecodeError> {
        let (kind, quoted) = match &self.node.value {
            NodeValue::Number(number) => ("number", format!("\"{number}\"")),
            NodeValue::Bool(value) => ("truth value", format!("\"{value}\"")),
            _ => return Ok(()),
        };
        Err(DecodeError {
            position: Some(self.node.position),
            what: format!("a {kind}, where a text is expected"),
            meant: Some(format!("{quoted}, in quotes")),
        })
    }

    /// A text where the type wants a number.
    fn refuse_quoted(self) -> Result<(), DecodeError> {
        let NodeValue::Text(text) = &self.node.value else {
            return Ok(());
        };
        let is_number = text.parse::<i64>().is_ok();
        Err(DecodeError {
            position: Some(self.node.position),
            what: format!("the text {text:?}, where a number is expected"),
            meant: is_number.then(|| format!("{text}, without quotes")),
        })
    }

    fn visit_entries<'de, V: Visitor<'de>>(
        self,
        entries: Vec<&'a Entry>,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor
            .visit_map(Entries {
                parent: self,
                entries: entries.into_iter(),
                value: None,
            })
            .map_err(|error| error.at(self.node))
    }
}

macro_rules! numbers {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            self.refuse_quoted()?;
            self.deserialize_any(visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for NodeDeserializer<'_> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let outcome = match &self.node.value {
            NodeValue::Null => visitor.visit_unit(),
            NodeValue::Bool(value) => visitor.visit_bool(*value),
            NodeValue::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(value), _) => visitor.visit_u64(value),
                (None, Some(value)) => visitor.visit_i64(value),
                (None, None) => visitor.visit_f64(number.as_f64().unwrap_or(f64::NAN)),
            },
            NodeValue::Text(text) => visitor.visit_str(text),
            NodeValue::List(items) => visitor.visit_seq(Items {
                parent: self,
                items: items.iter(),
            }),
            NodeValue::Map(entries) => self.visit_entries(entries.iter().collect(), visitor),
        };
        outcome.map_err(|error| error.at(self.node))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        let NodeValue::Map(entries) = &self.node.value else {
            return self.deserialize_any(visitor);
        };
        let (known, unknown): (Vec<&Entry>, Vec<&Entry>) = entries
            .iter()
            .partition(|entry| fields.contains(&entry.key.as_str()));
        for entry in unknown {
            let meant = nearest(&entry.key, fields.iter().copied());
            let what = match meant {
                Some(_) => format!("unknown field {:?}", entry.key),
                None => format!("unknown field {:?}: expected {}", entry.key, listed(fields)),
            };
            self.unknown.borrow_mut().push(Problem {
                position: entry.position,
                what,
                meant: meant.map(str::to_owned),
            });
        }
        self.visit_entries(known, visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.node.value {
            NodeValue::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        let outcome = match &self.node.value {
            NodeValue::Text(text) => visitor.visit_enum(text.as_str().into_deserializer()),
            NodeValue::Map(entries) if entries.len() == 1 => visitor.visit_enum(Variant {
                parent: self,
                entry: &entries[0],
            }),
            _ => return self.deserialize_any(visitor),
        };
        outcome.map_err(|error: DecodeError| error.at(self.node))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.refuse_unquoted()?;
        self.deserialize_any(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_str(visitor)
    }

    numbers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8
        deserialize_u16 deserialize_u32 deserialize_u64 deserialize_f32 deserialize_f64
    }

    forward_to_deserialize_any! {
        bool i128 u128 char bytes byte_buf unit unit_struct seq tuple tuple_struct map
        identifier ignored_any
    }
}

/// The fields, or the first of them where they are many.
fn listed(fields: &[&str]) -> String {
    const SHOWN: usize = 12;
    let first = fields[..fields.len().min(SHOWN)].join(", ");
    if fields.len() > SHOWN {
        format!("{first} or {} others", fields.len() - SHOWN)
    } else {
        first
    }
}

struct Items<'a> {
    parent: NodeDeserializer<'a>,
    items: std::slice::Iter<'a, Node>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = DecodeError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, DecodeError> {
        let Some(item) = self.items.next() else {
            return Ok(None);
        };
        let outcome = seed.deserialize(self.parent.under(item));
        outcome.map(Some).map_err(|error| error.at(item))
    }
}

struct Entries<'a> {
    parent: NodeDeserializer<'a>,
    entries: std::vec::IntoIter<&'a Entry>,
    value: Option<&'a Node>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = DecodeError;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, DecodeError> {
        let Some(entry) = self.entries.next() else {
            return Ok(None);
        };
        self.value = Some(&entry.node);
        let key: StrDeserializer<'_, DecodeError> = entry.key.as_str().into_deserializer();
        let outcome = seed.deserialize(key);
        outcome.map(Some).map_err(|error| error.at(&entry.node))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<S::Value, DecodeError> {
        let node = self.value.take().unwrap_or(self.parent.node);
        let outcome = seed.deserialize(self.parent.under(node));
        outcome.map_err(|error| error.at(node))
    }
}

/// An enum's variant with a value: a mapping of one entry.
struct Variant<'a> {
    parent: NodeDeserializer<'a>,
    entry: &'a Entry,
}

impl<'de, 'a> EnumAccess<'de> for Variant<'a> {
    type Error = DecodeError;
    type Variant = NodeDeserializer<'a>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), DecodeError> {
        let key: StrDeserializer<'_, DecodeError> = self.entry.key.as_str().into_deserializer();
        let variant = seed.deserialize(key)?;
        Ok((variant, self.parent.under(&self.entry.node)))
    }
}

impl<'de> VariantAccess<'de> for NodeDeserializer<'_> {
    type Error = DecodeError;

    fn unit_variant(self) -> Result<(), DecodeError> {
        de::Deserialize::deserialize(self)
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<S::Value, DecodeError> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_struct("", fields, visitor)
    }
}
