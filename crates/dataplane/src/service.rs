//! Services: how a packet to a frontend reaches an endpoint.
//!
//! A backend compiles the [`ServiceTable`] to what its part of the kernel
//! understands. The table holds verdicts, so a backend contains no rule of
//! Kubernetes.

mod anchor;
pub mod iptables;
pub mod ipvs;
mod kube_proxy;
mod loopback;
pub mod nftables;
mod parts;
mod stale;
mod succession;
pub mod userspace;

use std::fmt;
use std::ops::AddAssign;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use podway_kernel::{conntrack, ipset, iptables as xtables, nft};
use podway_plan::service::{Interfaces, ServiceChange, ServiceTable};

pub use anchor::Anchor;
pub use kube_proxy::{Removal, remove_kube_proxy};
pub use succession::{NetlinkPorts, Step, Succession};

/// One way to serve services.
pub trait ServiceBackend: Send {
    /// Makes the kernel hold what the table says.
    ///
    /// With a change, writes only the change; the kernel must hold the table
    /// before it. Without one, reads what the kernel holds and mends every
    /// difference: after a start, an error, or a change by somebody else.
    ///
    /// # Errors
    /// [`Error`]; then the kernel holds what it held before, and the next call
    /// does a full comparison whatever it is given.
    fn sync(
        &mut self,
        table: &ServiceTable,
        change: Option<&ServiceChange>,
    ) -> Result<SyncReport, Error>;

    /// Does what becomes due without a change of the table, and says when to call
    /// again: after each sync, and then as it says.
    ///
    /// # Errors
    /// As for [`ServiceBackend::sync`].
    fn follow_up(
        &mut self,
        _table: &ServiceTable,
        _now: Instant,
    ) -> Result<Option<Instant>, Error> {
        Ok(None)
    }

    /// Takes other settings. The next sync is a full comparison.
    fn configure(&mut self, settings: ServiceSettings);

    /// Removes everything of this backend from the node, and nothing else.
    ///
    /// # Errors
    /// What could not be removed.
    fn cleanup(&mut self) -> Result<(), Error>;

    /// Another backend serves in this one's place: takes nothing new, and keeps no
    /// more than established connections need, which lasts until they have ended.
    /// To be called until nothing is left (true).
    ///
    /// # Errors
    /// What could not be removed; the next call tries again.
    fn leave(&mut self) -> Result<bool, Error> {
        self.cleanup().map(|()| true)
    }

    /// The process is about to end. What the backend does itself in place of the
    /// kernel takes nothing new, and is brought to its end in this time.
    fn retire(&mut self, _patience: Duration) {}

    /// The netlink port that the kernel's notifications name as the origin of
    /// this backend's own changes, where it has one.
    fn netlink_port(&self) -> Option<u32>;

    /// All of them, where there are several.
    fn netlink_ports(&self) -> Vec<u32> {
        self.netlink_port().into_iter().collect()
    }
}

/// What a backend needs to know of its node. Whether to masquerade is in the
/// table's verdicts; here is only how to tell who a packet is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceSettings {
    /// Sources in these prefixes are pods of this node (`spec.podCIDRs`).
    pub pod_prefixes: Vec<IpNet>,
    /// Where there are some, what comes in by these is from a pod of this node,
    /// and the prefixes are not asked.
    pub pod_interfaces: Option<Interfaces>,
    /// Which of the node's addresses serve node ports; a family without a
    /// prefix: all of them, loopback excepted.
    pub node_port_prefixes: Vec<IpNet>,
    /// Whether loopback addresses serve node ports, in both families.
    pub localhost_node_ports: bool,
    /// How many clients of each family can be kept at their endpoints by
    /// session affinity. Further ones are served, and forgotten.
    pub affinity_clients: u32,
    /// What only mode `ipvs` asks for.
    pub ipvs: ipvs::IpvsSettings,
}

/// What a sync did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SyncReport {
    /// What was written. Nothing where the kernel held everything.
    pub written: nft::Written,
    /// Whether the kernel was read and compared.
    pub full: bool,
    /// UDP flows that were ended because they led to endpoints that are gone.
    pub stale_flows: u64,
}

