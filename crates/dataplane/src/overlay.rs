//! Overlays: how packets between the pods of different nodes travel.
//!
//! A backend is opened in the node's network namespace, on the thread that
//! uses it.

mod carrier;
mod device;
mod difference;
mod error;
pub mod host_gw;
pub mod none;
mod parameters;
mod routes;
pub mod udp;
pub mod vxlan;
mod watch;

use podway_kernel::route::{LinkIndex, Rtnetlink};
use podway_plan::overlay::{
    OverlayChange, OverlayMode, OverlaySettings, OverlayTable, Underlay, WireGuardKey,
};

pub use device::{DEVICES, DeviceName};
pub use error::{Error, ErrorList};
pub use routes::ROUTE_PROTOCOL;
pub use watch::{Interest, Watcher};

/// One way to connect nodes.
pub trait OverlayBackend: Send {
    /// Makes the kernel hold what the table says.
    ///
    /// With a change, writes only the change; the kernel must hold the table
    /// before it. Without one, reads what the kernel holds and mends every
    /// difference: after a start, an error, or a change by somebody else. A
    /// table without own ends (the Node is not known, or has no podCIDR yet)
    /// leaves everything as it is.
    ///
    /// Routes of another overlay to the same pods are replaced in place; its
    /// devices stay until [`remove_others`].
    ///
    /// # Errors
    /// [`Error`]; what was written until then stays, and the next call has to
    /// be one without a change.
    fn sync(
        &mut self,
        table: &OverlayTable,
        change: Option<&OverlayChange>,
    ) -> Result<SyncReport, Error>;

    /// The netlink ports that the kernel's notifications name as the origin of
    /// these changes.
    fn netlink_ports(&self) -> Vec<u32>;

    /// The interfaces that packets to other nodes leave by.
    fn carriers(&self) -> Vec<LinkIndex>;

    /// This node's public key, where the backend has one.
    fn public_key(&self) -> Option<WireGuardKey> {
        None
    }
}

/// What a sync did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SyncReport {
    /// How many changes the kernel was told; 0 when it held everything.
    pub writes: u64,
    /// The largest packet that pods may send so that it fits through to the
    /// other nodes in every family; `None` without own ends.
    pub pod_mtu: Option<u32>,
}

/// One backend, for flags, help and status.
#[derive(Debug, Clone, Copy)]
pub struct BackendSpec {
    /// Its name, as in configuration.
    pub name: &'static str,
    /// What it is to planning.
    pub mode: OverlayMode,
    /// What it is, in half a sentence.
    pub summary: &'static str,
    /// What the kernel has to have for it.
    pub needs: &'static [Need],
    /// Opens it in the calling thread's network namespace.
    pub open: fn(&OverlaySettings) -> Result<Box<dyn OverlayBackend>, Error>,
}

/// Something that the kernel may have been built without.
#[derive(Debug, Clone, Copy)]
pub struct Need {
    /// What it is: `vxlan devices`.
    pub what: &'static str,
    /// What to do where it is missing.
    pub remedy: &'static str,
    /// Uses it, in a namespace that is thrown away afterwards.
    pub try_out: fn(&mut Rtnetlink) -> Result<(), Error>,
}

/// Every overlay that there is.
pub const BACKENDS: &[BackendSpec] = &[vxlan::SPEC, host_gw::SPEC, udp::SPEC, none::SPEC];

/// The backend of this name.
#[must_use]
pub fn backend(name: &str) -> Option<&'static BackendSpec> {
    BACKENDS.iter().find(|spec| spec.name == name)
}

/// Reads the main routing table of the socket's namespace: which nodes are
/// neighbours, and which are behind a router.
///
/// # Errors
/// [`Error::Route`].
pub fn read_underlay(socket: &mut Rtnetlink, table: &OverlayTable) -> Result<Underlay, Error> {
    routes::read_underlay(socket, table)
}

/// Removes the devices of every overlay but those of `kept`, and returns the
/// names of what was there. Nothing else is touched, and no device of these
/// names that is somebody else's.
///
/// # Errors
/// What could not be removed; the rest is gone.
pub fn remove_others(
    socket: &mut Rtnetlink,
    kept: &[OverlayMode],
) -> Result<Vec<&'static str>, ErrorList> {
    device::remove(socket, |device| !kept.contains(&device.mode))
}

/// Removes everything of every overlay, and returns what was there, for people.
///
/// # Errors
/// What could not be removed; the rest is gone.
pub fn cleanup(socket: &mut Rtnetlink) -> Result<Vec<String>, ErrorList> {
    // Routes on devices go with them.
    let devices = device::remove(socket, |_| true);
    let routes = routes::remove_all(socket);
    match (devices, routes) {
        (Ok(devices), Ok(routes)) => {
            let devices = devices.iter().map(|device| format!("interface {device}"));
            let routes = routes.then(|| "routes to pods of other nodes".to_owned());
            Ok(devices.chain(routes).collect())
        }
        (devices, routes) => {
            let devices = devices.err().into_iter().flat_map(|list| list.0);
            Err(ErrorList(devices.chain(routes.err()).collect()))
        }
    }
}
