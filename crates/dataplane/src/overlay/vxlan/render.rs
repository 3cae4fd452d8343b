use ipnet::IpNet;
use podway_kernel::route::{FdbEntry, LinkIndex, Mac, Neighbour, Route, Vxlan};
use podway_model::IpFamily;
use podway_plan::overlay::{OverlaySettings, OwnEnd, Peer, PeerData, Way};

use crate::overlay::ROUTE_PROTOCOL;
use crate::overlay::routes::direct;

/// The UDP port of the tunnels where none is configured: the kernel's and
/// flannel's default, not IANA's 4789.
pub const PORT: u16 = 8472;

/// What a tunnel adds to a packet, in bytes: outer IP, UDP (8), VXLAN (8) and
/// inner Ethernet (14). The outer Ethernet header is not part of an MTU.
#[must_use]
pub const fn overhead(family: IpFamily) -> u32 {
    match family {
        IpFamily::V4 => 20 + 8 + 8 + 14,
        IpFamily::V6 => 40 + 8 + 8 + 14,
    }
}

/// How a tunnel device must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its Ethernet address, which the peers know.
    pub mac: Mac,
    /// Its MTU.
    pub mtu: u32,
    /// Where it sends and receives.
    pub vxlan: Vxlan,
    /// Its address: the first of the pod prefix, which no pod gets, alone. It is
    /// the source of what the node itself sends to pods of other nodes.
    pub address: IpNet,
}

/// What the kernel needs to reach one peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerEntries {
    /// Where there is a tunnel to it: the peer's device, at the first address of
    /// its pod prefix, and where frames for that device go.
    pub tunnel: Option<(Neighbour, FdbEntry)>,
    /// Its pods, through that neighbour or the peer itself.
    pub route: Route,
}

/// The device of this node's own end on the interface `lower`, which carries
/// packets of `lower_mtu` bytes.
#[must_use]
pub fn render_device(
    own: &OwnEnd,
    settings: &OverlaySettings,
    lower: LinkIndex,
    lower_mtu: u32,
) -> Device {
    let overhead = overhead(IpFamily::of(&own.local));
    Device {
        mac: mac_of(&own.data),
        mtu: lower_mtu.saturating_sub(overhead),
        vxlan: Vxlan {
            vni: settings.vni,
            port: settings.port.map_or(PORT, Into::into),
            local: own.local,
            lower: Some(lower),
            learning: false,
        },
        address: IpNet::from(own.prefix.network()),
    }
}

/// The entries of one peer on the device `link`; `None` for a peer that another
/// overlay sends to.
#[must_use]
pub fn render_peer(peer: &Peer, link: LinkIndex) -> Option<PeerEntries> {
    let gateway = peer.prefix.network();
    let mac = mac_of(&peer.data);
    match peer.way {
        Way::Incoming => None,
        Way::Direct { link } => Some(PeerEntries {
            tunnel: None,
            route: direct(peer.prefix, peer.address, link),
        }),
        Way::Tunnel => {
            let neighbour = Neighbour {
                link,
                address: gateway,
                mac,
            };
            let fdb = FdbEntry {
                link,
                mac,
                remote: peer.address,
            };
            let route = Route::new(peer.prefix)
                .via(gateway)
                .dev(link)
                .onlink()
                .protocol(ROUTE_PROTOCOL);
            Some(PeerEntries {
                tunnel: Some((neighbour, fdb)),
                route,
            })
        }
    }
}

/// Planning gives a VXLAN node an Ethernet address, always.
const fn mac_of(data: &PeerData) -> Mac {
    match data {
        PeerData::Vxlan { mac } => Mac(mac.0),
        PeerData::WireGuard { .. } | PeerData::Nothing => Mac([0; 6]),
    }
}
