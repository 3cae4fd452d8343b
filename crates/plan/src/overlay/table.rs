use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;

use ipnet::IpNet;
use podway_model::IpFamily;

use super::{Refusal, VtepMac, WireGuardKey};

/// What one node's overlay must be: its own ends and, for each family, the nodes
/// on the other side.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OverlayTable {
    /// This node's own end, for each family of its pods; what it publishes.
    pub own: BTreeMap<IpFamily, OwnEnd>,
    /// The nodes to reach, family by family.
    pub peers: BTreeMap<PeerKey, Peer>,
    /// Which nodes (the own one too) are left out, and why.
    pub refused: BTreeMap<PeerKey, Refusal>,
}

/// A node and a family of its pods' addresses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerKey {
    /// The node.
    pub node: Arc<str>,
    /// The family of the pods' addresses, and of the addresses between nodes.
    pub family: IpFamily,
}

/// This node's own end of one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnEnd {
    /// Its pods' addresses; host bits are zero.
    pub prefix: IpNet,
    /// The node's address on one of its interfaces: packets are sent from here.
    pub local: IpAddr,
    /// Where the other nodes send to; another than `local` behind a NAT, on an
    /// administrator's word (`public-ip-overwrite`).
    pub public: IpAddr,
    /// What the mode needs beyond that.
    pub data: PeerData,
}

/// How the pods of one node and family are reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Its pods' addresses; host bits are zero.
    pub prefix: IpNet,
    /// Where the node itself is reached.
    pub address: IpAddr,
    /// Which way packets take.
    pub way: Way,
    /// What the mode needs beyond that.
    pub data: PeerData,
}

/// Which way packets to a peer's pods take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Through the overlay's device.
    Tunnel,
    /// As they are, to the peer as a neighbour.
    Direct {
        /// The kernel's number of the interface that the peer is a neighbour on.
        link: u32,
    },
    /// Packets from the peer are taken, and another mode sends those to it.
    Incoming,
}

/// What a node publishes for its peers, beyond its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerData {
    /// VXLAN: the Ethernet address of the node's tunnel device.
    Vxlan {
        /// Inner frames for the node carry this destination.
        mac: VtepMac,
    },
    /// WireGuard.
    WireGuard {
        /// The node's public key.
        key: WireGuardKey,
        /// Its UDP port.
        port: NonZeroU16,
    },
    /// Nothing: the other modes.
    Nothing,
}

impl PeerKey {
    /// Puts a key together.
    #[must_use]
    pub fn new(node: &Arc<str>, family: IpFamily) -> Self {
        Self {
            node: node.clone(),
            family,
        }
    }
}

impl fmt::Display for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.node, self.family)
    }
}
