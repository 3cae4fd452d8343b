//! Kubernetes' protobuf to the JSON that means the same.
//!
//! kubectl (since 1.32, for `create KIND`) and other clients written in Go send
//! it. Go writes the zero value of every field that is not a pointer, so zeros
//! of such fields mean "absent" here, as they do in Go's JSON (`omitempty`).

mod wire;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{Field, ObjectType, Scalar, Shape};
use crate::clock;
use wire::{Content, Reader};

/// What every body begins with.
const MAGIC: &[u8] = b"k8s\0";

/// Why bytes are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ProtobufError(String);

impl ProtobufError {
    fn new(message: impl Into<String>) -> ProtobufError {
        ProtobufError(message.into())
    }

    /// The same, seen from the object that has the field.
    fn inside(self, field: &str) -> ProtobufError {
        ProtobufError(format!("{field}: {}", self.0))
    }
}

/// A body's envelope (`runtime.Unknown`): what it is, and the message itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Envelope<'b> {
    pub(crate) api_version: String,
    pub(crate) kind: String,
    message: &'b [u8],
}

impl<'b> Envelope<'b> {
    /// Opens a body.
    ///
    /// # Errors
    /// A body that does not begin as one, or breaks off.
    pub(crate) fn open(body: &'b [u8]) -> Result<Envelope<'b>, ProtobufError> {
        const TYPE: u32 = 1;
        const MESSAGE: u32 = 2;
        let rest = body
            .strip_prefix(MAGIC)
            .ok_or_else(|| ProtobufError::new("the body does not begin with \"k8s\\0\""))?;
        let mut envelope = Envelope {
            api_version: String::new(),
            kind: String::new(),
            message: &[],
        };
        for field in Reader::new(rest) {
            match field? {
                (TYPE, Content::Bytes(bytes)) => envelope.read_type(bytes)?,
                (MESSAGE, Content::Bytes(bytes)) => envelope.message = bytes,
                _ => {}
            }
        }
        if envelope.kind.is_empty() {
            return Err(ProtobufError::new("the envelope names no kind"));
        }
        Ok(envelope)
    }

    fn read_type(&mut self, bytes: &[u8]) -> Result<(), ProtobufError> {
        const API_VERSION: u32 = 1;
        const KIND: u32 = 2;
        for field in Reader::new(bytes) {
            match field? {
                (API_VERSION, Content::Bytes(bytes)) => self.api_version = text(bytes)?,
                (KIND, Content::Bytes(bytes)) => self.kind = text(bytes)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// The object, with its apiVersion and kind.
    ///
    /// # Errors
    /// Bytes that are no such message.
    pub(crate) fn decode(&self, of: &ObjectType) -> Result<Value, ProtobufError> {
        let mut object = Map::new();
        object.insert("apiVersion".to_owned(), self.api_version.clone().into());
        object.insert("kind".to_owned(), self.kind.clone().into());
        read_fields(of, self.message, &mut object)?;
        Ok(Value::Object(object))
    }
}

/// Fields that the type does not have come from a newer client and are skipped,
/// as every reader of protobuf does.
fn read_fields(
    of: &ObjectType,
    message: &[u8],
    object: &mut Map<String, Value>,
) -> Result<(), ProtobufError> {
    for entry in Reader::new(message) {
        let (number, content) = entry?;
        let Some(field) = of.fields.iter().find(|field| field.number == number) else {
            continue;
        };
        read_field(field, content, object).map_err(|error| match field.name.as_str() {
            "" => error,
            name => error.inside(name),
        })?;
    }
    Ok(())
}

fn read_field(
    field: &Field,
    content: Content<'_>,
    object: &mut Map<String, Value>,
) -> Result<(), ProtobufError> {
    match &field.shape {
        Shape::Object { of, .. } if field.name.is_empty() => {
            read_fields(of, content.bytes()?, object)
        }
        Shape::List { of, .. } => {
            let list = object
                .entry(&field.name)
                .or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(list) = list {
                read_items(of, content, list)?;
            }
            Ok(())
        }
        Shape::Map { of, .. } => {
            let (key, value) = read_entry(of, content.bytes()?)?;
            let map = object
                .entry(&field.name)
                .or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(map) = map {
                map.insert(key, value);
            }
            Ok(())
        }
        shape => {
            let value = read_value(shape, content)?;
            if field.optional || !is_zero(&value) {
                object.insert(field.name.clone(), value);
            }
            Ok(())
        }
    }
}

/// One item, or (for numbers) several packed into one.
fn read_items(
    of: &Shape,
    content: Content<'_>,
    list: &mut Vec<Value>,
) -> Result<(), ProtobufError> {
    match (of, &content) {
        (Shape::Scalar(Scalar::Int32 | Scalar::Int64), Content::Bytes(packed)) => {
            for number in wire::packed(packed) {
                list.push(Value::from(number?.cast_signed()));
            }
        }
        _ => list.push(read_value(of, content)?),
    }
    Ok(())
}

fn read_entry(of: &Shape, entry: &[u8]) -> Result<(String, Value), ProtobufError> {
    const KEY: u32 = 1;
    const VALUE: u32 = 2;
    let (mut key, mut value) = (String::new(), None);
    for field in Reader::new(entry) {
        match field? {
            (KEY, content) => key = text(content.bytes()?)?,
            (VALUE, content) => value = Some(read_value(of, content)?),
            _ => {}
        }
    }
    let value = match value {
        Some(value) => value,
        // An entry without a value has the zero value.
        None => read_value(of, Content::Bytes(&[]))?,
    };
    Ok((key, value))
}

fn read_value(shape: &Shape, content: Content<'_>) -> Result<Value, ProtobufError> {
    match shape {
        Shape::Object { of, .. } => {
            let mut object = Map::new();
            read_fields(of, content.bytes()?, &mut object)?;
            Ok(Value::Object(object))
        }
        Shape::Scalar(scalar) => read_scalar(*scalar, content),
        Shape::Map { .. } | Shape::List { .. } | Shape::Open => Err(ProtobufError::new(
            "protobuf has no lists of lists, and nothing without a type",
        )),
    }
}

fn read_scalar(scalar: Scalar, content: Content<'_>) -> Result<Value, ProtobufError> {
    Ok(match scalar {
        Scalar::Int32 | Scalar::Int64 => content.number()?.cast_signed().into(),
        Scalar::Bool => (content.number()? != 0).into(),
        Scalar::String => text(content.bytes()?)?.into(),
        Scalar::Bytes => STANDARD.encode(content.bytes()?).into(),
        Scalar::Quantity => text(inner(content.bytes()?)?.unwrap_or_default())?.into(),
        Scalar::Json => match inner(content.bytes()?)? {
            None => Value::Null,
            Some(json) => serde_json::from_slice(json)
                .map_err(|error| ProtobufError::new(format!("not JSON: {error}")))?,
        },
        Scalar::Time | Scalar::MicroTime => time(scalar, content.bytes()?)?,
        Scalar::IntOrString => int_or_string(content.bytes()?)?,
    })
}

/// The one field of a message that wraps text.
fn inner(message: &[u8]) -> Result<Option<&[u8]>, ProtobufError> {
    const TEXT: u32 = 1;
    let mut found = None;
    for field in Reader::new(message) {
        if let (TEXT, content) = field? {
            found = Some(content.bytes()?);
        }
    }
    Ok(found)
}

/// Go's zero time is an empty message and means "no time".
fn time(scalar: Scalar, message: &[u8]) -> Result<Value, ProtobufError> {
    const SECONDS: u32 = 1;
    const NANOSECONDS: u32 = 2;
    let (mut seconds, mut nanoseconds) = (0, 0);
    for field in Reader::new(message) {
        match field? {
            (SECONDS, content) => seconds = content.number()?.cast_signed(),
            (NANOSECONDS, content) => nanoseconds = content.number()?.cast_signed(),
            _ => {}
        }
    }
    if (seconds, nanoseconds) == (0, 0) {
        return Ok(Value::Null);
    }
    let nanoseconds = i32::try_from(nanoseconds).unwrap_or(0);
    let time = Timestamp::new(seconds, nanoseconds)
        .map_err(|error| ProtobufError::new(format!("not a time: {error}")))?;
    Ok(match scalar {
        Scalar::MicroTime => clock::precise_text(time).into(),
        _ => clock::text(time).into(),
    })
}

fn int_or_string(message: &[u8]) -> Result<Value, ProtobufError> {
    const TYPE: u32 = 1;
    const NUMBER: u32 = 2;
    const TEXT: u32 = 3;
    let (mut is_text, mut number, mut string) = (false, 0, String::new());
    for field in Reader::new(message) {
        match field? {
            (TYPE, content) => is_text = content.number()? != 0,
            (NUMBER, content) => number = content.number()?.cast_signed(),
            (TEXT, content) => string = text(content.bytes()?)?,
            _ => {}
        }
    }
    Ok(if is_text {
        string.into()
    } else {
        number.into()
    })
}

fn text(bytes: &[u8]) -> Result<String, ProtobufError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| ProtobufError::new("a text is not UTF-8"))
}

/// Whether Go's JSON leaves the value out. Objects stay, even empty ones: they
/// are structs. So does the quantity 0.
fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(_) | Value::Object(_) => false,
    }
}
