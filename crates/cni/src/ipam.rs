//! Address management: which pod has which address of the node's prefixes.
//!
//! One file holds it all, replaced as a whole under a lock, so that both
//! families of a pod are given or taken together and a crash at any point
//! leaves the state before or the state after. The file's name carries the
//! boot's identity: no lease outlives the boot, as no sandbox does, so a reboot
//! leaks nothing, and a file half-written by a power cut is never read.

mod range;
mod state;

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use podway_kernel::sysctl;

pub(crate) use range::{Range, RangeKeys};

use crate::config::Network;
use crate::error::Error;
use crate::owner::Owner;
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
    directory: PathBuf,
    file: PathBuf,
    state: State,
    _lock: File,
}

impl Ipam {
    /// Opens a network's state, and waits for its lock.
    pub(crate) fn open(network: &Network) -> Result<Self, Error> {
        let boot = sysctl::read("kernel/random/boot_id")?;
        Self::open_in_boot(&network.data_dir, &network.name, &boot)
    }

    fn open_in_boot(data_dir: &Path, network: &str, boot: &str) -> Result<Self, Error> {
        let directory = data_dir.join(network);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .map_err(failed("create", &directory))?;
        let lock_path = directory.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .and_then(|lock| lock.lock().map(|()| lock))
            .map_err(failed("lock", &lock_path))?;
        let file = directory.join(format!("leases-{boot}.json"));
        let state = match fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|source| Error::DamagedState {
                path: file.clone(),
                source,
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                forget_other_boots(&directory, &file)?;
                State::default()
            }
            Err(error) => return Err(failed("read", &file)(error)),
        };
        Ok(Self {
            directory,
            file,
            state,
            _lock: lock,
        })
    }

    /// Gives an interface one address of each set of ranges: of all, or none.
    pub(crate) fn allocate(
        &mut self,
        owner: &Owner,
        request: &Request<'_>,
    ) -> Result<Vec<Assigned>, Error> {
        let mut state = self.state.clone();
        let given = state.allocate(owner, request, &BTreeSet::new())?;
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
        let mut state = self.state.clone();
        state.allocate(&nobody, request, &BTreeSet::new()).map(drop)
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
        let bytes = serde_json::to_vec(&state).expect("the state is plain data");
        let new = self.directory.join("leases.new");
        fs::write(&new, bytes)
            .and_then(|()| fs::rename(&new, &self.file))
            .map_err(failed("write", &self.file))?;
        self.state = state;
        Ok(())
    }
}

/// The first call of a boot removes what the boots before have left.
fn forget_other_boots(directory: &Path, current: &Path) -> Result<(), Error> {
    let entries = fs::read_dir(directory).map_err(failed("list", directory))?;
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name();
        let is_state = name.to_string_lossy().starts_with("leases-");
        if is_state && entry.path() != current {
            fs::remove_file(entry.path()).map_err(failed("delete", &entry.path()))?;
        }
    }
    Ok(())
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::State {
        action,
        path,
        source,
    }
}

#[cfg(test)]
mod tests;
