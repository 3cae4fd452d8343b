//! The thread that passes datagrams on.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Weak};
use std::time::Instant;

use parking_lot::Mutex;
use podway_kernel::socket::{self, Interest, Poller};
use podway_model::Protocol;
use podway_plan::service::Source;

use super::flows::Flows;
use super::shared::{Arrival, Candidate, Choice, Shared};

/// Tokens below this are not of flows.
const FIRST_FLOW: u64 = 64;
const WAKER: u64 = FIRST_FLOW - 1;

/// Datagrams taken from a socket in one go.
const MOST_AT_ONCE: usize = 64;
/// The longest datagram.
const LONGEST: usize = 65_536;
/// Each flow has a descriptor of its own.
const MOST_FLOWS: usize = 65_536;

/// What a flow needs: the socket towards its endpoint, and the one that answers
/// as what the client addresses, which flows to that address share.
#[derive(Debug)]
pub(super) struct Sockets {
    endpoint: UdpSocket,
    answering: Arc<UdpSocket>,
}

/// Flows, as the thread and the one that plans see them.
#[derive(Debug)]
pub(super) struct Datagrams {
    flows: Flows<Sockets>,
    answering: HashMap<SocketAddr, Weak<UdpSocket>>,
}

/// The thread's belongings.
pub(super) struct Relay {
    shared: Arc<Shared>,
    poller: Poller,
    listeners: Vec<(UdpSocket, Source)>,
    datagrams: Arc<Mutex<Datagrams>>,
    buffer: Vec<u8>,
}

