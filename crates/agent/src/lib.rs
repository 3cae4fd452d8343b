//! The node daemon: watches the cluster, plans, and keeps the node's kernel as
//! planned.

#![forbid(unsafe_code)]

mod attachments;
pub mod config;
mod feature;
mod features;
mod files;
mod mailbox;
mod pods;
mod publish;
mod socket;
pub mod status;
mod sync;
