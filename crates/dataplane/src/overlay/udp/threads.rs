//! The threads that move packets between the device and other nodes.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use podway_kernel::socket::tunnel::{self, RawSender};
use podway_kernel::socket::{Interest, Poller, Waker};
use podway_kernel::tun::{Queue, Tun};

use super::directory::Directory;
use super::incoming::Incoming;
use super::outgoing::Outgoing;
use super::packet::Ip;
use crate::overlay::Error;

/// More threads than this gain little: each moves several Gbit/s.
const MOST_THREADS: usize = 8;

/// For so long after a packet a thread looks for the next one itself instead of
/// waiting to be woken, which would take longer than the packet. Whoever else
/// wants the processor gets it all the same.
const EAGER: Duration = Duration::from_micros(50);

/// Answers to packets that go nowhere, at most so many in a second and thread.
const MOST_ANSWERS: u32 = 100;

const WAKER: u64 = 0;
const QUEUE: u64 = 1;
const SOCKET: u64 = 2;

/// One family's tunnel: its device's queues and its sockets, each with a thread.
pub(super) struct Tunnel {
    /// Where its packets come from.
    pub(super) local: SocketAddr,
    /// The device's address.
    pub(super) own: IpAddr,
    pub(super) directory: Arc<RwLock<Directory>>,
    is_ending: Arc<AtomicBool>,
    wakers: Vec<Waker>,
    threads: Vec<JoinHandle<()>>,
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnel")
            .field("local", &self.local)
            .field("threads", &self.threads.len())
            .finish_non_exhaustive()
    }
}

impl Tunnel {
    /// Opens the device, making it where it is not there, and the sockets, and
    /// starts a thread for each processor. `own` is the device's address.
    pub(super) fn start(name: &str, local: SocketAddr, own: IpAddr) -> Result<Self, Error> {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let count = processors.min(MOST_THREADS);
        let tun = Tun::open(name, count)?;
        let sockets = tunnel::open_tunnel(local, count)?;
        let mut tunnel = Self {
            local,
            own,
            directory: Arc::new(RwLock::new(Directory::new(local.port()))),
            is_ending: Arc::default(),
            wakers: Vec::new(),
            threads: Vec::new(),
        };
        for (number, (queue, socket)) in tun.queues.into_iter().zip(sockets).enumerate() {
            let started = tunnel.start_thread(number, queue, socket, own, tun.splits_udp);
            started.map_err(Error::Thread)?;
        }
        Ok(tunnel)
    }

    fn start_thread(
        &mut self,
        number: usize,
        queue: Queue,
        socket: UdpSocket,
        own: IpAddr,
        merges_udp: bool,
    ) -> io::Result<()> {
        let poller = Poller::new()?;
        self.wakers.push(poller.waker(WAKER)?);
        poller.add(&queue, QUEUE, Interest::Reading)?;
        poller.add(&socket, SOCKET, Interest::Reading)?;
        let mover = Mover {
            queue,
            socket,
            own,
            directory: self.directory.clone(),
            is_ending: self.is_ending.clone(),
            outgoing: Outgoing::new(),
            incoming: Incoming::new(merges_udp),
            raw: RawSender::open(own).ok(),
            answers: (Instant::now(), 0),
        };
        let thread = thread::Builder::new().name(format!("podway-move-{number}"));
        self.threads.push(thread.spawn(move || {
            if let Err(error) = mover.run(poller) {
                // The device is made anew: its end is a notification.
                tracing::info!(%error, "packets of a tunnel are not moved any more");
            }
        })?);
        Ok(())
    }

    /// Whether a thread has ended, because its device did.
    pub(super) fn is_broken(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.is_ending.store(true, Ordering::Relaxed);
        self.wakers.iter().for_each(Waker::wake);
        for thread in self.threads.drain(..) {
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}

/// A thread's belongings.
struct Mover {
    queue: Queue,
    socket: UdpSocket,
    own: IpAddr,
    directory: Arc<RwLock<Directory>>,
    is_ending: Arc<AtomicBool>,
    outgoing: Outgoing,
    incoming: Incoming,
    /// Sends answers; `None` where it may not.
    raw: Option<RawSender>,
    /// Since when answers are counted, and how many there were.
    answers: (Instant, u32),
}

impl Mover {
    fn run(mut self, mut poller: Poller) -> io::Result<()> {
        // Without the capability packets wait for their turn.
        let _ = podway_kernel::thread::come_first();
        let mut last = Instant::now();
        while !self.is_ending.load(Ordering::Relaxed) {
            let sent = self.send()?;
            let received = self.receive()?;
            if sent || received {
                last = Instant::now();
            } else if last.elapsed() < EAGER {
                thread::yield_now();
            } else if poller
                .wait(None)?
                .any(|event| event.is_broken && event.token == QUEUE)
            {
                return Err(io::Error::other("the device is gone"));
            } else {
                last = Instant::now();
            }
        }
        Ok(())
    }

    fn send(&mut self) -> io::Result<bool> {
        let directory = &self.directory;
        let way = |to| directory.read().way(to);
        let moved = self
            .outgoing
            .round(&self.queue, &self.socket, way, self.own)?;
        let answers = std::mem::take(&mut self.outgoing.answers);
        self.answer(&answers);
        Ok(moved)
    }

    fn receive(&mut self) -> io::Result<bool> {
        let directory = self.directory.read();
        let moved = self
            .incoming
            .round(&self.queue, &self.socket, &directory, self.own)?;
        drop(directory);
        let answers = std::mem::take(&mut self.incoming.answers);
        self.answer(&answers);
        Ok(moved)
    }

    fn answer(&mut self, answers: &[Vec<u8>]) {
        for answer in answers {
            let Some(ip) = Ip::read(answer) else { continue };
            if self.may_answer()
                && let Some(raw) = &self.raw
            {
                // Lost, as any packet may be.
                let _ = raw.send(answer, ip.destination);
            }
        }
    }

    fn may_answer(&mut self) -> bool {
        let (since, count) = &mut self.answers;
        if since.elapsed() > Duration::from_secs(1) {
            (*since, *count) = (Instant::now(), 0);
        }
        *count += 1;
        *count <= MOST_ANSWERS
    }
}
