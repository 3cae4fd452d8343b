//! Services by a proxy in this process. `docs/backends/userspace.md` has the
//! picture, and why it looks like that.
//!
//! A small nf_tables table hands the first packet of each connection to the
//! proxy; `podway_plan::service::decide` says where it goes.

mod attempts;
mod balance;
mod flows;
mod gate;
mod origin;
mod relay;
mod routing;
mod shared;
mod tcp;
mod threads;
mod udp;

use std::time::Duration;

use podway_kernel::conntrack::{Conntrack as _, ConntrackTable};
use podway_kernel::nft::{Nft, Nftables, Operation, Ruleset, Transaction, Written, reconcile};
use podway_kernel::route::{self, Rtnetlink};
use podway_kernel::socket;
use podway_model::Protocol;
use podway_plan::service::{ServiceChange, ServiceTable};

pub use self::gate::Reach;
use self::gate::{Gate, Ports};
use self::threads::Threads;
use super::{BackendSpec, Error, ServiceBackend, ServiceSettings, SyncReport};
use crate::names::STEERED_MARK;

/// The mode `userspace`.
pub const SPEC: BackendSpec = BackendSpec {
    name: "userspace",
    summary: "a proxy in the agent: retries another endpoint when one does not answer",
    probe,
    open: |settings| {
        Ok(Box::new(UserspaceServices::open(
            Reach::Everything,
            settings,
        )?))
    },
    render_text: |table, settings| render(table, settings).to_string(),
};

/// The table that the probe makes and removes in one transaction.
const PROBE_TABLE: &str = "podway-probe";

