use std::collections::BTreeSet;

use podway_model::Protocol;
use podway_plan::policy::{AllowedPorts, PortRange};

/// Allowed ports, and whether other elements are asked about those that are not.
/// Equal ports have equal values, and one list in the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ports {
    /// None; others may allow some.
    #[default]
    None,
    /// These: in order, apart from each other. Others may allow more.
    Some(Vec<PortRange>),
    /// Every port of every protocol, and protocols without ports.
    All,
    /// These, and nothing else whatever others say.
    Only(Vec<PortRange>),
    /// All but these, of which there are some, whatever others say.
    AllBut(Vec<PortRange>),
}

impl Ports {
    /// Allows more where others may: an empty list is everything.
    pub(super) fn allow(&mut self, ports: &[PortRange]) {
        let held = match self {
            Self::Some(ranges) => std::mem::take(ranges),
            Self::None => Vec::new(),
            Self::All | Self::Only(_) | Self::AllBut(_) => return,
        };
        *self = if ports.is_empty() {
            Self::All
        } else {
            let ranges: BTreeSet<PortRange> = held.iter().chain(ports).copied().collect();
            Self::Some(join(ranges))
        };
    }

    /// Whether everything is allowed that the other allows, or leaves to others.
    pub(super) fn cover(&self, other: &Self) -> bool {
        if self.is_final() && *self != Self::All && !other.is_final() {
            return false;
        }
        match (self, other) {
            (Self::All, _) => true,
            (_, Self::All) => false,
            (Self::AllBut(ours), Self::AllBut(theirs)) => contain(theirs, ours),
            (_, Self::AllBut(_)) => false,
            (Self::AllBut(ours), _) => !meet(ours, other.named()),
            _ => contain(self.named(), other.named()),
        }
    }

    /// Whether others are not asked.
    const fn is_final(&self) -> bool {
        match self {
            Self::None | Self::Some(_) => false,
            Self::All | Self::Only(_) | Self::AllBut(_) => true,
        }
    }

    /// The ports that it names, to allow or to deny them.
    pub(super) fn named(&self) -> &[PortRange] {
        match self {
            Self::None | Self::All => &[],
            Self::Some(ranges) | Self::Only(ranges) | Self::AllBut(ranges) => ranges,
        }
    }
}

/// What ordered rules allow is final.
impl From<AllowedPorts> for Ports {
    fn from(allowed: AllowedPorts) -> Self {
        if !allowed.others {
            return Self::Only(allowed.ranges);
        }
        let denied = others(&allowed.ranges);
        if denied.is_empty() {
            Self::All
        } else {
            Self::AllBut(denied)
        }
    }
}

/// The ports that are not in these ranges, which are in order and apart.
fn others(ranges: &[PortRange]) -> Vec<PortRange> {
    let mut others = Vec::new();
    for protocol in Protocol::ALL {
        let mut next = Some(0);
        for range in ranges.iter().filter(|range| range.protocol == protocol) {
            if let Some(first) = next.filter(|first| *first < range.first) {
                others.push(PortRange {
                    protocol,
                    first,
                    last: range.first - 1,
                });
            }
            next = range.last.checked_add(1);
        }
        others.extend(next.map(|first| PortRange {
            protocol,
            first,
            last: u16::MAX,
        }));
    }
    others
}

/// Whether each of the smaller ranges is within one of the larger.
fn contain(larger: &[PortRange], smaller: &[PortRange]) -> bool {
    smaller.iter().all(|range| {
        larger.iter().any(|larger| {
            larger.protocol == range.protocol
                && larger.first <= range.first
                && range.last <= larger.last
        })
    })
}

fn meet(some: &[PortRange], others: &[PortRange]) -> bool {
    some.iter().any(|range| {
        others.iter().any(|other| {
            other.protocol == range.protocol
                && other.first <= range.last
                && range.first <= other.last
        })
    })
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
    use podway_model::Protocol::{Sctp, Tcp, Udp};

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

    #[test]
    fn ordered_rules_leave_nothing_to_others() {
        let allowed = |ranges: &[PortRange], others| {
            Ports::from(AllowedPorts {
                ranges: ranges.to_vec(),
                others,
            })
        };
        let whole = Protocol::ALL.map(|protocol| range(protocol, 0, u16::MAX));
        assert_eq!(allowed(&whole, true), Ports::All);
        assert_eq!(allowed(&whole, false), Ports::Only(whole.to_vec()));
        assert_eq!(allowed(&[], false), Ports::Only(vec![]));
        assert_eq!(allowed(&[], true), Ports::AllBut(whole.to_vec()));
        let [tcp, udp, sctp] = whole;
        let but_one = [range(Tcp, 0, 24), range(Tcp, 26, u16::MAX), udp, sctp];
        assert_eq!(
            allowed(&but_one, true),
            Ports::AllBut(vec![range(Tcp, 25, 25)])
        );
        let ends = [range(Tcp, 1, u16::MAX - 1), udp, sctp];
        let denied = vec![range(Tcp, 0, 0), range(Tcp, u16::MAX, u16::MAX)];
        assert_eq!(allowed(&ends, true), Ports::AllBut(denied));
        assert_eq!(allowed(&[udp, sctp], true), Ports::AllBut(vec![tcp]));
    }

    #[test]
    fn what_is_final_covers_only_what_is_final() {
        let web = || vec![range(Tcp, 80, 80)];
        let more = || vec![range(Tcp, 79, 81)];
        // Each covers those before it, and not those behind.
        let orders = [
            [Ports::Only(vec![]), Ports::Only(web()), Ports::Only(more())],
            [Ports::AllBut(more()), Ports::AllBut(web()), Ports::All],
            [Ports::Only(vec![]), Ports::None, Ports::Some(web())],
            [Ports::Only(web()), Ports::Some(web()), Ports::All],
        ];
        for order in orders {
            for (less, a) in order.iter().enumerate() {
                for (more, b) in order.iter().enumerate() {
                    assert_eq!(b.cover(a), less <= more, "{b:?} covers {a:?}");
                }
            }
        }
        assert!(Ports::AllBut(web()).cover(&Ports::Only(vec![range(Tcp, 81, 81)])));
        assert!(!Ports::AllBut(web()).cover(&Ports::Only(more())));
        assert!(!Ports::Only(more()).cover(&Ports::AllBut(web())));
        assert!(!Ports::Some(more()).cover(&Ports::Only(vec![range(Udp, 80, 80)])));
    }
}
