//! udp: packets in UDP, one in each datagram and nothing else, as flannel's udp
//! backend sends them; moved by threads of the agent. For nodes where the
//! kernel has no other tunnel, and beside flannel's udp.
//!
//! docs/backends/udp.md says what a packet meets and what it costs.

mod checksum;
mod directory;
mod icmp;
mod incoming;
mod merge;
mod offload;
mod outgoing;
mod packet;
mod split;
mod threads;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use ipnet::IpNet;
use podway_kernel::route::{Link, LinkChange, LinkIndex, Route, Rtnetlink};
use podway_kernel::tun::Tun;
use podway_model::IpFamily;
use podway_plan::overlay::{
    OverlayChange, OverlayMode, OverlaySettings, OverlayTable, OwnEnd, Peer, Way,
};

use super::parameters::Parameters;
use super::routes::{self, ROUTE_PROTOCOL, direct};
use super::{
    BackendSpec, DEVICES, DeviceName, Error, Need, OverlayBackend, SyncReport, carrier, device,
};
use threads::Tunnel;

/// The backend's entry in the list.
pub const SPEC: BackendSpec = BackendSpec {
    name: OverlayMode::Udp.name(),
    mode: OverlayMode::Udp,
    summary: "UDP tunnels of the agent between all nodes, compatible with flannel",
    needs: &[Need {
        what: "TUN devices",
        remedy: "load the module tun, or build the kernel with CONFIG_TUN; in a container, give it /dev/net/tun",
        try_out: |_| Ok(Tun::open("probe-tun", 1).map(drop)?),
    }],
    open: |settings| Ok(Box::new(Udp::open(settings)?)),
};

/// Flannel's port.
pub const PORT: u16 = 8285;

/// What a tunnel adds to a packet, in bytes: outer IP and UDP (8).
#[must_use]
pub const fn overhead(family: IpFamily) -> u32 {
    match family {
        IpFamily::V4 => 20 + 8,
        IpFamily::V6 => 40 + 8,
    }
}

/// The udp backend.
#[derive(Debug)]
pub struct Udp {
    settings: OverlaySettings,
    socket: Rtnetlink,
    parameters: Parameters,
    ends: BTreeMap<IpFamily, End>,
}

/// One family's end: its device and its threads.
#[derive(Debug)]
struct End {
    link: LinkIndex,
    lower: LinkIndex,
    mtu: u32,
    tunnel: Tunnel,
}

/// The route to a peer's pods, with `link` the device of its family; `None` where
/// another overlay sends them.
#[must_use]
pub fn render_peer(peer: &Peer, link: LinkIndex) -> Option<Route> {
    match peer.way {
        Way::Incoming => None,
        Way::Direct { link } => Some(direct(peer.prefix, peer.address, link)),
        Way::Tunnel => Some(
            Route::new(peer.prefix)
                .dev(link)
                .scope_link()
                .protocol(ROUTE_PROTOCOL),
        ),
    }
}

impl Udp {
    /// Opens the backend in the calling thread's network namespace.
    ///
    /// # Errors
    /// [`Error::Route`].
    pub fn open(settings: &OverlaySettings) -> Result<Self, Error> {
        Ok(Self {
            settings: settings.clone(),
            socket: Rtnetlink::open()?,
            parameters: Parameters::default(),
            ends: BTreeMap::new(),
        })
    }

    fn change(&mut self, change: &OverlayChange) -> Result<(), Error> {
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for (key, (old, new)) in &change.peers {
            let name = device_name(key.family).name;
            let end = self.ends.get(&key.family).ok_or(Error::NoDevice { name })?;
            let mut directory = end.tunnel.directory.write();
            if let Some(old) = old {
                directory.remove(old);
                before.extend(render_peer(old, end.link));
            }
            if let Some(new) = new {
                directory.add(new);
                after.extend(render_peer(new, end.link));
            }
        }
        routes::change(&mut self.socket, before, after)
    }

