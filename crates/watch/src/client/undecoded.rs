use std::borrow::Cow;
use std::marker::PhantomData;

use kube::Resource;
use kube::core::ObjectMeta;
use podway_model::{ObjectKind, ObjectRef};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};

use crate::objects::{Fault, Readable, Reading};

/// An object of type `K` whose decoding is put off, so that one object which
/// does not decode does not take the whole list or watch down with it.
#[derive(Debug, Clone)]
pub(super) struct Undecoded<K> {
    metadata: ObjectMeta,
    value: serde_json::Value,
    decoded: PhantomData<fn() -> K>,
}

impl<'de, K> Deserialize<'de> for Undecoded<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        let metadata = match value.get("metadata") {
            Some(metadata) => ObjectMeta::deserialize(metadata).map_err(D::Error::custom)?,
            None => ObjectMeta::default(),
        };
        Ok(Self {
            metadata,
            value,
            decoded: PhantomData,
        })
    }
}

impl<K> Undecoded<K> {
    pub(super) fn reference(&self, kind: ObjectKind) -> ObjectRef {
        super::reference(kind, &self.metadata)
    }

    /// `metadata.resourceVersion` as a number; 0 where it is none.
    pub(super) fn revision(&self) -> u64 {
        let version = self.metadata.resource_version.as_deref();
        version.and_then(|text| text.parse().ok()).unwrap_or(0)
    }
}

impl<K: Readable + DeserializeOwned> Undecoded<K> {
    /// Decodes and reads it. What does not decode is an object that is not
    /// there, with one fault that names the field.
    pub(super) fn read(self, kind: ObjectKind) -> Reading {
        let reference = self.reference(kind);
        match serde_path_to_error::deserialize::<_, K>(self.value) {
            Ok(object) => object.read(),
            Err(error) => Reading {
                faults: vec![Fault {
                    object: reference.clone(),
                    field: error.path().to_string(),
                    reason: error.into_inner().to_string(),
                }],
                reference,
                object: None,
            },
        }
    }
}

impl<K> Resource for Undecoded<K>
where
    K: k8s_openapi::Metadata<Ty = ObjectMeta>,
{
    type DynamicType = ();
    type Scope = K::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        K::KIND.into()
    }

    fn group((): &()) -> Cow<'_, str> {
        K::GROUP.into()
    }

    fn version((): &()) -> Cow<'_, str> {
        K::VERSION.into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        K::URL_PATH_SEGMENT.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
