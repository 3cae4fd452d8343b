use std::collections::BTreeSet;
use std::fmt::Write as _;

use podway_kernel::nft::{Chain, Field, Rule, Value, Verdict};
use podway_plan::policy::PortRange;
use sha2::{Digest as _, Sha256};

use super::layout::ACCEPTED;

/// The longest chain name that lists its ports; the kernel takes 255 bytes, a
/// reader fewer.
const READABLE: usize = 60;

/// Allowed ports. Equal ports have equal values, and one chain.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ports {
    /// None.
    #[default]
    None,
    /// These: in order, apart from each other.
    Some(Vec<PortRange>),
    /// Every port of every protocol, and protocols without ports.
    All,
}

impl Ports {
    /// Allows more: an empty list is everything.
    pub(super) fn allow(&mut self, ports: &[PortRange]) {
        let mut ranges: BTreeSet<PortRange> = match std::mem::take(self) {
            Self::All => {
                *self = Self::All;
                return;
            }
            Self::Some(ranges) => ranges.into_iter().collect(),
            Self::None => BTreeSet::new(),
        };
        *self = if ports.is_empty() {
            Self::All
        } else {
            ranges.extend(ports);
            Self::Some(join(ranges))
        };
    }

    /// Allows what another allows as well.
    pub(super) fn unite(&mut self, other: &Self) {
        match other {
            Self::None => {}
            Self::Some(ranges) => self.allow(ranges),
            Self::All => *self = Self::All,
        }
    }

    /// Where a map's element leads that allows these ports; `None` is nowhere.
    /// Ports that are not among them fall through to the next map.
    pub(super) fn verdict(&self) -> Option<Verdict> {
        match self {
            Self::None => None,
            Self::Some(ranges) => Some(Verdict::Jump(name(ranges).into())),
            Self::All => Some(Verdict::Goto(ACCEPTED.into())),
        }
    }

    /// Whether these ports need a chain.
    pub(super) const fn have_chain(&self) -> bool {
        matches!(self, Self::Some(_))
    }

    /// The chain of these ports, where they need one.
    pub(super) fn chain(&self) -> Option<(Chain, Vec<Rule>)> {
        let Self::Some(ranges) = self else {
            return None;
        };
        let rules = ranges.iter().map(rule).collect();
        Some((Chain::regular(name(ranges)), rules))
    }
}

/// Joins what overlaps or touches. The ranges come by protocol and first port.
fn join(ranges: BTreeSet<PortRange>) -> Vec<PortRange> {
    let mut joined: Vec<PortRange> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match joined.last_mut() {
            Some(last)
                if last.protocol == range.protocol
                    && u32::from(range.first) <= u32::from(last.last) + 1 =>
            {
                last.last = last.last.max(range.last);
            }
            _ => joined.push(range),
        }
    }
    joined
}

fn rule(range: &PortRange) -> Rule {
    let rule = Rule::new().is(Field::L4Proto, Value::Protocol(range.protocol.number()));
    let rule = match (range.first, range.last) {
        (0, u16::MAX) => rule,
        (first, last) if first == last => rule.is(Field::ThDport, Value::Port(first)),
        (first, last) => rule.between(Field::ThDport, Value::Port(first), Value::Port(last)),
    };
    rule.priority(0).accept()
}

/// `tcp-80.tcp-8000-8100.udp`: a name that says what the chain allows, so that
/// it is the same after a restart. A long list is named by its digest: people
/// of different tenants write the lists, so two must not be made to meet.
fn name(ranges: &[PortRange]) -> String {
    let words: Vec<String> = ranges
        .iter()
        .map(|range| match (range.first, range.last) {
            (0, u16::MAX) => range.protocol.to_string(),
            (first, last) if first == last => format!("{}-{first}", range.protocol),
            (first, last) => format!("{}-{first}-{last}", range.protocol),
        })
        .collect();
    let name = words.join(".");
    if name.len() <= READABLE {
        return name;
    }
    let digest = Sha256::digest(name.as_bytes());
    let mut short = String::from("ports-");
    for byte in &digest[..16] {
        write!(short, "{byte:02x}").expect("a String takes every write");
    }
    short
}

#[cfg(test)]
mod tests {
    use podway_model::Protocol::{Sctp, Tcp, Udp};

    use super::*;

    const fn range(protocol: podway_model::Protocol, first: u16, last: u16) -> PortRange {
        PortRange {
            protocol,
            first,
            last,
        }
    }

    #[test]
    fn ports_are_joined_and_named() {
        let cases: [(&[PortRange], &str); 6] = [
            (&[range(Tcp, 80, 80)], "tcp-80"),
            (&[range(Udp, 53, 53), range(Tcp, 53, 53)], "tcp-53.udp-53"),
            (&[range(Tcp, 80, 90), range(Tcp, 85, 95)], "tcp-80-95"),
            (&[range(Tcp, 81, 81), range(Tcp, 80, 80)], "tcp-80-81"),
            (&[range(Tcp, 80, 80), range(Tcp, 82, 82)], "tcp-80.tcp-82"),
            (&[range(Sctp, 9, 9), range(Sctp, 0, u16::MAX)], "sctp"),
        ];
        for (ranges, expected) in cases {
            let mut ports = Ports::default();
            for range in ranges {
                ports.allow(&[*range]);
            }
            let chain = ports.chain().map(|(chain, _)| chain.name.to_string());
            assert_eq!(chain.as_deref(), Some(expected), "{ranges:?}");
        }
    }

    #[test]
    fn everything_swallows_the_rest_and_needs_no_chain() {
        let mut ports = Ports::default();
        ports.allow(&[range(Tcp, 1, 2)]);
        ports.allow(&[]);
        ports.allow(&[range(Tcp, 5, 5)]);
        assert_eq!(ports, Ports::All);
        assert_eq!(ports.chain(), None);
        assert_eq!(ports.verdict(), Some(Verdict::Goto(ACCEPTED.into())));
        assert_eq!(Ports::default().verdict(), None);
    }

    #[test]
    fn a_long_list_has_a_short_name() {
        let name = |last: u16| {
            let mut ports = Ports::default();
            for port in (1..last).step_by(2) {
                ports.allow(&[range(Tcp, port, port)]);
            }
            let (chain, rules) = ports.chain().expect("some ports");
            (chain.name, rules.len())
        };
        let (long, rules) = name(2001);
        assert_eq!((long.len(), rules), (38, 1000));
        assert_ne!(long, name(2003).0);
    }
}
