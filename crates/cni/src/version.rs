//! Versions of the specification.

use serde_json::{Value, json};

/// What is spoken, oldest first.
pub(crate) const SUPPORTED: [&str; 4] = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// The newest version spoken; errors carry it when the configuration's is not
/// known.
pub(crate) const NEWEST: &str = SUPPORTED[SUPPORTED.len() - 1];

pub(crate) fn list() -> String {
    SUPPORTED.join(", ")
}

pub(crate) fn is_supported(version: &str) -> bool {
    SUPPORTED.contains(&version)
}

/// The answer to VERSION.
pub(crate) fn answer() -> Value {
    json!({ "cniVersion": NEWEST, "supportedVersions": SUPPORTED })
}
