//! Which endpoints a connection asks, and how long it waits for each.

use std::collections::VecDeque;
use std::time::Duration;

use super::shared::{Candidate, Choice};

/// The endpoints that a connection tries, one after the other, until one
/// answers.
#[derive(Debug)]
pub(super) struct Attempts {
    pub(super) choice: Choice,
    /// Those to ask yet, and how long to wait for them.
    queue: VecDeque<(Candidate, Duration)>,
}

/// How long an endpoint may take to answer: a first packet that is lost is sent
/// again after a second.
const PATIENCE: Duration = Duration::from_millis(1500);
/// And when it is asked a second time, for it may only have been slow.
const LAST_PATIENCE: Duration = Duration::from_secs(10);
/// A client that has waited for so many would not wait for more.
const MOST: usize = 8;

impl Attempts {
    pub(super) fn new(choice: Choice) -> Self {
        let candidates = choice.candidates.iter().take(MOST);
        Self {
            queue: candidates.map(|candidate| (*candidate, PATIENCE)).collect(),
            choice,
        }
    }

    /// The next endpoint to ask, and how long to wait for it.
    pub(super) fn next(&mut self) -> Option<(Candidate, Duration)> {
        self.queue.pop_front()
    }

    /// One has not answered in this time: it is asked once more when the others
    /// have been. One that refuses is not.
    pub(super) fn was_silent(&mut self, candidate: Candidate, waited: Duration) {
        if waited == PATIENCE {
            self.queue.push_back((candidate, LAST_PATIENCE));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use podway_kernel::socket::Origin;

    use super::*;

    fn candidate(host: u8) -> Candidate {
        Candidate {
            address: SocketAddr::from(([10, 0, 0, host], 80)),
            origin: Origin {
                source: None,
                mark: 0,
            },
        }
    }

    /// The hosts that are asked where those of the list are silent and the
    /// others refuse.
    fn asked(hosts: u8, silent: &[u8]) -> Vec<(u8, u128)> {
        let candidates = (1..=hosts).map(candidate).collect();
        let mut attempts = Attempts::new(Choice::of(candidates));
        let mut asked = Vec::new();
        while let Some((candidate, patience)) = attempts.next() {
            let host = (1..=hosts).find(|host| self::candidate(*host) == candidate);
            asked.push((host.unwrap(), patience.as_millis()));
            if silent.contains(&host.unwrap()) {
                attempts.was_silent(candidate, patience);
            }
        }
        asked
    }

    #[test]
    fn everybody_is_asked_and_who_was_silent_once_more() {
        assert_eq!(asked(1, &[]), [(1, 1500)]);
        assert_eq!(asked(1, &[1]), [(1, 1500), (1, 10_000)]);
        assert_eq!(
            asked(3, &[1, 3]),
            [(1, 1500), (2, 1500), (3, 1500), (1, 10_000), (3, 10_000)]
        );
        assert_eq!(asked(20, &[]).len(), 8);
    }
}
