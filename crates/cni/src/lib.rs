//! The CNI plugin `podway-cni`: a pod's interface on the node's bridge, with
//! addresses of the node's pod prefixes. Blocking, starts in milliseconds.
//!
//! The library holds the plugin itself, for tests, and what the agent shares
//! with it: the socket's protocol ([`agent_protocol`]) and the configuration
//! list that it writes ([`Conflist`]).

#![forbid(unsafe_code)]

pub mod agent_protocol;
mod conflist;

pub use conflist::{BRIDGE, Conflist};
