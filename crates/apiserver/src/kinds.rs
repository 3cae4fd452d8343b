//! The registry of kinds: what the server serves, and how each behaves.
//!
//! A [`Kind`] is everything that routing, discovery, decoding, admission and
//! patches need to know. Those of Kubernetes itself are a list in `builtin.rs`,
//! with a [`Rules`] implementation for each type; definitions
//! (CustomResourceDefinition) add others while the server runs. [`Kinds`] is
//! what is served at one moment.

mod builtin;
mod decode;
mod json;
mod set;
mod typed;

use std::sync::Arc;

use serde_json::Value;

pub use builtin::builtin;
pub(crate) use builtin::{known, scale};
pub use decode::{DecodeError, Decoded};
pub(crate) use decode::{TypeError, duplicate_texts, strict_text};
pub(crate) use json::parse as parse_json;
pub use set::Kinds;
pub(crate) use typed::decode_metadata;
pub use typed::{Part, Rules};

use crate::definitions::JsonPath;
use crate::schema::ObjectType;
use crate::validate::Invalid;

/// One kind of object.
#[derive(Debug)]
pub struct Kind {
    /// API group; empty for the core group.
    pub group: String,
    /// API version, such as `v1`.
    pub version: String,
    /// `Service`.
    pub kind: String,
    /// `services`: the path segment.
    pub plural: String,
    /// `service`: what kubectl prints for one object.
    pub singular: String,
    /// `ServiceList`.
    pub list_kind: String,
    /// `svc`: what kubectl accepts as well.
    pub short_names: Vec<String>,
    /// Groups of kinds that kubectl knows, such as `all`.
    pub categories: Vec<String>,
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// What is served below an object's own path.
    pub subresources: Vec<Subresource>,
    /// Dotted paths that a field selector may name besides `metadata.name` and
    /// `metadata.namespace`.
    pub selectable_fields: Vec<String>,
    /// Where `/scale` finds its numbers; `None` without that subresource.
    pub(crate) scale: Option<ScalePaths>,
    /// What a definition wants shown; `None` for kinds with columns of their own.
    pub(crate) printer: Option<Vec<PrinterColumn>>,
    /// The fields of its objects.
    pub(crate) fields: Option<Arc<ObjectType>>,
    /// The schema of a definition, as it was written.
    pub(crate) open_api: Option<Value>,
    pub(crate) behaviour: Box<dyn Behaviour>,
}

/// A path below an object, such as `/status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subresource {
    /// The path segment.
    pub name: &'static str,
    /// The kind that discovery lists for it.
    pub kind: String,
    /// That kind's group and version, where they are not the object's own.
    pub other_group: Option<(&'static str, &'static str)>,
    /// What clients can do with it.
    pub verbs: &'static [&'static str],
}

/// A column that a definition asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PrinterColumn {
    pub(crate) name: String,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub(crate) cell_type: String,
    pub(crate) description: String,
    /// Shown only with `-o wide` if not 0.
    pub(crate) priority: i32,
    pub(crate) path: JsonPath,
}

/// Where in an object the parts of its Scale are, as JSON pointers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ScalePaths {
    /// How many are wanted.
    pub(crate) replicas: String,
    /// How many there are.
    pub(crate) observed: String,
    /// Which pods: a `LabelSelector`, or its text. May be absent.
    pub(crate) selector: Option<String>,
}

/// How the objects of a kind are decoded and admitted. Everything is pure: no
/// clock, no I/O.
pub(crate) trait Behaviour: std::fmt::Debug + Send + Sync {
    /// The object with unknown fields dropped, and the paths of those. What was
    /// given may be brought to the form in which errors speak of it.
    fn decode(&self, value: &mut Value) -> Result<(Value, Vec<String>), TypeError>;

    /// See [`Kind::admit_create`].
    fn create(&self, kind: &Kind, object: Value) -> Result<Value, Invalid>;

    /// See [`Kind::admit_update`].
    fn update(&self, kind: &Kind, new: Value, old: &Value, part: Part) -> Result<Value, Invalid>;
}

impl Subresource {
    /// `/status` of a kind.
    pub(crate) fn status(kind: &str) -> Subresource {
        Subresource {
            name: "status",
            kind: kind.to_owned(),
            other_group: None,
            verbs: &["get", "patch", "update"],
        }
    }

    /// `/scale`, an autoscaling/v1 Scale whatever the kind.
    pub(crate) fn scale() -> Subresource {
        Subresource {
            name: "scale",
            kind: "Scale".to_owned(),
            other_group: Some(("autoscaling", "v1")),
            verbs: &["get", "patch", "update"],
        }
    }
}

impl Kind {
    /// `v1`, or `group/version`.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// `Service`, or `NetworkPolicy.networking.k8s.io`: how error messages name
    /// the kind.
    #[must_use]
    pub fn qualified(&self) -> String {
        qualified(&self.kind, &self.group)
    }

    /// `services`, or `networkpolicies.networking.k8s.io`.
    #[must_use]
    pub fn qualified_plural(&self) -> String {
        qualified(&self.plural, &self.group)
    }

    /// Whether a definition made it, and not Kubernetes.
    #[must_use]
    pub fn is_custom(&self) -> bool {
        self.open_api.is_some()
    }

    /// Whether `/status` exists, and the rest of the object therefore ignores
    /// changes to `status`.
    #[must_use]
    pub fn has_status(&self) -> bool {
        self.subresource("status").is_some()
    }

    /// The subresource of that name.
    #[must_use]
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }

    /// Reads a JSON body as an object of this kind: unknown fields are dropped
    /// and reported, wrong types refused.
    ///
    /// # Errors
    /// Broken JSON, another kind or version, a field of the wrong type. All are
    /// answered with 400.
    pub fn decode(&self, body: &[u8]) -> Result<Decoded, DecodeError> {
        decode::decode(self, body)
    }

    /// As [`Kind::decode`], for an object that did not come as JSON text (YAML,
    /// protobuf, the result of a patch).
    ///
    /// # Errors
    /// As [`Kind::decode`].
    pub fn decode_value(&self, value: Value) -> Result<Decoded, DecodeError> {
        decode::decode_value(self, value)
    }

    /// Defaults, prepares and validates a new object.
    ///
    /// The caller has decoded it and filled in the metadata that needs a clock,
    /// a random source or the request (uid, creationTimestamp, namespace, the
    /// name for generateName).
    ///
    /// # Errors
    /// Every field that is wrong (422).
    pub fn admit_create(&self, object: Value) -> Result<Value, Invalid> {
        self.behaviour.create(self, object)
    }

    /// Defaults, prepares and validates the next value of an existing object.
    /// With [`Part::Status`] everything but the status stays as it was.
    ///
    /// The caller has compared resource versions.
    ///
    /// # Errors
    /// Every field that is wrong or may not change (422).
    pub fn admit_update(&self, new: Value, old: &Value, part: Part) -> Result<Value, Invalid> {
        self.behaviour.update(self, new, old, part)
    }
}

/// A kind is its group, version and name.
impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        (&self.group, &self.version, &self.kind) == (&other.group, &other.version, &other.kind)
    }
}

impl Eq for Kind {}

fn qualified(name: &str, group: &str) -> String {
    if group.is_empty() {
        name.to_owned()
    } else {
        format!("{name}.{group}")
    }
}

#[cfg(test)]
mod tests;
