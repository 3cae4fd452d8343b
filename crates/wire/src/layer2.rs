//! ARP (RFC 826) and NDP (RFC 4861), answered for announced addresses only.
//!
//! An announced address is configured on no interface. That is why the kernel
//! does not answer for it, and why this does.

mod announcer;
mod arp;
mod ethernet;
mod ndp;

pub use announcer::{Announcer, AnswerLimit, Interface, Outgoing, REPEAT};
pub use arp::{ArpOperation, ArpPacket};
pub use ethernet::{ETHERTYPE_ARP, ETHERTYPE_IPV6, EthernetFrame, MacAddress};
pub use ndp::{ALL_NODES, Advertisement, Solicitation, group_mac, solicited_node_group};

use thiserror::Error;

/// Why a frame is not answered: it is not one that this understands. None of
/// these is worth a log line, anybody on the segment can send them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The frame ends before the field does.
    #[error("the frame is shorter than its protocol asks")]
    Truncated,
    /// Not Ethernet with IPv4 addresses (RFC 826 would allow any).
    #[error("the ARP packet is not about IPv4 over Ethernet")]
    NotIpv4OverEthernet,
    /// Neither request nor reply.
    #[error("ARP operation {0} is neither request nor reply")]
    ArpOperation(u16),
    /// Not an ICMPv6 neighbour solicitation or advertisement.
    #[error("the packet is not a neighbour solicitation")]
    NotNeighbourDiscovery,
    /// RFC 4861 section 7.1.1: a packet that passed a router is no neighbour's.
    #[error("the hop limit is {0}, not 255: the packet passed a router")]
    HopLimit(u8),
    /// RFC 4861 section 7.1.1, 4443 section 2.3.
    #[error("the ICMPv6 checksum is wrong")]
    Checksum,
    /// A field holds what RFC 4861 section 7.1.1 forbids.
    #[error("the neighbour solicitation is not valid: {0}")]
    Invalid(&'static str),
}
