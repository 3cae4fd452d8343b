//! IP Virtual Server over generic netlink, without the `ipvsadm` program:
//! virtual servers that the kernel accepts connections for, and the real servers
//! that it passes them on to.
//!
//! IPVS is in nobody's transaction: each change is in force when its call
//! returns.

mod codec;
mod error;
mod fake;
mod table;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

pub use error::Error;
pub use fake::FakeIpvs;
pub use table::IpvsTable;

use crate::iptables::Family;

/// Every scheduler that Linux 6.1 has. Which of them a kernel has,
/// [`Ipvs::schedulers`] tells.
pub const SCHEDULERS: [&str; 13] = [
    "rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "mh", "sed", "nq", "fo", "ovf",
];

/// The largest weight of a real server.
pub const MAX_WEIGHT: u32 = 65_535;

/// What names a virtual server: what a client addresses, or a packet's mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VirtualServer {
    /// An address and port.
    Address {
        /// IANA number: TCP, UDP or SCTP.
        protocol: u8,
        /// What a client addresses.
        address: SocketAddr,
    },
    /// Whatever a packet addresses, where its mark is this one. Goes before an
    /// address.
    Mark {
        /// The packet's family.
        family: Family,
        /// The whole mark; never 0.
        mark: u32,
    },
}

/// How a virtual server chooses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scheduling {
    /// The scheduler's name: `rr`.
    pub scheduler: Box<str>,
    /// How long a client that has gone quiet keeps its real server, in whole
    /// seconds; a client is one address.
    pub persistence: Option<Duration>,
    /// `sched-flag-1`: what it means, the scheduler says (`sh`, `mh`: fall back
    /// where the real server is not available).
    pub flag_1: bool,
    /// `sched-flag-2` (`sh`, `mh`: the client's port counts too).
    pub flag_2: bool,
}

/// A real server as the kernel describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RealServer {
    /// How many connections it gets, in proportion; 0 for no new ones.
    pub weight: u32,
    /// Connections that carry data.
    pub active: u32,
    /// Connections that are ending.
    pub inactive: u32,
}

/// How long connections are remembered after their last packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Established TCP.
    pub tcp: Duration,
    /// TCP after a FIN.
    pub tcp_fin: Duration,
    /// UDP.
    pub udp: Duration,
}

/// Reads and writes virtual servers. Real servers are reached by translation
/// (masquerading, as `ipvsadm` calls it).
pub trait Ipvs {
    /// Every virtual server, of whomever.
    ///
    /// # Errors
    /// Failures of the socket.
    fn servers(&mut self) -> Result<BTreeMap<VirtualServer, Scheduling>, Error>;

    /// The real servers of a virtual server; none where there is no such one.
    ///
    /// # Errors
    /// Failures of the socket.
    fn real_servers(
        &mut self,
        server: &VirtualServer,
    ) -> Result<BTreeMap<SocketAddr, RealServer>, Error>;

    /// Makes a virtual server.
    ///
    /// # Errors
    /// Where there is one already, or the kernel does not have the scheduler.
    fn add(&mut self, server: &VirtualServer, scheduling: &Scheduling) -> Result<(), Error>;

    /// Lets a virtual server choose in another way; its real servers stay.
    ///
    /// # Errors
    /// Where there is none, or the kernel does not have the scheduler.
    fn reschedule(&mut self, server: &VirtualServer, scheduling: &Scheduling) -> Result<(), Error>;

    /// Removes a virtual server with its real servers. What is gone already is no
    /// error. With `net.ipv4.vs.expire_nodest_conn` its connections end.
    ///
    /// # Errors
    /// Failures of the socket.
    fn remove(&mut self, server: &VirtualServer) -> Result<(), Error>;

    /// Gives a virtual server a real server.
    ///
    /// # Errors
    /// Where it has it already, or there is no such virtual server.
    fn add_real(
        &mut self,
        server: &VirtualServer,
        real: SocketAddr,
        weight: u32,
    ) -> Result<(), Error>;

    /// Changes a real server's weight. Its connections stay.
    ///
    /// # Errors
    /// Where there is no such real server.
    fn weigh_real(
        &mut self,
        server: &VirtualServer,
        real: SocketAddr,
        weight: u32,
    ) -> Result<(), Error>;

    /// Takes a real server away. What is gone already is no error.
    ///
    /// # Errors
    /// Failures of the socket.
    fn remove_real(&mut self, server: &VirtualServer, real: SocketAddr) -> Result<(), Error>;

    /// How long connections are remembered.
    ///
    /// # Errors
    /// Failures of the socket.
    fn timeouts(&mut self) -> Result<Timeouts, Error>;

    /// Sets how long connections are remembered.
    ///
    /// # Errors
    /// Failures of the socket; a time the kernel cannot count.
    fn set_timeouts(&mut self, timeouts: Timeouts) -> Result<(), Error>;

    /// Whether the kernel has a scheduler, or can load it.
    ///
    /// # Errors
    /// Failures of the socket.
    fn has_scheduler(&mut self, name: &str) -> Result<bool, Error>;

    /// Which of [`SCHEDULERS`] the kernel has, or can load.
    ///
    /// # Errors
    /// Failures of the socket.
    fn schedulers(&mut self) -> Result<Vec<&'static str>, Error>;
}

impl Scheduling {
    /// A scheduler without anything special.
    #[must_use]
    pub fn by(scheduler: &str) -> Self {
        Self {
            scheduler: scheduler.into(),
            persistence: None,
            flag_1: false,
            flag_2: false,
        }
    }
}

impl VirtualServer {
    /// The family of its packets.
    #[must_use]
    pub const fn family(&self) -> Family {
        match self {
            Self::Address { address, .. } if address.is_ipv4() => Family::V4,
            Self::Address { .. } => Family::V6,
            Self::Mark { family, .. } => *family,
        }
    }
}

impl fmt::Display for VirtualServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { protocol, address } => {
                let name = match i32::from(*protocol) {
                    libc::IPPROTO_TCP => "TCP",
                    libc::IPPROTO_UDP => "UDP",
                    libc::IPPROTO_SCTP => "SCTP",
                    _ => return write!(f, "protocol {protocol} {address}"),
                };
                write!(f, "{name} {address}")
            }
            Self::Mark { mark, .. } => write!(f, "FWM {mark:#x}"),
        }
    }
}
