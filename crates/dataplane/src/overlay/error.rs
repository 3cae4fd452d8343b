use std::fmt;
use std::net::IpAddr;

use podway_kernel::{route, socket, sysctl, tun};
use podway_model::IpFamily;

/// Why an overlay could not be programmed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused.
    #[error("cannot program the overlay")]
    Route(#[from] route::Error),
    /// A TUN device could not be opened.
    #[error("cannot open the tunnel")]
    Tun(#[from] tun::Error),
    /// The sockets between nodes could not be opened.
    #[error("cannot open the tunnel (is another overlay using the port?)")]
    Socket(#[from] socket::Error),
    /// A thread could not be started.
    #[error("cannot start a thread that moves packets")]
    Thread(#[source] std::io::Error),
    /// A kernel parameter could not be set.
    #[error("cannot prepare the node for the overlay")]
    Sysctl(#[from] sysctl::Error),
    /// The node's address is on none of its interfaces.
    #[error(
        "no interface of this node has its address {address}: the Node's InternalIP is wrong, or the interface lost it"
    )]
    NoUnderlay {
        /// The address.
        address: IpAddr,
    },
    /// The interface between nodes carries too little.
    #[error(
        "interface {link} has MTU {mtu}: too little for a tunnel of {family} (at least {needed})"
    )]
    SmallMtu {
        /// The interface between nodes.
        link: String,
        /// Its MTU, or the configured one.
        mtu: u32,
        /// The family of the pods.
        family: IpFamily,
        /// What it takes.
        needed: u32,
    },
    /// More is configured than the interface between nodes carries.
    #[error("overlay.mtu is {mtu}, and interface {link} carries only {link_mtu}")]
    LargeMtu {
        /// What is configured.
        mtu: u32,
        /// The interface between nodes.
        link: String,
        /// Its MTU.
        link_mtu: u32,
    },
    /// Something of somebody else has the device's name.
    #[error("interface {name} is a {kind}, not ours: rename it or take it away")]
    ForeignDevice {
        /// The name.
        name: &'static str,
        /// What it is.
        kind: String,
    },
    /// Another VXLAN device has our network and port.
    #[error(
        "interface {other} has VXLAN network {vni} on port {port} already: take it away (is flannel running?), or configure another overlay.vni or overlay.port on every node"
    )]
    VniTaken {
        /// That interface.
        other: String,
        /// The network identifier.
        vni: u32,
        /// The UDP port.
        port: u16,
    },
    /// There is no such backend (yet).
    #[error("there is no overlay backend {}", .0.name())]
    NoBackend(podway_plan::overlay::OverlayMode),
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
