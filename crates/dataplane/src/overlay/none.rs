//! No overlay of ours: somebody else sees to the ways between nodes, and Podway
//! to all the rest.
//!
//! docs/backends/none.md says what that somebody has to do.

use podway_kernel::route::{LinkIndex, Rtnetlink};
use podway_plan::overlay::{OverlayChange, OverlayMode, OverlaySettings, OverlayTable};

use super::parameters::Parameters;
use super::{BackendSpec, Error, OverlayBackend, SyncReport, carrier, routes};

/// The backend's entry in the list.
pub const SPEC: BackendSpec = BackendSpec {
    name: OverlayMode::None.name(),
    mode: OverlayMode::None,
    summary: "nothing: somebody else routes between nodes",
    needs: &[],
    open: |settings| Ok(Box::new(None::open(settings)?)),
};

/// The backend that does nothing.
#[derive(Debug)]
pub struct None {
    settings: OverlaySettings,
    socket: Rtnetlink,
    parameters: Parameters,
    carriers: Vec<LinkIndex>,
    mtu: Option<u32>,
}

impl None {
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
            mtu: Option::None,
        })
    }

    fn reconcile(&mut self, table: &OverlayTable) -> Result<(), Error> {
        self.carriers.clear();
        self.mtu = Option::None;
        for (family, own) in &table.own {
            self.parameters.forward(*family)?;
            let carrier = carrier::find(&mut self.socket, own, &self.settings, 0)?;
            self.carriers.push(carrier.link);
            self.mtu = Some(self.mtu.map_or(carrier.mtu, |mtu| mtu.min(carrier.mtu)));
        }
        // What an overlay of ours left, which nobody would mend any more.
        routes::reconcile(&mut self.socket, [])
    }
}

impl OverlayBackend for None {
    fn sync(
        &mut self,
        table: &OverlayTable,
        change: Option<&OverlayChange>,
    ) -> Result<SyncReport, Error> {
        let before = self.socket.writes() + self.parameters.writes();
        let is_needed = change.is_none_or(|change| change.own);
        if is_needed && !table.own.is_empty() {
            self.reconcile(table)?;
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
