//! What holds for the workspace and the binary as a whole.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::too_many_lines,
    reason = "a test that panics says where, and a walk is as long as it is"
)]

mod architecture;
mod balancer;
mod harness;
mod input;
mod install;
mod lab;
mod netpol;
mod objects;
mod prober;
mod services;
