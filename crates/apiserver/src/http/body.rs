//! Request bodies: JSON, YAML or protobuf.

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::HeaderMap;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use serde_json::Value;

use super::query::FieldValidation;
use crate::kinds::{self, Decoded, Kind};
use crate::schema::protobuf::{Envelope, ProtobufError};
use crate::schema::{self, ObjectType};
use crate::status::Status;

/// Kubernetes' own limit for a request.
const LIMIT: usize = 3 * 1024 * 1024;

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    Protobuf,
}

/// The Content-Type without parameters, empty if absent.
pub(super) fn media_type(headers: &HeaderMap) -> &str {
    let text = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim()
}

/// The whole body.
pub(super) async fn read(body: Incoming) -> Result<Bytes, Status> {
    match Limited::new(body, LIMIT).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            Err(Status::too_large_body(LIMIT))
        }
        Err(error) => Err(Status::bad_request(format!(
            "the body cannot be read: {error}"
        ))),
    }
}

fn format(headers: &HeaderMap) -> Result<Format, Status> {
    match media_type(headers) {
        "" | "application/json" => Ok(Format::Json),
        "application/vnd.kubernetes.protobuf" => Ok(Format::Protobuf),
        other => Err(Status::unsupported_media_type(format!(
            "the body of the request was in an unknown format ({other}) - accepted media types \
             include: application/json, application/vnd.kubernetes.protobuf"
        ))),
    }
}

/// A body as an object of `kind`, and what the client is to be warned about.
pub(super) async fn object(
    kind: &Kind,
    headers: &HeaderMap,
    body: Incoming,
    validation: FieldValidation,
) -> Result<(Value, Vec<String>), Status> {
    let format = format(headers)?;
    let body = read(body).await?;
    let decoded: Decoded = match format {
        Format::Json => kind.decode(&body)?,
        Format::Protobuf => {
            let envelope = Envelope::open(&body).map_err(|error| undecodable(&error))?;
            let fields = protobuf_fields(kind)?;
            // Another kind's message would only be misread: its name is refused.
            let fields = if envelope.kind == kind.kind {
                fields
            } else {
                &ObjectType::default()
            };
            let value = envelope.decode(fields);
            kind.decode_value(value.map_err(|error| undecodable(&error))?)?
        }
    };
    if validation == FieldValidation::Strict && !decoded.strict.is_empty() {
        return Err(kind.strict_error(&decoded.strict).into());
    }
    Ok((decoded.object, warnings(decoded.strict, validation)))
}

/// A body of another type than the path's (options, bindings), as `name` in the
/// table of types; `None` without a body.
pub(super) async fn other(
    name: &str,
    headers: &HeaderMap,
    body: Incoming,
) -> Result<Option<Value>, Status> {
    let body = read(body).await?;
    if body.is_empty() {
        return Ok(None);
    }
    let value = match format(headers)? {
        Format::Json => serde_json::from_slice(&body)
            .map_err(|error| Status::bad_request(format!("the body is not a {name}: {error}")))?,
        Format::Protobuf => {
            let envelope = Envelope::open(&body).map_err(|error| undecodable(&error))?;
            let fields = schema::builtin(name).ok_or_else(|| no_protobuf(name))?;
            envelope
                .decode(&fields)
                .map_err(|error| undecodable(&error))?
        }
    };
    Ok(Some(value))
}

/// A configuration to apply: a partial object, which is only checked.
///
/// Kubernetes' typed decoder would fill in zero values of required fields, which
/// the author would then own; so what is returned is what was sent.
pub(super) async fn configuration(kind: &Kind, body: Incoming) -> Result<Value, Status> {
    let body = read(body).await?;
    // JSON is YAML, and what kubectl and other programs send.
    let (value, duplicates) = match kinds::parse_json(&body) {
        Ok(parsed) => (parsed.value, parsed.duplicates),
        Err(_) => (yaml(&body)?, Vec::new()),
    };
    let mut decoded = kind.decode_value(value.clone())?;
    decoded.strict.extend(kinds::duplicate_texts(&duplicates));
    if !decoded.strict.is_empty() {
        return Err(kind.strict_error(&decoded.strict).into());
    }
    Ok(value)
}

fn yaml(body: &[u8]) -> Result<Value, Status> {
    let refuse = |why: String| Status::bad_request(format!("error decoding YAML: {why}"));
    let text = std::str::from_utf8(body).map_err(|error| refuse(error.to_string()))?;
    let options = serde_saphyr::options! { legacy_octal_numbers: true };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| refuse(error.to_string()))
}

/// Custom resources have no numbers for their fields.
fn protobuf_fields(kind: &Kind) -> Result<&ObjectType, Status> {
    let fields = kind.fields.as_deref().filter(|_| kind.open_api.is_none());
    fields.ok_or_else(|| no_protobuf(&kind.kind))
}

fn undecodable(error: &ProtobufError) -> Status {
    Status::bad_request(format!("the protobuf body cannot be decoded: {error}"))
}

fn no_protobuf(kind: &str) -> Status {
    Status::unsupported_media_type(format!(
        "{kind} has no protobuf form: send application/json"
    ))
}

/// What of `strict` the client wants to hear.
pub(super) fn warnings(strict: Vec<String>, validation: FieldValidation) -> Vec<String> {
    match validation {
        FieldValidation::Warn => strict,
        FieldValidation::Ignore | FieldValidation::Strict => Vec::new(),
    }
}
