use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::range::Range;
use super::{Assigned, Request};
use crate::error::Error;
use crate::owner::Owner;

/// What is leased, and in which order addresses are used again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    leases: Vec<Lease>,
    /// Addresses that were given back, the longest resting one first.
    resting: Vec<IpAddr>,
    /// The first address of each range that was never used.
    unused: BTreeMap<String, Option<IpAddr>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Lease {
    address: IpAddr,
    #[serde(flatten)]
    owner: Owner,
}

impl State {
    /// One address of each set of ranges; not those of `foreign`, which somebody
    /// else has given out.
    pub(super) fn allocate(
        &mut self,
        owner: &Owner,
        request: &Request<'_>,
        foreign: &BTreeSet<IpAddr>,
    ) -> Result<Vec<Assigned>, Error> {
        if let Some(address) = self.addresses(owner).first() {
            return Err(Error::AlreadyLeased {
                owner: owner.clone(),
                address: *address,
            });
        }
        let mut asked = request.addresses.to_vec();
        let mut given = Vec::with_capacity(request.sets.len());
        for set in request.sets {
            let place = asked
                .iter()
                .position(|address| set.iter().any(|range| range.contains(*address)));
            let address = match place.map(|place| asked.remove(place)) {
                Some(address) => self.take(address, foreign)?,
                None => self.pick(set, request, foreign)?,
            };
            let range = set.iter().find(|range| range.contains(address));
            let range = range.expect("a range of the set that it was taken from");
            self.leases.push(Lease {
                address,
                owner: owner.clone(),
            });
            given.push(Assigned {
                address,
                gateway: range.gateway(),
            });
        }
        match asked.first() {
            None => Ok(given),
            Some(address) => Err(Error::OutOfRange { address: *address }),
        }
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

    pub(super) fn owners(&self) -> BTreeSet<Owner> {
        let owners = self.leases.iter().map(|lease| lease.owner.clone());
        owners.collect()
    }

    /// An address that was asked for: it need not rest.
    fn take(&mut self, address: IpAddr, foreign: &BTreeSet<IpAddr>) -> Result<IpAddr, Error> {
        let lease = self.leases.iter().find(|lease| lease.address == address);
        if lease.is_some() || foreign.contains(&address) {
            return Err(Error::Taken {
                address,
                owner: lease.map(|lease| lease.owner.clone()),
            });
        }
        self.resting.retain(|resting| *resting != address);
        Ok(address)
    }

    /// An address never used before, or else the one that has rested longest.
    fn pick(
        &mut self,
        set: &[Range],
        request: &Request<'_>,
        foreign: &BTreeSet<IpAddr>,
    ) -> Result<IpAddr, Error> {
        let is_given = |address: &IpAddr| {
            !foreign.contains(address) && !request.reserved.iter().any(|net| net.contains(address))
        };
        for range in set {
            if let Some(address) = self.pick_unused(range, is_given) {
                return Ok(address);
            }
        }
        let rested = self.resting.iter().position(|address| {
            is_given(address) && set.iter().any(|range| range.contains(*address))
        });
        match rested {
            Some(place) => Ok(self.resting.remove(place)),
            None => Err(Error::Exhausted {
                prefixes: set.iter().map(Range::prefix).collect(),
                capacity: set.iter().map(Range::capacity).sum(),
            }),
        }
    }

    fn pick_unused(&mut self, range: &Range, is_given: impl Fn(&IpAddr) -> bool) -> Option<IpAddr> {
        let start = match self.unused.get(&range.bounds()) {
            Some(None) => return None,
            Some(start) => *start,
            None => None,
        };
        // A range may overlap one that the node had before.
        let leased = self.leases.iter().map(|lease| lease.address);
        let used: BTreeSet<IpAddr> = leased.chain(self.resting.iter().copied()).collect();
        let mut unused = range.from(start);
        let mut found = None;
        for address in unused.by_ref().filter(|address| !used.contains(address)) {
            if is_given(&address) {
                found = Some(address);
                break;
            }
            // It may be given once nobody reserves or has it any more.
            self.resting.push(address);
        }
        self.unused.insert(range.bounds(), unused.next());
        found
    }
}
