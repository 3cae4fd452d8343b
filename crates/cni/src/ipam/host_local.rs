//! Addresses that host-local has given out, the address management that other
//! plugins use: a file for each address, named by it, which says whose it is.
//!
//! Pods that another plugin has made keep their addresses while a node changes
//! over to Podway. The files are read, not taken over: whichever plugin gets the
//! DEL of such a pod removes its file.

use std::collections::BTreeSet;
use std::fs::{self, DirEntry};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::error::Error;
use crate::owner::Owner;

/// Clocks are set while a machine starts: a file counts as of this boot when it
/// may be.
const SLACK: Duration = Duration::from_secs(300);

/// What is below host-local's `dataDir`, of all its networks.
#[derive(Debug)]
pub(crate) struct HostLocal {
    files: Vec<DirEntry>,
}

impl HostLocal {
    /// Lists the files; none where host-local has never run.
    pub(crate) fn open(directory: &Path) -> Self {
        let mut files = Vec::new();
        for network in entries(directory) {
            let named = entries(&network.path());
            files.extend(named.into_iter().filter(|file| address_of(file).is_some()));
        }
        Self { files }
    }

    /// What has been given out since the machine started: host-local's files
    /// survive that, the pods do not.
    pub(crate) fn addresses(&self) -> BTreeSet<IpAddr> {
        let boot = boot_time();
        let is_current = |file: &&DirEntry| {
            let written = file.metadata().and_then(|file| file.modified());
            written.is_ok_and(|written| boot.is_none_or(|boot| written + SLACK >= boot))
        };
        let current = self.files.iter().filter(is_current);
        current.filter_map(address_of).collect()
    }

    /// Whether an interface has addresses of it.
    pub(crate) fn knows(&self, owner: &Owner) -> bool {
        self.of(owner).next().is_some()
    }

    /// Forgets an interface. Its addresses.
    pub(crate) fn release(&self, owner: &Owner) -> Result<Vec<IpAddr>, Error> {
        let mut released = Vec::new();
        for file in self.of(owner) {
            let path = file.path();
            fs::remove_file(&path).map_err(|source| Error::File {
                action: "delete",
                path,
                source,
            })?;
            released.extend(address_of(file));
        }
        Ok(released)
    }

    fn of<'a>(&'a self, owner: &'a Owner) -> impl Iterator<Item = &'a DirEntry> {
        self.files.iter().filter(|file| {
            let text = fs::read_to_string(file.path());
            text.is_ok_and(|text| names(&text, owner))
        })
    }
}

/// Container and interface on two lines; old versions wrote the container only.
fn names(text: &str, owner: &Owner) -> bool {
    let mut lines = text.trim().lines().map(str::trim);
    lines.next() == Some(&owner.container)
        && lines.next().is_none_or(|ifname| ifname == owner.ifname)
}

fn address_of(file: &DirEntry) -> Option<IpAddr> {
    file.file_name().to_str()?.parse().ok()
}

fn entries(directory: &Path) -> Vec<DirEntry> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    entries.filter_map(Result::ok).collect()
}

fn boot_time() -> Option<SystemTime> {
    let uptime = fs::read_to_string(PathBuf::from("/proc/uptime")).ok()?;
    let seconds: f64 = uptime.split(' ').next()?.parse().ok()?;
    SystemTime::now().checked_sub(Duration::try_from_secs_f64(seconds).ok()?)
}
