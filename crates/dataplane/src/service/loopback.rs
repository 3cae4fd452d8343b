//! Node ports at loopback addresses, for modes whose translation cannot serve
//! them: by the proxy.
//!
//! The kernel refuses to send a packet from 127.0.0.1 to another host unless
//! `route_localnet` is set, which lets other hosts reach what listens there
//! (CVE-2020-8558); for ::1 there is no such switch.

use std::time::{Duration, Instant};

use podway_kernel::nft::{Nft, Nftables as _, Operation, Transaction};
use podway_plan::service::{ServiceChange, ServiceTable};

use super::userspace::{Reach, UserspaceServices};
use super::{BackendSpec, Error, ServiceBackend, ServiceSettings, SyncReport};
use crate::names::LOOPBACK_TABLE;

/// A backend, and the proxy beside it where it is asked for.
struct WithLoopback {
    backend: Box<dyn ServiceBackend>,
    proxy: Option<UserspaceServices>,
}

/// Opens a kernel's mode in the calling thread's network namespace, with node
/// ports at loopback addresses where the settings ask for them.
///
/// # Errors
/// What the mode's own `open` says, or the proxy's.
pub(super) fn open(
    spec: &BackendSpec,
    settings: &ServiceSettings,
) -> Result<Box<dyn ServiceBackend>, Error> {
    let mut opened = WithLoopback {
        backend: (spec.open)(settings.clone())?,
        proxy: None,
    };
    opened.provide(settings)?;
    if opened.proxy.is_none() {
        // One that ran before may have left its table.
        remove_table()?;
    }
    Ok(Box::new(opened))
}

/// Removes the rules, whoever wrote them.
///
/// # Errors
/// Failures of netlink.
pub(super) fn remove_table() -> Result<(), Error> {
    let mut nftables = Nft::open()?;
    if nftables.dump(LOOPBACK_TABLE)?.is_some() {
        let mut transaction = Transaction::new(LOOPBACK_TABLE);
        transaction.push(Operation::DeleteTable);
        nftables.apply(&transaction)?;
    }
    Ok(())
}

impl WithLoopback {
    /// Starts the proxy, or ends it.
    fn provide(&mut self, settings: &ServiceSettings) -> Result<(), Error> {
        match (&mut self.proxy, settings.localhost_node_ports) {
            (Some(proxy), true) => proxy.configure(settings.clone()),
            (Some(proxy), false) => {
                proxy.cleanup()?;
                self.proxy = None;
            }
            (None, true) => {
                let proxy = UserspaceServices::open(Reach::Loopback, settings.clone())?;
                self.proxy = Some(proxy);
            }
            (None, false) => {}
        }
        Ok(())
    }
}

impl ServiceBackend for WithLoopback {
    fn sync(
        &mut self,
        table: &ServiceTable,
        change: Option<&ServiceChange>,
    ) -> Result<SyncReport, Error> {
        let mut report = self.backend.sync(table, change)?;
        if let Some(proxy) = &mut self.proxy {
            report += proxy.sync(table, change)?;
        }
        Ok(report)
    }

    fn configure(&mut self, settings: ServiceSettings) {
        if let Err(error) = self.provide(&settings) {
            tracing::warn!(%error, "node ports at loopback addresses stay as they were");
        }
        self.backend.configure(settings);
    }

    fn cleanup(&mut self) -> Result<(), Error> {
        let proxy = self.proxy.as_mut().map_or(Ok(()), ServiceBackend::cleanup);
        self.backend.cleanup().and(proxy)
    }

    fn leave(&mut self) -> Result<bool, Error> {
        let is_gone = self.backend.leave()?;
        let proxy = self.proxy.as_mut().map_or(Ok(true), ServiceBackend::leave);
        Ok(proxy? && is_gone)
    }

    fn retire(&mut self, patience: Duration) {
        if let Some(proxy) = &mut self.proxy {
            proxy.retire(patience);
        }
        self.backend.retire(patience);
    }

    fn follow_up(&mut self, table: &ServiceTable, now: Instant) -> Result<Option<Instant>, Error> {
        self.backend.follow_up(table, now)
    }

    fn netlink_port(&self) -> Option<u32> {
        self.backend.netlink_port()
    }

    fn netlink_ports(&self) -> Vec<u32> {
        let proxy = self.proxy.iter().flat_map(ServiceBackend::netlink_ports);
        self.backend
            .netlink_ports()
            .into_iter()
            .chain(proxy)
            .collect()
    }
}
