use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::VtepMac;

/// Why a node is left out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The node has no pod addresses of this family.
    #[error("the node has no podCIDR of this family (yet)")]
    NoPodPrefix,
    /// This node has no address of this family to send from.
    #[error(
        "the node has pods of this family but no address of it: add one, or take the podCIDR away"
    )]
    NoNodeAddress,
    /// This node's pods are outside the pods' network.
    #[error("podCIDR {prefix} is in no configured network of pods ({networks})")]
    OutsideNetwork {
        /// What the node has.
        prefix: IpNet,
        /// What is configured.
        networks: String,
    },
    /// Nobody publishes the overlay's annotations there.
    #[error("the node does not take part: annotation {annotation} is not \"true\" (yet)")]
    NotTakingPart {
        /// The annotation's full name.
        annotation: &'static str,
    },
    /// The node runs another overlay.
    #[error("the node's overlay is {theirs:?}, this node's is {ours:?}")]
    OtherBackend {
        /// Its `backend-type`.
        theirs: String,
        /// Ours.
        ours: &'static str,
    },
    /// An annotation is missing.
    #[error("annotation {annotation} is missing")]
    MissingAnnotation {
        /// The annotation's full name.
        annotation: &'static str,
    },
    /// An annotation cannot be read.
    #[error("annotation {annotation} is {value:?}: {reason}")]
    BrokenAnnotation {
        /// The annotation's full name.
        annotation: &'static str,
        /// What it says.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The node is in another VXLAN network.
    #[error("the node's VXLAN network is {theirs}, this node's is {ours}")]
    OtherNetwork {
        /// Its VNI.
        theirs: u32,
        /// Ours.
        ours: u32,
    },
    /// Two nodes claim the same pod addresses.
    #[error(
        "podCIDR {prefix} overlaps {taken} of node {holder}, which keeps it: give one of them another"
    )]
    Overlap {
        /// What this node claims.
        prefix: IpNet,
        /// What it overlaps.
        taken: IpNet,
        /// Whose that is.
        holder: Arc<str>,
    },
    /// Two nodes have tunnel devices of the same Ethernet address.
    #[error("tunnel device address {mac} is also node {holder}'s, which keeps it")]
    MacTaken {
        /// The address.
        mac: VtepMac,
        /// Whose it is.
        holder: Arc<str>,
    },
    /// host-gw, and the node is behind a router, which does not know pods.
    #[error(
        "the node's address {address} is behind router {router}, and packets to pods would end there: nodes of host-gw share a segment; vxlan with directRouting takes the tunnel only where it must"
    )]
    OtherSegment {
        /// The node's address.
        address: IpAddr,
        /// The router on the way.
        router: IpAddr,
    },
    /// host-gw, and the node is on no network of this node (now).
    #[error(
        "no route leads to the node's address {address}: the interface is down, or has lost its address"
    )]
    NoWay {
        /// The node's address.
        address: IpAddr,
    },
    /// This node has no WireGuard key to publish.
    #[error("this node has no WireGuard key (yet)")]
    NoKey,
}
