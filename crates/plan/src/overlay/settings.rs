use std::num::NonZeroU16;

use ipnet::IpNet;

use super::WireGuardKey;

/// How packets travel between nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OverlayMode {
    /// Frames in UDP, by the kernel.
    Vxlan,
    /// As they are: nodes are each other's routers, on one segment.
    HostGw,
    /// Packets in UDP, by the agent.
    Udp,
    /// Packets in packets, by the kernel.
    Ipip,
    /// Encrypted, by the kernel.
    WireGuard,
    /// Somebody else sees to it.
    None,
}

impl OverlayMode {
    /// Every mode.
    pub const ALL: [Self; 6] = [
        Self::Vxlan,
        Self::HostGw,
        Self::Udp,
        Self::Ipip,
        Self::WireGuard,
        Self::None,
    ];

    /// Its name in configuration and status.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vxlan => "vxlan",
            Self::HostGw => "host-gw",
            Self::Udp => "udp",
            Self::Ipip => "ipip",
            Self::WireGuard => "wireguard",
            Self::None => "none",
        }
    }

    /// The mode of this name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }

    /// What the annotation `backend-type` says: the name, but nothing for udp
    /// (flannel's udp publishes no type).
    #[must_use]
    pub const fn annotation(self) -> &'static str {
        match self {
            Self::Udp => "",
            other => other.name(),
        }
    }

    /// Whether it needs a UDP port.
    #[must_use]
    pub const fn has_port(self) -> bool {
        matches!(self, Self::Vxlan | Self::Udp | Self::WireGuard)
    }

    /// Whether peers on the same segment can be sent packets as they are instead
    /// (`directRouting`). Not where packets are encrypted: they would travel in
    /// the clear.
    #[must_use]
    pub const fn can_route_directly(self) -> bool {
        matches!(self, Self::Vxlan | Self::Udp | Self::Ipip)
    }
}

/// What is configured about the overlay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverlaySettings {
    /// How packets travel.
    pub mode: OverlayMode,
    /// The VXLAN network identifier, 1 to 2^24 - 1; the same on every node.
    pub vni: u32,
    /// The UDP port of vxlan, udp or wireguard; `None` is the mode's own.
    pub port: Option<NonZeroU16>,
    /// The MTU of the network between the nodes; `None` is the interface's.
    pub mtu: Option<u32>,
    /// The first two bytes of a VXLAN device's Ethernet address; `None` lets
    /// them follow from the node's name as the others do.
    pub mac_prefix: Option<[u8; 2]>,
    /// Peers on the same segment are sent packets as they are.
    pub direct_routing: bool,
    /// The pods' prefixes of the whole cluster, where they are known: the node's
    /// own podCIDRs have to be inside.
    pub networks: Vec<IpNet>,
    /// Packets are only taken, and sent by another mode: while a cluster moves
    /// from one to the other.
    pub incoming_only: bool,
    /// This node's public key, with WireGuard.
    pub public_key: Option<WireGuardKey>,
    /// How often WireGuard keeps a way through a NAT open, in seconds.
    pub keepalive: Option<NonZeroU16>,
}

impl OverlaySettings {
    /// The defaults of a mode: flannel's.
    #[must_use]
    pub const fn new(mode: OverlayMode) -> Self {
        Self {
            mode,
            vni: 1,
            port: None,
            mtu: None,
            mac_prefix: None,
            direct_routing: false,
            networks: Vec::new(),
            incoming_only: false,
            public_key: None,
            keepalive: None,
        }
    }

    /// Whether the plan depends on the node's routing table.
    #[must_use]
    pub const fn needs_underlay(&self) -> bool {
        let routes = self.direct_routing || matches!(self.mode, OverlayMode::HostGw);
        routes && !self.incoming_only
    }
}
