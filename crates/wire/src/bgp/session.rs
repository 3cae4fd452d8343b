//! The session with one peer (RFC 4271 section 8).
//!
//! The RFC runs one state machine for each connection and lets them meet when
//! they collide. Here one session has up to two connections, its own and the
//! peer's, each of which is in OpenSent, OpenConfirm or Established; the
//! session is in Connect or Active while it has none, and where two compete,
//! section 6.8 decides in one place.

mod connection;
mod event;
mod negotiate;

use std::time::Duration;

pub use event::{Action, DownReason, Event, Side, State};
pub use negotiate::{Established, PeerAsn, SessionConfig};

use connection::{Connection, Stage};

use super::{Cease, Message, Notification, Received};
use crate::Moment;

/// RFC 4271 section 8.2.2: how long an OPEN is waited for.
const OPEN_HOLD: Duration = Duration::from_secs(240);
/// How long a session that failed waits before it tries again: this, doubled
/// for each failure, up to [`IDLE_MAX`] (`DampPeerOscillations`).
const IDLE_FIRST: Duration = Duration::from_secs(1);
const IDLE_MAX: Duration = Duration::from_secs(120);

/// The session with one peer.
#[derive(Debug)]
pub struct Session {
    config: SessionConfig,
    phase: Phase,
    own: Option<Connection>,
    theirs: Option<Connection>,
    failures: u32,
    /// The next session says that this speaker has just restarted.
    restarted: bool,
}

/// What the session does about a connection of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing: it was stopped.
    Stopped,
    /// Nothing yet: it failed.
    Resting { until: Moment },
    /// It waits for the peer to connect, and tries itself again then. `None`:
    /// only the peer connects.
    Waiting { retry: Option<Moment> },
    /// A connection is being made.
    Connecting { retry: Moment },
    /// It has one.
    Connected,
}

impl Session {
    /// A session that has not been started.
    #[must_use]
    pub const fn new(config: SessionConfig) -> Self {
        Self {
            restarted: config.restarted,
            config,
            phase: Phase::Stopped,
            own: None,
            theirs: None,
            failures: 0,
        }
    }

    /// The state in the words of the RFC.
    #[must_use]
    pub fn state(&self) -> State {
        let stage = self.connections().map(|(_, c)| c.stage.state()).max();
        stage.unwrap_or(match self.phase {
            Phase::Stopped | Phase::Resting { .. } => State::Idle,
            Phase::Waiting { .. } | Phase::Connected => State::Active,
            Phase::Connecting { .. } => State::Connect,
        })
    }

    /// What was agreed, while the session is established.
    #[must_use]
    pub fn established(&self) -> Option<&Established> {
        self.connections().find_map(|(_, c)| c.established())
    }

    /// The bytes of a message for the established connection.
    #[must_use]
    pub fn encode(&self, message: &Message) -> Vec<u8> {
        message.encode(self.established().is_some_and(|e| e.four_octet_asn))
    }

