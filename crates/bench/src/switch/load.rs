//! What goes on during a switch: connections and flows that are held and asked all
//! the time, and new ones that arrive at a rate.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use podway_kernel::netns::NetNs;

use super::site::{Site, frontends};

/// One that has not answered for so long is lost.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is held by one thread.
const SHARE: usize = 25;

/// Who connects.
fn clients(site: &Site) -> [&NetNs; 3] {
    [&site.client, &site.pods[1], &site.node]
}

/// Something held.
enum Line {
    Connection(TcpStream),
    Flow(UdpSocket),
}

impl Line {
    fn open(number: usize, to: SocketAddr) -> io::Result<Self> {
        // Every fourth is a flow of datagrams.
        if number % 4 == 3 {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            socket.connect(to)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            return Ok(Self::Flow(socket));
        }
        let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self::Connection(stream))
    }

    /// Whether it answers.
    fn ask(&mut self) -> bool {
        let mut answer = [0; 4];
        let asked = match self {
            Self::Connection(stream) => stream
                .write_all(b"ping")
                .and_then(|()| stream.read_exact(&mut answer)),
            Self::Flow(socket) => socket
                .send(b"ping")
                .and_then(|_| socket.recv(&mut answer).map(drop)),
        };
        asked.is_ok() && &answer == b"ping"
    }
}

/// Connections and flows that are held.
pub(super) struct Held {
    count: usize,
    is_over: Arc<AtomicBool>,
    /// Nanoseconds.
    longest: Arc<AtomicU64>,
    threads: Vec<JoinHandle<usize>>,
}

impl Held {
    /// Opens them, each of which answers once, and goes on asking.
    pub(super) fn open(site: &Site, count: usize) -> anyhow::Result<Self> {
        let mut held = Self {
            count,
            is_over: Arc::default(),
            longest: Arc::default(),
            threads: Vec::new(),
        };
        let frontends = frontends();
        for (share, first) in (0..count).step_by(SHARE).enumerate() {
            let client = clients(site)[share % 3];
            let numbers = first..count.min(first + SHARE);
            let lines = client.run(|| {
                numbers
                    .map(|number| Line::open(number, frontends[number % frontends.len()]))
                    .collect::<io::Result<Vec<Line>>>()
            })?;
            let mut lines = lines.context("a connection to hold")?;
            if !lines.iter_mut().all(Line::ask) {
                return Err(anyhow!("a connection to hold does not answer"));
            }
            let (is_over, longest) = (held.is_over.clone(), held.longest.clone());
            held.threads
                .push(thread::spawn(move || hold(lines, &is_over, &longest)));
        }
        Ok(held)
    }

    /// What has been until now does not count.
    pub(super) fn forget_pauses(&self) {
        self.longest.store(0, Ordering::Relaxed);
    }

    /// How many there were, how many are lost, and the longest time without an
    /// answer of those that are not.
    pub(super) fn end(self) -> (usize, usize, Duration) {
        self.is_over.store(true, Ordering::Relaxed);
        let threads = self.threads.into_iter();
        // A thread that panicked has lost all that it held.
        let lost = threads.map(|thread| thread.join().unwrap_or(SHARE)).sum();
        let longest = Duration::from_nanos(self.longest.load(Ordering::Relaxed));
        (self.count, lost, longest)
    }
}

/// Asks one after the other, until it is over; gives how many were lost.
fn hold(mut lines: Vec<Line>, is_over: &AtomicBool, longest: &AtomicU64) -> usize {
    let before = lines.len();
    while !is_over.load(Ordering::Relaxed) {
        lines.retain_mut(|line| {
            let begin = Instant::now();
            let answers = line.ask();
            if answers {
                let pause = u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
                longest.fetch_max(pause, Ordering::Relaxed);
            }
            answers
        });
        thread::sleep(Duration::from_millis(5));
    }
    before - lines.len()
}

/// New connections at a rate.
pub(super) struct Arrivals {
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<(u64, u64)>>,
}

impl Arrivals {
    /// Begins: so many a second altogether, from everybody to everywhere.
    pub(super) fn begin(site: &Site, rate: u32) -> anyhow::Result<Self> {
        let mut arrivals = Self {
            is_over: Arc::default(),
            threads: Vec::new(),
        };
        let clients = clients(site);
        let pause = Duration::from_secs(1) * u32::try_from(clients.len())? / rate;
        for client in clients {
            let is_over = arrivals.is_over.clone();
            // A thread begins where the one is that has begun it.
            let begin = || thread::spawn(move || arrive(pause, &is_over));
            arrivals.threads.push(client.run(begin)?);
        }
        Ok(arrivals)
    }

    /// How many there were, and how many of them failed.
    pub(super) fn end(self) -> (u64, u64) {
        self.is_over.store(true, Ordering::Relaxed);
        let threads = self.threads.into_iter();
        let found = threads.map(|thread| thread.join().unwrap_or((1, 1)));
        found.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1))
    }
}

/// Connects on time; one that is late is made up for.
fn arrive(pause: Duration, is_over: &AtomicBool) -> (u64, u64) {
    let (mut made, mut failed) = (0, 0);
    let frontends = frontends();
    let mut next = Instant::now();
    for to in frontends.into_iter().cycle() {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let answers = Line::open(0, to).is_ok_and(|mut line| line.ask());
        made += 1;
        failed += u64::from(!answers);
        next += pause;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    (made, failed)
}
