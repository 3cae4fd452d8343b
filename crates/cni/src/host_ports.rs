//! Ports of the node that lead to its pods (capability `portMappings`).
//!
//! One nf_tables table for the node, made from what is remembered of all pods,
//! and compared with what the kernel holds whenever something changes: what a
//! crash or somebody else has left undone is done then.

mod flows;
mod table;

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use podway_kernel::nft::{Nft, Nftables, reconcile};
use podway_kernel::route::Rtnetlink;
use podway_kernel::sysctl;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::interface::host_name;
use crate::ipam::Assigned;
use crate::owner::Owner;
use crate::state_file::{self, StateFile};

pub use table::TABLE;

/// The file, one for all networks of a node: its ports are the node's.
const FILE: &str = "host-ports";

/// What a runtime asks for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PortMapping {
    host_port: u16,
    container_port: u16,
    #[serde(default)]
    protocol: Protocol,
    /// Empty: all of the node's addresses.
    #[serde(default, rename = "hostIP")]
    host_ip: String,
}

/// A transport protocol with ports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Protocol {
    #[default]
    #[serde(alias = "TCP", alias = "")]
    Tcp,
    #[serde(alias = "UDP")]
    Udp,
    #[serde(alias = "SCTP")]
    Sctp,
}

/// A port of the node that leads to a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Forward {
    protocol: Protocol,
    /// The node's address; `None` is all of the pod's family.
    address: Option<IpAddr>,
    port: u16,
    /// Where it leads.
    to: SocketAddr,
    #[serde(flatten)]
    owner: Owner,
}

/// The host ports of a node. Holding it holds the lock.
#[derive(Debug)]
pub(crate) struct HostPorts {
    file: StateFile,
    forwards: Vec<Forward>,
}

impl HostPorts {
    fn open(data_dir: &Path) -> Result<Self, Error> {
        let (file, forwards) = StateFile::open(data_dir, FILE)?;
        Ok(Self { file, forwards })
    }

    /// Takes the ports that a pod asks for, all or none, and makes them lead to
    /// it. Ports of a pod whose interface is gone count as free.
    fn claim(&mut self, owner: &Owner, wanted: &[Forward]) -> Result<(), Error> {
        let mut socket = Rtnetlink::open()?;
        let mut gone = BTreeSet::new();
        for forward in wanted {
            let holders = self.forwards.iter().filter(|held| held.is_same(forward));
            for held in holders.filter(|held| held.owner != *owner) {
                if socket.link(&host_name(&held.owner))?.is_some() {
                    return Err(Error::HostPortTaken {
                        port: held.to_string(),
                        owner: held.owner.clone(),
                    });
                }
                gone.insert(held.owner.clone());
            }
        }
        self.forwards
            .retain(|held| !gone.contains(&held.owner) && held.owner != *owner);
        self.forwards.extend(wanted.iter().cloned());
        // Remembered first: what a crash leaves in the kernel must be known.
        self.file.write(&self.forwards)?;
        restore(&self.forwards)?;
        if wanted.iter().any(|forward| forward.to.is_ipv4()) {
            // For connections to 127.0.0.1. The table keeps the pod itself from
            // using this to reach the node's own loopback.
            let name = host_name(owner);
            sysctl::ensure(&format!("net/ipv4/conf/{name}/route_localnet"), "1")?;
        }
        flows::end_those_of_others(wanted, &mut socket);
        Ok(())
    }

    /// Gives the ports of an interface back.
    fn release(&mut self, owner: &Owner) -> Result<(), Error> {
        let released: Vec<Forward> = self.of(owner).cloned().collect();
        if released.is_empty() {
            return Ok(());
        }
        self.forwards.retain(|forward| forward.owner != *owner);
        // Forgotten last, for the same reason.
        restore(&self.forwards)?;
        self.file.write(&self.forwards)?;
        flows::end(&released);
        Ok(())
    }

    fn of<'a>(&'a self, owner: &Owner) -> impl Iterator<Item = &'a Forward> {
        self.forwards
            .iter()
            .filter(move |forward| forward.owner == *owner)
    }
}

