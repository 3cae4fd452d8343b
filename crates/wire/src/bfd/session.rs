use std::time::Duration;

use super::{Diagnostic, Packet, State};
use crate::Moment;

/// RFC 5880 section 6.8.3: a session that is not up sends no faster.
const SLOW: Duration = Duration::from_secs(1);

/// How a session works; the fields of a `BFDProfile`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionConfig {
    /// This side's number of the session; unique on the node and not 0.
    pub discriminator: u32,
    /// It sends no faster.
    pub transmit: Duration,
    /// It takes no faster.
    pub receive: Duration,
    /// The neighbour misses it after so many packets; 2 to 255.
    pub multiplier: u8,
    /// It sends nothing before it has heard the neighbour.
    pub passive: bool,
}

/// A session's transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// The state before.
    pub from: State,
    /// The state after.
    pub to: State,
    /// Why, where it went down.
    pub diagnostic: Diagnostic,
}

/// A session with one neighbour.
///
/// ```text
///                     +--+
///                     |  | UP, ADMIN DOWN, TIMER
///                     |  V
///             DOWN  +------+  INIT
///      +------------|      |------------+
///      |            | DOWN |            |
///      |  +-------->|      |<--------+  |
///      |  |         +------+         |  |
///      |  | ADMIN DOWN, TIMER        |  |
///      |  |          ADMIN DOWN, DOWN, TIMER
///      V  |                          |  V
///    +------+                      +------+
///    | INIT |--------------------->|  UP  |
///    +------+   INIT, UP           +------+
/// ```
#[derive(Debug, Clone)]
pub struct Session {
    config: SessionConfig,
    state: State,
    diagnostic: Diagnostic,
    neighbour: Option<Neighbour>,
    /// When it counts as gone.
    detect: Option<Moment>,
    next_packet: Option<Moment>,
    /// What it sends with is new to the neighbour.
    polling: bool,
    sent: u32,
}

#[derive(Debug, Clone, Copy)]
struct Neighbour {
    discriminator: u32,
    transmit: Duration,
    receive: Duration,
    multiplier: u8,
}

impl Session {
    /// A session that is down.
    #[must_use]
    pub fn new(config: SessionConfig, now: Moment) -> Self {
        Self {
            config,
            state: State::Down,
            diagnostic: Diagnostic::None,
            neighbour: None,
            detect: None,
            next_packet: (!config.passive).then_some(now),
            polling: false,
            sent: 0,
        }
    }

    /// Its state.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// When [`Session::tick`] is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        self.detect.into_iter().chain(self.next_packet).min()
    }

    /// Takes a packet and says what it changed and what answers it. A packet
    /// with another discriminator is another session's.
    pub fn receive(&mut self, packet: &Packet, now: Moment) -> (Option<Change>, Option<Packet>) {
        let mine = packet.yours == 0 || packet.yours == self.config.discriminator;
        if !mine || self.state == State::AdminDown {
            return (None, None);
        }
        let first = self.neighbour.is_none();
        self.neighbour = Some(Neighbour {
            discriminator: packet.own,
            transmit: packet.transmit,
            receive: packet.receive,
            multiplier: packet.multiplier,
        });
        if packet.last {
            self.polling = false;
        }
        let change = self.heard(packet.state);
        // Section 6.8.4: the neighbour's multiplier, and the slower of what it
        // sends and what is taken here.
        let pace = self.config.receive.max(packet.transmit);
        self.detect = Some(now + pace * u32::from(packet.multiplier));
        let due_earlier = change.is_some() || first;
        if due_earlier {
            self.next_packet = Some(now);
        }
        if packet.receive.is_zero() {
            self.next_packet = None;
        } else if self.next_packet.is_none() {
            self.next_packet = Some(now);
        }
        let answer = packet.poll.then(|| self.packet(true));
        (change, answer)
    }

    fn heard(&mut self, theirs: State) -> Option<Change> {
        use State::{AdminDown, Down, Init, Up};
        let (to, diagnostic) = match (self.state, theirs) {
            (Init | Up, AdminDown) | (Up, Down) => (Down, Diagnostic::NeighbourSignalledDown),
            (Down, Down) => (Init, self.diagnostic),
            (Down, Init) | (Init, Init | Up) => (Up, Diagnostic::None),
            _ => return None,
        };
        Some(self.enter(to, diagnostic))
    }

    fn enter(&mut self, to: State, diagnostic: Diagnostic) -> Change {
        let from = std::mem::replace(&mut self.state, to);
        self.diagnostic = diagnostic;
        // Section 6.8.3: the pace of an up session is another, so it polls.
        self.polling = to == State::Up;
        Change {
            from,
            to,
            diagnostic,
        }
    }

    /// Does what is due: says what the neighbour's silence changed, and what is
    /// to be sent.
    pub fn tick(&mut self, now: Moment) -> (Option<Change>, Option<Packet>) {
        let mut change = None;
        if self.detect.is_some_and(|detect| detect <= now) {
            self.detect = None;
            // Section 6.8.1: its discriminator is forgotten with it.
            self.neighbour = None;
            if matches!(self.state, State::Init | State::Up) {
                change = Some(self.enter(State::Down, Diagnostic::DetectionTimeExpired));
                self.next_packet = Some(now);
            }
            if self.config.passive {
                self.next_packet = None;
            }
        }
        let due = self.next_packet.is_some_and(|next| next <= now);
        if due {
            self.next_packet = Some(now + self.pause());
        }
        (change, due.then(|| self.packet(false)))
    }

    /// Takes the session down on purpose; returns the packet that says so.
    pub fn shut(&mut self) -> Packet {
        self.enter(State::AdminDown, Diagnostic::AdministrativelyDown);
        self.detect = None;
        self.next_packet = None;
        self.packet(false)
    }

    fn packet(&self, answer: bool) -> Packet {
        Packet {
            state: self.state,
            diagnostic: self.diagnostic as u8,
            // A packet is either the question or the answer.
            poll: self.polling && !answer,
            last: answer,
            multiplier: self.config.multiplier,
            own: self.config.discriminator,
            yours: self.neighbour.map_or(0, |n| n.discriminator),
            transmit: self.own_pace(),
            receive: self.config.receive,
        }
    }

    fn own_pace(&self) -> Duration {
        if self.state == State::Up {
            self.config.transmit
        } else {
            self.config.transmit.max(SLOW)
        }
    }

    /// The pause before the next packet, up to a quarter shorter so that sessions
    /// do not march in step (section 6.8.7); by a count, because nothing here is
    /// random. With a multiplier of 1 at least a tenth must be left off.
    fn pause(&mut self) -> Duration {
        let taken = self.neighbour.map_or(Duration::ZERO, |n| n.receive);
        let pace = self.own_pace().max(taken);
        self.sent = self.sent.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        let spread = self.sent.wrapping_add(self.config.discriminator) >> 16;
        let percent = 10 + spread % 16;
        pace * (100 - percent) / 100
    }

    /// After how long a silent neighbour counts as gone, while it is heard.
    #[must_use]
    pub fn detection_time(&self) -> Option<Duration> {
        let neighbour = self.neighbour?;
        let pace = self.config.receive.max(neighbour.transmit);
        Some(pace * u32::from(neighbour.multiplier))
    }
}
