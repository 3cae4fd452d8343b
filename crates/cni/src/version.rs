//! Versions of the specification.

use serde_json::{Value, json};

use crate::config::Network;
use crate::error::Error;

/// What is spoken, oldest first.
pub(crate) const SUPPORTED: [&str; 7] = [
    "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0",
];

/// The newest version spoken; errors carry it when the configuration's is not
/// known.
pub(crate) const NEWEST: &str = SUPPORTED[SUPPORTED.len() - 1];

pub(crate) fn list() -> String {
    SUPPORTED.join(", ")
}

pub(crate) fn is_supported(version: &str) -> bool {
    SUPPORTED.contains(&version)
}

/// Whether a supported version is `since` or later.
pub(crate) fn is_since(version: &str, since: &str) -> bool {
    let place = |wanted: &str| SUPPORTED.iter().position(|known| *known == wanted);
    place(version) >= place(since)
}

/// Refuses a command that the configuration's version does not have.
pub(crate) fn require(
    network: &Network,
    command: &'static str,
    since: &'static str,
) -> Result<(), Error> {
    if is_since(&network.version, since) {
        return Ok(());
    }
    Err(Error::TooOld {
        version: network.version.clone(),
        command,
        since,
    })
}

/// The answer to VERSION.
pub(crate) fn answer() -> Value {
    json!({ "cniVersion": NEWEST, "supportedVersions": SUPPORTED })
}