    /// Takes what has happened and returns what is to be done.
    pub fn step(&mut self, event: Event<'_>, now: Moment) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Start => self.start(now, &mut actions),
            Event::Stop(why) => self.stop(why, &mut actions),
            Event::Connected(side) => self.connected(side, now, &mut actions),
            Event::ConnectFailed => self.connect_failed(now),
            Event::Closed(side) => self.closed(side, now, &mut actions),
            Event::Received(side, bytes) => self.received(side, bytes, now, &mut actions),
            Event::Tick => self.tick(now, &mut actions),
        }
        actions
    }

    /// When [`Event::Tick`] is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        let own = match self.phase {
            Phase::Resting { until } => Some(until),
            Phase::Waiting { retry } => retry,
            Phase::Connecting { retry } => Some(retry),
            Phase::Stopped | Phase::Connected => None,
        };
        let connections = self.connections().filter_map(|(_, c)| c.next_deadline());
        connections.chain(own).min()
    }

    fn start(&mut self, now: Moment, actions: &mut Vec<Action>) {
        if self.phase == Phase::Stopped {
            self.connect(now, actions);
        }
    }

    fn connect(&mut self, now: Moment, actions: &mut Vec<Action>) {
        if self.config.passive {
            self.phase = Phase::Waiting { retry: None };
            return;
        }
        self.phase = Phase::Connecting {
            retry: now + self.config.connect_retry,
        };
        actions.push(Action::Connect);
    }

    fn stop(&mut self, why: Cease, actions: &mut Vec<Action>) {
        if matches!(self.phase, Phase::Connecting { .. }) {
            actions.push(Action::AbandonConnect);
        }
        self.phase = Phase::Stopped;
        self.failures = 0;
        for side in Side::BOTH {
            self.drop_connection(side, Some(Notification::cease(why)), actions);
        }
    }

    fn connected(&mut self, side: Side, now: Moment, actions: &mut Vec<Action>) {
        self.make_way(side, actions);
        let wanted = match (self.phase, side) {
            (Phase::Stopped | Phase::Resting { .. }, _) => false,
            (phase, Side::Own) => matches!(phase, Phase::Connecting { .. }),
            (_, Side::Theirs) => self.theirs.is_none() && self.established().is_none(),
        };
        if !wanted {
            // Section 8.2.2: a connection that is not expected is refused.
            actions.push(Action::Close(side));
            return;
        }
        if side == Side::Own || matches!(self.phase, Phase::Waiting { .. }) {
            self.phase = Phase::Connected;
        }
        let open = self.config.open(self.restarted);
        actions.push(Action::Send(side, Message::Open(open).encode(true)));
        *self.slot(side) = Some(Connection::new(now + OPEN_HOLD));
    }

    /// A peer that restarts gracefully comes back before its old connection is
    /// known to be dead (RFC 4724 section 5): the new one takes its place.
    fn make_way(&mut self, side: Side, actions: &mut Vec<Action>) {
        let restarts = self.established().is_some_and(|e| e.graceful_restart);
        if side != Side::Theirs || !restarts {
            return;
        }
        for side in Side::BOTH {
            self.drop_connection(side, None, actions);
        }
        actions.push(Action::Down(DownReason::Closed));
    }

    fn connect_failed(&mut self, now: Moment) {
        if matches!(self.phase, Phase::Connecting { .. }) {
            self.phase = Phase::Waiting {
                retry: Some(now + self.config.connect_retry),
            };
        }
    }

    fn closed(&mut self, side: Side, now: Moment, actions: &mut Vec<Action>) {
        let Some(connection) = self.slot(side).take() else {
            return;
        };
        if connection.established().is_some() {
            actions.push(Action::Down(DownReason::Closed));
        }
        if connection.stage.state() > State::OpenSent {
            self.rest(now);
        } else if self.is_alone() {
            // Somebody looked whether the port is open.
            let retry = (!self.config.passive).then(|| now + self.config.connect_retry);
            self.phase = Phase::Waiting { retry };
        }
    }

    fn received(&mut self, side: Side, bytes: &[u8], now: Moment, actions: &mut Vec<Action>) {
        if let Some(connection) = self.slot(side) {
            connection.buffer.extend_from_slice(bytes);
        }
        loop {
            // Each message may end the connection that the next is read from.
            let Some(connection) = self.slot(side) else {
                return;
            };
            match connection.next_message() {
                Ok(None) => return,
                Ok(Some(Received::Message(message))) => self.take(side, message, now, actions),
                Ok(Some(Received::IgnoredUpdate(why))) => {
                    self.take(
                        side,
                        Message::Update(super::Update::default()),
                        now,
                        actions,
                    );
                    actions.push(Action::IgnoredUpdate(why));
                }
                Err(error) => return self.fail(side, error, now, actions),
            }
        }
    }

    fn take(&mut self, side: Side, message: Message, now: Moment, actions: &mut Vec<Action>) {
        let Some(connection) = self.slot(side) else {
            return;
        };
        match (&connection.stage, message) {
            (_, Message::Notification(error)) => self.told(side, error, now, actions),
            (Stage::OpenSent, Message::Open(open)) => self.opened(side, &open, now, actions),
            (Stage::OpenConfirm(_), Message::Keepalive) => self.establish(side, now, actions),
            (Stage::Established(_), Message::Keepalive) => connection.heard(now),
            (Stage::Established(_), Message::Update(_)) => {
                // Nothing is learned: this speaker only announces.
                connection.heard(now);
            }
            (Stage::Established(_), Message::RouteRefresh(family)) => {
                connection.heard(now);
                actions.extend(family.map(Action::Refresh));
            }
            (stage, _) => {
                let error = Notification::new(5, stage.unexpected());
                self.fail(side, error, now, actions);
            }
        }
    }

    fn opened(&mut self, side: Side, open: &super::Open, now: Moment, actions: &mut Vec<Action>) {
        let established = match self.config.negotiate(open) {
            Ok(established) => established,
            Err(error) => return self.fail(side, error, now, actions),
        };
        let rival = self.slot(side.other()).as_ref().map(|c| c.stage.state());
        let loser = match rival {
            Some(State::Established) => Some(side),
            // Section 6.8 waits until the other has had its OPEN too, because it
            // may be another peer's. Here both are this peer's, and the sooner
            // both ends drop the same one, the less can cross on the way.
            Some(_) => Some(self.config.loser_against(open)),
            None => None,
        };
        if let Some(loser) = loser {
            let collision = Notification::cease(Cease::CollisionResolution);
            self.drop_connection(loser, Some(collision), actions);
            if loser == side {
                return;
            }
        }
        actions.push(Action::Send(side, Message::Keepalive.encode(true)));
        if let Some(connection) = self.slot(side) {
            connection.confirm(established, now);
        }
    }

    fn establish(&mut self, side: Side, now: Moment, actions: &mut Vec<Action>) {
        let collision = Notification::cease(Cease::CollisionResolution);
        self.drop_connection(side.other(), Some(collision), actions);
        if matches!(self.phase, Phase::Connecting { .. }) {
            actions.push(Action::AbandonConnect);
        }
        self.phase = Phase::Connected;
        self.failures = 0;
        self.restarted = false;
        let Some(connection) = self.slot(side) else {
            return;
        };
        connection.heard(now);
        if let Some(established) = connection.establish() {
            actions.push(Action::Up(side, established));
        }
    }

    /// The peer said why it ends.
    fn told(&mut self, side: Side, error: Notification, now: Moment, actions: &mut Vec<Action>) {
        let Some(connection) = self.slot(side).take() else {
            return;
        };
        actions.push(Action::Close(side));
        if connection.established().is_some() {
            actions.push(Action::Down(DownReason::Told(error)));
        } else {
            actions.push(Action::Refused(DownReason::Told(error)));
        }
        self.rest(now);
    }

    /// The peer made an error.
    fn fail(&mut self, side: Side, error: Notification, now: Moment, actions: &mut Vec<Action>) {
        let Some(connection) = self.slot(side).take() else {
            return;
        };
        let bytes = Message::Notification(error.clone()).encode(true);
        actions.push(Action::Send(side, bytes));
        actions.push(Action::Close(side));
        if connection.established().is_some() {
            actions.push(Action::Down(DownReason::Sent(error)));
        } else {
            actions.push(Action::Refused(DownReason::Sent(error)));
        }
        self.rest(now);
    }

    /// After a failure: rest, unless the other connection is still there.
    fn rest(&mut self, now: Moment) {
        if !self.is_alone() {
            return;
        }
        let pause = IDLE_FIRST.saturating_mul(1 << self.failures.min(7));
        self.failures = self.failures.saturating_add(1);
        self.phase = Phase::Resting {
            until: now + self.config.jittered(pause.min(IDLE_MAX), self.failures),
        };
    }

    /// No connection is there or being made.
    const fn is_alone(&self) -> bool {
        let connecting = matches!(self.phase, Phase::Connecting { .. });
        self.own.is_none() && self.theirs.is_none() && !connecting
    }

    fn drop_connection(
        &mut self,
        side: Side,
        error: Option<Notification>,
        actions: &mut Vec<Action>,
    ) {
        let Some(connection) = self.slot(side).take() else {
            return;
        };
        if let Some(error) = error.clone() {
            let bytes = Message::Notification(error).encode(true);
            actions.push(Action::Send(side, bytes));
        }
        actions.push(Action::Close(side));
        if let (true, Some(error)) = (connection.established().is_some(), error) {
            actions.push(Action::Down(DownReason::Sent(error)));
        }
    }

    fn tick(&mut self, now: Moment, actions: &mut Vec<Action>) {
        match self.phase {
            Phase::Resting { until } if until <= now => self.connect(now, actions),
            Phase::Waiting { retry: Some(retry) } if retry <= now => self.connect(now, actions),
            Phase::Connecting { retry } if retry <= now => {
                actions.push(Action::AbandonConnect);
                self.connect(now, actions);
            }
            _ => {}
        }
        for side in Side::BOTH {
            let Some(connection) = self.slot(side) else {
                continue;
            };
            if connection.is_silent(now) {
                self.fail(side, Notification::hold_timer(), now, actions);
            } else if connection.owes_keepalive(now) {
                actions.push(Action::Send(side, Message::Keepalive.encode(true)));
            }
        }
    }

    const fn slot(&mut self, side: Side) -> &mut Option<Connection> {
        match side {
            Side::Own => &mut self.own,
            Side::Theirs => &mut self.theirs,
        }
    }

    fn connections(&self) -> impl Iterator<Item = (Side, &Connection)> {
        let own = self.own.iter().map(|c| (Side::Own, c));
        own.chain(self.theirs.iter().map(|c| (Side::Theirs, c)))
    }
}
