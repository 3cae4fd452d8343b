//! Tests of the crate's public face, in one binary.

mod client;
mod manifests;
mod scripted_server;
