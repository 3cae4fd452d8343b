use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use nix::errno::Errno;

use super::{Member, SetType, TypedSet, TypedSets};
use crate::ipset::{Error, MAX_SET_NAME, failed};
use crate::iptables::Family;
use crate::netlink;

/// Sets of any type in memory: they refuse what the kernel refuses.
#[derive(Debug, Clone, Default)]
pub struct FakeTypedSets {
    sets: BTreeMap<String, (TypedSet, BTreeSet<Member>)>,
    /// Sets that a rule refers to: they cannot be removed.
    pub busy: BTreeSet<String>,
    /// Members added and removed so far.
    pub writes: u64,
}

impl FakeTypedSets {
    /// A kernel without sets.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn held(
        &mut self,
        doing: &'static str,
        name: &str,
    ) -> Result<&mut (TypedSet, BTreeSet<Member>), Error> {
        let held = self.sets.get_mut(name);
        held.ok_or_else(|| refused(doing, name, Errno::ENOENT))
    }
}

impl TypedSets for FakeTypedSets {
    fn list(&mut self) -> Result<BTreeMap<String, TypedSet>, Error> {
        let sets = self.sets.iter();
        Ok(sets
            .map(|(name, (set, _))| (name.clone(), set.clone()))
            .collect())
    }

    fn members(&mut self, set: &TypedSet) -> Result<BTreeSet<Member>, Error> {
        Ok(self.held("listing set", &set.name)?.1.clone())
    }

    fn create(&mut self, set: &TypedSet) -> Result<(), Error> {
        let refused = |errno| refused("making set", &set.name, errno);
        if set.name.len() > MAX_SET_NAME {
            return Err(refused(Errno::EINVAL));
        }
        if self.sets.contains_key(&set.name) {
            return Err(refused(Errno::EEXIST));
        }
        let held = (set.clone(), BTreeSet::new());
        self.sets.insert(set.name.clone(), held);
        Ok(())
    }

    fn destroy(&mut self, name: &str) -> Result<bool, Error> {
        if self.busy.contains(name) {
            return Ok(false);
        }
        self.sets.remove(name);
        Ok(true)
    }

    fn flush(&mut self, name: &str) -> Result<(), Error> {
        self.held("emptying set", name)?.1.clear();
        Ok(())
    }

    fn add(&mut self, name: &str, members: &[Member]) -> Result<(), Error> {
        let doing = "adding to set";
        for member in members {
            let (set, held) = self.held(doing, name)?;
            if !fits(set, member) {
                return Err(refused(doing, name, Errno::EINVAL));
            }
            held.retain(|other| !is_same(other, member));
            if set.set_type != SetType::Port && held.len() >= set.limit as usize {
                return Err(refused(doing, name, Errno::UnknownErrno));
            }
            held.insert(*member);
            self.writes += 1;
        }
        Ok(())
    }

    fn remove(&mut self, name: &str, members: &[Member]) -> Result<(), Error> {
        for member in members {
            let (_, held) = self.held("removing from set", name)?;
            held.retain(|other| !is_same(other, member));
            self.writes += 1;
        }
        Ok(())
    }
}

/// Whether a set of this type and family can have such a member.
fn fits(set: &TypedSet, member: &Member) -> bool {
    let is_of = |address: &IpAddr| set.family == Some(family_of(address));
    let (set_type, port) = match member {
        Member::Address(address) => return set.set_type == SetType::Address && is_of(address),
        Member::Port(_) => return set.set_type == SetType::Port,
        Member::AddressPort(port) => (SetType::AddressPort, port),
        Member::AddressPortMark(port, _) => (SetType::AddressPortMark, port),
        Member::AddressPortAddress(port, _) => (SetType::AddressPortAddress, port),
        Member::AddressPortPrefix(port, peer) if peer.prefix_len() > 0 => {
            (SetType::AddressPortPrefix, port)
        }
        Member::AddressPortPrefix(..) => return false,
    };
    set.set_type == set_type && is_of(&port.address.ip())
}

/// Whether both are one member to the kernel: a mark is no part of it.
fn is_same(one: &Member, other: &Member) -> bool {
    match (one, other) {
        (Member::AddressPortMark(one, _), Member::AddressPortMark(other, _)) => one == other,
        _ => one == other,
    }
}

const fn family_of(address: &IpAddr) -> Family {
    match address {
        IpAddr::V4(_) => Family::V4,
        IpAddr::V6(_) => Family::V6,
    }
}

fn refused(doing: &'static str, name: &str, errno: Errno) -> Error {
    failed(doing, name)(netlink::Error::Refused {
        sequence: 0,
        errno,
        reason: None,
    })
}
