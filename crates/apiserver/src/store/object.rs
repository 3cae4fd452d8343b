//! One stored object: the value for deciding, its JSON for sending.

use bytes::Bytes;
use serde_json::Value;

/// An object as stored: never changed, only replaced.
///
/// The JSON is written once, for the file, and kept: lists and watches send
/// these bytes to any number of clients.
#[derive(Debug, Clone)]
pub struct Object {
    value: Value,
    json: Bytes,
    revision: u64,
}

impl Object {
    /// Stamps `metadata.resourceVersion` and encodes.
    pub(crate) fn stamped(mut value: Value, revision: u64) -> Object {
        if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
            let text = Value::String(revision.to_string());
            metadata.insert("resourceVersion".to_owned(), text);
        }
        Object::unstamped(value, revision)
    }

    /// Encodes without touching `metadata.resourceVersion`.
    pub(crate) fn unstamped(value: Value, revision: u64) -> Object {
        let json = Bytes::from(value.to_string());
        Object {
            value,
            json,
            revision,
        }
    }

    /// Reads what [`Object::stamped`] has encoded; `None` if it is not that.
    pub(crate) fn decode(json: &[u8]) -> Option<Object> {
        let value: Value = serde_json::from_slice(json).ok()?;
        let text = value.pointer("/metadata/resourceVersion")?.as_str()?;
        let revision = text.parse().ok()?;
        let json = Bytes::copy_from_slice(json);
        Some(Object {
            value,
            json,
            revision,
        })
    }

    /// The object.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The object's JSON text.
    pub fn json(&self) -> &Bytes {
        &self.json
    }

    /// Its `metadata.resourceVersion`.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// A text field of `metadata`, empty if absent.
    pub fn metadata(&self, field: &str) -> &str {
        metadata_text(&self.value, field)
    }

    /// `metadata.name`.
    pub fn name(&self) -> &str {
        self.metadata("name")
    }

    /// `metadata.namespace`, empty for objects of the cluster.
    pub fn namespace(&self) -> &str {
        self.metadata("namespace")
    }
}

/// A text field of `metadata`, empty if absent.
pub(crate) fn metadata_text<'v>(value: &'v Value, field: &str) -> &'v str {
    value
        .get("metadata")
        .and_then(|metadata| metadata.get(field))
        .and_then(Value::as_str)
        .unwrap_or_default()
}
