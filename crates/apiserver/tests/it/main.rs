//! The API server from outside: real kubectl, real clients, real kills.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on says why by panicking"
)]

mod client;
mod crew;
mod durability;
mod fixture;
mod kubectl;
mod kubelet;
mod load;
