//! Ranges and who holds what of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use ipnet::IpNet;
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::KUBERNETES;

/// Why one address or port cannot be had, in Kubernetes' words.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum Refusal {
    #[error("provided IP is already allocated")]
    AddressTaken,
    #[error("the provided IP ({0}) is not in the valid range. The range of valid IPs is {1}")]
    AddressOutside(IpAddr, IpNet),
    #[error("no service prefix has the family of {0}")]
    NoFamily(IpAddr),
    #[error("provided port is already allocated")]
    PortTaken,
    #[error("provided port is not in the valid range. The range of valid ports is {0}-{1}")]
    PortOutside(u16, u16),
}

/// The part of a range that is left to explicit requests as long as the rest
/// has room: a `step`th of it within bounds. Follows KEP-3070 (addresses) and
/// KEP-3668 (ports).
fn static_band(size: u128, step: u128, max: u128) -> u128 {
    const MIN: u128 = 16;
    if size <= MIN {
        0
    } else {
        (size / step).clamp(MIN, max)
    }
}

/// Where the search for something free begins: depends on nothing but the name.
fn spread(seed: &str, size: u128) -> u128 {
    let digest = Sha256::digest(seed.as_bytes());
    let number = digest
        .iter()
        .take(16)
        .fold(0, |number, byte| number << 8 | u128::from(*byte));
    number % size
}

/// The offsets of a range in the order in which they are tried.
fn candidates(seed: &str, size: u128, band: u128) -> impl Iterator<Item = u128> {
    let upper = size - band;
    let start = spread(seed, upper);
    (0..upper)
        .map(move |step| band + (start + step) % upper)
        .chain(0..band)
}

/// One service prefix.
#[derive(Debug, Clone)]
pub(super) struct AddressPool {
    prefix: IpNet,
    /// Usable addresses: without the network's own (the subnet-router anycast
    /// address in IPv6) and, in IPv4, the broadcast address.
    size: u128,
    taken: BTreeMap<IpAddr, String>,
}

impl AddressPool {
    /// `None` when there is no room for a service beside `default/kubernetes`.
    pub(super) fn new(prefix: IpNet) -> Option<Self> {
        let host_bits = prefix.max_prefix_len() - prefix.prefix_len();
        let unusable = if prefix.addr().is_ipv4() { 2 } else { 1 };
        let size = 1_u128.checked_shl(host_bits.into()).unwrap_or(u128::MAX);
        let size = size.checked_sub(unusable).filter(|usable| *usable >= 2)?;
        Some(Self {
            prefix: prefix.trunc(),
            size,
            taken: BTreeMap::new(),
        })
    }

    pub(super) fn family(&self) -> &'static str {
        if self.prefix.addr().is_ipv4() {
            "IPv4"
        } else {
            "IPv6"
        }
    }

    pub(super) fn is_family_of(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.prefix.addr().is_ipv4()
    }

    /// The address of `default/kubernetes`.
    pub(super) fn first(&self) -> IpAddr {
        self.at(0)
    }

    /// The usable address with this index.
    fn at(&self, index: u128) -> IpAddr {
        match self.prefix.network() {
            IpAddr::V4(network) => {
                let offset = u32::try_from(index + 1).unwrap_or(u32::MAX);
                Ipv4Addr::from(u32::from(network).saturating_add(offset)).into()
            }
            IpAddr::V6(network) => Ipv6Addr::from(u128::from(network) + index + 1).into(),
        }
    }

    fn is_usable(&self, address: IpAddr) -> bool {
        self.prefix.contains(&address)
            && address != self.prefix.network()
            && (address.is_ipv6() || address != self.prefix.broadcast())
    }

    /// Whether `owner` may have the address.
    pub(super) fn check(&self, address: IpAddr, owner: &str) -> Result<(), Refusal> {
        if !self.is_usable(address) {
            return Err(Refusal::AddressOutside(address, self.prefix));
        }
        let reserved = address == self.first() && owner != KUBERNETES;
        match self.taken.get(&address) {
            Some(holder) if holder == owner => Ok(()),
            None if !reserved => Ok(()),
            _ => Err(Refusal::AddressTaken),
        }
    }

    pub(super) fn claim(&mut self, address: IpAddr, owner: &str) -> Result<(), Refusal> {
        self.check(address, owner)?;
        self.taken.insert(address, owner.to_owned());
        Ok(())
    }

    pub(super) fn release(&mut self, addresses: &BTreeSet<IpAddr>, owner: &str) {
        for address in addresses {
            if self
                .taken
                .get(address)
                .is_some_and(|holder| holder == owner)
            {
                self.taken.remove(address);
            }
        }
    }

    /// An address for a service that asks for none.
    pub(super) fn free(&self, owner: &str) -> Option<IpAddr> {
        let band = static_band(self.size, 16, 256);
        candidates(owner, self.size, band)
            .map(|index| self.at(index))
            .find(|address| *address != self.first() && !self.taken.contains_key(address))
    }

    pub(super) fn clear(&mut self) {
        self.taken.clear();
    }
}

/// The node ports. A number belongs to one service, in all protocols.
#[derive(Debug, Clone)]
pub(super) struct PortPool {
    range: RangeInclusive<u16>,
    taken: BTreeMap<u16, String>,
}

impl PortPool {
    /// `range` is not empty.
    pub(super) fn new(range: RangeInclusive<u16>) -> Self {
        Self {
            range,
            taken: BTreeMap::new(),
        }
    }

    /// Whether `owner` may have the port.
    pub(super) fn check(&self, port: i32, owner: &str) -> Result<u16, Refusal> {
        let outside = Refusal::PortOutside(*self.range.start(), *self.range.end());
        let port = u16::try_from(port)
            .ok()
            .filter(|port| self.range.contains(port));
        let port = port.ok_or(outside)?;
        match self.taken.get(&port) {
            Some(holder) if holder != owner => Err(Refusal::PortTaken),
            _ => Ok(port),
        }
    }

    pub(super) fn claim(&mut self, port: u16, owner: &str) -> Result<(), Refusal> {
        self.check(port.into(), owner)?;
        self.taken.insert(port, owner.to_owned());
        Ok(())
    }

    pub(super) fn release(&mut self, ports: &BTreeSet<u16>, owner: &str) {
        for port in ports {
            if self.taken.get(port).is_some_and(|holder| holder == owner) {
                self.taken.remove(port);
            }
        }
    }

    /// A port that nobody has and that is not about to be taken.
    pub(super) fn free(&self, seed: &str, chosen: &BTreeSet<u16>) -> Option<u16> {
        let first = *self.range.start();
        let size = u128::from(*self.range.end() - first) + 1;
        candidates(seed, size, static_band(size, 32, 128))
            .filter_map(|index| u16::try_from(index).ok())
            .map(|index| first + index)
            .find(|port| !self.taken.contains_key(port) && !chosen.contains(port))
    }

    pub(super) fn clear(&mut self) {
        self.taken.clear();
    }
}
