//! Overlays: how packets between the pods of different nodes travel.
//!
//! A backend is opened in the node's network namespace, on the thread that
//! uses it.

pub mod vxlan;

use std::fmt;

use podway_kernel::{route, sysctl};
use podway_plan::overlay::{OverlayChange, OverlaySettings, OverlayTable};

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
    /// # Errors
    /// [`Error`]; what was written until then stays, and the next call has to
    /// be one without a change.
    fn sync(
        &mut self,
        table: &OverlayTable,
        change: Option<&OverlayChange>,
    ) -> Result<SyncReport, Error>;

    /// Removes everything of this backend from the node, and nothing else.
    ///
    /// # Errors
    /// What could not be removed; the rest is gone.
    fn cleanup(&mut self) -> Result<(), ErrorList>;
}

/// What a sync did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SyncReport {
    /// How many changes the kernel was told; 0 when it held everything.
    pub writes: u64,
    /// The largest packet that pods may send so that it fits through the
    /// tunnels of every family; `None` without own ends.
    pub pod_mtu: Option<u32>,
}

/// One backend, for flags, help and status.
#[derive(Debug, Clone, Copy)]
pub struct BackendSpec {
    /// Its name, as in configuration and in the annotation `backend-type`.
    pub name: &'static str,
    /// What it is, in half a sentence.
    pub summary: &'static str,
    /// Opens it in the calling thread's network namespace.
    pub open: fn(&OverlaySettings) -> Result<Box<dyn OverlayBackend>, Error>,
}

/// Every overlay that there is.
pub const BACKENDS: &[BackendSpec] = &[vxlan::SPEC];

/// The backend of this name.
#[must_use]
pub fn backend(name: &str) -> Option<&'static BackendSpec> {
    BACKENDS.iter().find(|spec| spec.name == name)
}

/// Why an overlay could not be programmed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused.
    #[error("cannot program the overlay")]
    Route(#[from] route::Error),
    /// A kernel parameter could not be set.
    #[error("cannot prepare the node for the overlay")]
    Sysctl(#[from] sysctl::Error),
    /// The node's address is on none of its interfaces.
    #[error(
        "no interface of this node has its address {address}: the Node's InternalIP is wrong, or the interface lost it"
    )]
    NoUnderlay {
        /// The address.
        address: std::net::IpAddr,
    },
    /// The interface between nodes carries too little.
    #[error(
        "interface {link} has MTU {mtu}: too little for a tunnel of {family} (at least {needed})"
    )]
    SmallMtu {
        /// The interface between nodes.
        link: String,
        /// Its MTU.
        mtu: u32,
        /// The family of the pods.
        family: podway_model::IpFamily,
        /// What it takes.
        needed: u32,
    },
    /// Something of somebody else has the device's name.
    #[error("interface {name} is a {kind}, not ours: rename it or take it away")]
    ForeignDevice {
        /// The name.
        name: &'static str,
        /// What it is.
        kind: String,
    },
    /// The device is gone since it was last looked at.
    #[error("interface {name} is gone")]
    NoDevice {
        /// The name.
        name: &'static str,
    },
}

/// Everything that could not be removed.
#[derive(Debug)]
pub struct ErrorList(pub Vec<Error>);

impl fmt::Display for ErrorList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} things of the overlay could not be removed",
            self.0.len()
        )?;
        for error in &self.0 {
            write!(f, "; {error}")?;
            let mut cause = std::error::Error::source(error);
            while let Some(error) = cause {
                write!(f, ": {error}")?;
                cause = error.source();
            }
        }
        Ok(())
    }
}

impl std::error::Error for ErrorList {}
