//! Overlays: from Nodes to the peers that pods are reached through.
//!
//! The annotations are flannel's, so that nodes of both run in one cluster.

mod annotation;
mod claims;
mod diff;
mod masquerade;
mod peers;
mod table;

pub use annotation::{Annotations, publish};
pub use diff::{OverlayChange, diff};
pub use masquerade::{MasqueradeTable, plan_masquerade};
pub use peers::plan_overlay;
pub use table::{
    OverlaySettings, OverlayTable, OwnEnd, Peer, PeerData, PeerKey, Refusal, VtepMac, VtepMacError,
};

#[cfg(test)]
mod tests;
