//! The translations: against fakes, and against the real kernel as root, each
//! test in network namespaces of its own.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on says why by panicking"
)]

mod announce;
mod cost;
mod drift;
mod iptables;
mod ipvs;
mod live;
mod masquerade;
mod overlay;
mod policy;
mod service;

/// Whether tests take their long form (`make test-full`).
fn is_full() -> bool {
    std::env::var_os("PODWAY_TEST_FULL").is_some()
}
