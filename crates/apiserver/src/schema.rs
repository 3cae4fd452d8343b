//! What the fields of objects are: names, shapes, numbers in protobuf, and how
//! lists are merged and owned.
//!
//! The types of Kubernetes itself are a table (`schema/kubernetes.txt`); those of
//! a CustomResourceDefinition come from its own schema.

mod builtin;
pub(crate) mod protobuf;

#[cfg(test)]
mod tests;

use std::sync::Arc;

pub(crate) use builtin::builtin;

/// An object with known fields.
#[derive(Debug, Default)]
pub(crate) struct ObjectType {
    pub(crate) fields: Vec<Field>,
}

/// One field.
#[derive(Debug)]
pub(crate) struct Field {
    /// Its number in protobuf; 0 for types that are never written so.
    pub(crate) number: u32,
    /// Its name in JSON; empty for a message whose fields JSON shows as the
    /// outer object's own.
    pub(crate) name: String,
    pub(crate) shape: Shape,
    /// Whether absence is told apart from the zero value.
    pub(crate) optional: bool,
    /// What absence counts as in the key of a list item.
    pub(crate) default: Option<String>,
}

/// What a value looks like.
#[derive(Debug, Clone)]
pub(crate) enum Shape {
    /// Text, a number, or something written like one.
    Scalar(Scalar),
    /// An object with known fields.
    Object {
        /// Its fields.
        of: Arc<ObjectType>,
        /// Whether it has one owner, and not one for each field.
        whole: bool,
    },
    /// Strings to values.
    Map {
        /// The values.
        of: Box<Shape>,
        /// Whether it has one owner, and not one for each entry.
        whole: bool,
    },
    /// A list.
    List {
        /// The items.
        of: Box<Shape>,
        /// Who can own what of it.
        items: Items,
        /// How a strategic merge patch treats it; `None`: it is replaced.
        merge: Option<Merge>,
    },
    /// Nothing is known.
    Open,
}

/// How server-side apply tells the items of a list apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Items {
    /// Not at all: the list has one owner.
    Whole,
    /// By their values.
    Set,
    /// By these fields.
    Keyed(Vec<Key>),
}

/// A field that is part of a list item's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) name: String,
    /// What an item without it counts as having.
    pub(crate) default: Option<serde_json::Value>,
}

/// How a strategic merge patch finds the item that another one replaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Merge {
    /// Items are strings; the list is a set.
    Set,
    /// By the value of this field.
    By(String),
}

/// The single values of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scalar {
    String,
    Int32,
    Int64,
    Bool,
    /// Base64 in JSON.
    Bytes,
    /// RFC 3339 with whole seconds.
    Time,
    /// RFC 3339 with microseconds.
    MicroTime,
    /// `500m`.
    Quantity,
    /// A number or a string.
    IntOrString,
    /// Any JSON, as text in protobuf.
    Json,
}

impl ObjectType {
    /// The shape of a field by its name in JSON.
    pub(crate) fn field(&self, name: &str) -> Option<&Shape> {
        self.find(name).map(|field| &field.shape)
    }

    /// A field by its name in JSON.
    pub(crate) fn find(&self, name: &str) -> Option<&Field> {
        self.fields
            .iter()
            .find_map(|field| match (&field.shape, field.name.as_str()) {
                (Shape::Object { of, .. }, "") => of.find(name),
                (_, own) => (own == name).then_some(field),
            })
    }
}
