use std::net::IpAddr;

use ipnet::IpNet;
use podway_kernel::route::{FdbEntry, LinkIndex, Mac, Neighbour, Route, Vxlan};
use podway_model::IpFamily;
use podway_plan::overlay::{OverlaySettings, OwnEnd, Peer, PeerData};

/// The UDP port of the tunnels: the kernel's and flannel's default, not IANA's
/// 4789.
pub const PORT: u16 = 8472;

/// RTPROT_* of our routes: one that nobody else uses, so that `ip route` shows
/// whose they are.
const ROUTE_PROTOCOL: u8 = 112;

/// The tunnel device of a family.
#[must_use]
pub const fn device_name(family: IpFamily) -> &'static str {
    match family {
        IpFamily::V4 => "podway-vxlan",
        IpFamily::V6 => "podway-vxlan6",
    }
}

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
    /// Its name.
    pub name: &'static str,
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
    /// The peer's device, at the first address of its pod prefix.
    pub neighbour: Neighbour,
    /// Where frames for that device go.
    pub fdb: FdbEntry,
    /// Its pods, through that neighbour.
    pub route: Route,
}

/// The device of this node's own end on the interface `lower`.
#[must_use]
pub fn render_device(
    own: &OwnEnd,
    family: IpFamily,
    settings: &OverlaySettings,
    lower: LinkIndex,
    lower_mtu: u32,
) -> Device {
    Device {
        name: device_name(family),
        mac: mac_of(&own.data),
        mtu: lower_mtu.saturating_sub(overhead(family)),
        vxlan: Vxlan {
            vni: settings.vni,
            port: PORT,
            local: own.local,
            lower: Some(lower),
            learning: false,
        },
        address: host(own.prefix.network()),
    }
}

/// The entries of one peer on the device `link`.
#[must_use]
pub fn render_peer(peer: &Peer, link: LinkIndex) -> PeerEntries {
    let gateway = peer.prefix.network();
    let mac = mac_of(&peer.data);
    PeerEntries {
        neighbour: Neighbour {
            link,
            address: gateway,
            mac,
        },
        fdb: FdbEntry {
            link,
            mac,
            remote: peer.address,
        },
        route: Route::new(peer.prefix)
            .via(gateway)
            .dev(link)
            .onlink()
            .protocol(ROUTE_PROTOCOL),
    }
}

fn mac_of(data: &PeerData) -> Mac {
    let PeerData::Vxlan { mac } = data;
    Mac(mac.0)
}

fn host(address: IpAddr) -> IpNet {
    IpNet::from(address)
}
