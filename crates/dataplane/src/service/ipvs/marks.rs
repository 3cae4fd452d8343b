//! Marks that name virtual servers.
//!
//! A virtual server has one set of endpoints. Where a local policy keeps clients
//! outside to the endpoints of this node, and lets its own pods and the node
//! reach all, there must be two: the second one is found by the packet's mark,
//! which a set of frontends with marks gives it.

use std::collections::{BTreeMap, BTreeSet};

use podway_kernel::ipset::Port;
use podway_plan::service::Frontend;

use crate::names::MASQUERADE_MARK;

/// The bits that say that a mark is one of these.
const OURS: u32 = 0x5000_0000;
const OURS_MASK: u32 = 0xf000_0000;
/// The bits below that of the masquerade count on; those of kube-proxy (14, 15)
/// stay free.
const LOW_BITS: u32 = 14;
const LOW_MASK: u32 = (1 << LOW_BITS) - 1;

/// A number that stands for a frontend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Number(u32);

/// Which frontends have numbers.
#[derive(Debug, Clone, Default)]
pub(super) struct Marks {
    numbers: BTreeMap<Frontend, Number>,
    taken: BTreeSet<Number>,
    /// What sets say that were there before us: connections go on where the
    /// same frontend has the same mark again.
    held: BTreeMap<Port, Number>,
}

impl Number {
    /// The mark; with the bit for masquerading or without.
    pub(super) const fn value(self, masquerade: bool) -> u32 {
        let high = (self.0 >> LOW_BITS) << 16;
        let bit = if masquerade { MASQUERADE_MARK } else { 0 };
        OURS | high | (self.0 & LOW_MASK) | bit
    }

    /// The number of a mark, where it is one of ours.
    pub(super) const fn of_mark(mark: u32) -> Option<Self> {
        if mark & OURS_MASK != OURS {
            return None;
        }
        let high = (mark & !OURS_MASK) >> 16;
        Some(Self(high << LOW_BITS | mark & LOW_MASK))
    }
}

impl Marks {
    /// Marks that sets say.
    pub(super) fn held(held: impl IntoIterator<Item = (Port, u32)>) -> Self {
        let numbers = held
            .into_iter()
            .filter_map(|(port, mark)| Some((port, Number::of_mark(mark)?)));
        Self {
            held: numbers.collect(),
            ..Self::default()
        }
    }

    /// The number of a frontend, which is these ports.
    pub(super) fn of(&mut self, frontend: &Frontend, ports: &[Port]) -> Number {
        if let Some(number) = self.numbers.get(frontend) {
            return *number;
        }
        let mut known = ports.iter().filter_map(|port| self.held.get(port));
        let known = known.find(|number| !self.taken.contains(*number)).copied();
        let number = known.unwrap_or_else(|| self.free());
        self.taken.insert(number);
        self.numbers.insert(*frontend, number);
        number
    }

    /// A frontend needs none any more.
    pub(super) fn release(&mut self, frontend: &Frontend) {
        if let Some(number) = self.numbers.remove(frontend) {
            self.taken.remove(&number);
        }
    }

    /// Everybody who may claim a held number has done so.
    pub(super) fn settle(&mut self) {
        self.held.clear();
    }

    /// The number after the highest one, or the lowest that is free: one that
    /// was let go of is not given again at once, as packets may still carry it.
    fn free(&self) -> Number {
        let is_held = |number: &Number| self.held.values().any(|held| held == number);
        let highest = self.taken.iter().chain(self.held.values()).max();
        let next = highest.map_or(1, |number| number.0 + 1);
        let candidates = (next..1 << 26).chain(1..).map(Number);
        let mut free = candidates.filter(|n| !self.taken.contains(n) && !is_held(n));
        free.next().expect("fewer frontends than 2^26")
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use podway_model::Protocol;
    use podway_plan::service::FrontendAddress;

    use super::*;

    fn frontend(port: u16) -> (Frontend, [Port; 1]) {
        let address: SocketAddr = "203.0.113.1:0".parse().unwrap();
        let frontend = Frontend {
            address: FrontendAddress::Ip(address.ip()),
            protocol: Protocol::Tcp,
            port,
        };
        let address = SocketAddr::new(address.ip(), port);
        (
            frontend,
            [Port {
                protocol: 6,
                address,
            }],
        )
    }

    #[test]
    fn marks_come_back_as_numbers_and_leave_the_bits_of_others() {
        for number in [0, 1, LOW_MASK, LOW_MASK + 1, (1 << 26) - 1].map(Number) {
            for masquerade in [false, true] {
                let mark = number.value(masquerade);
                assert_eq!(Number::of_mark(mark), Some(number), "{mark:#x}");
                assert_eq!(mark & 0x8000, 0, "{mark:#x}");
                assert_eq!(mark & MASQUERADE_MARK != 0, masquerade, "{mark:#x}");
            }
        }
        assert_eq!(Number::of_mark(0x4000), None);
    }

    #[test]
    fn a_frontend_keeps_its_number_over_a_restart() {
        let (one, one_ports) = frontend(1);
        let (two, two_ports) = frontend(2);
        let mut marks = Marks::default();
        marks.of(&one, &one_ports);
        let number = marks.of(&two, &two_ports);
        marks.release(&one);
        let mut again = Marks::held([(two_ports[0], number.value(true))]);
        assert_ne!(again.of(&one, &one_ports), number);
        assert_eq!(again.of(&two, &two_ports), number);
    }
}
