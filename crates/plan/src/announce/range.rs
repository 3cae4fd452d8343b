use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;
use podway_model::IpFamily;
use thiserror::Error;

/// A range of addresses, both ends included: `172.16.0.200-172.16.0.240` or a
/// prefix, whose first and last address are used like any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AddressRange {
    family: IpFamily,
    first: u128,
    last: u128,
}

/// Why a text is no range.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RangeError {
    /// Neither form.
    #[error("{0:?} is neither a prefix (192.0.2.0/24) nor a range (192.0.2.1-192.0.2.9)")]
    Form(String),
    /// The ends have different families.
    #[error("{0:?} begins in one address family and ends in the other")]
    Families(String),
    /// The ends are the wrong way round.
    #[error("{0:?} ends before it begins")]
    Reversed(String),
}

impl AddressRange {
    /// The addresses' family.
    #[must_use]
    pub const fn family(&self) -> IpFamily {
        self.family
    }

    /// The first address.
    #[must_use]
    pub fn first(&self) -> IpAddr {
        address(self.family, self.first)
    }

    /// The last address.
    #[must_use]
    pub fn last(&self) -> IpAddr {
        address(self.family, self.last)
    }

    /// Whether an address is in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let (family, number) = number(address);
        family == self.family && (self.first..=self.last).contains(&number)
    }

    /// Whether some address is in both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.family == other.family && self.first <= other.last && other.first <= self.last
    }

    /// How many addresses it has; `u128::MAX` for all of IPv6.
    #[must_use]
    pub const fn len(&self) -> u128 {
        (self.last - self.first).saturating_add(1)
    }

    /// A range has at least one address.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Its addresses, ascending.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let family = self.family;
        (self.first..=self.last).map(move |n| address(family, n))
    }

    /// The longest prefix that has all of it; what must not be more specific
    /// than an aggregate.
    #[must_use]
    pub fn shortest_block(&self) -> u8 {
        // The minimal list of prefixes: at each step the largest that begins
        // there and fits.
        let bits: u32 = if self.family == IpFamily::V4 { 32 } else { 128 };
        let mut first = self.first;
        let mut longest = 0;
        loop {
            let aligned = first.trailing_zeros().min(bits);
            let fits = match (self.last - first).checked_add(1) {
                Some(room) => 127 - room.leading_zeros(),
                None => 128,
            };
            let size = aligned.min(fits);
            longest = longest.max(bits - size);
            let next = 1_u128
                .checked_shl(size)
                .and_then(|step| first.checked_add(step));
            match next.filter(|next| *next <= self.last) {
                Some(next) => first = next,
                None => return u8::try_from(longest).unwrap_or(128),
            }
        }
    }
}

pub(super) const fn number(address: IpAddr) -> (IpFamily, u128) {
    match address {
        IpAddr::V4(address) => (IpFamily::V4, address.to_bits() as u128),
        IpAddr::V6(address) => (IpFamily::V6, address.to_bits()),
    }
}

fn address(family: IpFamily, number: u128) -> IpAddr {
    match family {
        IpFamily::V4 => Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX)).into(),
        IpFamily::V6 => Ipv6Addr::from(number).into(),
    }
}

impl From<IpNet> for AddressRange {
    fn from(prefix: IpNet) -> Self {
        let (family, first) = number(prefix.network());
        let (_, last) = number(prefix.broadcast());
        Self {
            family,
            first,
            last,
        }
    }
}

impl FromStr for AddressRange {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, RangeError> {
        let form = || RangeError::Form(text.to_owned());
        if let Ok(prefix) = text.parse::<IpNet>() {
            return Ok(prefix.into());
        }
        let (first, last) = text.split_once('-').ok_or_else(form)?;
        let end = |part: &str| part.trim().parse::<IpAddr>().map_err(|_| form());
        let ((family, first), (other, last)) = (number(end(first)?), number(end(last)?));
        if family != other {
            return Err(RangeError::Families(text.to_owned()));
        }
        if first > last {
            return Err(RangeError::Reversed(text.to_owned()));
        }
        Ok(Self {
            family,
            first,
            last,
        })
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first(), self.last())
    }
}
