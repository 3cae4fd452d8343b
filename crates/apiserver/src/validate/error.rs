//! Field errors: what is wrong with which field, in the words and the Status
//! shape that Kubernetes' clients know.

use std::fmt;

use serde::Serialize;
use serde_json::{Value, json};

use crate::kinds::Kind;

/// The path of a field: `spec.ports[0].port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Path(String);

impl Path {
    pub(crate) fn new(name: &str) -> Self {
        Self(name.to_owned())
    }

    pub(crate) fn child(&self, name: &str) -> Self {
        Self(format!("{}.{name}", self.0))
    }

    pub(crate) fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// An entry of a map: `data[key]`.
    pub(crate) fn key(&self, key: &str) -> Self {
        Self(format!("{}[{key}]", self.0))
    }
}

/// A path whose steps are known: `spec.ports`.
impl From<&str> for Path {
    fn from(path: &str) -> Self {
        Self(path.to_owned())
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What kind of mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorType {
    /// A field is missing.
    Required,
    /// What a value refers to is not there.
    NotFound,
    /// A value is used twice.
    Duplicate,
    /// A value is malformed or may not change.
    Invalid,
    /// A value is of another type.
    TypeInvalid,
    /// A value is not one of an enumeration.
    NotSupported,
    /// The field may not be set here.
    Forbidden,
    /// A text or a collection of bytes is too long.
    TooLong,
    /// A list has too many items.
    TooMany,
    /// The server itself failed.
    Internal,
}

impl ErrorType {
    /// The `reason` of a Status cause.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Required => "FieldValueRequired",
            Self::NotFound => "FieldValueNotFound",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::TypeInvalid => "FieldValueTypeInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::Internal => "InternalError",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Required => "Required value",
            Self::NotFound => "Not found",
            Self::Duplicate => "Duplicate value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::Internal => "Internal error",
        }
    }
}

/// One mistake in one field. Its text is `field: body`.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldError {
    /// What kind of mistake.
    pub kind: ErrorType,
    /// The field's path.
    pub field: String,
    /// The value at fault; not every kind of mistake shows it.
    pub value: Value,
    /// What would be right.
    pub detail: String,
}

