use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::range::Range;
use crate::error::Error;

/// Whose an address is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Owner {
    /// The container.
    #[serde(rename = "containerID")]
    pub(crate) container: String,
    /// Its interface.
    pub(crate) ifname: String,
}

/// What is leased, and in which order addresses are used again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    leases: Vec<Lease>,
    /// Addresses that were given back, the longest resting one first.
    resting: Vec<IpAddr>,
    /// The first address of each prefix that was never used.
    unused: BTreeMap<IpNet, Option<IpAddr>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Lease {
    address: IpAddr,
    #[serde(flatten)]
    owner: Owner,
}

impl State {
    /// One address of each range.
    pub(super) fn allocate(
        &mut self,
        owner: &Owner,
        ranges: &[Range],
    ) -> Result<Vec<IpAddr>, Error> {
        if let Some(address) = self.addresses(owner).first() {
            return Err(Error::AlreadyLeased {
                container: owner.container.clone(),
                ifname: owner.ifname.clone(),
                address: *address,
            });
        }
        let mut addresses = Vec::with_capacity(ranges.len());
        for range in ranges {
            let address = self.pick(range).ok_or_else(|| Error::Exhausted {
                prefix: range.prefix(),
                capacity: range.capacity(),
            })?;
            self.leases.push(Lease {
                address,
                owner: owner.clone(),
            });
            addresses.push(address);
        }
        Ok(addresses)
    }

    pub(super) fn release(&mut self, owner: &Owner) -> Vec<IpAddr> {
        let addresses = self.addresses(owner);
        self.leases.retain(|lease| lease.owner != *owner);
        self.resting.extend(&addresses);
        addresses
    }

    pub(super) fn addresses(&self, owner: &Owner) -> Vec<IpAddr> {
        self.leases
            .iter()
            .filter(|lease| lease.owner == *owner)
            .map(|lease| lease.address)
            .collect()
    }

    /// An address never used before, or else the one that has rested longest.
    fn pick(&mut self, range: &Range) -> Option<IpAddr> {
        let prefix = range.prefix();
        // A range may overlap one that the node had before.
        let used: BTreeSet<IpAddr> = self
            .leases
            .iter()
            .map(|lease| lease.address)
            .chain(self.resting.iter().copied())
            .collect();
        let mut unused: Box<dyn Iterator<Item = IpAddr>> = match self.unused.get(&prefix) {
            Some(None) => Box::new(std::iter::empty()),
            Some(start) => Box::new(range.from(*start)),
            None => Box::new(range.from(None)),
        };
        if let Some(address) = unused.find(|address| !used.contains(address)) {
            self.unused.insert(prefix, unused.next());
            return Some(address);
        }
        self.unused.insert(prefix, None);
        let place = self.resting.iter().position(|&ip| range.contains(ip))?;
        Some(self.resting.remove(place))
    }
}
