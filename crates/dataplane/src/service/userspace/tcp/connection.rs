//! One TCP connection: a client, and the endpoint that it is relayed to.

use std::collections::BTreeSet;
use std::io;
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use podway_kernel::socket::{self, Event, Interest, Pipe, Poller};

use crate::service::userspace::attempts::Attempts;
use crate::service::userspace::relay::{Carrier, Direction, Rest};
use crate::service::userspace::shared::{Candidate, Choice, Shared};

/// About how many bytes one connection moves before others have their turn.
const SHARE: usize = 4 << 20;

/// Empty pipes that are kept for the next who needs one.
const SPARE_PIPES: usize = 64;

/// Of a client's and an endpoint's socket.
const CLIENT: u64 = 0;
const ENDPOINT: u64 = 1;

pub(super) const fn id_of(token: u64) -> u64 {
    token / 2
}

const fn token_of(id: u64, side: u64) -> u64 {
    id * 2 + side
}

/// A connection.
pub(super) struct Connection {
    client: TcpStream,
    attempts: Attempts,
    stage: Stage,
}

enum Stage {
    /// An endpoint has been asked.
    Asking {
        endpoint: TcpStream,
        candidate: Candidate,
        patience: Duration,
        until: Instant,
    },
    Relaying(Box<Relay>),
    /// Nobody has been asked, or nobody has answered.
    Nobody,
}

struct Relay {
    endpoint: TcpStream,
    /// From the client to the endpoint, and back.
    ways: [Way; 2],
}

/// A direction. It has a pipe only while bytes wait in it, so that idle
/// connections cost no more than their two sockets.
struct Way {
    direction: Direction,
    pipe: Option<Pipe>,
}

/// What a connection needs of its thread.
pub(super) struct Context<'w> {
    pub(super) id: u64,
    pub(super) now: Instant,
    pub(super) shared: &'w Shared,
    pub(super) poller: &'w Poller,
    pub(super) deadlines: &'w mut BTreeSet<(Instant, u64)>,
    pub(super) pipes: &'w mut Pipes,
}

/// What is to become of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// It goes on when something happens.
    Wait,
    /// It goes on soon.
    Again,
    /// Both directions have ended.
    Over,
    /// Something is lost: who is left is told so.
    Broken,
}

/// Empty pipes.
#[derive(Default)]
pub(super) struct Pipes(Vec<Pipe>);

impl Connection {
    pub(super) fn new(client: TcpStream, choice: Choice) -> Self {
        Self {
            client,
            attempts: Attempts::new(choice),
            stage: Stage::Nobody,
        }
    }

    /// Watches the client and asks the first endpoint.
    pub(super) fn begin(&mut self, context: &mut Context<'_>) -> Next {
        let token = token_of(context.id, CLIENT);
        let watched = context.poller.add(&self.client, token, Interest::Changes);
        if let Err(error) = watched {
            tracing::warn!(%error, "connection not relayed");
            return Next::Broken;
        }
        self.ask(context)
    }

    /// Something has happened to one of the sockets.
    pub(super) fn hear(&mut self, event: Event, context: &mut Context<'_>) -> Next {
        let is_client = event.token == token_of(context.id, CLIENT);
        match &self.stage {
            // Also where a client has sent everything and ended its direction,
            // it waits for an answer.
            Stage::Asking { .. } if is_client && event.is_broken => Next::Broken,
            Stage::Asking { .. } if is_client => Next::Wait,
            Stage::Asking { endpoint, .. } => match socket::outcome(endpoint) {
                Ok(true) => self.connected(context),
                Ok(false) => Next::Wait,
                Err(error) => self.refused(&error, context),
            },
            Stage::Relaying(relay) => {
                let broken = if is_client {
                    &self.client
                } else {
                    &relay.endpoint
                };
                if event.is_broken && !matches!(broken.take_error(), Ok(None)) {
                    return Next::Broken;
                }
                self.relay(context)
            }
            Stage::Nobody => Next::Broken,
        }
    }

    /// The time for an answer that was to come by then is over.
    pub(super) fn give_up(&mut self, context: &mut Context<'_>, by: Instant) -> Next {
        match &self.stage {
            Stage::Asking {
                candidate,
                patience,
                until,
                ..
            } if *until == by => {
                self.attempts.was_silent(*candidate, *patience);
                let error = io::Error::from(io::ErrorKind::TimedOut);
                self.refused(&error, context)
            }
            _ => Next::Wait,
        }
    }

