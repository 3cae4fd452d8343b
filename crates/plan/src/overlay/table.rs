use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use ipnet::IpNet;
use podway_model::IpFamily;

/// What every node of the overlay has to agree on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverlaySettings {
    /// The backend's name, as in the annotation `backend-type`.
    pub backend: &'static str,
    /// The VXLAN network identifier, 1 to 2^24 - 1.
    pub vni: u32,
}

/// What one node's overlay must be: its own ends of the tunnels and, for each
/// family, the nodes on the other side.
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

/// This node's own end of one family's tunnels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnEnd {
    /// Its pods' addresses; host bits are zero.
    pub prefix: IpNet,
    /// The node's address on one of its interfaces: packets are sent from here.
    pub local: IpAddr,
    /// Where the other nodes send to; another than `local` behind a NAT, on an
    /// administrator's word (`public-ip-overwrite`).
    pub public: IpAddr,
    /// What the backend needs beyond that.
    pub data: PeerData,
}

/// How the pods of one node and family are reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its pods' addresses; host bits are zero.
    pub prefix: IpNet,
    /// Where the node itself is reached.
    pub address: IpAddr,
    /// What the backend needs beyond that.
    pub data: PeerData,
}

/// What a backend publishes about a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerData {
    /// VXLAN: the Ethernet address of the node's tunnel device.
    Vxlan {
        /// Inner frames for the node carry this destination.
        mac: VtepMac,
    },
}

/// The Ethernet address of a VXLAN tunnel device.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VtepMac(pub [u8; 6]);

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

impl VtepMac {
    /// An address that follows from the node's name, so that a device made
    /// anew (a restart, a deleted link) has the address that its peers know.
    #[must_use]
    pub fn of_node(node: &str, family: IpFamily) -> Self {
        // FNV-1a: stable for ever, unlike the hasher of the standard library.
        let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        let salt: u8 = match family {
            IpFamily::V4 => 4,
            IpFamily::V6 => 6,
        };
        let hash = node.bytes().chain([salt]).fold(0xcbf2_9ce4_8422_2325, step);
        let [a, b, c, d, e, g, h, i] = hash.to_be_bytes();
        // Locally administered, unicast (IEEE 802-2014, 8.4).
        Self([((a ^ h) | 0x02) & 0xfe, b ^ i, c, d, e, g])
    }
}

impl fmt::Display for VtepMac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for VtepMac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is no usable Ethernet address of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VtepMacError {
    /// Not six pairs of hexadecimal digits.
    #[error("VtepMAC is not six pairs of hexadecimal digits, as 12:c6:65:89:b4:e3")]
    Format,
    /// A group's address or zero, which no device has.
    #[error("VtepMAC is a multicast address or zero, which no device has")]
    NotUnicast,
}

impl FromStr for VtepMac {
    type Err = VtepMacError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            *byte = parts
                .next()
                .filter(|part| part.len() == 2)
                .and_then(|part| u8::from_str_radix(part, 16).ok())
                .ok_or(VtepMacError::Format)?;
        }
        if parts.next().is_some() {
            return Err(VtepMacError::Format);
        }
        if bytes[0] & 1 == 1 || bytes == [0; 6] {
            return Err(VtepMacError::NotUnicast);
        }
        Ok(Self(bytes))
    }
}
