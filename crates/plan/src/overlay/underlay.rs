use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

/// What a node's routing table says about the ways to other nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Underlay {
    ways: BTreeMap<IpNet, NextHop>,
    /// Prefix lengths in use, by whether they are IPv4's.
    lengths: BTreeSet<(bool, u8)>,
}

/// Where a packet goes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextHop {
    /// The kernel's number of the interface.
    pub link: u32,
    /// The router; `None` where the destination is a neighbour.
    pub router: Option<IpAddr>,
}

impl Underlay {
    /// Notes a route. Of several to one destination the first counts: they come
    /// in the order of their metrics.
    pub fn note(&mut self, destination: IpNet, next: NextHop) {
        let destination = destination.trunc();
        self.lengths
            .insert((destination.addr().is_ipv4(), destination.prefix_len()));
        self.ways.entry(destination).or_insert(next);
    }

    /// The way to an address: the longest prefix that has it.
    #[must_use]
    pub fn way(&self, to: IpAddr) -> Option<NextHop> {
        let lengths = self.lengths.iter().rev();
        lengths
            .filter(|(is_ipv4, _)| *is_ipv4 == to.is_ipv4())
            .filter_map(|(_, length)| IpNet::new(to, *length).ok())
            .find_map(|prefix| self.ways.get(&prefix.trunc()))
            .copied()
    }
}

impl FromIterator<(IpNet, NextHop)> for Underlay {
    fn from_iter<T: IntoIterator<Item = (IpNet, NextHop)>>(routes: T) -> Self {
        let mut underlay = Self::default();
        for (destination, next) in routes {
            underlay.note(destination, next);
        }
        underlay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_decides_and_of_equal_ones_the_first() {
        let next = |link, router: &str| NextHop {
            link,
            router: router.parse().ok(),
        };
        let routes = [
            ("0.0.0.0/0", next(2, "172.16.0.1")),
            ("0.0.0.0/0", next(3, "172.16.9.1")),
            ("172.16.0.0/24", next(2, "")),
            ("172.16.0.77/32", next(2, "172.16.0.3")),
            ("fd00:172:16::/64", next(4, "")),
        ];
        let underlay: Underlay = routes
            .into_iter()
            .map(|(destination, next)| (destination.parse().unwrap(), next))
            .collect();
        for (to, way) in [
            ("172.16.0.12", Some(next(2, ""))),
            ("172.16.0.77", Some(next(2, "172.16.0.3"))),
            ("172.16.1.12", Some(next(2, "172.16.0.1"))),
            ("fd00:172:16::12", Some(next(4, ""))),
            ("fd00:172:17::12", None),
        ] {
            assert_eq!(underlay.way(to.parse().unwrap()), way, "{to}");
        }
    }
}
