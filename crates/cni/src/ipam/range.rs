use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// How many addresses of a prefix are used. No node runs that many pods, and
/// what has been used is remembered one by one.
const LARGEST: u128 = 4096;

/// The addresses of a prefix that pods may have: not the network's own address
/// (the overlay's, and IPv6's subnet-router anycast address), not the one after
/// it (the gateway's), not IPv4's broadcast address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    prefix: IpNet,
    first: u128,
    last: u128,
}

impl Range {
    /// `None` for a prefix without room for a gateway and a pod.
    pub(crate) fn new(prefix: IpNet) -> Option<Self> {
        let prefix = prefix.trunc();
        let bits = prefix.max_prefix_len() - prefix.prefix_len();
        if bits < 2 {
            return None;
        }
        let network = number(prefix.network());
        let broadcast = number(prefix.broadcast());
        // The last address of an IPv6 prefix is as good as any.
        let last = match prefix {
            IpNet::V4(_) => broadcast - 1,
            IpNet::V6(_) => broadcast,
        };
        Some(Self {
            prefix,
            first: network + 2,
            last: last.min(network + 2 + (LARGEST - 1)),
        })
    }

    pub(crate) const fn prefix(&self) -> IpNet {
        self.prefix
    }

    /// The address of the node's ends: the first of the prefix.
    pub(crate) fn gateway(&self) -> IpAddr {
        self.address(self.first - 1)
    }

    /// How many pods it has room for.
    pub(crate) fn capacity(&self) -> u64 {
        u64::try_from(self.last - self.first + 1).unwrap_or(u64::MAX)
    }

    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        self.prefix.addr().is_ipv4() == address.is_ipv4()
            && (self.first..=self.last).contains(&number(address))
    }

    /// The addresses from `start` on, or from the first.
    pub(crate) fn from(&self, start: Option<IpAddr>) -> impl Iterator<Item = IpAddr> + use<> {
        let range = *self;
        let start = start.map_or(range.first, number).max(range.first);
        (start..=range.last).map(move |address| range.address(address))
    }

    fn address(&self, number: u128) -> IpAddr {
        match self.prefix {
            // The number of an IPv4 address has 32 bits.
            IpNet::V4(_) => Ipv4Addr::from(number as u32).into(),
            IpNet::V6(_) => Ipv6Addr::from(number).into(),
        }
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}
