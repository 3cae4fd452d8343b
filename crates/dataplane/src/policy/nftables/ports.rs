use std::collections::BTreeSet;

use podway_plan::policy::PortRange;

/// Allowed ports. Equal ports have equal values, and one list in the kernel.
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

    /// Whether everything is allowed that the other allows.
    pub(super) fn cover(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All, _) | (_, Self::None) => true,
            (Self::Some(ours), Self::Some(theirs)) => theirs.iter().all(|range| {
                ours.iter().any(|own| {
                    own.protocol == range.protocol
                        && own.first <= range.first
                        && range.last <= own.last
                })
            }),
            (Self::None, Self::Some(_)) | (Self::Some(_) | Self::None, Self::All) => false,
        }
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

#[cfg(test)]
mod tests {
    use podway_model::Protocol::{self, Sctp, Tcp, Udp};

    use super::*;

    const fn range(protocol: Protocol, first: u16, last: u16) -> PortRange {
        PortRange {
            protocol,
            first,
            last,
        }
    }

    fn ports(ranges: &[PortRange]) -> Ports {
        let mut ports = Ports::default();
        for range in ranges {
            ports.allow(&[*range]);
        }
        ports
    }

    #[test]
    fn ports_are_in_order_and_apart() {
        let cases: [(&[PortRange], &[PortRange]); 6] = [
            (&[range(Tcp, 80, 80)], &[range(Tcp, 80, 80)]),
            (
                &[range(Udp, 53, 53), range(Tcp, 53, 53)],
                &[range(Tcp, 53, 53), range(Udp, 53, 53)],
            ),
            (
                &[range(Tcp, 80, 90), range(Tcp, 85, 95)],
                &[range(Tcp, 80, 95)],
            ),
            (
                &[range(Tcp, 81, 81), range(Tcp, 80, 80)],
                &[range(Tcp, 80, 81)],
            ),
            (
                &[range(Tcp, 80, 80), range(Tcp, 82, 82)],
                &[range(Tcp, 80, 80), range(Tcp, 82, 82)],
            ),
            (
                &[range(Sctp, 9, 9), range(Sctp, 0, u16::MAX)],
                &[range(Sctp, 0, u16::MAX)],
            ),
        ];
        for (given, expected) in cases {
            assert_eq!(ports(given), Ports::Some(expected.to_vec()), "{given:?}");
        }
    }

    #[test]
    fn everything_swallows_the_rest() {
        let mut all = ports(&[range(Tcp, 1, 2)]);
        all.allow(&[]);
        all.allow(&[range(Tcp, 5, 5)]);
        assert_eq!(all, Ports::All);
    }

    #[test]
    fn more_covers_less_and_not_the_other_way() {
        let order = [
            Ports::None,
            ports(&[range(Tcp, 80, 80)]),
            ports(&[range(Tcp, 80, 81)]),
            ports(&[range(Tcp, 79, 81), range(Udp, 80, 81)]),
            Ports::All,
        ];
        for (less, a) in order.iter().enumerate() {
            for (more, b) in order.iter().enumerate() {
                assert_eq!(b.cover(a), less <= more, "{b:?} covers {a:?}");
            }
        }
        assert!(!ports(&[range(Tcp, 80, 80)]).cover(&ports(&[range(Udp, 80, 80)])));
    }
}
