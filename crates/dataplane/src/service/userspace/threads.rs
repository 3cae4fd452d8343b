//! The proxy's threads, and the one way to reach them.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use podway_kernel::socket::{self, Waker};
use podway_model::IpFamily;
use podway_plan::service::{self, ServiceChange, ServiceTable, Source};

use super::ProxyError;
use super::gate::{Ports, SOURCES};
use super::shared::Shared;
use super::tcp::Worker;
use super::udp::{Datagrams, Relay};

/// More threads than this gain nothing: the kernel moves the bytes.
const MOST_WORKERS: usize = 8;

/// The threads.
pub(super) struct Threads {
    pub(super) shared: Arc<Shared>,
    pub(super) ports: Ports,
    datagrams: Arc<Mutex<Datagrams>>,
    /// When what is relayed has to have ended.
    until: Arc<Mutex<Instant>>,
    threads: Vec<JoinHandle<()>>,
    wakers: Vec<Waker>,
}

type Listeners = Vec<(TcpListener, Source)>;

impl Threads {
    /// Starts them, in the calling thread's network namespace.
    pub(super) fn start() -> Result<Self, ProxyError> {
        let descriptors = socket::raise_descriptor_limit().unwrap_or(1024);
        let mut threads = Self {
            shared: Arc::default(),
            ports: Ports::default(),
            datagrams: Arc::new(Mutex::new(Datagrams::new(descriptors))),
            until: Arc::new(Mutex::new(Instant::now())),
            threads: Vec::new(),
            wakers: Vec::new(),
        };
        let workers = thread::available_parallelism().map_or(1, usize::from);
        for number in 0..workers.min(MOST_WORKERS) {
            let listeners = threads.listen()?;
            threads.start_worker(number, listeners)?;
        }
        threads.start_relay()?;
        Ok(threads)
    }

    /// Listeners at the ports that others listen at already, or at new ones.
    fn listen(&mut self) -> Result<Listeners, ProxyError> {
        let mut listeners = Listeners::new();
        for (family, source) in every_kind() {
            let known = self.ports.tcp.get(&(family, source)).copied();
            match socket::listen(any(family), known.unwrap_or(0)) {
                Ok(listener) => {
                    let port = listener.local_addr().map_err(ProxyError::Thread)?.port();
                    self.ports.tcp.insert((family, source), port);
                    listeners.push((listener, source));
                }
                Err(error) if is_family_missing(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(listeners)
    }

    fn start_worker(&mut self, number: usize, listeners: Listeners) -> Result<(), ProxyError> {
        let (worker, waker) =
            Worker::new(self.shared.clone(), listeners).map_err(ProxyError::Thread)?;
        self.wakers.push(waker.clone());
        let until = self.until.clone();
        self.spawn(format!("podway-tcp-{number}"), move || {
            worker.run(&waker, || *until.lock());
        })
    }

    fn start_relay(&mut self) -> Result<(), ProxyError> {
        let mut listeners: Vec<(UdpSocket, Source)> = Vec::new();
        for (family, source) in every_kind() {
            match socket::take(any(family), 0) {
                Ok(listener) => {
                    let port = listener.local_addr().map_err(ProxyError::Thread)?.port();
                    self.ports.udp.insert((family, source), port);
                    listeners.push((listener, source));
                }
                Err(error) if is_family_missing(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let datagrams = self.datagrams.clone();
        let (relay, waker) =
            Relay::new(self.shared.clone(), datagrams, listeners).map_err(ProxyError::Thread)?;
        self.wakers.push(waker.clone());
        self.spawn("podway-udp".to_owned(), move || relay.run(&waker))
    }

    fn spawn(
        &mut self,
        name: String,
        run: impl FnOnce() + Send + 'static,
    ) -> Result<(), ProxyError> {
        let thread = thread::Builder::new().name(name).spawn(run);
        self.threads.push(thread.map_err(ProxyError::Thread)?);
        Ok(())
    }

    pub(super) fn take_whole(&self, table: &ServiceTable) {
        table.clone_into(&mut self.shared.table.write());
    }

    pub(super) fn take_change(&self, change: &ServiceChange) {
        service::apply(&mut self.shared.table.write(), change);
    }

    /// Ends flows that the table leads elsewhere now; says how many.
    pub(super) fn end_stale_flows(&self) -> u64 {
        self.shared.forget();
        self.datagrams.lock().end_stale(&self.shared)
    }

    /// Whether nothing is relayed.
    pub(super) fn is_idle(&self) -> bool {
        self.shared.relayed.load(Ordering::Relaxed) == 0 && self.datagrams.lock().is_empty()
    }

    /// Takes nothing new, and waits for what there is to end, at most so long.
    pub(super) fn retire(&mut self, patience: Duration) {
        *self.until.lock() = Instant::now() + patience;
        self.shared.is_retiring.store(true, Ordering::Relaxed);
        self.wakers.iter().for_each(Waker::wake);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the proxy has panicked");
            }
        }
    }
}

impl Drop for Threads {
    /// What is relayed is cut.
    fn drop(&mut self) {
        self.retire(Duration::ZERO);
    }
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Threads")
            .field("ports", &self.ports)
            .field("threads", &self.threads.len())
            .finish_non_exhaustive()
    }
}

/// Whether sockets of the proxy can be opened here.
pub(super) fn probe() -> Result<(), ProxyError> {
    for family in IpFamily::ALL {
        let opened = socket::listen(any(family), 0)
            .map(drop)
            .and_then(|()| socket::take(any(family), 0).map(drop));
        match opened {
            Err(error) if !is_family_missing(&error) => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

fn every_kind() -> impl Iterator<Item = (IpFamily, Source)> {
    IpFamily::ALL
        .into_iter()
        .flat_map(|family| SOURCES.map(|source| (family, source)))
}

const fn any(family: IpFamily) -> IpAddr {
    match family {
        IpFamily::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpFamily::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

/// A host without IPv6 has no services of IPv6.
fn is_family_missing(error: &socket::Error) -> bool {
    let missing = [io::ErrorKind::Unsupported, io::ErrorKind::AddrNotAvailable];
    let kind = error.source.kind();
    missing.contains(&kind) || error.is_family_missing()
}

impl Ports {
    /// The families that are proxied.
    pub(super) fn families(&self) -> impl Iterator<Item = IpFamily> + use<> {
        let families: BTreeSet<IpFamily> = self.tcp.keys().map(|(family, _)| *family).collect();
        families.into_iter()
    }

    /// Ports as a proxy could have them, for rules that are only shown.
    pub(super) fn example() -> Self {
        let ports = |first: u16| every_kind().zip(first..).collect();
        Self {
            tcp: ports(40_000),
            udp: ports(41_000),
        }
    }
}
