//! The translations: against fakes, and against the real kernel as root, each
//! test in network namespaces of its own.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on says why by panicking"
)]

mod iptables;
mod ipvs;
mod masquerade;
mod overlay;
mod policy;
mod service;
