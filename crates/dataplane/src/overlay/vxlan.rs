//! VXLAN, as flannel speaks it: one tunnel device for each family, and for each
//! peer a permanent neighbour, a forwarding entry and a route.
//!
//! docs/backends/vxlan.md says what a packet meets and why each entry exists.

mod device;
mod render;
mod sync;

use std::collections::BTreeMap;

use podway_kernel::route::{LinkDetail, LinkIndex, Rtnetlink};
use podway_model::IpFamily;
use podway_plan::overlay::{OverlayChange, OverlaySettings, OverlayTable, Peer, PeerKey};

use super::{BackendSpec, Error, ErrorList, OverlayBackend, SyncReport};

pub use render::{Device, PORT, PeerEntries, device_name, overhead, render_device, render_peer};

/// The backend's entry in the list.
pub const SPEC: BackendSpec = BackendSpec {
    name: "vxlan",
    summary: "UDP tunnels of the kernel between all nodes, compatible with flannel",
    open: |settings| Ok(Box::new(Vxlan::open(settings)?)),
};

/// The VXLAN backend.
#[derive(Debug)]
pub struct Vxlan {
    settings: OverlaySettings,
    socket: Rtnetlink,
    /// The device of each family, as the last sync found or made it.
    devices: BTreeMap<IpFamily, Ready>,
    /// Kernel parameters written, which the socket does not count.
    parameters: u64,
}

/// A device that is as it should be.
#[derive(Debug, Clone, Copy)]
struct Ready {
    index: LinkIndex,
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
            devices: BTreeMap::new(),
            parameters: 0,
        })
    }

    fn writes(&self) -> u64 {
        self.socket.writes() + self.parameters
    }

    fn change(&mut self, change: &OverlayChange) -> Result<(), Error> {
        // All that goes before all that comes: a prefix may move from one node
        // to another, and with it the neighbour and the route of one address.
        let mut rendered = Vec::with_capacity(change.peers.len());
        for (key, (before, after)) in &change.peers {
            let link = self.index(key)?;
            let entries = |peer: &Option<Peer>| peer.as_ref().map(|peer| render_peer(peer, link));
            rendered.push((entries(before), entries(after)));
        }
        for (before, after) in &rendered {
            if let Some(before) = before {
                sync::remove(&mut self.socket, before, after.as_ref())?;
            }
        }
        for (before, after) in &rendered {
            if let Some(after) = after {
                sync::add(&mut self.socket, before.as_ref(), after)?;
            }
        }
        Ok(())
    }

    fn index(&self, key: &PeerKey) -> Result<LinkIndex, Error> {
        let device = self.devices.get(&key.family);
        device.map(|device| device.index).ok_or(Error::NoDevice {
            name: device_name(key.family),
        })
    }

    fn reconcile(&mut self, table: &OverlayTable) -> Result<(), Error> {
        self.devices.clear();
        for family in IpFamily::ALL {
            let Some(own) = table.own.get(&family) else {
                self.remove_device(family)?;
                continue;
            };
            let ready = self.ensure_device(own, family)?;
            self.devices.insert(family, ready);
            let wanted: Vec<PeerEntries> = table
                .peers
                .iter()
                .filter(|(key, _)| key.family == family)
                .map(|(_, peer)| render_peer(peer, ready.index))
                .collect();
            sync::reconcile(&mut self.socket, ready.index, &wanted)?;
        }
        Ok(())
    }

    fn remove_device(&mut self, family: IpFamily) -> Result<(), Error> {
        match self.socket.link(device_name(family))? {
            Some(link) if matches!(link.detail, LinkDetail::Vxlan(_)) => {
                Ok(self.socket.delete_link(link.index)?)
            }
            _ => Ok(()),
        }
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

    fn cleanup(&mut self) -> Result<(), ErrorList> {
        self.devices.clear();
        // Neighbours, forwarding entries and routes go with their device.
        let errors: Vec<Error> = IpFamily::ALL
            .into_iter()
            .filter_map(|family| self.remove_device(family).err())
            .collect();
        if errors.is_empty() {
            return Ok(());
        }
        Err(ErrorList(errors))
    }
}
