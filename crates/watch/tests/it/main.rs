//! Tests of the crate's public face, in one binary.

mod manifests;
