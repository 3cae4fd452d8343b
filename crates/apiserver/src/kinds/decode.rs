//! Bodies to objects, as strictly as Kubernetes' typed decoder.

use serde_json::Value;
use thiserror::Error;

use super::{Kind, json};

/// An object that was understood.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// The object without unknown fields and without empty optional ones.
    pub object: Value,
    /// What a strict client wants refused and a lenient one warned about, in
    /// Kubernetes' words: `unknown field "spec.foo"`, `duplicate field "spec"`.
    pub strict: Vec<String>,
}

/// Why a body is not an object of the kind; answered with 400 `BadRequest`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct DecodeError {
    /// In Kubernetes' words.
    pub message: String,
    /// The field at fault, when it is one.
    pub field: Option<String>,
}

/// A value of the wrong type in an object.
#[derive(Debug)]
pub(crate) struct TypeError {
    /// `spec.ports[0].port`.
    pub(crate) path: String,
    /// In serde's words.
    pub(crate) message: String,
}

impl Kind {
    /// The answer to a strict client (`fieldValidation=Strict`) for
    /// [`Decoded::strict`].
    #[must_use]
    pub fn strict_error(&self, strict: &[String]) -> DecodeError {
        self.cannot_handle(&self.kind, &self.version, &strict_text(strict), None)
    }

    fn cannot_handle(
        &self,
        kind: &str,
        version: &str,
        why: &str,
        field: Option<String>,
    ) -> DecodeError {
        DecodeError {
            message: format!(
                "{kind} in version \"{version}\" cannot be handled as a {}: {why}",
                self.kind
            ),
            field,
        }
    }
}

/// `strict decoding error: unknown field "spec.foo", ...`.
pub(crate) fn strict_text(strict: &[String]) -> String {
    format!("strict decoding error: {}", strict.join(", "))
}

/// `duplicate field "spec.type"` for each path.
pub(crate) fn duplicate_texts(paths: &[String]) -> impl Iterator<Item = String> + '_ {
    paths
        .iter()
        .map(|path| format!("duplicate field \"{path}\""))
}

pub(super) fn decode(kind: &Kind, body: &[u8]) -> Result<Decoded, DecodeError> {
    let parsed = json::parse(body).map_err(|error| DecodeError {
        message: format!(
            "the object provided is unrecognized (must be of type {}): couldn't get version/kind; \
             json parse error: {error}",
            kind.kind
        ),
        field: None,
    })?;
    let mut decoded = decode_value(kind, parsed.value)?;
    decoded.strict.extend(duplicate_texts(&parsed.duplicates));
    Ok(decoded)
}

pub(super) fn decode_value(kind: &Kind, mut value: Value) -> Result<Decoded, DecodeError> {
    adopt_type(kind, &mut value)?;
    let (object, unknown) = kind.behaviour.decode(&mut value).map_err(|error| {
        let why = go_text(kind, &value, &error);
        kind.cannot_handle(&kind.kind, &kind.version, &why, Some(error.path))
    })?;
    Ok(Decoded {
        object,
        strict: unknown
            .iter()
            .map(|path| format!("unknown field \"{path}\""))
            .collect(),
    })
}

/// Fills in a missing apiVersion and kind (the path says them) and refuses
/// others.
fn adopt_type(kind: &Kind, value: &mut Value) -> Result<(), DecodeError> {
    let unrecognized = |found: &Value, into: &str| DecodeError {
        message: format!(
            "the object provided is unrecognized (must be of type {}): couldn't get version/kind; \
             json parse error: json: cannot unmarshal {} into Go {into}",
            kind.kind,
            json_type(found)
        ),
        field: None,
    };
    let Value::Object(object) = value else {
        return Err(unrecognized(
            value,
            "value of type struct { apiVersion, kind }",
        ));
    };
    let api_version = kind.api_version();
    let mut given = |key: &str, expected: &str| match object.get(key) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text.clone()),
        None | Some(Value::Null | Value::String(_)) => {
            object.insert(key.to_owned(), expected.into());
            Ok(expected.to_owned())
        }
        Some(other) => Err(unrecognized(
            other,
            &format!("struct field .{key} of type string"),
        )),
    };
    let (given_version, given_kind) = (
        given("apiVersion", &api_version)?,
        given("kind", &kind.kind)?,
    );
    if given_version != api_version {
        return Err(DecodeError {
            message: format!(
                "the API version in the data ({given_version}) does not match the expected API \
                 version ({api_version})"
            ),
            field: Some("apiVersion".to_owned()),
        });
    }
    if given_kind != kind.kind {
        return Err(kind.cannot_handle(
            &given_kind,
            &kind.version,
            "the kind in the data is not the kind of the path",
            Some("kind".to_owned()),
        ));
    }
    Ok(())
}

