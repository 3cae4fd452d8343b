//! Tests of the crate's public face, in one binary.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, helpers too")]

mod client;
mod manifests;
mod scripted_server;