impl Datagrams {
    /// None yet. At most a quarter of the descriptors become flows.
    pub(super) fn new(descriptors: u64) -> Self {
        let share = usize::try_from(descriptors / 4).unwrap_or(usize::MAX);
        Self {
            flows: Flows::new(share.min(MOST_FLOWS)),
            answering: HashMap::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// Ends flows to endpoints that are gone; says how many.
    pub(super) fn end_stale(&mut self, shared: &Shared) -> u64 {
        let ended = self
            .flows
            .end_unless(|arrival, endpoint| shared.serves(arrival, endpoint));
        self.answering.retain(|_, socket| socket.strong_count() > 0);
        ended
    }

    /// The socket that answers as an address.
    fn answering(&mut self, address: SocketAddr) -> io::Result<Arc<UdpSocket>> {
        let known = self.answering.get(&address).and_then(Weak::upgrade);
        if let Some(socket) = known {
            return Ok(socket);
        }
        let socket = Arc::new(socket::at(address)?);
        self.answering.insert(address, Arc::downgrade(&socket));
        Ok(socket)
    }
}

impl Relay {
    /// A relay for datagrams that come to these listeners, and what wakes it.
    pub(super) fn new(
        shared: Arc<Shared>,
        datagrams: Arc<Mutex<Datagrams>>,
        listeners: Vec<(UdpSocket, Source)>,
    ) -> io::Result<(Self, socket::Waker)> {
        let poller = Poller::new()?;
        for (token, (listener, _)) in (0..).zip(&listeners) {
            poller.add(listener, token, Interest::Reading)?;
        }
        let waker = poller.waker(WAKER)?;
        let relay = Self {
            shared,
            poller,
            listeners,
            datagrams,
            buffer: vec![0; LONGEST],
        };
        Ok((relay, waker))
    }

    /// Passes datagrams on until it is told to retire. A flow has no end that
    /// could be waited for.
    pub(super) fn run(mut self, waker: &socket::Waker) {
        let mut tokens = Vec::new();
        while !self.shared.is_retiring() {
            let now = Instant::now();
            let next = self.datagrams.lock().flows.next_expiry();
            let wait = next.map(|at| at.saturating_duration_since(now));
            match self.poller.wait(wait) {
                Ok(events) => tokens.extend(events.map(|event| event.token)),
                Err(error) => {
                    tracing::error!(%error, "the proxy's poller is broken, a thread ends");
                    return;
                }
            }
            for token in tokens.drain(..) {
                match token {
                    WAKER => waker.settle(),
                    token if token < FIRST_FLOW => self.take(token),
                    token => self.answer(token - FIRST_FLOW),
                }
            }
            self.datagrams.lock().flows.expire(Instant::now());
        }
    }

    /// Datagrams from clients.
    fn take(&mut self, token: u64) {
        let index = usize::try_from(token).unwrap_or(usize::MAX);
        for _ in 0..MOST_AT_ONCE {
            let Some((listener, source)) = self.listeners.get(index) else {
                return;
            };
            match socket::receive(listener, &mut self.buffer) {
                Ok(datagram) => {
                    let arrival = Arrival {
                        source: *source,
                        client: datagram.source,
                        destination: datagram.destination,
                        protocol: Protocol::Udp,
                    };
                    if let Err(error) = self.pass_on(&arrival, datagram.length) {
                        let destination = datagram.destination;
                        tracing::debug!(%destination, %error, "datagram lost");
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => tracing::debug!(%error, "datagram not received"),
            }
        }
    }

    /// To the flow's endpoint. One that says that nobody is there is left for
    /// the next.
    fn pass_on(&self, arrival: &Arrival, length: usize) -> io::Result<()> {
        let mut datagrams = self.datagrams.lock();
        let now = Instant::now();
        let bytes = &self.buffer[..length];
        if let Some(id) = datagrams.flows.of(arrival) {
            let flow = datagrams.flows.get(id);
            let sent = flow.map(|flow| flow.own.endpoint.send(bytes));
            if matches!(sent, Some(Ok(_))) {
                datagrams.flows.touch(id, false, now);
                return Ok(());
            }
            datagrams.flows.remove(id);
        }
        let Some(choice) = self.shared.choose(arrival, now) else {
            // The table has changed since the rules let it come.
            return Ok(());
        };
        let mut last = None;
        for candidate in &choice.candidates {
            match self.begin(&mut datagrams, arrival, &choice, candidate, bytes) {
                Ok(()) => return Ok(()),
                Err(error) => last = Some(error),
            }
        }
        last.map_or(Ok(()), Err)
    }

    fn begin(
        &self,
        datagrams: &mut Datagrams,
        arrival: &Arrival,
        choice: &Choice,
        candidate: &Candidate,
        bytes: &[u8],
    ) -> io::Result<()> {
        let now = Instant::now();
        let answering = datagrams.answering(arrival.destination)?;
        let endpoint = socket::exchange(candidate.address, &candidate.origin)?;
        let token = FIRST_FLOW + datagrams.flows.next_id();
        self.poller.add(&endpoint, token, Interest::Reading)?;
        endpoint.send(bytes)?;
        self.shared.remember(choice, candidate.address, now);
        let sockets = Sockets {
            endpoint,
            answering,
        };
        datagrams
            .flows
            .insert(*arrival, candidate.address, sockets, now);
        Ok(())
    }

    /// Datagrams from a flow's endpoint.
    fn answer(&mut self, id: u64) {
        let mut datagrams = self.datagrams.lock();
        for _ in 0..MOST_AT_ONCE {
            let Some(flow) = datagrams.flows.get(id) else {
                return;
            };
            match flow.own.endpoint.recv(&mut self.buffer) {
                Ok(length) => {
                    let bytes = &self.buffer[..length];
                    if let Err(error) = flow.own.answering.send_to(bytes, flow.arrival.client) {
                        let client = flow.arrival.client;
                        tracing::debug!(%client, %error, "answer lost");
                    }
                    datagrams.flows.touch(id, true, Instant::now());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // ICMP: nobody is there, or it cannot be reached. The client's
                // next datagram goes elsewhere.
                Err(_) => {
                    datagrams.flows.remove(id);
                    return;
                }
            }
        }
    }
}
