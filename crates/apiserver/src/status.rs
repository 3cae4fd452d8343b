//! Kubernetes' way of saying no: the `Status` object, with the reasons, codes
//! and sentences that clients (kubectl, client-go, kube-rs) match on.

use serde_json::{Value, json};

use crate::kinds::{DecodeError, Kind};
use crate::patch::PatchError;
use crate::validate::{Cause, Invalid};

/// An answer that is not the object asked for.
///
/// `code` is the HTTP status code (4xx, 5xx); `reason` one of the API
/// machinery's words (`NotFound`, `Conflict` ...), on which clients decide.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Status {
    /// HTTP status code.
    pub code: u16,
    /// Machine-readable reason.
    pub reason: &'static str,
    /// Sentence for people.
    pub message: String,
    /// What the answer is about.
    pub details: Box<Details>,
}

/// `details` of a [`Status`]; empty fields are left out of the JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Details {
    /// Name of the object.
    pub name: String,
    /// API group of the resource; empty for core.
    pub group: String,
    /// Plural of the resource, or the kind for `Invalid`.
    pub kind: String,
    /// The single faults, one a field.
    pub causes: Vec<Cause>,
    /// Seconds after which a retry makes sense; 0 for none.
    pub retry_after_seconds: u32,
}

impl Status {
    /// A status without details.
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Status {
        Status {
            code,
            reason,
            message: message.into(),
            details: Box::default(),
        }
    }

    fn about(mut self, group: &str, kind: &str, name: &str) -> Status {
        name.clone_into(&mut self.details.name);
        group.clone_into(&mut self.details.group);
        kind.clone_into(&mut self.details.kind);
        self
    }

    /// 404 for one object.
    pub fn not_found(kind: &Kind, name: &str) -> Status {
        let message = format!("{} \"{name}\" not found", kind.qualified_plural());
        Status::new(404, "NotFound", message).about(&kind.group, &kind.plural, name)
    }

    /// 404 for a path that no resource has.
    pub fn unknown_path() -> Status {
        let message = "the server could not find the requested resource";
        Status::new(404, "NotFound", message)
    }

    /// 409 of a create.
    pub fn already_exists(kind: &Kind, name: &str) -> Status {
        let message = format!("{} \"{name}\" already exists", kind.qualified_plural());
        Status::new(409, "AlreadyExists", message).about(&kind.group, &kind.plural, name)
    }

    /// 409 of an update or delete whose precondition does not hold.
    pub fn conflict(kind: &Kind, name: &str, why: &str) -> Status {
        let resource = kind.qualified_plural();
        let message = format!("Operation cannot be fulfilled on {resource} \"{name}\": {why}");
        Status::new(409, "Conflict", message).about(&kind.group, &kind.plural, name)
    }

    /// 409 of a stale `resourceVersion`.
    pub fn modified(kind: &Kind, name: &str) -> Status {
        let why = "the object has been modified; please apply your changes to the latest \
                   version and try again";
        Status::conflict(kind, name, why)
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Status {
        Status::new(400, "BadRequest", message)
    }

    /// 401.
    pub fn unauthorized() -> Status {
        Status::new(401, "Unauthorized", "Unauthorized")
    }

    /// 403 for one object.
    pub fn forbidden(kind: &Kind, name: &str, why: &str) -> Status {
        let message = format!("{} \"{name}\" is forbidden: {why}", kind.qualified_plural());
        Status::new(403, "Forbidden", message).about(&kind.group, &kind.plural, name)
    }

    /// 405.
    pub fn method_not_allowed() -> Status {
        let message = "the server does not allow this method on the requested resource";
        Status::new(405, "MethodNotAllowed", message)
    }

    /// 410: the history that the request needs is gone; the client lists anew.
    pub fn too_old(asked: u64, oldest: u64) -> Status {
        let message = format!("too old resource version: {asked} ({oldest})");
        Status::new(410, "Expired", message)
    }

    /// 410: a watch after a revision that this server has never had.
    pub fn from_the_future(asked: u64, current: u64) -> Status {
        let message =
            format!("resource version {asked} is not of this server, which is at {current}");
        Status::new(410, "Expired", message)
    }

    /// 504: the client has seen a newer server (its data was lost since).
    pub fn too_large(asked: u64, current: u64) -> Status {
        let message = format!("Too large resource version: {asked}, current: {current}");
        let mut status = Status::new(504, "Timeout", message.clone());
        status.details.retry_after_seconds = 1;
        status.details.causes = vec![Cause {
            reason: "ResourceVersionTooLarge",
            message: "Too large resource version".to_owned(),
            field: String::new(),
        }];
        status
    }

    /// 413.
    pub fn too_large_body(limit: usize) -> Status {
        let message = format!("limit is {limit} bytes: the request body is too large");
        Status::new(413, "RequestEntityTooLarge", message)
    }

    /// 415.
    pub fn unsupported_media_type(message: impl Into<String>) -> Status {
        Status::new(415, "UnsupportedMediaType", message)
    }

    /// 500.
    pub fn internal(message: impl std::fmt::Display) -> Status {
        let message = format!("Internal error occurred: {message}");
        Status::new(500, "InternalError", message)
    }

    /// 501.
    pub fn not_implemented(message: impl Into<String>) -> Status {
        Status::new(501, "NotImplemented", message)
    }

    /// 503.
    pub fn unavailable(message: impl Into<String>) -> Status {
        Status::new(503, "ServiceUnavailable", message)
    }

    /// The `Status` object as clients read it.
    pub fn to_value(&self) -> Value {
        let mut details = serde_json::Map::new();
        let texts = [
            ("name", &self.details.name),
            ("group", &self.details.group),
            ("kind", &self.details.kind),
        ];
        for (field, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
            details.insert(field.to_owned(), json!(text));
        }
        if !self.details.causes.is_empty() {
            details.insert("causes".to_owned(), json!(self.details.causes));
        }
        if self.details.retry_after_seconds > 0 {
            let seconds = json!(self.details.retry_after_seconds);
            details.insert("retryAfterSeconds".to_owned(), seconds);
        }
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        if !details.is_empty() {
            status["details"] = Value::Object(details);
        }
        status
    }
}

impl From<Invalid> for Status {
    fn from(invalid: Invalid) -> Status {
        let status = Status::new(422, "Invalid", invalid.to_string());
        let mut status = status.about(&invalid.group, &invalid.kind, &invalid.name);
        status.details.causes = invalid.causes();
        status
    }
}

impl From<DecodeError> for Status {
    fn from(error: DecodeError) -> Status {
        Status::bad_request(error.message)
    }
}

impl From<PatchError> for Status {
    fn from(error: PatchError) -> Status {
        let message = error.to_string();
        let (reason, text, field) = match error {
            PatchError::Malformed(_) => return Status::bad_request(message),
            PatchError::Unprocessable { cause } => ("UnexpectedServerResponse", cause, ""),
            PatchError::Invalid { value, detail } => {
                let text = format!("Invalid value: {value:?}: {detail}");
                ("FieldValueInvalid", text, "patch")
            }
        };
        let mut status = Status::new(422, "Invalid", message);
        status.details.causes = vec![Cause {
            reason,
            message: text,
            field: field.to_owned(),
        }];
        status
    }
}