/// One backend, for flags, help and status.
#[derive(Debug, Clone, Copy)]
pub struct BackendSpec {
    /// Its name, as in `--proxy-mode`.
    pub name: &'static str,
    /// What it is, in half a sentence.
    pub summary: &'static str,
    /// Whether the kernel can do it; the error names what is missing.
    pub probe: fn() -> Result<(), Error>,
    /// Opens it in the calling thread's network namespace.
    pub open: fn(ServiceSettings) -> Result<Box<dyn ServiceBackend>, Error>,
    /// What it would have in the kernel for a table, as text.
    pub render_text: fn(&ServiceTable, &ServiceSettings) -> String,
}

/// Every service backend that there is.
pub const BACKENDS: &[BackendSpec] = &[nftables::SPEC, iptables::SPEC, ipvs::SPEC, userspace::SPEC];

/// The backend of a name.
#[must_use]
pub fn backend(name: &str) -> Option<&'static BackendSpec> {
    BACKENDS.iter().find(|spec| spec.name == name)
}

impl BackendSpec {
    /// Opens the mode with everything that the settings ask for, in the calling
    /// thread's network namespace.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn start(&self, settings: ServiceSettings) -> Result<Box<dyn ServiceBackend>, Error> {
        // The proxy serves loopback addresses like any other.
        if self.name == userspace::SPEC.name {
            (self.open)(settings)
        } else {
            loopback::open(self, &settings)
        }
    }
}

/// Why services are not in force.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The node lacks something that the backend is made of.
    #[error("services: the node cannot do mode {backend} (see docs/backends/{backend}.md)")]
    Missing {
        /// The backend.
        backend: &'static str,
        /// What it refused, or which program is not there.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Rules could not be read or written.
    #[error("services: the rules of mode nftables are not in force")]
    Nftables(#[from] nft::Error),
    /// Rules could not be read or written.
    #[error("services: the rules of mode iptables are not in force")]
    Iptables(#[from] xtables::Error),
    /// Sets that rules look up could not be read or written.
    #[error("services: the IP sets of mode iptables are not in force")]
    IpSets(#[from] ipset::Error),
    /// A set cannot be removed.
    #[error("services: IP set {name} cannot be removed: a rule that is not ours names it")]
    SetInUse {
        /// The set.
        name: String,
    },
    /// The proxy does not work.
    #[error("services: the proxy of mode userspace is not in force")]
    Proxy(#[from] userspace::ProxyError),
    /// Virtual servers, or what is around them, could not be read or written.
    #[error("services: mode ipvs is not in force")]
    Ipvs(#[from] ipvs::IpvsError),
    /// Something of a mode was written and is not there.
    #[error(
        "services: the kernel does not hold what mode {backend} has written (does another program change it?)"
    )]
    NotHeld {
        /// The mode.
        backend: &'static str,
    },
    /// Stale flows could not be ended; the rules are in force.
    #[error("services: UDP flows to endpoints that are gone could not be ended")]
    Conntrack(#[from] conntrack::Error),
}

impl Default for ServiceSettings {
    /// No pods known, every address serves node ports, 65,536 clients.
    fn default() -> Self {
        Self {
            pod_prefixes: Vec::new(),
            pod_interfaces: None,
            node_port_prefixes: Vec::new(),
            localhost_node_ports: false,
            affinity_clients: 65_536,
            ipvs: ipvs::IpvsSettings::default(),
        }
    }
}

impl AddAssign for SyncReport {
    fn add_assign(&mut self, other: Self) {
        self.written.transactions += other.written.transactions;
        self.written.messages += other.written.messages;
        self.written.elements += other.written.elements;
        self.full |= other.full;
        self.stale_flows += other.stale_flows;
    }
}

impl fmt::Display for SyncReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.full { "full" } else { "change" };
        write!(
            f,
            "{kind}: {} elements in {} messages, {} stale flows",
            self.written.elements, self.written.messages, self.stale_flows
        )
    }
}
