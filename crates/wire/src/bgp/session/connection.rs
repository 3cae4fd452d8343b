use std::time::Duration;

use super::super::{MAX_MESSAGE, Message, Notification, Received};
use super::{Established, State};
use crate::Moment;

/// One TCP connection of a session.
#[derive(Debug)]
pub(super) struct Connection {
    pub stage: Stage,
    /// What came in and is not a whole message yet.
    pub buffer: Vec<u8>,
    hold: Option<Moment>,
    hold_time: Duration,
    keepalive: Option<Moment>,
    keepalive_time: Duration,
}

#[derive(Debug)]
pub(super) enum Stage {
    OpenSent,
    OpenConfirm(Established),
    Established(Established),
}

impl Stage {
    pub(super) const fn state(&self) -> State {
        match self {
            Self::OpenSent => State::OpenSent,
            Self::OpenConfirm(_) => State::OpenConfirm,
            Self::Established(_) => State::Established,
        }
    }

    /// The subcode for a message that does not belong here (RFC 6608).
    pub(super) const fn unexpected(&self) -> u8 {
        match self {
            Self::OpenSent => 1,
            Self::OpenConfirm(_) => 2,
            Self::Established(_) => 3,
        }
    }
}

impl Connection {
    pub(super) fn new(hold: Moment) -> Self {
        Self {
            stage: Stage::OpenSent,
            buffer: Vec::new(),
            hold: Some(hold),
            hold_time: Duration::ZERO,
            keepalive: None,
            keepalive_time: Duration::ZERO,
        }
    }

    pub(super) const fn established(&self) -> Option<&Established> {
        match &self.stage {
            Stage::Established(established) => Some(established),
            _ => None,
        }
    }

    /// The next whole message of what came in.
    pub(super) fn next_message(&mut self) -> Result<Option<Received>, Notification> {
        let four_octets = match &self.stage {
            Stage::OpenSent => false,
            Stage::OpenConfirm(agreed) | Stage::Established(agreed) => agreed.four_octet_asn,
        };
        let decoded = Message::decode(&self.buffer, four_octets)?;
        if let Some((_, length)) = &decoded {
            self.buffer.drain(..*length);
        }
        debug_assert!(decoded.is_some() || self.buffer.len() < MAX_MESSAGE);
        Ok(decoded.map(|(received, _)| received))
    }

    /// The peer's OPEN was good: timers as agreed. A hold time of 0 means none.
    pub(super) fn confirm(&mut self, agreed: Established, now: Moment) {
        self.hold_time = agreed.hold_time;
        self.keepalive_time = agreed.keepalive_time;
        self.keepalive = (!agreed.keepalive_time.is_zero()).then(|| now + agreed.keepalive_time);
        self.stage = Stage::OpenConfirm(agreed);
        self.hold = None;
        self.heard(now);
    }

    pub(super) fn establish(&mut self) -> Option<Established> {
        let Stage::OpenConfirm(agreed) = &self.stage else {
            return None;
        };
        let agreed = agreed.clone();
        self.stage = Stage::Established(agreed.clone());
        Some(agreed)
    }

    pub(super) fn heard(&mut self, now: Moment) {
        self.hold = (!self.hold_time.is_zero()).then(|| now + self.hold_time);
    }

    pub(super) fn is_silent(&self, now: Moment) -> bool {
        self.hold.is_some_and(|hold| hold <= now)
    }

    /// Whether a KEEPALIVE is due; then the next is set.
    pub(super) fn owes_keepalive(&mut self, now: Moment) -> bool {
        let due = self.keepalive.is_some_and(|keepalive| keepalive <= now);
        if due {
            self.keepalive = Some(now + self.keepalive_time);
        }
        due
    }

    pub(super) fn next_deadline(&self) -> Option<Moment> {
        self.hold.into_iter().chain(self.keepalive).min()
    }
}