/// Why the proxy does not work.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// A socket cannot be opened.
    #[error(transparent)]
    Socket(#[from] socket::Error),
    /// A thread cannot be started.
    #[error("cannot start a thread of the proxy")]
    Thread(#[source] std::io::Error),
    /// Packets cannot be routed to this host.
    #[error("packets for the proxy cannot be routed to it")]
    Routing(#[from] route::Error),
}

/// Services by a proxy.
#[derive(Debug)]
pub struct UserspaceServices {
    nftables: Nft,
    routing: Rtnetlink,
    gate: Gate,
    threads: Threads,
    /// Whether the kernel holds what the rules for the table are.
    is_in_force: bool,
}

/// Everything that the kernel should hold for a table. The ports of a proxy that
/// runs are others.
#[must_use]
pub fn render(table: &ServiceTable, settings: &ServiceSettings) -> Ruleset {
    Gate::new(Reach::Everything, settings.clone(), Ports::example()).whole(table)
}

/// Makes everything that can be needed, and removes it again: no packet sees
/// it, and the refusal names what the kernel lacks.
fn probe() -> Result<(), Error> {
    fn missing(source: impl std::error::Error + Send + Sync + 'static) -> Error {
        Error::Missing {
            backend: SPEC.name,
            source: Box::new(source),
        }
    }
    let mut ruleset = render(&ServiceTable::default(), &ServiceSettings::default());
    ruleset.table = PROBE_TABLE.into();
    let mut transaction = reconcile(&ruleset, None);
    transaction.push(Operation::DeleteTable);
    let mut kernel = Nft::open().map_err(missing)?;
    kernel.apply(&transaction).map_err(missing)?;
    threads::probe().map_err(missing)
}

/// Ends the connections that the proxy had: what a client sends on one of them is
/// new to the kernel, and goes where it would now.
///
/// # Errors
/// Failures of netlink.
pub(super) fn end_flows(protocols: &[Protocol]) -> Result<(), Error> {
    let mut conntrack = ConntrackTable::open()?;
    for protocol in protocols {
        for flow in conntrack.flows(protocol.number())? {
            if flow.mark & STEERED_MARK != 0 {
                conntrack.delete(&flow)?;
            }
        }
    }
    Ok(())
}

impl UserspaceServices {
    /// Starts the proxy in the calling thread's network namespace. Nothing comes
    /// to it before the first sync.
    ///
    /// # Errors
    /// Sockets or threads are refused.
    pub fn open(reach: Reach, settings: ServiceSettings) -> Result<Self, Error> {
        let nftables = Nft::open()?;
        let routing = Rtnetlink::open().map_err(ProxyError::from)?;
        let threads = Threads::start()?;
        threads.shared.limit_affinity(settings.affinity_clients);
        Ok(Self {
            nftables,
            routing,
            gate: Gate::new(reach, settings, threads.ports.clone()),
            threads,
            is_in_force: false,
        })
    }

    fn sync_whole(&mut self, table: &ServiceTable) -> Result<SyncReport, Error> {
        self.threads.take_whole(table);
        self.gate.is_left = false;
        let written = self.write_whole(table)?;
        let stale_flows = self.threads.end_stale_flows();
        self.is_in_force = true;
        Ok(SyncReport {
            written,
            full: true,
            stale_flows,
        })
    }

    fn write_whole(&mut self, table: &ServiceTable) -> Result<Written, Error> {
        if self.gate.reach == Reach::Everything {
            routing::ensure(&mut self.routing, self.threads.ports.families())?;
        }
        let held = self.nftables.dump(self.gate.reach.table())?;
        let mending = reconcile(&self.gate.whole(table), held.as_ref());
        Ok(self.nftables.apply(&mending)?)
    }

    fn sync_change(&mut self, change: &ServiceChange) -> Result<SyncReport, Error> {
        self.threads.take_change(change);
        let written = self.nftables.apply(&self.gate.change(change))?;
        let stale_flows = self.threads.end_stale_flows();
        self.is_in_force = true;
        Ok(SyncReport {
            written,
            full: false,
            stale_flows,
        })
    }
}

impl ServiceBackend for UserspaceServices {
    fn sync(
        &mut self,
        table: &ServiceTable,
        change: Option<&ServiceChange>,
    ) -> Result<SyncReport, Error> {
        // It is again only when all of it is in the kernel.
        let was_in_force = std::mem::take(&mut self.is_in_force);
        match change {
            Some(change) if was_in_force => self.sync_change(change),
            _ => self.sync_whole(table),
        }
    }

    fn configure(&mut self, settings: ServiceSettings) {
        let shared = &self.threads.shared;
        shared.limit_affinity(settings.affinity_clients);
        self.gate = Gate::new(self.gate.reach, settings, self.threads.ports.clone());
        self.is_in_force = false;
    }

    fn cleanup(&mut self) -> Result<(), Error> {
        self.is_in_force = false;
        let mut transaction = Transaction::new(self.gate.reach.table());
        // Adding first makes deleting right also where there is none.
        transaction.push(Operation::AddTable);
        transaction.push(Operation::DeleteTable);
        self.nftables.apply(&transaction)?;
        if self.gate.reach == Reach::Everything {
            routing::remove(&mut self.routing);
            end_flows(&[Protocol::Tcp, Protocol::Udp])?;
        }
        Ok(())
    }

    fn leave(&mut self) -> Result<bool, Error> {
        if self.gate.reach == Reach::Loopback {
            // The rules are those of whoever serves now, or go with it.
            let has_left = std::mem::replace(&mut self.gate.is_left, true);
            return Ok(has_left && self.threads.is_idle());
        }
        if !self.gate.is_left {
            self.gate.is_left = true;
            let table = self.threads.shared.table.read().clone();
            self.write_whole(&table)?;
            // What has come until now may not have been taken yet.
            return Ok(false);
        }
        let is_idle = self.threads.is_idle();
        if is_idle {
            self.cleanup()?;
        }
        Ok(is_idle)
    }

    fn netlink_port(&self) -> Option<u32> {
        Some(self.nftables.port())
    }

    fn retire(&mut self, patience: Duration) {
        self.threads.retire(patience);
    }
}
