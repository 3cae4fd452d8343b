//! IP sets: the cluster IPs of each family, and the clients of each endpoint
//! whose service has session affinity.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use podway_kernel::ipset::{IpSet, IpSets};
use podway_model::IpFamily;

use super::names::{cluster_ip_set, is_client_set};
use super::render::ClientSets;
use super::site::kernel_family;
use crate::service::Error;

/// How many cluster IPs a family can have: all of the largest service prefix
/// that Kubernetes allows (2^20 addresses).
const MOST_CLUSTER_IPS: u32 = 1 << 20;

/// The kernel lets go of the rules that it deleted a moment later, and sets are
/// busy until then: within this many times the pause, or never.
const PATIENCE: u32 = 200;
const PAUSE: Duration = Duration::from_millis(10);

/// The sets that we have in the kernel. Before rules are written, what they
/// need is made; after, what they no longer need is let go of.
#[derive(Debug)]
pub(super) struct Sets<S> {
    kernel: S,
    /// Sets of clients that exist.
    clients: BTreeSet<Arc<str>>,
    /// Sets that no rule should name any more.
    obsolete: BTreeSet<Arc<str>>,
    /// Cluster IPs that are gone.
    gone: Vec<IpAddr>,
    /// Members written since the last time that anybody asked.
    written: u64,
}

impl<S: IpSets> Sets<S> {
    pub(super) const fn new(kernel: S) -> Self {
        Self {
            kernel,
            clients: BTreeSet::new(),
            obsolete: BTreeSet::new(),
            gone: Vec::new(),
            written: 0,
        }
    }

    pub(super) const fn kernel_mut(&mut self) -> &mut S {
        &mut self.kernel
    }

    /// Reads what the kernel holds, and makes what is missing of these.
    pub(super) fn compare(
        &mut self,
        families: &[IpFamily],
        addresses: &BTreeSet<IpAddr>,
        wanted: ClientSets,
        limit: u32,
    ) -> Result<(), Error> {
        let held = self.kernel.list()?;
        self.written = 0;
        self.gone.clear();
        for family in families {
            let name = cluster_ip_set(*family);
            let wanted = addresses.iter().copied();
            let wanted: BTreeSet<IpAddr> = wanted.filter(|a| IpFamily::of(a) == *family).collect();
            let members = if held.contains_key(name) {
                self.kernel.members(name)?
            } else {
                self.make(name, *family, MOST_CLUSTER_IPS, None)?;
                BTreeSet::new()
            };
            let missing: Vec<IpAddr> = wanted.difference(&members).copied().collect();
            self.add(name, &missing)?;
            self.gone.extend(members.difference(&wanted));
        }
        let sets = held.into_keys().filter(|name| is_client_set(name));
        self.clients = sets.map(Arc::from).collect();
        let not_wanted = |name: &&Arc<str>| !wanted.contains_key(*name);
        self.obsolete = self.clients.iter().filter(not_wanted).cloned().collect();
        self.make_clients(wanted, limit)
    }

    /// Makes what the rules of a change will name.
    pub(super) fn change(
        &mut self,
        families: &[IpFamily],
        addresses: &BTreeMap<IpAddr, bool>,
        wanted: ClientSets,
        obsolete: BTreeSet<Arc<str>>,
        limit: u32,
    ) -> Result<(), Error> {
        self.written = 0;
        for family in families {
            let of_family = |present: bool| -> Vec<IpAddr> {
                let addresses = addresses.iter().filter(|(_, is)| **is == present);
                let addresses = addresses.map(|(address, _)| *address);
                addresses.filter(|a| IpFamily::of(a) == *family).collect()
            };
            self.add(cluster_ip_set(*family), &of_family(true))?;
            self.gone.extend(of_family(false));
        }
        self.obsolete.extend(obsolete);
        self.make_clients(wanted, limit)
    }

    /// Removes what the rules no longer name. A set that is still busy is empty
    /// already, and goes at the next occasion. Gives how many members and sets
    /// were written since the comparison or change began.
    pub(super) fn let_go(&mut self) -> Result<u64, Error> {
        let gone = std::mem::take(&mut self.gone);
        for family in IpFamily::ALL {
            let of_family = gone.iter().filter(|a| IpFamily::of(a) == family);
            let of_family: Vec<IpAddr> = of_family.copied().collect();
            if !of_family.is_empty() {
                self.kernel.remove(cluster_ip_set(family), &of_family)?;
                self.written += of_family.len() as u64;
            }
        }
        for name in std::mem::take(&mut self.obsolete) {
            if !self.clients.contains(&name) {
                continue;
            }
            // Who was here must not be found here when the endpoint comes back.
            self.kernel.flush(&name)?;
            if self.kernel.destroy(&name)? {
                self.clients.remove(&name);
                self.written += 1;
            } else {
                self.obsolete.insert(name);
            }
        }
        Ok(std::mem::take(&mut self.written))
    }

    /// Removes every set of ours.
    pub(super) fn remove_all(&mut self) -> Result<(), Error> {
        for name in self.kernel.list()?.into_keys() {
            let holds_addresses = IpFamily::ALL.iter().any(|f| cluster_ip_set(*f) == name);
            if holds_addresses || is_client_set(&name) {
                destroy_patiently(&mut self.kernel, &name)?;
            }
        }
        self.clients.clear();
        self.obsolete.clear();
        Ok(())
    }

    fn make_clients(&mut self, wanted: ClientSets, limit: u32) -> Result<(), Error> {
        for (name, (family, time)) in wanted {
            self.obsolete.remove(&name);
            if !self.clients.contains(&name) {
                // Rules say for how long; the set's own time is for people.
                self.make(&name, family, limit, Some(time))?;
                self.clients.insert(name);
            }
        }
        Ok(())
    }

    fn make(
        &mut self,
        name: &str,
        family: IpFamily,
        limit: u32,
        timeout: Option<Duration>,
    ) -> Result<(), Error> {
        self.kernel.create(&IpSet {
            name: name.to_owned(),
            family: kernel_family(family),
            limit,
            timeout,
        })?;
        self.written += 1;
        Ok(())
    }

    fn add(&mut self, name: &str, members: &[IpAddr]) -> Result<(), Error> {
        if !members.is_empty() {
            self.kernel.add(name, members)?;
            self.written += members.len() as u64;
        }
        Ok(())
    }
}

/// Removes a set that rules named until now.
pub(super) fn destroy_patiently(kernel: &mut impl IpSets, name: &str) -> Result<(), Error> {
    for _ in 0..PATIENCE {
        if kernel.destroy(name)? {
            return Ok(());
        }
        thread::sleep(PAUSE);
    }
    Err(Error::SetInUse {
        name: name.to_owned(),
    })
}
