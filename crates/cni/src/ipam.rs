//! Address management: which pod has which address of the node's prefixes. Both
//! families of a pod are given or taken together.

mod host_local;
mod range;
mod state;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;

pub(crate) use host_local::HostLocal;
pub(crate) use range::{Range, RangeKeys};

use crate::config::Network;
use crate::error::Error;
use crate::owner::Owner;
use crate::state_file::StateFile;
use state::State;

/// What a pod wants.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    /// One address of each set of ranges.
    pub(crate) sets: &'a [Vec<Range>],
    /// The addresses that it asks for; of the other sets any.
    pub(crate) addresses: &'a [IpAddr],
    /// What nobody gets who does not ask for it.
    pub(crate) reserved: &'a [IpNet],
}

/// An address that a pod was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Assigned {
    pub(crate) address: IpAddr,
    /// The node's address on the pod's link.
    pub(crate) gateway: IpAddr,
}

/// The addresses of one network on this node. Holding it holds the lock.
#[derive(Debug)]
pub(crate) struct Ipam {
    file: StateFile,
    state: State,
    host_local_dir: PathBuf,
}

/// The file in the network's folder.
const FILE: &str = "leases";

impl Ipam {
    /// Opens a network's state, and waits for its lock.
    pub(crate) fn open(network: &Network) -> Result<Self, Error> {
        let directory = network.data_dir.join(&network.name);
        let (file, state) = StateFile::open(&directory, FILE)?;
        Ok(Self {
            file,
            state,
            host_local_dir: network.host_local_dir.clone(),
        })
    }

    /// Gives an interface one address of each set of ranges: of all, or none. Not
    /// what host-local has given to a pod of another plugin.
    pub(crate) fn allocate(
        &mut self,
        owner: &Owner,
        request: &Request<'_>,
    ) -> Result<Vec<Assigned>, Error> {
        let mut state = self.state.clone();
        let foreign = HostLocal::open(&self.host_local_dir).addresses();
        let given = state.allocate(owner, request, &foreign)?;
        self.write(state)?;
        Ok(given)
    }

    /// Whether the next pod would get its addresses.
    ///
    /// # Errors
    /// What it would be told.
    pub(crate) fn check_room(&self, request: &Request<'_>) -> Result<(), Error> {
        // A container's name is never empty.
        let nobody = Owner {
            container: String::new(),
            ifname: String::new(),
        };
        let foreign = HostLocal::open(&self.host_local_dir).addresses();
        let mut state = self.state.clone();
        state.allocate(&nobody, request, &foreign).map(drop)
    }

    /// The addresses of an interface.
    pub(crate) fn addresses(&self, owner: &Owner) -> Vec<IpAddr> {
        self.state.addresses(owner)
    }

    /// Every interface that has addresses.
    pub(crate) fn owners(&self) -> BTreeSet<Owner> {
        self.state.owners()
    }

    /// Takes an interface's addresses back, whichever ranges they are of. They
    /// rest until every other one of their range was used.
    pub(crate) fn release(&mut self, owner: &Owner) -> Result<Vec<IpAddr>, Error> {
        let mut state = self.state.clone();
        let addresses = state.release(owner);
        if !addresses.is_empty() {
            self.write(state)?;
        }
        Ok(addresses)
    }

    fn write(&mut self, state: State) -> Result<(), Error> {
        self.file.write(&state)?;
        self.state = state;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