    /// Moves what there is to move, in both directions.
    pub(super) fn relay(&mut self, context: &mut Context<'_>) -> Next {
        let Stage::Relaying(relay) = &mut self.stage else {
            return Next::Wait;
        };
        let Relay { endpoint, ways } = &mut **relay;
        let [there, back] = ways;
        let rests = [
            there.pump(&self.client, endpoint, context.pipes),
            back.pump(endpoint, &self.client, context.pipes),
        ];
        match rests {
            [Ok(Rest::Ended), Ok(Rest::Ended)] => Next::Over,
            [Ok(Rest::Busy), Ok(_)] | [Ok(_), Ok(Rest::Busy)] => Next::Again,
            [Ok(_), Ok(_)] => Next::Wait,
            [Err(_), _] | [_, Err(_)] => Next::Broken,
        }
    }

    /// Ends it so that both ends know that something is lost.
    pub(super) fn reset(self) {
        socket::end(self.client);
        if let Stage::Relaying(relay) = self.stage {
            socket::end(relay.endpoint);
        }
    }

    /// Asks the next endpoint; those that refuse at once are passed over.
    fn ask(&mut self, context: &mut Context<'_>) -> Next {
        while let Some((candidate, patience)) = self.attempts.next() {
            let asked = socket::connect(candidate.address, &candidate.origin).and_then(|stream| {
                let token = token_of(context.id, ENDPOINT);
                context.poller.add(&stream, token, Interest::Changes)?;
                Ok(stream)
            });
            match asked {
                Ok(endpoint) => {
                    let until = context.now + patience;
                    context.deadlines.insert((until, context.id));
                    self.stage = Stage::Asking {
                        endpoint,
                        candidate,
                        patience,
                        until,
                    };
                    return Next::Wait;
                }
                Err(error) => {
                    tracing::debug!(endpoint = %candidate.address, %error, "not connected");
                }
            }
        }
        self.stage = Stage::Nobody;
        Next::Broken
    }

    fn refused(&mut self, error: &io::Error, context: &mut Context<'_>) -> Next {
        if let Stage::Asking {
            candidate, until, ..
        } = &self.stage
        {
            let endpoint = candidate.address;
            tracing::debug!(%endpoint, %error, "not connected");
            context.deadlines.remove(&(*until, context.id));
        }
        self.ask(context)
    }

    fn connected(&mut self, context: &mut Context<'_>) -> Next {
        let Stage::Asking {
            endpoint,
            candidate,
            until,
            ..
        } = std::mem::replace(&mut self.stage, Stage::Nobody)
        else {
            return Next::Wait;
        };
        context.deadlines.remove(&(until, context.id));
        let choice = &self.attempts.choice;
        context
            .shared
            .remember(choice, candidate.address, context.now);
        for stream in [&self.client, &endpoint] {
            if let Err(error) = socket::keep_alive(stream) {
                tracing::debug!(%error, "connection is not asked whether it lives");
            }
        }
        let way = || Way {
            direction: Direction::START,
            pipe: None,
        };
        self.stage = Stage::Relaying(Box::new(Relay {
            endpoint,
            ways: [way(), way()],
        }));
        self.relay(context)
    }
}

impl Way {
    fn pump(&mut self, from: &TcpStream, to: &TcpStream, pipes: &mut Pipes) -> io::Result<Rest> {
        if self.direction == Direction::Ended {
            return Ok(Rest::Ended);
        }
        let pipe = match self.pipe.take() {
            Some(pipe) => pipe,
            None => pipes.take()?,
        };
        let mut carrier = Splice {
            pipe: &pipe,
            from,
            to,
        };
        let rest = self.direction.pump(&mut carrier, SHARE);
        if self.direction.held() == 0 {
            pipes.put(pipe);
        } else {
            self.pipe = Some(pipe);
        }
        rest
    }
}

/// Bytes go from socket to socket through a pipe.
struct Splice<'c> {
    pipe: &'c Pipe,
    from: &'c TcpStream,
    to: &'c TcpStream,
}

impl Carrier for Splice<'_> {
    fn fill(&mut self, held: usize) -> io::Result<usize> {
        match self.pipe.capacity().saturating_sub(held) {
            0 => Err(io::Error::from(io::ErrorKind::WouldBlock)),
            room => self.pipe.fill(self.from, room),
        }
    }

    fn drain(&mut self, held: usize) -> io::Result<usize> {
        self.pipe.drain(self.to, held)
    }

    fn finish(&mut self) -> io::Result<()> {
        match self.to.shutdown(Shutdown::Write) {
            // It has gone meanwhile, and knows.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            outcome => outcome,
        }
    }
}

impl Pipes {
    fn take(&mut self) -> io::Result<Pipe> {
        self.0.pop().map_or_else(Pipe::new, Ok)
    }

    fn put(&mut self, pipe: Pipe) {
        if self.0.len() < SPARE_PIPES {
            self.0.push(pipe);
        }
    }
}
