//! The plugin's program, run as a container runtime runs it, in namespaces of
//! the test's own. Needs root.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on says why by panicking"
)]

mod bandwidth;
mod chaining;
mod connectivity;
mod containerd;
mod debian;
mod failures;
mod host_ports;
mod kills;
mod matrix;
mod node;
mod parallel;
mod protocol;
mod requests;
mod services;
mod verbs;
