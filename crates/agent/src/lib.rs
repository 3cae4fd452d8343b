//! The node daemon: watches the cluster, plans, and keeps the node's kernel as
//! planned.
//!
//! Threads: the main one runs everything that waits for the network (the
//! watches, what is published, signals, notifications of the kernel);
//! `podway-sync` owns the state and is the only one that writes to the kernel;
//! `podway-socket` accepts the CNI plugin, each of whose requests has a thread.
//! docs/agent.md draws them.

#![forbid(unsafe_code)]

mod address_config;
mod attachments;
mod cleanup;
pub mod config;
mod error;
mod feature;
mod features;
mod files;
mod foreign;
mod health;
mod health_checks;
pub mod kube_proxy;
mod mailbox;
mod metrics;
mod pods;
mod probe;
mod publish;
mod reload;
mod run;
mod servers;
mod socket;
mod source;
pub mod status;
mod sync;
mod sysctls;

pub use cleanup::{cleanup, cleanup_proxy, remove_kube_proxy};
pub use error::Error;
pub use run::run;
pub use source::{Loaded, Role, Source};
pub use sysctls::set as set_sysctls;

/// The annotation of a Node that asks for a proxy mode.
pub const PROXY_MODE: &str = "podway.dev/proxy-mode";