impl FieldError {
    /// `Invalid value: 70000: must be between 1 and 65535, inclusive`.
    #[must_use]
    pub fn body(&self) -> String {
        let mut text = self.kind.text().to_owned();
        if matches!(
            self.kind,
            ErrorType::NotFound
                | ErrorType::Duplicate
                | ErrorType::Invalid
                | ErrorType::TypeInvalid
                | ErrorType::NotSupported
                | ErrorType::TooMany
        ) {
            text.push_str(": ");
            match &self.value {
                Value::String(value) => text.push_str(&format!("{value:?}")),
                Value::Null => text.push_str("\"null\""),
                other => text.push_str(&other.to_string()),
            }
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

/// The mistakes found so far.
#[derive(Debug, Default)]
pub struct FieldErrors(Vec<FieldError>);

impl FieldErrors {
    /// Whether nothing was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The mistakes, in the order in which they were found.
    #[must_use]
    pub fn into_vec(self) -> Vec<FieldError> {
        self.0
    }

    /// `Ok` when nothing was found.
    ///
    /// # Errors
    /// All mistakes, as those of one object.
    pub fn into_result(self, kind: &Kind, name: &str) -> Result<(), Invalid> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(Invalid::new(kind, name, self.0))
        }
    }

    pub(crate) fn required(&mut self, path: &Path, detail: &str) {
        self.push(ErrorType::Required, path, Value::Null, detail);
    }

    pub(crate) fn invalid(&mut self, path: &Path, value: impl Into<Value>, detail: &str) {
        self.push(ErrorType::Invalid, path, value.into(), detail);
    }

    pub(crate) fn not_found(&mut self, path: &Path, value: &str) {
        self.push(ErrorType::NotFound, path, value.into(), "");
    }

    pub(crate) fn duplicate(&mut self, path: &Path, value: impl Into<Value>) {
        self.push(ErrorType::Duplicate, path, value.into(), "");
    }

    pub(crate) fn forbidden(&mut self, path: &Path, detail: &str) {
        self.push(ErrorType::Forbidden, path, Value::Null, detail);
    }

    /// A value of another type; `found` is that.
    pub(crate) fn mismatch(&mut self, path: &Path, found: &str, detail: &str) {
        self.push(ErrorType::TypeInvalid, path, found.into(), detail);
    }

    /// A value that is not one of `choices`, which are JSON.
    pub(crate) fn not_one_of(&mut self, path: &Path, value: Value, choices: &[String]) {
        let detail = format!("supported values: {}", choices.join(", "));
        self.push(ErrorType::NotSupported, path, value, &detail);
    }

    /// Adds the mistakes that were found elsewhere.
    pub(crate) fn extend(&mut self, others: FieldErrors) {
        self.0.extend(others.0);
    }

    pub(crate) fn not_supported(&mut self, path: &Path, value: &str, supported: &[&str]) {
        let supported: Vec<String> = supported.iter().map(|s| format!("{s:?}")).collect();
        let detail = format!("supported values: {}", supported.join(", "));
        self.push(ErrorType::NotSupported, path, value.into(), &detail);
    }

    pub(crate) fn too_long(&mut self, path: &Path, max: usize) {
        let detail = format!("may not be more than {max} bytes");
        self.push(ErrorType::TooLong, path, Value::Null, &detail);
    }

    pub(crate) fn too_many(&mut self, path: &Path, actual: usize, max: usize) {
        let items = if max == 1 { "item" } else { "items" };
        let detail = format!("must have at most {max} {items}");
        self.push(ErrorType::TooMany, path, actual.into(), &detail);
    }

    /// One `Invalid` for each text.
    pub(crate) fn invalid_each(&mut self, path: &Path, value: &str, details: Vec<String>) {
        for detail in details {
            self.invalid(path, value, &detail);
        }
    }

    fn push(&mut self, kind: ErrorType, path: &Path, value: Value, detail: &str) {
        self.0.push(FieldError {
            kind,
            field: path.to_string(),
            value,
            detail: detail.to_owned(),
        });
    }
}

/// An object that was refused; answered with 422 `Invalid`. Its text is
/// `Service "x" is invalid: spec.ports[0].port: Invalid value: 70000: must be
/// between 1 and 65535, inclusive`.
#[derive(Debug, Clone, PartialEq)]
pub struct Invalid {
    /// The kind's API group.
    pub group: String,
    /// The kind.
    pub kind: String,
    /// The object's name.
    pub name: String,
    /// What is wrong.
    pub errors: Vec<FieldError>,
}

/// One entry of a Status' `details.causes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cause {
    /// Such as `FieldValueInvalid`.
    pub reason: &'static str,
    /// The mistake without its field.
    pub message: String,
    /// The field.
    pub field: String,
}

impl Invalid {
    /// The mistakes of one object.
    #[must_use]
    pub fn new(kind: &Kind, name: &str, errors: Vec<FieldError>) -> Self {
        Self {
            group: kind.group.clone(),
            kind: kind.kind.clone(),
            name: name.to_owned(),
            errors,
        }
    }

    /// An object that decoded once and does not any more: a defect of the
    /// server, reported as such.
    pub(crate) fn internal(kind: &Kind, error: &serde_json::Error) -> Self {
        let mut errors = FieldErrors::default();
        errors.push(
            ErrorType::Internal,
            &Path::new("object"),
            Value::Null,
            &error.to_string(),
        );
        Self::new(kind, "", errors.0)
    }

    /// `details.causes`.
    #[must_use]
    pub fn causes(&self) -> Vec<Cause> {
        self.errors
            .iter()
            .map(|error| Cause {
                reason: error.kind.reason(),
                message: error.body(),
                field: error.field.clone(),
            })
            .collect()
    }

    /// The whole `metav1.Status`.
    #[must_use]
    pub fn status(&self) -> Value {
        let mut details = json!({"name": self.name, "kind": self.kind, "causes": self.causes()});
        if !self.group.is_empty() {
            details["group"] = self.group.as_str().into();
        }
        json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.to_string(),
            "reason": "Invalid",
            "details": details,
            "code": 422,
        })
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dot = if self.group.is_empty() { "" } else { "." };
        write!(
            f,
            "{}{dot}{} {:?} is invalid: ",
            self.kind, self.group, self.name
        )?;
        let mut texts: Vec<String> = Vec::new();
        for error in &self.errors {
            let text = error.to_string();
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        match texts.as_slice() {
            [only] => f.write_str(only),
            several => write!(f, "[{}]", several.join(", ")),
        }
    }
}

impl std::error::Error for Invalid {}
