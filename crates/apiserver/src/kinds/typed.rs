//! Kinds whose objects have a Rust type: the trait that the type implements, and
//! the behaviour that the registry holds.

use std::marker::PhantomData;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::{Metadata, Resource};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::decode::{fill_null, omit_empty};
use super::{Behaviour, Kind, TypeError};
use crate::validate::{FieldErrors, Invalid, NameRule, metadata, names};

/// Which part of an object a write may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A write to the object's own path: everything but a status that has a
    /// path of its own.
    Object,
    /// A write to `/status`: status and metadata.
    Status,
}

/// The behaviour of one kind. Everything is pure: no clock, no I/O.
pub trait Rules:
    Resource + Metadata<Ty = ObjectMeta> + DeserializeOwned + Serialize + std::fmt::Debug + 'static
{
    /// What the object's name must look like.
    const NAME: NameRule = names::dns_subdomain;

    /// Whether `metadata.generation` counts the changes of the specification.
    const GENERATION: bool = false;

    /// Fills in what Kubernetes fills in for fields left out.
    fn default(&mut self) {}

    /// Resets what a client may not set in a new object.
    fn prepare_create(&mut self) {}

    /// Carries over what a client left out of, or may not set in, an update of
    /// the object itself.
    fn prepare_update(&mut self, _old: &Self) {}

    /// Checks a whole object.
    fn validate(&self, errors: &mut FieldErrors);

    /// Checks what a change may not touch. [`Rules::validate`] runs as well.
    fn validate_update(&self, _old: &Self, _errors: &mut FieldErrors) {}

    /// Checks a new status.
    fn validate_status(&self, _old: &Self, _errors: &mut FieldErrors) {}
}

/// The behaviour of a type.
#[derive(Debug)]
pub(super) struct Typed<T>(PhantomData<fn() -> T>);

impl<T> Default for Typed<T> {
    fn default() -> Typed<T> {
        Typed(PhantomData)
    }
}

impl<T: Rules> Behaviour for Typed<T> {
    fn decode(&self, value: &mut Value) -> Result<(Value, Vec<String>), TypeError> {
        decode::<T>(value)
    }

    fn create(&self, kind: &Kind, object: Value) -> Result<Value, Invalid> {
        create::<T>(kind, object)
    }

    fn update(&self, kind: &Kind, new: Value, old: &Value, part: Part) -> Result<Value, Invalid> {
        update::<T>(kind, new, old, part)
    }
}

/// The metadata of an object of any kind, as [`Behaviour::decode`] returns an
/// object: decoded, and the paths of unknown fields.
pub(crate) fn decode_metadata(object: &Value) -> Result<(Value, Vec<String>), TypeError> {
    #[derive(Deserialize, Serialize)]
    struct Outer {
        #[serde(default)]
        metadata: ObjectMeta,
    }
    let metadata = object
        .get("metadata")
        .filter(|metadata| !metadata.is_null());
    let mut outer = json!({ "metadata": metadata.unwrap_or(&json!({})) });
    let (mut decoded, unknown) = decode::<Outer>(&mut outer)?;
    Ok((decoded["metadata"].take(), unknown))
}

/// Decodes and encodes: what comes out is what Go would write.
fn decode<T: DeserializeOwned + Serialize>(
    value: &mut Value,
) -> Result<(Value, Vec<String>), TypeError> {
    fill_null(value);
    let value = &*value;
    let mut unknown = Vec::new();
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(value, &mut track);
    let typed: Result<T, _> =
        serde_ignored::deserialize(tracked, |path| unknown.push(field_path(&path)));
    let encoded = typed
        .map_err(|error| error.to_string())
        .and_then(|typed| serde_json::to_value(&typed).map_err(|error| error.to_string()));
    match encoded {
        Ok(mut value) => {
            omit_empty(&mut value);
            Ok((value, unknown))
        }
        Err(message) => Err(TypeError {
            path: track.path().to_string(),
            message,
        }),
    }
}

/// `spec.ports[0].name`; serde's wrapper levels (options, newtypes) are not
/// part of it.
fn field_path(path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path;
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}[{index}]", field_path(parent)),
        Path::Map { parent, key } => match field_path(parent) {
            parent if parent.is_empty() => key.clone(),
            parent => format!("{parent}.{key}"),
        },
        Path::Some { parent }
        | Path::NewtypeStruct { parent }
        | Path::NewtypeVariant { parent } => field_path(parent),
    }
}

fn create<T: Rules>(kind: &Kind, object: Value) -> Result<Value, Invalid> {
    let mut new: T = typed(kind, object)?;
    new.default();
    new.prepare_create();
    if T::GENERATION {
        new.metadata_mut().generation = Some(1);
    }
    let mut errors = FieldErrors::default();
    metadata::validate(new.metadata(), kind.namespaced, T::NAME, &mut errors);
    new.validate(&mut errors);
    finish(kind, &new, errors)
}

fn update<T: Rules>(
    kind: &Kind,
    mut new: Value,
    old: &Value,
    part: Part,
) -> Result<Value, Invalid> {
    let kept = match part {
        Part::Object if kind.has_status() => Some("status"),
        Part::Object => None,
        Part::Status => Some("spec"),
    };
    if let Some(kept) = kept {
        keep(&mut new, old, kept);
    }
    let (mut new, old): (T, T) = (typed(kind, new)?, typed(kind, old.clone())?);
    metadata::carry_over(new.metadata_mut(), old.metadata());
    new.default();
    if part == Part::Object {
        new.prepare_update(&old);
    }
    let mut errors = FieldErrors::default();
    metadata::validate(new.metadata(), kind.namespaced, T::NAME, &mut errors);
    metadata::validate_update(new.metadata(), old.metadata(), &mut errors);
    match part {
        Part::Object => {
            new.validate(&mut errors);
            new.validate_update(&old, &mut errors);
        }
        Part::Status => new.validate_status(&old, &mut errors),
    }
    if T::GENERATION && part == Part::Object && content(kind, &new)? != content(kind, &old)? {
        let next = old.metadata().generation.unwrap_or(0) + 1;
        new.metadata_mut().generation = Some(next);
    }
    finish(kind, &new, errors)
}

fn keep(new: &mut Value, old: &Value, field: &str) {
    let Value::Object(new) = new else { return };
    match old.get(field) {
        Some(value) => new.insert(field.to_owned(), value.clone()),
        None => new.remove(field),
    };
}

/// The object without its metadata and status.
fn content<T: Rules>(kind: &Kind, object: &T) -> Result<Value, Invalid> {
    let mut value = encode(kind, object)?;
    if let Value::Object(fields) = &mut value {
        fields.remove("metadata");
        fields.remove("status");
    }
    Ok(value)
}

fn finish<T: Rules>(kind: &Kind, object: &T, errors: FieldErrors) -> Result<Value, Invalid> {
    let name = object.metadata().name.as_deref().unwrap_or_default();
    errors.into_result(kind, name)?;
    encode(kind, object)
}

fn typed<T: Rules>(kind: &Kind, value: Value) -> Result<T, Invalid> {
    serde_json::from_value(value).map_err(|error| Invalid::internal(kind, &error))
}

fn encode<T: Rules>(kind: &Kind, object: &T) -> Result<Value, Invalid> {
    serde_json::to_value(object).map_err(|error| Invalid::internal(kind, &error))
}
