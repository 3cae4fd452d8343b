//! The CNI plugin `podway-cni`: a pod's interface, routed by its node, with
//! addresses of the node's pod prefixes. Blocking, starts in milliseconds.
//!
//! The library holds the plugin itself, for tests, and what the agent shares
//! with it: the socket's protocol ([`agent_protocol`]) and the configuration
//! list that it writes ([`Conflist`]).

#![forbid(unsafe_code)]

mod add;
pub mod agent_protocol;
mod bandwidth;
mod check;
mod config;
mod conflist;
mod del;
mod environment;
mod error;
mod gc;
mod host_ports;
mod install;
mod interface;
mod ipam;
mod owner;
mod plugin;
mod result;
mod state_file;
mod status;
mod teardown;
mod version;

pub use conflist::Conflist;
pub use environment::Variables;
pub use error::{EnvironmentError, Error};
pub use host_ports::{TABLE as HOST_PORTS_TABLE, restore_host_ports};
pub use install::{CONFLIST_FILE, Changes, Installation, PROGRAM};
pub use interface::{LINK_GROUP, attached};
pub use owner::Owner;
pub use plugin::{Outcome, run};

/// What the program is, for a person who calls it by hand.
#[must_use]
pub fn about() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let protocols = version::list();
    format!(
        "podway-cni {version}: CNI plugin of Podway\nCNI protocol versions supported: {protocols}"
    )
}