/// Makes the ports that a pod asks for lead to it.
pub(crate) fn claim(
    data_dir: &Path,
    owner: &Owner,
    mappings: &[PortMapping],
    ips: &[Assigned],
) -> Result<(), Error> {
    if mappings.is_empty() {
        return Ok(());
    }
    let wanted = forwards(owner, mappings, ips)?;
    HostPorts::open(data_dir)?.claim(owner, &wanted)
}

/// Gives the ports of an interface back, if it has any.
pub(crate) fn release(data_dir: &Path, owner: &Owner) -> Result<(), Error> {
    if !state_file::exists(data_dir, FILE)? {
        return Ok(());
    }
    HostPorts::open(data_dir)?.release(owner)
}

/// Whether the kernel holds what the ports of an interface need.
pub(crate) fn are_in_force(data_dir: &Path, owner: &Owner) -> Result<bool, Error> {
    if !state_file::exists(data_dir, FILE)? {
        return Ok(true);
    }
    let held = HostPorts::open(data_dir)?;
    if held.of(owner).next().is_none() {
        return Ok(true);
    }
    let mut nft = Nft::open()?;
    let dump = nft.dump(TABLE)?;
    Ok(reconcile(&table::render(&held.forwards), dump.as_ref()).is_empty())
}

/// Brings the node's table back to what is remembered of its pods, after
/// somebody else has changed it. Whether it had to write.
///
/// # Errors
/// The state cannot be read, or the kernel refuses.
pub fn restore_host_ports(data_dir: &Path) -> Result<bool, Error> {
    if !state_file::exists(data_dir, FILE)? {
        return Ok(false);
    }
    restore(&HostPorts::open(data_dir)?.forwards)
}

fn restore(forwards: &[Forward]) -> Result<bool, Error> {
    let mut nft = Nft::open()?;
    let held = nft.dump(TABLE)?;
    if forwards.is_empty() && held.is_none() {
        return Ok(false);
    }
    let transaction = reconcile(&table::render(forwards), held.as_ref());
    nft.apply(&transaction)?;
    Ok(!transaction.is_empty())
}

/// What mappings mean for a pod's addresses.
fn forwards(
    owner: &Owner,
    mappings: &[PortMapping],
    ips: &[Assigned],
) -> Result<Vec<Forward>, Error> {
    let mut all: Vec<Forward> = Vec::new();
    for mapping in mappings {
        let address = mapping.address()?;
        let reached = ips.iter().map(|ip| ip.address);
        let reached: Vec<IpAddr> = reached
            .filter(|ip| address.is_none_or(|host| host.is_ipv4() == ip.is_ipv4()))
            .collect();
        if reached.is_empty() {
            let host = &mapping.host_ip;
            return Err(invalid(format!(
                "the pod has no address of {host}'s family"
            )));
        }
        for ip in reached {
            let forward = Forward {
                protocol: mapping.protocol,
                address: address.filter(|address| !address.is_unspecified()),
                port: mapping.host_port,
                to: SocketAddr::new(ip, mapping.container_port),
                owner: owner.clone(),
            };
            match all.iter().find(|other| other.is_same(&forward)) {
                Some(other) if other.to != forward.to => {
                    return Err(invalid(format!("{forward} is mapped twice")));
                }
                Some(_) => {}
                None => all.push(forward),
            }
        }
    }
    Ok(all)
}

impl PortMapping {
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.host_port == 0 || self.container_port == 0 {
            return Err(invalid("0 is no port".to_owned()));
        }
        self.address().map(drop)
    }

    fn address(&self) -> Result<Option<IpAddr>, Error> {
        let text = self.host_ip.as_str();
        if text.is_empty() {
            return Ok(None);
        }
        let parsed = text.parse().map(Some);
        parsed.map_err(|_| invalid(format!("hostIP {text:?} is no address")))
    }
}

impl Forward {
    /// Whether both are the same port of the node.
    fn is_same(&self, other: &Self) -> bool {
        let key = |forward: &Self| {
            let family = forward.to.is_ipv4();
            (forward.protocol, forward.address, forward.port, family)
        };
        key(self) == key(other)
    }
}

impl Protocol {
    /// IANA's.
    const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => write!(f, "{}", SocketAddr::new(address, self.port))?,
            None => write!(f, "{}", self.port)?,
        }
        write!(f, "/{}", self.protocol.name())
    }
}

fn invalid(reason: String) -> Error {
    Error::Config {
        field: "portMappings",
        reason,
    }
}
