//! The lab as a whole, with real namespaces, processes and packets. Needs root
//! and the binaries `podway` and `podway-cni` beside the tests' own.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod beginnings;
mod crash;
mod fixture;
mod life;
mod pods;
mod power;
mod scheduling;
mod toolbox;
