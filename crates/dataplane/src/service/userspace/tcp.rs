//! A thread that relays TCP connections.

mod connection;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use podway_kernel::socket::{self, Event, Interest, Poller};
use podway_model::Protocol;
use podway_plan::service::Source;

use self::connection::{Connection, Next, Pipes};
use super::shared::{Arrival, Shared};

/// Tokens below this are listeners.
const FIRST_CONNECTION: u64 = 64;
const WAKER: u64 = FIRST_CONNECTION - 1;

/// Connections taken from a listener in one go.
const MOST_AT_ONCE: usize = 64;

/// How long nothing is taken when the process is out of descriptors.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(50);

/// The connections of one thread.
pub(super) struct Worker {
    shared: Arc<Shared>,
    poller: Poller,
    listeners: Vec<(TcpListener, Source)>,
    connections: HashMap<u64, Connection>,
    last: u64,
    /// When to give up endpoints that have not answered.
    deadlines: BTreeSet<(Instant, u64)>,
    /// Those that had more to move than their share.
    busy: VecDeque<u64>,
    pipes: Pipes,
}

impl Worker {
    /// A worker for connections that come to these listeners, and what wakes it.
    pub(super) fn new(
        shared: Arc<Shared>,
        listeners: Vec<(TcpListener, Source)>,
    ) -> io::Result<(Self, socket::Waker)> {
        let poller = Poller::new()?;
        for (token, (listener, _)) in (0..).zip(&listeners) {
            poller.add(listener, token, Interest::Reading)?;
        }
        let waker = poller.waker(WAKER)?;
        let worker = Self {
            shared,
            poller,
            listeners,
            connections: HashMap::new(),
            last: FIRST_CONNECTION,
            deadlines: BTreeSet::new(),
            busy: VecDeque::new(),
            pipes: Pipes::default(),
        };
        Ok((worker, waker))
    }

    /// Relays until it is told to retire, and then until what it relays has
    /// ended, at most until `patience` says.
    pub(super) fn run(mut self, waker: &socket::Waker, patience: impl Fn() -> Instant) {
        let mut events = Vec::new();
        loop {
            let now = Instant::now();
            if self.shared.is_retiring() {
                // Closed: rules that find nobody listening refuse.
                self.listeners.clear();
                let until = patience();
                if self.connections.is_empty() || now >= until {
                    return;
                }
                // So that it wakes then.
                self.deadlines.insert((until, WAKER));
            }
            let wait = self.next_wait(now);
            match self.poller.wait(wait) {
                Ok(found) => events.extend(found),
                Err(error) => {
                    tracing::error!(%error, "the proxy's poller is broken, a thread ends");
                    return;
                }
            }
            for event in events.drain(..) {
                match event.token {
                    WAKER => waker.settle(),
                    token if token < FIRST_CONNECTION => self.take(token),
                    _ => self.continue_connection(event),
                }
            }
            self.expire(Instant::now());
            for _ in 0..self.busy.len() {
                if let Some(id) = self.busy.pop_front() {
                    self.advance(id, connection::Connection::relay);
                }
            }
        }
    }

    fn next_wait(&self, now: Instant) -> Option<Duration> {
        if !self.busy.is_empty() {
            return Some(Duration::ZERO);
        }
        let (first, _) = self.deadlines.first()?;
        Some(first.saturating_duration_since(now))
    }

    fn take(&mut self, token: u64) {
        for _ in 0..MOST_AT_ONCE {
            let index = usize::try_from(token).unwrap_or(usize::MAX);
            let Some((listener, source)) = self.listeners.get(index) else {
                return;
            };
            match socket::accept(listener) {
                Ok((stream, client)) => {
                    let source = *source;
                    let Ok(destination) = stream.local_addr() else {
                        continue;
                    };
                    let arrival = Arrival {
                        source,
                        client,
                        destination,
                        protocol: Protocol::Tcp,
                    };
                    self.begin(stream, &arrival);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    tracing::warn!(%error, "connection not accepted");
                    std::thread::sleep(OUT_OF_DESCRIPTORS);
                    return;
                }
            }
        }
    }

    fn begin(&mut self, client: std::net::TcpStream, arrival: &Arrival) {
        let now = Instant::now();
        let Some(choice) = self.shared.choose(arrival, now) else {
            // The table has changed since the rules let it come.
            socket::end(client);
            return;
        };
        self.last += 1;
        let id = self.last;
        let connection = Connection::new(client, choice);
        self.connections.insert(id, connection);
        self.shared.relayed.fetch_add(1, Ordering::Relaxed);
        self.advance(id, connection::Connection::begin);
    }

    fn continue_connection(&mut self, event: Event) {
        let id = connection::id_of(event.token);
        self.advance(id, |connection, context| connection.hear(event, context));
    }

    fn expire(&mut self, now: Instant) {
        while let Some((at, id)) = self.deadlines.first().copied() {
            if at > now {
                return;
            }
            self.deadlines.pop_first();
            self.advance(id, |connection, context| connection.give_up(context, at));
        }
    }

    fn forget(&mut self, id: u64) -> Option<Connection> {
        let connection = self.connections.remove(&id)?;
        self.shared.relayed.fetch_sub(1, Ordering::Relaxed);
        Some(connection)
    }

    /// Lets a connection take its next step.
    fn advance(
        &mut self,
        id: u64,
        step: impl FnOnce(&mut Connection, &mut connection::Context<'_>) -> Next,
    ) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let mut context = connection::Context {
            id,
            now: Instant::now(),
            shared: &self.shared,
            poller: &self.poller,
            deadlines: &mut self.deadlines,
            pipes: &mut self.pipes,
        };
        match step(connection, &mut context) {
            Next::Wait => {}
            Next::Again => self.busy.push_back(id),
            Next::Over => {
                self.forget(id);
            }
            Next::Broken => {
                if let Some(connection) = self.forget(id) {
                    connection.reset();
                }
            }
        }
    }
}
