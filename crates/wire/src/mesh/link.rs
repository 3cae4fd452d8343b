use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use super::Timing;
use super::seal::{Header, Incarnation, Key, OpenError, Opener};
use crate::Moment;

/// What this node knows of another one.
#[derive(Default)]
pub(super) struct Link {
    life: Option<Life>,
    pings: VecDeque<Ping>,
    /// It answers our heartbeats until then.
    two_way_until: Moment,
    heard: Moment,
    /// It said that it has a majority and can serve.
    pub eligible: bool,
    /// It said that it has the witness.
    pub witness: bool,
    pub round_trip: Option<Duration>,
}

struct Life {
    incarnation: Incarnation,
    opener: Opener,
    counter: u64,
}

/// A heartbeat that is not answered yet.
pub(super) struct Ping {
    pub counter: u64,
    pub sent: Moment,
    pub claims: Vec<IpAddr>,
}

impl Link {
    /// Opens a datagram that says it is from this node, and remembers it so that
    /// it is taken once only.
    pub(super) fn open(
        &mut self,
        header: &Header<'_>,
        key: &Key,
        receiver: &str,
        timing: &Timing,
        now: Moment,
    ) -> Result<Vec<u8>, OpenError> {
        let silent = now.since(self.heard) >= timing.lease;
        let old = self.life.as_ref().is_some_and(|life| {
            let earlier = header.incarnation < life.incarnation;
            let repeated = header.incarnation == life.incarnation && header.counter <= life.counter;
            // A node whose wall clock went back between two lives is believed
            // once the former life is over.
            repeated || (earlier && !silent)
        });
        if old {
            return Err(OpenError::Old(header.sender.to_owned()));
        }
        let known = self
            .life
            .as_mut()
            .filter(|life| life.incarnation == header.incarnation);
        let message = if let Some(life) = known {
            let message = header.open(&life.opener, receiver)?;
            life.counter = header.counter;
            message
        } else {
            let opener = Opener::new(key, header);
            let message = header.open(&opener, receiver)?;
            self.life = Some(Life {
                incarnation: header.incarnation,
                opener,
                counter: header.counter,
            });
            message
        };
        self.heard = now;
        Ok(message)
    }

    /// Remembers a heartbeat, to know its answer.
    pub(super) fn sent(&mut self, ping: Ping, timing: &Timing) {
        let now = ping.sent;
        self.pings
            .retain(|ping| now.since(ping.sent) < timing.lease);
        self.pings.push_back(ping);
    }

    /// The heartbeat that an answer is to; it counts once.
    pub(super) fn answered(&mut self, counter: u64, timing: &Timing, now: Moment) -> Option<Ping> {
        let position = self.pings.iter().position(|ping| ping.counter == counter)?;
        let ping = self.pings.remove(position)?;
        self.two_way_until = self.two_way_until.max(ping.sent + timing.lease);
        self.round_trip = Some(now.since(ping.sent));
        Some(ping)
    }

    /// Until when datagrams have gone both ways.
    pub(super) fn two_way_until(&self, now: Moment) -> Option<Moment> {
        Some(self.two_way_until).filter(|until| *until > now)
    }

    pub(super) fn is_two_way(&self, now: Moment) -> bool {
        self.two_way_until > now
    }
}
