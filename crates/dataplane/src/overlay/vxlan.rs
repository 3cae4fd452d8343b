//! VXLAN, as flannel speaks it: one tunnel device for each family, and for each
//! peer a permanent neighbour, a forwarding entry and a route; for peers that
//! are reached directly, the route alone.
//!
//! docs/backends/vxlan.md says what a packet meets and why each entry exists.

mod device;
mod render;
mod sync;

use std::collections::BTreeMap;

use podway_kernel::route::{LinkIndex, Rtnetlink};
use podway_model::IpFamily;
use podway_plan::overlay::{
    OverlayChange, OverlayMode, OverlaySettings, OverlayTable, Peer, PeerKey,
};

use super::parameters::Parameters;
use super::{BackendSpec, DeviceName, Error, Need, OverlayBackend, SyncReport, routes};

pub use render::{Device, PORT, PeerEntries, overhead, render_device, render_peer};

/// The backend's entry in the list.
pub const SPEC: BackendSpec = BackendSpec {
    name: OverlayMode::Vxlan.name(),
    mode: OverlayMode::Vxlan,
    summary: "UDP tunnels of the kernel between all nodes, compatible with flannel",
    needs: &[Need {
        what: "vxlan devices",
        remedy: "load the module vxlan, or build the kernel with CONFIG_VXLAN",
        try_out: device::try_out,
    }],
    open: |settings| Ok(Box::new(Vxlan::open(settings)?)),
};

/// The VXLAN backend.
#[derive(Debug)]
pub struct Vxlan {
    settings: OverlaySettings,
    socket: Rtnetlink,
    parameters: Parameters,
    /// The device of each family, as the last sync found or made it.
    devices: BTreeMap<IpFamily, Ready>,
}

/// A device that is as it should be.
#[derive(Debug, Clone, Copy)]
struct Ready {
    index: LinkIndex,
    /// The interface that its packets leave by.
    lower: LinkIndex,
    mtu: u32,
}

impl Vxlan {
    /// Opens the backend in the calling thread's network namespace.
    ///
    /// # Errors
    /// [`Error::Route`].
    pub fn open(settings: &OverlaySettings) -> Result<Self, Error> {
        Ok(Self {
            settings: settings.clone(),
            socket: Rtnetlink::open()?,
            parameters: Parameters::default(),
            devices: BTreeMap::new(),
        })
    }

    fn change(&mut self, change: &OverlayChange) -> Result<(), Error> {
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for (key, (old, new)) in &change.peers {
            let link = self.index(key)?;
            let render = |peer: &Peer| render_peer(peer, link);
            before.extend(old.as_ref().and_then(render));
            after.extend(new.as_ref().and_then(render));
        }
        // In this order no packet takes a route whose rest is not there.
        sync::add(&mut self.socket, &before, &after)?;
        let routes = |entries: &[PeerEntries]| -> Vec<_> {
            entries.iter().map(|entries| entries.route).collect()
        };
        routes::change(&mut self.socket, routes(&before), routes(&after))?;
        sync::remove(&mut self.socket, &before, &after)
    }

    fn index(&self, key: &PeerKey) -> Result<LinkIndex, Error> {
        let device = self.devices.get(&key.family);
        device.map(|device| device.index).ok_or(Error::NoDevice {
            name: device_name(key.family).name,
        })
    }

    fn reconcile(&mut self, table: &OverlayTable) -> Result<(), Error> {
        self.devices.clear();
        let mut wanted = Vec::with_capacity(table.peers.len());
        for (family, own) in &table.own {
            let ready = self.ensure_device(own)?;
            self.devices.insert(*family, ready);
            let peers = table.peers.iter().filter(|(key, _)| key.family == *family);
            wanted.extend(peers.filter_map(|(_, peer)| render_peer(peer, ready.index)));
        }
        let devices: Vec<LinkIndex> = self.devices.values().map(|ready| ready.index).collect();
        let held = sync::Held::read(&mut self.socket, &devices)?;
        held.add_missing(&mut self.socket, &wanted)?;
        if !self.settings.incoming_only {
            routes::reconcile(&mut self.socket, wanted.iter().map(|entries| entries.route))?;
        }
        held.remove_rest(&mut self.socket, &wanted)?;
        for family in IpFamily::ALL {
            if !table.own.contains_key(&family) {
                super::device::remove_one(&mut self.socket, &device_name(family))?;
            }
        }
        Ok(())
    }

    fn writes(&self) -> u64 {
        self.socket.writes() + self.parameters.writes()
    }
}

/// The tunnel device of a family.
const fn device_name(family: IpFamily) -> DeviceName {
    match family {
        IpFamily::V4 => super::DEVICES[0],
        IpFamily::V6 => super::DEVICES[1],
    }
}

impl OverlayBackend for Vxlan {
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
            pod_mtu: self.devices.values().map(|device| device.mtu).min(),
        })
    }

    fn netlink_ports(&self) -> Vec<u32> {
        vec![self.socket.port()]
    }

    fn carriers(&self) -> Vec<LinkIndex> {
        self.devices.values().map(|device| device.lower).collect()
    }
}