    fn reconcile(&mut self, table: &OverlayTable) -> Result<(), Error> {
        let mut wanted = Vec::with_capacity(table.peers.len());
        for (family, own) in &table.own {
            let end = self.ensure_end(own)?;
            let peers = table.peers.iter().filter(|(key, _)| key.family == *family);
            let peers = peers.map(|(_, peer)| peer);
            end.tunnel.directory.write().replace(peers.clone());
            wanted.extend(peers.filter_map(|peer| render_peer(peer, end.link)));
            self.ends.insert(*family, end);
        }
        if !self.settings.incoming_only {
            routes::reconcile(&mut self.socket, wanted)?;
        }
        for family in IpFamily::ALL {
            if !table.own.contains_key(&family) {
                self.ends.remove(&family);
                device::remove_one(&mut self.socket, &device_name(family))?;
            }
        }
        Ok(())
    }

    /// Makes an end be as it must, and changes nothing where it is.
    fn ensure_end(&mut self, own: &OwnEnd) -> Result<End, Error> {
        let family = IpFamily::of(&own.local);
        let name = device_name(family);
        let overhead = overhead(family);
        let carrier = carrier::find(&mut self.socket, own, &self.settings, overhead)?;
        self.parameters.forward(family)?;
        let found = self.socket.link(name.name)?;
        if let Some(link) = &found {
            name.check(&link.detail)?;
        }
        let port = self.settings.port.map_or(PORT, Into::into);
        let local = SocketAddr::new(own.local, port);
        let address = IpNet::from(own.prefix.network());
        let running = self.ends.remove(&family);
        let running = running.filter(|end| {
            let is_same = found.as_ref().is_some_and(|link| link.index == end.link);
            let tunnel = &end.tunnel;
            is_same && tunnel.local == local && tunnel.own == address.addr() && !tunnel.is_broken()
        });
        let tunnel = match running {
            Some(end) => end.tunnel,
            None => Tunnel::start(name.name, local, address.addr())?,
        };
        let mtu = carrier.mtu.saturating_sub(overhead);
        let gone = || Error::NoDevice { name: name.name };
        let link = self.socket.link(name.name)?.ok_or_else(gone)?;
        self.mend(&link, mtu, found.is_none())?;
        device::set_address(&mut self.socket, link.index, address)?;
        Ok(End {
            link: link.index,
            lower: carrier.link,
            mtu,
            tunnel,
        })
    }

    fn mend(&mut self, link: &Link, mtu: u32, is_new: bool) -> Result<(), Error> {
        if is_new {
            self.parameters.prepare(&link.name)?;
        }
        if link.mtu != mtu || !link.up {
            let change = LinkChange::new().mtu(mtu).up();
            self.socket.change_link(link.index, &change)?;
        }
        Ok(())
    }

    fn writes(&self) -> u64 {
        self.socket.writes() + self.parameters.writes()
    }
}

/// The device of a family.
const fn device_name(family: IpFamily) -> DeviceName {
    match family {
        IpFamily::V4 => DEVICES[2],
        IpFamily::V6 => DEVICES[3],
    }
}

impl OverlayBackend for Udp {
    fn sync(
        &mut self,
        table: &OverlayTable,
        change: Option<&OverlayChange>,
    ) -> Result<SyncReport, Error> {
        let before = self.writes();
        match change {
            _ if table.own.is_empty() => {}
            Some(change) if !change.own => self.change(change)?,
            _ => self.reconcile(table)?,
        }
        Ok(SyncReport {
            writes: self.writes() - before,
            pod_mtu: self.ends.values().map(|end| end.mtu).min(),
        })
    }

    fn netlink_ports(&self) -> Vec<u32> {
        vec![self.socket.port()]
    }

    fn carriers(&self) -> Vec<LinkIndex> {
        self.ends.values().map(|end| end.lower).collect()
    }
}
