//! host-gw: nodes are each other's routers. For each peer a route through its
//! address, and nothing else: the largest packets and the least work, where all
//! nodes are neighbours.
//!
//! docs/backends/host-gw.md says what a packet meets.

use podway_kernel::route::{LinkIndex, Route, Rtnetlink};
use podway_plan::overlay::{OverlayChange, OverlayMode, OverlaySettings, OverlayTable, Peer, Way};

use super::parameters::Parameters;
use super::{BackendSpec, Error, OverlayBackend, SyncReport, carrier, routes};

/// The backend's entry in the list.
pub const SPEC: BackendSpec = BackendSpec {
    name: OverlayMode::HostGw.name(),
    mode: OverlayMode::HostGw,
    summary: "plain routes between nodes of one segment, compatible with flannel",
    needs: &[],
    open: |settings| Ok(Box::new(HostGw::open(settings)?)),
};

/// The host-gw backend.
#[derive(Debug)]
pub struct HostGw {
    settings: OverlaySettings,
    socket: Rtnetlink,
    parameters: Parameters,
    carriers: Vec<LinkIndex>,
    mtu: Option<u32>,
}

/// The route to a peer's pods. None where another overlay sends them.
#[must_use]
pub fn render_peer(peer: &Peer) -> Option<Route> {
    match peer.way {
        Way::Direct { link } => Some(routes::direct(peer.prefix, peer.address, link)),
        Way::Tunnel | Way::Incoming => None,
    }
}

impl HostGw {
    /// Opens the backend in the calling thread's network namespace.
    ///
    /// # Errors
    /// [`Error::Route`].
    pub fn open(settings: &OverlaySettings) -> Result<Self, Error> {
        Ok(Self {
            settings: settings.clone(),
            socket: Rtnetlink::open()?,
            parameters: Parameters::default(),
            carriers: Vec::new(),
            mtu: None,
        })
    }

    fn reconcile(&mut self, table: &OverlayTable) -> Result<(), Error> {
        self.carriers.clear();
        self.mtu = None;
        for (family, own) in &table.own {
            self.parameters.forward(*family)?;
            let carrier = carrier::find(&mut self.socket, own, &self.settings, 0)?;
            if self.settings.incoming_only {
                self.parameters.loosen(&carrier.name)?;
            }
            self.carriers.push(carrier.link);
            self.mtu = Some(self.mtu.map_or(carrier.mtu, |mtu| mtu.min(carrier.mtu)));
        }
        if self.settings.incoming_only {
            return Ok(());
        }
        routes::reconcile(
            &mut self.socket,
            table.peers.values().filter_map(render_peer),
        )
    }

    fn change(&mut self, change: &OverlayChange) -> Result<(), Error> {
        let render = |peer: &Option<Peer>| peer.as_ref().and_then(render_peer);
        let peers = change.peers.values();
        let before: Vec<Route> = peers.clone().filter_map(|peer| render(&peer.0)).collect();
        let after: Vec<Route> = peers.filter_map(|peer| render(&peer.1)).collect();
        routes::change(&mut self.socket, before, after)
    }
}

impl OverlayBackend for HostGw {
    fn sync(
        &mut self,
        table: &OverlayTable,
        change: Option<&OverlayChange>,
    ) -> Result<SyncReport, Error> {
        let before = self.socket.writes() + self.parameters.writes();
        match change {
            _ if table.own.is_empty() => {}
            Some(change) if !change.own => self.change(change)?,
            _ => self.reconcile(table)?,
        }
        Ok(SyncReport {
            writes: self.socket.writes() + self.parameters.writes() - before,
            pod_mtu: self.mtu,
        })
    }

    fn netlink_ports(&self) -> Vec<u32> {
        vec![self.socket.port()]
    }

    fn carriers(&self) -> Vec<LinkIndex> {
        self.carriers.clone()
    }
}
