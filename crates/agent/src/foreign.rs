//! Notices when somebody else changes our nftables tables.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use parking_lot::Mutex;
use podway_dataplane::names::{
    ANCHOR_TABLE, LOOPBACK_TABLE, MASQUERADE_TABLE, POLICY_TABLE, PROXY_TABLE, SERVICE_TABLE,
};
use podway_dataplane::service::NetlinkPorts;
use podway_kernel::nft::NftMonitor;

use crate::error::Error;
use crate::mailbox::Mailbox;

/// At most one whole comparison in this time, whatever somebody else does to our
/// tables: the agent must not race another program for the kernel's lock.
const PACE: Duration = Duration::from_millis(200);

/// The netlink ports that our own changes come from. More may come: a feature
/// that is opened later has its own, and modes of services follow each other.
#[derive(Debug, Clone, Default)]
pub(crate) struct OwnPorts(Arc<Mutex<Vec<NetlinkPorts>>>);

impl OwnPorts {
    /// Before the first change is made by one of them.
    pub(crate) fn add(&self, ports: NetlinkPorts) {
        self.0.lock().push(ports);
    }

    fn all(&self) -> Vec<u32> {
        let features = self.0.lock();
        let ports = features.iter().flat_map(|ports| ports.lock().clone());
        ports.collect()
    }
}

/// Tells the mailbox of changes to our tables that are not ours, from now on and
/// for as long as the process lives. Ours come from these netlink ports, as they
/// are when something has changed.
pub(crate) fn watch(own: OwnPorts, mailbox: Arc<Mailbox>) -> Result<(), Error> {
    let tables = [
        ANCHOR_TABLE,
        SERVICE_TABLE,
        PROXY_TABLE,
        LOOPBACK_TABLE,
        POLICY_TABLE,
        MASQUERADE_TABLE,
    ];
    let mut monitor = NftMonitor::open(&tables, &own.all()).map_err(|source| Error::Open {
        feature: "the monitor of nftables",
        source: Box::new(source),
    })?;
    let failed = |source: io::Error| Error::Start {
        what: "the monitor of nftables",
        source,
    };
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(|e| failed(e.into()))?;
    epoll
        .add(&monitor, EpollEvent::new(EpollFlags::EPOLLIN, 0))
        .map_err(|errno| failed(errno.into()))?;
    let thread = thread::Builder::new().name("podway-monitor".to_owned());
    let spawned = thread.spawn(move || {
        loop {
            match epoll.wait(&mut [EpollEvent::empty()], EpollTimeout::NONE) {
                Ok(_) => {
                    monitor.own(&own.all());
                    tell(&mut monitor, &mailbox);
                }
                Err(Errno::EINTR) => {}
                Err(error) => {
                    tracing::error!(%error, "changes by other programs are no longer noticed");
                    return;
                }
            }
        }
    });
    spawned.map(|_| ()).map_err(failed)
}

fn tell(monitor: &mut NftMonitor, mailbox: &Mailbox) {
    let changes = match monitor.changes() {
        Ok(changes) => changes,
        Err(error) => {
            tracing::warn!(%error, "notifications of nftables not read");
            mailbox.disturb();
            return;
        }
    };
    for change in &changes {
        let (table, process, pid) = (&change.table, &change.process, change.pid);
        tracing::warn!(table, process, pid, "table changed by another program");
    }
    if !changes.is_empty() {
        mailbox.disturb();
        thread::sleep(PACE);
    }
}