/// A type error in the words of Go's decoder, which clients and their users
/// know: `json: cannot unmarshal string into Go struct field
/// Service.spec.ports.port of type int32`.
fn go_text(kind: &Kind, value: &Value, error: &TypeError) -> String {
    let expected = error.message.split(", expected ").nth(1);
    let (Some(found), Some(expected)) = (at_path(value, &error.path), expected) else {
        return format!("{}: {}", error.path, error.message);
    };
    let found = match found {
        Value::Number(number) => format!("number {number}"),
        other => json_type(other).to_owned(),
    };
    let path = without_indices(&error.path);
    let expected = go_type(expected);
    format!(
        "json: cannot unmarshal {found} into Go struct field {}.{path} of type {expected}",
        kind.kind
    )
}

fn go_type(expected: &str) -> String {
    match expected {
        "i32" => "int32".to_owned(),
        "i64" => "int64".to_owned(),
        "f64" => "float64".to_owned(),
        "a string" => "string".to_owned(),
        "a boolean" => "bool".to_owned(),
        "a map" => "map[string]string".to_owned(),
        "a sequence" => "[]interface {}".to_owned(),
        other => format!("v1.{other}"),
    }
}

fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn without_indices(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    let mut inside = false;
    for character in path.chars() {
        match character {
            '[' => inside = true,
            ']' => inside = false,
            other if !inside => text.push(other),
            _ => {}
        }
    }
    text
}

/// The value at a path as serde writes it. `None` when a key contains a dot.
fn at_path<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    let mut at = value;
    for segment in path.split('.') {
        let (key, indices) = segment.split_once('[').unwrap_or((segment, ""));
        if !key.is_empty() {
            at = at.get(key)?;
        }
        for index in indices.split(['[', ']']).filter(|i| !i.is_empty()) {
            at = at.get(index.parse::<usize>().ok()?)?;
        }
    }
    Some(at)
}

/// Maps of strings whose entries are the user's own: an empty string in them is
/// a value.
const STRING_MAPS: &[&str] = &[
    "annotations",
    "binaryData",
    "data",
    "deprecatedTopology",
    "labels",
    "matchLabels",
    "nodeSelector",
    "selector",
    "stringData",
];

/// Reads null in a map of strings as the empty string, as Go does: `key:` with
/// nothing after it is how people write an empty entry of a ConfigMap in YAML.
pub(super) fn fill_null(value: &mut Value) {
    match value {
        Value::Object(object) => {
            for (key, field) in object {
                match field {
                    Value::Object(entries) if STRING_MAPS.contains(&key.as_str()) => {
                        let nulls = entries.values_mut().filter(|entry| entry.is_null());
                        nulls.for_each(|entry| *entry = "".into());
                    }
                    other => fill_null(other),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(fill_null),
        _ => {}
    }
}

/// Fields in which Kubernetes tells the empty string and list from absence: the
/// second is any value, in the schema of a definition.
const MEANT_EMPTY: &[&str] = &["storageClassName", "default"];

/// Drops empty strings and lists from fields, as Go's `omitempty` does when it
/// writes an object, so that "empty" and "absent" are one thing everywhere
/// after decoding. Empty objects stay: an empty selector is not a missing one.
pub(super) fn omit_empty(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.retain(|key, field| {
                if STRING_MAPS.contains(&key.as_str()) && field.is_object() {
                    return true;
                }
                if MEANT_EMPTY.contains(&key.as_str()) {
                    return true;
                }
                omit_empty(field);
                match field {
                    Value::Null => false,
                    Value::String(text) => !text.is_empty(),
                    Value::Array(items) => !items.is_empty(),
                    _ => true,
                }
            });
        }
        Value::Array(items) => items.iter_mut().for_each(omit_empty),
        _ => {}
    }
}
