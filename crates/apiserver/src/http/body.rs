//! Request bodies.

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::HeaderMap;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use serde_json::Value;

use super::query::FieldValidation;
use crate::kinds::Kind;
use crate::status::Status;

/// Kubernetes' own limit for a request.
const LIMIT: usize = 3 * 1024 * 1024;

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

/// Refuses what is not JSON.
pub(super) fn require_json(headers: &HeaderMap) -> Result<(), Status> {
    match media_type(headers) {
        "" | "application/json" => Ok(()),
        "application/vnd.kubernetes.protobuf" => Err(Status::unsupported_media_type(
            "this server does not read protobuf bodies; use `kubectl create -f` or \
             `kubectl apply -f` with a manifest, which send JSON",
        )),
        other => Err(Status::unsupported_media_type(format!(
            "the body of the request was in an unknown format ({other}) - accepted media types \
             include: application/json"
        ))),
    }
}

/// A body as an object of `kind`, and what the client is to be warned about.
pub(super) fn decode(
    kind: &Kind,
    body: &[u8],
    validation: FieldValidation,
) -> Result<(Value, Vec<String>), Status> {
    let decoded = kind.decode(body)?;
    if validation == FieldValidation::Strict && !decoded.strict.is_empty() {
        return Err(kind.strict_error(&decoded.strict).into());
    }
    Ok((decoded.object, warnings(decoded.strict, validation)))
}

/// What of `strict` the client wants to hear.
pub(super) fn warnings(strict: Vec<String>, validation: FieldValidation) -> Vec<String> {
    match validation {
        FieldValidation::Warn => strict,
        FieldValidation::Ignore | FieldValidation::Strict => Vec::new(),
    }
}
