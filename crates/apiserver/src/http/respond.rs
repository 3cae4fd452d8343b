//! Answers as HTTP responses.

use axum::body::Body;
use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::accept::Form;
use crate::kinds::Kind;
use crate::status::Status;
use crate::store::Object;
use crate::table;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// A response of any content.
pub(super) fn content(
    code: u16,
    content_type: HeaderValue,
    body: impl Into<Body>,
) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() =
        StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

pub(super) fn json(code: u16, value: &Value) -> Response<Body> {
    content(code, JSON, value.to_string())
}

pub(super) fn json_bytes(bytes: Bytes) -> Response<Body> {
    content(200, JSON, bytes)
}

/// Chunks as they come, one JSON value each.
pub(super) fn json_stream(body: Body) -> Response<Body> {
    content(200, JSON, body)
}

pub(super) fn text(text: &'static str) -> Response<Body> {
    content(200, TEXT, text)
}

pub(super) fn status(status: &Status) -> Response<Body> {
    let mut response = json(status.code, &status.to_value());
    let headers = response.headers_mut();
    if status.code == 401 {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if status.details.retry_after_seconds > 0 {
        headers.insert("retry-after", status.details.retry_after_seconds.into());
    }
    response
}

/// One object in the form that the client takes.
pub(super) fn object(code: u16, kind: &Kind, object: &Object, form: Form) -> Response<Body> {
    match form {
        Form::Object => content(code, JSON, json_of(kind, object)),
        Form::Table(style) => {
            let metadata = table::list_metadata(object);
            json(code, &table::table(kind, style, [object], &metadata))
        }
        Form::Metadata(version) => json(code, &table::partial(object, version)),
    }
}

/// The JSON of an object in the version of `kind`. Custom resources are stored in
/// one of their versions; others differ in nothing but its name.
pub(super) fn json_of(kind: &Kind, object: &Object) -> Bytes {
    let stored = object.value().get("apiVersion").and_then(Value::as_str);
    if !kind.is_custom() || stored == Some(&kind.api_version()) {
        return object.json().clone();
    }
    let mut value = object.to_value();
    value["apiVersion"] = json!(kind.api_version());
    Bytes::from(value.to_string())
}

/// Adds one `Warning` header for each text.
pub(super) fn warn(response: &mut Response<Body>, warnings: &[String]) {
    for warning in warnings {
        let quoted = warning.replace('\\', "\\\\").replace('"', "\\\"");
        // A text with line breaks cannot be a header; the write itself stands.
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            response.headers_mut().append("warning", value);
        }
    }
}

/// The `Status` of a success without an object.
pub(super) fn success(kind: &Kind, name: &str, uid: &str) -> Value {
    let mut details = json!({ "name": name, "kind": kind.plural, "uid": uid });
    if !kind.group.is_empty() {
        details["group"] = json!(kind.group);
    }
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {},
        "status": "Success", "details": details,
    })
}
