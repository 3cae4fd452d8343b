use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::reader::Reader;

/// An address family with its subsequent family: unicast only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4 unicast (1/1).
    Ipv4,
    /// IPv6 unicast (2/1).
    Ipv6,
}

impl Family {
    /// Both, IPv4 first.
    pub const ALL: [Self; 2] = [Self::Ipv4, Self::Ipv6];

    /// The family of a prefix.
    #[must_use]
    pub const fn of(prefix: &IpNet) -> Self {
        match prefix {
            IpNet::V4(_) => Self::Ipv4,
            IpNet::V6(_) => Self::Ipv6,
        }
    }

    pub(super) const fn afi(self) -> u16 {
        match self {
            Self::Ipv4 => 1,
            Self::Ipv6 => 2,
        }
    }

    /// `None` for families that this speaker does not speak.
    pub(super) const fn from_afi_safi(afi: u16, safi: u8) -> Option<Self> {
        match (afi, safi) {
            (1, 1) => Some(Self::Ipv4),
            (2, 1) => Some(Self::Ipv6),
            _ => None,
        }
    }
}

/// A prefix as RFC 4271 section 4.3 writes it: length, then as many octets as
/// it takes.
pub(super) fn push_prefix(bytes: &mut Vec<u8>, prefix: &IpNet) {
    let length = prefix.prefix_len();
    bytes.push(length);
    let octets = usize::from(length).div_ceil(8);
    match prefix.network() {
        IpAddr::V4(address) => bytes.extend(&address.octets()[..octets]),
        IpAddr::V6(address) => bytes.extend(&address.octets()[..octets]),
    }
}

pub(super) fn prefix_length(prefix: &IpNet) -> usize {
    1 + usize::from(prefix.prefix_len()).div_ceil(8)
}

/// Every prefix of a field; `None` where it is not a whole number of them, or a
/// length is longer than the family's addresses. Bits beyond the length mean
/// nothing (RFC 4271 section 4.3).
pub(super) fn prefixes(family: Family, field: &[u8]) -> Option<Vec<IpNet>> {
    let mut reader = Reader::new(field);
    let mut prefixes = Vec::new();
    while !reader.is_empty() {
        let length = reader.u8()?;
        let octets = reader.take(usize::from(length).div_ceil(8))?;
        let prefix = match family {
            Family::Ipv4 => {
                let address = Ipv4Addr::from(padded::<4>(octets)?);
                IpNet::V4(Ipv4Net::new(address, length).ok()?)
            }
            Family::Ipv6 => {
                let address = Ipv6Addr::from(padded::<16>(octets)?);
                IpNet::V6(Ipv6Net::new(address, length).ok()?)
            }
        };
        prefixes.push(prefix.trunc());
    }
    Some(prefixes)
}

fn padded<const N: usize>(octets: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    bytes.get_mut(..octets.len())?.copy_from_slice(octets);
    Some(bytes)
}
