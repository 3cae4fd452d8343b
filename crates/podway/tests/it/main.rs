//! What holds for the workspace and the binary as a whole.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that panics says where"
)]

mod architecture;
mod harness;
mod input;
mod lab;
