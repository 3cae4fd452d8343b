//! The registry of kinds: what the server serves, and how each behaves.
//!
//! One entry of [`KINDS`] is everything that routing, discovery, decoding,
//! admission and patches need to know of a kind. A new kind is one line there
//! and one [`Rules`] implementation for its type.

mod builtin;
mod decode;
mod json;
mod rules;

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Event, Namespace, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde_json::Value;

pub use decode::{DecodeError, Decoded};
pub(crate) use decode::{duplicate_texts, strict_text};
pub(crate) use json::parse as parse_json;
pub use rules::{Part, Rules};

use crate::schema::{self, ObjectType};
use crate::validate::Invalid;
use rules::Erased;

/// One kind of object.
#[derive(Debug)]
pub struct Kind {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// API version, such as `v1`.
    pub version: &'static str,
    /// `Service`.
    pub kind: &'static str,
    /// `services`: the path segment.
    pub plural: &'static str,
    /// `svc`: what kubectl accepts as well.
    pub short_names: &'static [&'static str],
    /// Groups of kinds that kubectl knows, such as `all`.
    pub categories: &'static [&'static str],
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// What is served below an object's own path.
    pub subresources: &'static [Subresource],
    /// Dotted paths that a field selector may name besides `metadata.name` and
    /// `metadata.namespace`.
    pub selectable_fields: &'static [&'static str],
    rules: Erased,
}

/// A path below an object, such as `/status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subresource {
    /// The path segment.
    pub name: &'static str,
    /// The kind that discovery lists for it.
    pub kind: &'static str,
    /// What clients can do with it.
    pub verbs: &'static [&'static str],
}

const fn status(kind: &'static str) -> Subresource {
    Subresource {
        name: "status",
        kind,
        verbs: &["get", "patch", "update"],
    }
}

const POD_SUBRESOURCES: &[Subresource] = &[
    Subresource {
        name: "binding",
        kind: "Binding",
        verbs: &["create"],
    },
    Subresource {
        name: "exec",
        kind: "PodExecOptions",
        verbs: &["create", "get"],
    },
    Subresource {
        name: "log",
        kind: "Pod",
        verbs: &["get"],
    },
    status("Pod"),
];

const POD_FIELDS: &[&str] = &[
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.nominatedNodeName",
];

const EVENT_FIELDS: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
];

/// Every kind that the server serves, in the order of discovery.
pub static KINDS: &[Kind] = &[
    Kind::cluster::<Namespace>()
        .short(&["ns"])
        .below(&[status("Namespace")])
        .selectable(&["status.phase"]),
    Kind::cluster::<Node>()
        .short(&["no"])
        .below(&[status("Node")])
        .selectable(&["spec.unschedulable"]),
    Kind::namespaced::<ConfigMap>().short(&["cm"]),
    Kind::namespaced::<Endpoints>().short(&["ep"]),
    Kind::namespaced::<Event>()
        .short(&["ev"])
        .selectable(EVENT_FIELDS),
    Kind::namespaced::<Pod>()
        .short(&["po"])
        .in_all()
        .below(POD_SUBRESOURCES)
        .selectable(POD_FIELDS),
    Kind::namespaced::<Service>()
        .short(&["svc"])
        .in_all()
        .below(&[status("Service")])
        .selectable(&["spec.clusterIP", "spec.type"]),
    Kind::namespaced::<EndpointSlice>(),
    Kind::namespaced::<NetworkPolicy>().short(&["netpol"]),
];

/// The kind served at `/api/v1/.../plural` (empty group) or
/// `/apis/group/version/.../plural`.
#[must_use]
pub fn by_resource(group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
    KINDS
        .iter()
        .find(|k| k.group == group && k.version == version && k.plural == plural)
}

/// The kind of an object's own `apiVersion` and `kind`.
#[must_use]
pub fn by_kind(api_version: &str, kind: &str) -> Option<&'static Kind> {
    KINDS
        .iter()
        .find(|k| k.kind == kind && k.api_version() == api_version)
}

impl Kind {
    const fn of<T: Rules>(namespaced: bool) -> Self {
        Self {
            group: T::GROUP,
            version: T::VERSION,
            kind: T::KIND,
            plural: T::URL_PATH_SEGMENT,
            short_names: &[],
            categories: &[],
            namespaced,
            subresources: &[],
            selectable_fields: &[],
            rules: Erased::of::<T>(),
        }
    }

    const fn cluster<T: Rules>() -> Self {
        Self::of::<T>(false)
    }

    const fn namespaced<T: Rules>() -> Self {
        Self::of::<T>(true)
    }

    const fn short(mut self, names: &'static [&'static str]) -> Self {
        self.short_names = names;
        self
    }

    const fn in_all(mut self) -> Self {
        self.categories = &["all"];
        self
    }

    const fn below(mut self, subresources: &'static [Subresource]) -> Self {
        self.subresources = subresources;
        self
    }

    const fn selectable(mut self, fields: &'static [&'static str]) -> Self {
        self.selectable_fields = fields;
        self
    }

    /// `v1`, or `group/version`.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// `service`: what kubectl prints for one object.
    #[must_use]
    pub fn singular(&self) -> String {
        self.kind.to_ascii_lowercase()
    }

    /// `ServiceList`.
    #[must_use]
    pub fn list_kind(&self) -> String {
        format!("{}List", self.kind)
    }

    /// `Service`, or `NetworkPolicy.networking.k8s.io`: how error messages name
    /// the kind.
    #[must_use]
    pub fn qualified(&self) -> String {
        qualified(self.kind, self.group)
    }

    /// `services`, or `networkpolicies.networking.k8s.io`.
    #[must_use]
    pub fn qualified_plural(&self) -> String {
        qualified(self.plural, self.group)
    }

    /// Whether `/status` exists, and the rest of the object therefore ignores
    /// changes to `status`.
    #[must_use]
    pub fn has_status(&self) -> bool {
        self.subresource("status").is_some()
    }

    /// The fields of its objects.
    pub(crate) fn fields(&self) -> Option<Arc<ObjectType>> {
        let group = match self.group {
            "" => "core",
            group => group.split('.').next().unwrap_or(group),
        };
        schema::builtin(&format!("{group}.{}", self.kind))
    }

    /// The subresource of that name.
    #[must_use]
    pub fn subresource(&self, name: &str) -> Option<&'static Subresource> {
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
        (self.rules.create)(self, object)
    }

    /// Defaults, prepares and validates the next value of an existing object.
    /// With [`Part::Status`] everything but the status stays as it was.
    ///
    /// The caller has compared resource versions.
    ///
    /// # Errors
    /// Every field that is wrong or may not change (422).
    pub fn admit_update(&self, new: Value, old: &Value, part: Part) -> Result<Value, Invalid> {
        (self.rules.update)(self, new, old, part)
    }
}

/// A kind is its group, version and name.
impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        (self.group, self.version, self.kind) == (other.group, other.version, other.kind)
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
