//! Patches: from an object and a patch body to the patched object, decoded as
//! strictly as a whole one.

mod order;
mod strategic;

use json_patch::PatchOperation;
use serde_json::Value;
use thiserror::Error;

use crate::kinds::{Decoded, Kind};

/// The formats of a PATCH body that say how an object changes. (Server-side
/// apply, `application/apply-patch+yaml`, says instead what its author wants.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchType {
    /// A list of operations, RFC 6902.
    Json,
    /// A partial object, RFC 7386: null deletes, lists are replaced.
    Merge,
    /// A partial object whose lists are merged by the keys of their items.
    StrategicMerge,
}

impl PatchType {
    /// Content types of [`PatchType::from_content_type`], as a 415 lists them.
    pub const CONTENT_TYPES: [&'static str; 3] = [
        "application/json-patch+json",
        "application/merge-patch+json",
        "application/strategic-merge-patch+json",
    ];

    /// The format that a request's Content-Type names; parameters are ignored.
    #[must_use]
    pub fn from_content_type(content_type: &str) -> Option<Self> {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        match essence {
            "application/json-patch+json" => Some(Self::Json),
            "application/merge-patch+json" => Some(Self::Merge),
            "application/strategic-merge-patch+json" => Some(Self::StrategicMerge),
            _ => None,
        }
    }
}

/// Why a patch was refused. Nothing of it has been applied.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PatchError {
    /// The body is not a patch of its format: 400 `BadRequest`.
    #[error("{0}")]
    Malformed(String),
    /// The patch does not fit the object, a JSON patch's failed `test`
    /// included: 422 with the reason `Invalid`.
    #[error("the server rejected our request due to an error in our request")]
    Unprocessable {
        /// Why, as the message of a cause `UnexpectedServerResponse`.
        cause: String,
    },
    /// What comes out is not an object of the kind: 422 `Invalid`, with the
    /// field `patch`. The name in the message is empty, as Kubernetes has it.
    #[error(" \"\" is invalid: patch: Invalid value: {value:?}: {detail}")]
    Invalid {
        /// The patched object as text.
        value: String,
        /// What is wrong with it.
        detail: String,
    },
}

/// Applies a patch.
///
/// # Errors
/// See [`PatchError`].
pub fn apply(
    kind: &Kind,
    patch: PatchType,
    current: &Value,
    body: &[u8],
) -> Result<Decoded, PatchError> {
    let parsed = crate::kinds::parse_json(body)
        .map_err(|error| PatchError::Malformed(format!("error decoding patch: {error}")))?;
    let patched = match patch {
        PatchType::Json => apply_operations(current, parsed.value)?,
        PatchType::Merge => {
            let mut patched = current.clone();
            require_object(&parsed.value)?;
            json_patch::merge(&mut patched, &parsed.value);
            patched
        }
        PatchType::StrategicMerge => {
            require_object(&parsed.value)?;
            strategic::merge(kind.fields.as_deref(), current, &parsed.value)?
        }
    };
    let mut decoded = kind
        .decode_value(patched.clone())
        .map_err(|error| PatchError::Invalid {
            value: patched.to_string(),
            detail: error.message,
        })?;
    keep_emptied_owners(&patched, &mut decoded.object);
    decoded
        .strict
        .extend(crate::kinds::duplicate_texts(&parsed.duplicates));
    Ok(decoded)
}

/// Decoding drops empty lists; this one means "nobody owns anything".
fn keep_emptied_owners(patched: &Value, object: &mut Value) {
    let owners = patched.pointer("/metadata/managedFields");
    if owners.is_some_and(|owners| owners == &Value::Array(Vec::new())) {
        object["metadata"]["managedFields"] = Value::Array(Vec::new());
    }
}

/// The answer to a strict client for what [`apply`] returned in
/// [`Decoded::strict`].
#[must_use]
pub fn strict_error(decoded: &Decoded) -> PatchError {
    PatchError::Invalid {
        value: decoded.object.to_string(),
        detail: crate::kinds::strict_text(&decoded.strict),
    }
}

fn require_object(patch: &Value) -> Result<(), PatchError> {
    if patch.is_object() {
        return Ok(());
    }
    Err(PatchError::Malformed(
        "error decoding patch: the body must be a JSON object".to_owned(),
    ))
}

/// Kubernetes refuses longer lists, so that one request cannot keep the server
/// busy.
const MAX_OPERATIONS: usize = 10_000;

/// Bytes that the copy operations of one patch may add: copying an object into
/// itself doubles it each time.
const MAX_COPIED: usize = 3 * 1024 * 1024;

fn apply_operations(current: &Value, patch: Value) -> Result<Value, PatchError> {
    let patch: json_patch::Patch = serde_json::from_value(patch)
        .map_err(|error| PatchError::Malformed(format!("error decoding patch: {error}")))?;
    if patch.len() > MAX_OPERATIONS {
        return Err(PatchError::Malformed(format!(
            "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
            patch.len()
        )));
    }
    let mut patched = current.clone();
    let mut copied = 0;
    for operation in patch.0 {
        if let PatchOperation::Copy(copy) = &operation
            && let Some(source) = patched.pointer(copy.from.as_str())
        {
            copied += source.to_string().len();
        }
        if copied > MAX_COPIED {
            return Err(PatchError::Malformed(format!(
                "Unable to complete the patch operation due to the accumulated size increase of \
                 copy ops being {copied}, exceeding limit {MAX_COPIED}"
            )));
        }
        json_patch::patch(&mut patched, std::slice::from_ref(&operation)).map_err(|error| {
            PatchError::Unprocessable {
                cause: error.to_string(),
            }
        })?;
    }
    Ok(patched)
}

#[cfg(test)]
mod tests;
