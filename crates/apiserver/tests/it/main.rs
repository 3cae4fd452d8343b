//! The API server from outside: real kubectl, real clients, real kills.

mod client;
mod durability;
mod fixture;
mod kubectl;
mod kubelet;
