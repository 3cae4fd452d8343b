//! The node daemon: watches the cluster, plans, and keeps the node's kernel as
//! planned.

#![forbid(unsafe_code)]

pub mod config;
pub mod status;
