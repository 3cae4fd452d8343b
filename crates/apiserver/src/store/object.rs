//! One stored object: the value for deciding, its JSON for sending.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

/// An object as stored: never changed, only replaced.
///
/// The JSON is written once, for the file, and kept: lists and watches send
/// these bytes to any number of clients. `metadata.managedFields` is in the JSON
/// only: it has more parts than the rest of most objects, and is needed when
/// somebody writes.
#[derive(Debug, Clone)]
pub struct Object {
    value: Value,
    json: Bytes,
    revision: u64,
    managed: bool,
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
    pub(crate) fn unstamped(mut value: Value, revision: u64) -> Object {
        let json = Bytes::from(value.to_string());
        let managed = take_managed_fields(&mut value).is_some();
        Object {
            value,
            json,
            revision,
            managed,
        }
    }

    /// Reads what [`Object::stamped`] has encoded; `None` if it is not that.
    pub(crate) fn decode(json: &[u8]) -> Option<Object> {
        let mut value: Value = serde_json::from_slice(json).ok()?;
        let managed = take_managed_fields(&mut value).is_some();
        let text = value.pointer("/metadata/resourceVersion")?.as_str()?;
        let revision = text.parse().ok()?;
        let json = Bytes::copy_from_slice(json);
        Some(Object {
            value,
            json,
            revision,
            managed,
        })
    }

    /// The object, without `metadata.managedFields`.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// `metadata.managedFields`; `None` if the object has none.
    pub(crate) fn managed_fields(&self) -> Option<Value> {
        #[derive(Deserialize)]
        struct Outer {
            metadata: Inner,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Inner {
            managed_fields: Value,
        }
        if !self.managed {
            return None;
        }
        let outer: Outer = serde_json::from_slice(&self.json).ok()?;
        Some(outer.metadata.managed_fields)
    }

    /// The whole object, for changing.
    pub(crate) fn to_value(&self) -> Value {
        let mut value = self.value.clone();
        if let Some(managed) = self.managed_fields()
            && let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut)
        {
            metadata.insert("managedFields".to_owned(), managed);
        }
        value
    }

    /// The object's JSON text, complete.
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

/// `metadata.ownerReferences`.
pub(crate) fn owner_references(object: &Value) -> impl Iterator<Item = &Value> {
    let list = object
        .pointer("/metadata/ownerReferences")
        .and_then(Value::as_array);
    list.into_iter().flatten()
}

/// Takes `metadata.managedFields` out of an object.
pub(crate) fn take_managed_fields(value: &mut Value) -> Option<Value> {
    value
        .get_mut("metadata")?
        .as_object_mut()?
        .remove("managedFields")
}
