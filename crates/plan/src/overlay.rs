//! Overlays: from Nodes to the peers that pods are reached through.
//!
//! The annotations are flannel's, so that nodes of both run in one cluster.

mod annotation;
mod change;
mod claims;
mod mac;
mod masquerade;
mod net_conf;
mod node_view;
mod planner;
mod refusal;
mod settings;
mod subnet_env;
mod table;
mod underlay;
mod wireguard_key;

pub use annotation::{Annotations, publish};
pub use change::OverlayChange;
pub use mac::{VtepMac, VtepMacError, prefix_of as mac_prefix_of};
pub use masquerade::{MasqueradeTable, plan_masquerade};
pub use net_conf::{NetConf, NetConfError};
pub use planner::{OverlayPlanner, plan_overlay};
pub use refusal::Refusal;
pub use settings::{OverlayMode, OverlaySettings};
pub use subnet_env::subnet_env;
pub use table::{OverlayTable, OwnEnd, Peer, PeerData, PeerKey, Way};
pub use underlay::{NextHop, Underlay};
pub use wireguard_key::{WireGuardKey, WireGuardKeyError};

#[cfg(test)]
mod tests;
