use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::Deserialize;

/// How many addresses of a prefix are used. No node runs that many pods, and
/// what has been used is remembered one by one.
const LARGEST: u128 = 4096;

/// Addresses of one prefix that pods may have: by default not the network's own
/// address (the overlay's, and IPv6's subnet-router anycast address), not the
/// one after it (the gateway's), not IPv4's broadcast address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    prefix: IpNet,
    first: u128,
    last: u128,
    gateway: u128,
}

/// A range as the runtime writes it (capability `ipRanges`).
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RangeKeys {
    subnet: IpNet,
    range_start: Option<IpAddr>,
    range_end: Option<IpAddr>,
    gateway: Option<IpAddr>,
}

impl Range {
    /// `None` for a prefix without room for a gateway and a pod.
    pub(crate) fn of_prefix(prefix: IpNet) -> Option<Self> {
        let prefix = prefix.trunc();
        let bits = prefix.max_prefix_len() - prefix.prefix_len();
        if bits < 2 {
            return None;
        }
        let network = number(prefix.network());
        Some(Self {
            prefix,
            first: network + 2,
            last: last_of(prefix),
            gateway: network + 1,
        })
    }

    /// A range with bounds of its own; the error says what is wrong with them.
    pub(crate) fn of_keys(keys: &RangeKeys) -> Result<Self, String> {
        let whole = Self::of_prefix(keys.subnet)
            .ok_or_else(|| format!("{} has no room for a gateway and a pod", keys.subnet))?;
        let prefix = whole.prefix;
        let inside = |address: Option<IpAddr>, default: u128| match address {
            Some(address) if !prefix.contains(&address) => {
                Err(format!("{address} is not in {prefix}"))
            }
            address => Ok(address.map_or(default, number)),
        };
        let network = number(prefix.network());
        // An explicit start may be the first address, where the gateway would be.
        let first = inside(keys.range_start, network + 1)?.max(network + 1);
        let last = inside(keys.range_end, whole.last)?.min(whole.last);
        let gateway = inside(keys.gateway, whole.gateway)?;
        if first > last {
            return Err(format!("the range of {prefix} ends before it begins"));
        }
        Ok(Self {
            prefix,
            first,
            last,
            gateway,
        })
    }

    pub(crate) const fn prefix(&self) -> IpNet {
        self.prefix
    }

    /// The address of the node's ends.
    pub(crate) fn gateway(&self) -> IpAddr {
        self.address(self.gateway)
    }

    /// How many pods it has room for.
    pub(crate) fn capacity(&self) -> u64 {
        let has_gateway = (self.first..=self.used_end()).contains(&self.gateway);
        let all = self.used_end() - self.first + 1;
        u64::try_from(all - u128::from(has_gateway)).unwrap_or(u64::MAX)
    }

    /// Whether a pod may have the address.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let number = number(address);
        self.is_ipv4() == address.is_ipv4()
            && (self.first..=self.last).contains(&number)
            && number != self.gateway
    }

    /// The addresses from `start` on, or from the first, as many as are used.
    pub(crate) fn from(&self, start: Option<IpAddr>) -> impl Iterator<Item = IpAddr> + use<> {
        let range = *self;
        let start = start.map_or(range.first, number).max(range.first);
        (start..=range.used_end())
            .filter(move |address| *address != range.gateway)
            .map(move |address| range.address(address))
    }

    pub(crate) const fn is_ipv4(&self) -> bool {
        matches!(self.prefix, IpNet::V4(_))
    }

    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.is_ipv4() == other.is_ipv4() && self.first <= other.last && other.first <= self.last
    }

    /// What tells it from other ranges: `10.244.1.2-10.244.1.254`.
    pub(crate) fn bounds(&self) -> String {
        format!("{}-{}", self.address(self.first), self.address(self.last))
    }

    fn used_end(&self) -> u128 {
        self.last.min(self.first + (LARGEST - 1))
    }

    fn address(&self, number: u128) -> IpAddr {
        match self.prefix {
            // The number of an IPv4 address has 32 bits.
            IpNet::V4(_) => Ipv4Addr::from(number as u32).into(),
            IpNet::V6(_) => Ipv6Addr::from(number).into(),
        }
    }
}

/// The last address of an IPv6 prefix is as good as any.
fn last_of(prefix: IpNet) -> u128 {
    let broadcast = number(prefix.broadcast());
    match prefix {
        IpNet::V4(_) => broadcast - 1,
        IpNet::V6(_) => broadcast,
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}
