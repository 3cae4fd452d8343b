//! What an administrator configures, whichever form it has.

mod check;
mod config_map;
mod error;
pub mod objects;
mod resources;
mod sources;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnet::IpNet;
use podway_model::{Labels, Selector};

pub use config_map::parse_config_map;
pub use error::{ConfigError, ConfigProblem};
pub use objects::Objects;
pub use resources::{GROUP, RESOURCES, Resource};
pub use sources::Sources;

use super::AddressRange;

/// Everything about load balancer addresses that is configured, checked as a
/// whole: a configuration with one mistake is not taken, so that the last good
/// one stays in force.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    /// Where addresses come from, by name.
    pub pools: Vec<AddressPool>,
    /// What is announced by ARP and NDP.
    pub layer2: Vec<Layer2Advertisement>,
    /// What is announced by BGP.
    pub bgp: Vec<BgpAdvertisement>,
    /// To whom.
    pub peers: Vec<BgpPeer>,
    /// How links to peers are watched.
    pub bfd_profiles: Vec<BfdProfile>,
}

/// A pool of addresses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AddressPool {
    /// Its name.
    pub name: String,
    /// Its labels, which advertisements select it by.
    pub labels: Labels,
    /// Its addresses, in the order in which they are given out.
    pub ranges: Vec<AddressRange>,
    /// Services that ask for nothing get addresses of it.
    pub auto_assign: bool,
    /// Addresses that end in .0 and .255 are not given out: some old home
    /// routers take them for broadcasts of class C.
    pub avoid_buggy: bool,
    /// For which Services only it is.
    pub allocation: Option<ServiceAllocation>,
}

/// For which Services a pool is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServiceAllocation {
    /// The lower is tried first; 0 last.
    pub priority: u32,
    /// Namespaces by name.
    pub namespaces: BTreeSet<String>,
    /// Namespaces by label.
    pub namespace_selectors: Vec<Selector>,
    /// Services by label.
    pub service_selectors: Vec<Selector>,
}

/// Which pools an advertisement is about: all, where it names and selects none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PoolChoice {
    /// By name.
    pub names: BTreeSet<String>,
    /// By label.
    pub selectors: Vec<Selector>,
}

/// Addresses that are announced by ARP and NDP.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Layer2Advertisement {
    /// Its name.
    pub name: String,
    /// Of which pools.
    pub pools: PoolChoice,
    /// By which nodes; all where there is none.
    pub nodes: Vec<Selector>,
    /// On which interfaces; all where there is none.
    pub interfaces: BTreeSet<String>,
    /// Of which Services; all where there is none.
    pub services: Vec<Selector>,
    /// Which nodes are better than others.
    pub preferences: Vec<Preference>,
}

/// Nodes that are better than others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preference {
    /// By how much, 1 to 100; a node's preferences add up.
    pub weight: u32,
    /// Which.
    pub nodes: Selector,
}

/// Addresses that are announced by BGP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BgpAdvertisement {
    /// Its name.
    pub name: String,
    /// Of which pools.
    pub pools: PoolChoice,
    /// The length of the prefix that an IPv4 address is announced in.
    pub aggregation: u8,
    /// The same for IPv6.
    pub aggregation_v6: u8,
    /// `LOCAL_PREF`.
    pub local_pref: Option<u32>,
    /// Communities.
    pub communities: BTreeSet<u32>,
    /// Large communities.
    pub large_communities: BTreeSet<[u32; 3]>,
    /// To which peers; all where there is none.
    pub peers: BTreeSet<String>,
    /// By which nodes; all where there is none.
    pub nodes: Vec<Selector>,
    /// Of which Services; all where there is none.
    pub services: Vec<Selector>,
}

/// A router that nodes talk BGP with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BgpPeer {
    /// Its name.
    pub name: String,
    /// The AS that nodes speak for.
    pub my_asn: u32,
    /// Its own.
    pub peer_asn: PeerAs,
    /// Where it is.
    pub end: PeerEnd,
    /// Where nodes connect from.
    pub source: Option<IpAddr>,
    /// Its TCP port.
    pub port: u16,
    /// The hold time offered; the protocol's own where it is `None`.
    pub hold_time: Option<Duration>,
    /// Between keepalives.
    pub keepalive_time: Option<Duration>,
    /// Between attempts to connect.
    pub connect_time: Option<Duration>,
    /// The nodes' identifier, where it is not their address.
    pub router_id: Option<Ipv4Addr>,
    /// By which nodes; all where there is none.
    pub nodes: Vec<Selector>,
    /// The TCP MD5 password.
    pub password: Option<Password>,
    /// The name of its BFD profile.
    pub bfd_profile: Option<String>,
    /// Routes stay while the agent restarts.
    pub graceful_restart: bool,
    /// It may be more than one hop away.
    pub multi_hop: bool,
}

/// Which AS a peer is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerAs {
    /// This one.
    Number(u32),
    /// The nodes' own.
    Internal,
    /// Any other.
    External,
}

/// Where a peer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerEnd {
    /// At an address.
    Address(IpAddr),
    /// At the other end of an interface (unnumbered).
    Interface(String),
}

/// A password, or where it is.
#[derive(Clone, PartialEq, Eq)]
pub enum Password {
    /// In the configuration.
    Text(String),
    /// In a Secret of type `kubernetes.io/basic-auth`, by name.
    Secret(String),
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(_) => f.write_str("Text(…)"),
            Self::Secret(name) => write!(f, "Secret({name})"),
        }
    }
}

/// How a link to a peer is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BfdProfile {
    /// Its name.
    pub name: String,
    /// Packets are taken no faster.
    pub receive: Duration,
    /// Packets are sent no faster.
    pub transmit: Duration,
    /// So many missed ones take the link down.
    pub multiplier: u8,
    /// The peer begins.
    pub passive: bool,
}

impl PoolChoice {
    /// Whether a pool is meant.
    #[must_use]
    pub fn includes(&self, pool: &AddressPool) -> bool {
        let all = self.names.is_empty() && self.selectors.is_empty();
        all || self.names.contains(&pool.name)
            || self.selectors.iter().any(|s| s.matches(&pool.labels))
    }
}

impl AddressPool {
    /// Whether an address is of this pool and may be given out.
    #[must_use]
    pub fn offers(&self, address: IpAddr) -> bool {
        let buggy = self.avoid_buggy && is_buggy(address);
        !buggy && self.ranges.iter().any(|range| range.contains(address))
    }
}

/// An IPv4 address that ends in .0 or .255.
pub(super) fn is_buggy(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => matches!(address.octets()[3], 0 | 255),
        IpAddr::V6(_) => false,
    }
}

impl Config {
    /// The pool of this name.
    #[must_use]
    pub fn pool(&self, name: &str) -> Option<&AddressPool> {
        self.pools.iter().find(|pool| pool.name == name)
    }

    /// Checks that no pool has an address that the cluster uses itself.
    ///
    /// # Errors
    /// Every pool that has.
    pub fn check_apart_from(&self, cluster: &[(&str, IpNet)]) -> Result<(), ConfigError> {
        let problems: Vec<ConfigProblem> = self
            .pools
            .iter()
            .flat_map(|pool| check::apart(pool, cluster))
            .collect();
        ConfigError::unless_empty(problems)
    }
}

/// Whether any of these selectors selects, or there is none.
pub(super) fn selects(selectors: &[Selector], labels: &Labels) -> bool {
    selectors.is_empty() || selectors.iter().any(|selector| selector.matches(labels))
}
