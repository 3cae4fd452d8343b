use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use nix::errno::Errno;

use super::{Error, IpSet, IpSets, MAX_SET_NAME, failed};
use crate::netlink;

/// IP sets in memory: they refuse what the kernel refuses.
#[derive(Debug, Clone, Default)]
pub struct FakeIpSets {
    sets: BTreeMap<String, (IpSet, BTreeSet<IpAddr>)>,
    /// Sets that a rule refers to: they cannot be removed.
    pub busy: BTreeSet<String>,
}

impl FakeIpSets {
    /// A kernel without sets.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn held(
        &mut self,
        doing: &'static str,
        name: &str,
    ) -> Result<&mut (IpSet, BTreeSet<IpAddr>), Error> {
        let held = self.sets.get_mut(name);
        held.ok_or_else(|| refused(doing, name, Errno::ENOENT))
    }
}

impl IpSets for FakeIpSets {
    fn list(&mut self) -> Result<BTreeMap<String, IpSet>, Error> {
        let sets = self.sets.iter();
        Ok(sets
            .map(|(name, (set, _))| (name.clone(), set.clone()))
            .collect())
    }

    fn members(&mut self, name: &str) -> Result<BTreeSet<IpAddr>, Error> {
        Ok(self.held("listing set", name)?.1.clone())
    }

    fn create(&mut self, set: &IpSet) -> Result<(), Error> {
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

    fn add(&mut self, name: &str, members: &[IpAddr]) -> Result<(), Error> {
        let (set, held) = self.held("adding to set", name)?;
        for member in members {
            if held.len() >= set.limit as usize && !held.contains(member) {
                return Err(refused("adding to set", name, Errno::UnknownErrno));
            }
            held.insert(*member);
        }
        Ok(())
    }

    fn remove(&mut self, name: &str, members: &[IpAddr]) -> Result<(), Error> {
        let (_, held) = self.held("removing from set", name)?;
        for member in members {
            held.remove(member);
        }
        Ok(())
    }
}

fn refused(doing: &'static str, name: &str, errno: Errno) -> Error {
    failed(doing, name)(netlink::Error::Refused {
        sequence: 0,
        errno,
        reason: None,
    })
}
