//! Times as Kubernetes writes them.

use jiff::Timestamp;

/// `2026-11-20T16:00:00Z`: `metav1.Time` has whole seconds.
pub(crate) fn text(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `2026-11-20T16:00:00.000000Z`: `metav1.MicroTime`.
pub(crate) fn precise_text(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}
