use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use podway_model::{Labels, ObjectName, TrafficPolicy};

use super::config::selects;
use super::{BgpAdvertisement, Candidate, Config, Layer2Advertisement, rank};

/// Label of nodes that load balancers leave out, whatever its value.
const EXCLUDE: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// A node that may announce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Speaker {
    /// Its name.
    pub node: Arc<str>,
    /// Its labels.
    pub labels: Labels,
    /// Condition `NetworkUnavailable` is True.
    pub network_unavailable: bool,
    /// It is being deleted or drained.
    pub leaving: bool,
}

/// A Service that has addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnnouncedService {
    /// The Service.
    pub name: ObjectName,
    /// Its labels.
    pub labels: Labels,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// `spec.externalTrafficPolicy`.
    pub external_policy: TrafficPolicy,
    /// Where its endpoints that take traffic are (ready, or serving while they
    /// terminate). `None` is an endpoint on no node of the cluster.
    pub endpoint_nodes: BTreeSet<Option<Arc<str>>>,
}

/// How an address is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// ARP and NDP.
    Layer2,
    /// BGP.
    Bgp,
}

/// Why a node does not announce an address of a Service, in the words of
/// `MetalLB`'s logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Silence {
    /// The address is in no pool.
    NotInPool,
    /// No endpoint of the Service takes traffic.
    NoEndpoints,
    /// None on this node, and only this node's would be used.
    NoLocalEndpoints,
    /// No advertisement is about this Service and this node.
    NoMatchingAdvertisement,
    /// The address is shared and an advertisement selects Services: its nodes
    /// would be right for one and wrong for the other.
    SharedWithServiceSelector,
    /// The node's network is not there.
    NodeNetworkUnavailable,
    /// The node's label leaves it out.
    NodeLabelledExclude,
    /// The node goes.
    NodeLeaving,
    /// Advertisements want one prefix with different local preferences.
    ConflictingAdvertisements,
}

/// What a node announces, and why not what it does not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Announcements {
    /// Addresses that this node may hold: who does is decided among the
    /// candidates (see `podway-wire`'s mesh).
    pub layer2: BTreeMap<IpAddr, Layer2Address>,
    /// Prefixes that this node announces, by peer.
    pub bgp: BTreeMap<String, BTreeMap<IpNet, BgpRoute>>,
    /// Why not.
    pub silent: BTreeMap<(ObjectName, IpAddr, Protocol), Silence>,
}

/// An address for ARP or NDP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer2Address {
    /// The nodes that may hold it, the first choice first; this one among them.
    pub candidates: Vec<Candidate>,
    /// On which interfaces of this node; `None` for all.
    pub interfaces: Option<BTreeSet<String>>,
    /// Whose it is.
    pub services: BTreeSet<ObjectName>,
}

/// How a prefix is announced.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BgpRoute {
    /// `LOCAL_PREF`.
    pub local_pref: Option<u32>,
    /// Communities.
    pub communities: BTreeSet<u32>,
    /// Large communities.
    pub large_communities: BTreeSet<[u32; 3]>,
    /// For whom: it stays while any of them is left.
    pub services: BTreeSet<ObjectName>,
}

/// Plans what one node announces.
#[must_use]
pub fn plan_announcements(
    config: &Config,
    services: &[AnnouncedService],
    speakers: &[Speaker],
    this_node: &str,
) -> Announcements {
    let plan = Plan {
        config,
        speakers,
        users: users(services),
        me: speakers.iter().find(|speaker| *speaker.node == *this_node),
    };
    let mut announcements = Announcements::default();
    for service in services {
        for address in &service.addresses {
            plan.layer2(service, *address, &mut announcements);
            plan.bgp(service, *address, &mut announcements);
        }
    }
    announcements
}

struct Plan<'a> {
    config: &'a Config,
    speakers: &'a [Speaker],
    users: BTreeMap<IpAddr, usize>,
    me: Option<&'a Speaker>,
}

fn users(services: &[AnnouncedService]) -> BTreeMap<IpAddr, usize> {
    let mut users = BTreeMap::new();
    for address in services.iter().flat_map(|service| &service.addresses) {
        *users.entry(*address).or_default() += 1;
    }
    users
}

impl Plan<'_> {
    fn layer2(&self, service: &AnnouncedService, address: IpAddr, out: &mut Announcements) {
        let advertisements = match self.advertisements(service, address) {
            Ok(advertisements) => advertisements,
            Err(why) => return out.be_silent(service, address, Protocol::Layer2, why),
        };
        // A pool that is announced by BGP only has none, and nothing to say.
        if advertisements.is_empty() {
            return;
        }
        if let Err(why) = self.may_hold(service, &advertisements, self.me) {
            return out.be_silent(service, address, Protocol::Layer2, why);
        }
        let candidates = self.candidates(service, address, &advertisements);
        let mine = self.matching(&advertisements, self.me);
        let planned = out.layer2.entry(address).or_insert_with(|| Layer2Address {
            candidates: candidates.clone(),
            interfaces: interfaces(&mine),
            services: BTreeSet::new(),
        });
        // Services that share an address share its endpoints too where these
        // matter, so that each would come to the same candidates.
        planned.candidates.retain(|c| candidates.contains(c));
        planned.services.insert(service.name.clone());
    }

    /// The layer 2 advertisements that are about a Service.
    fn advertisements(
        &self,
        service: &AnnouncedService,
        address: IpAddr,
    ) -> Result<Vec<&Layer2Advertisement>, Silence> {
        let pool = self.config.pools.iter().find(|pool| pool.offers(address));
        let pool = pool.ok_or(Silence::NotInPool)?;
        let of_pool = self.config.layer2.iter().filter(|a| a.pools.includes(pool));
        let of_pool: Vec<&Layer2Advertisement> = of_pool.collect();
        let shared = self.users.get(&address).is_some_and(|users| *users > 1);
        if shared && of_pool.iter().any(|a| !a.services.is_empty()) {
            return Err(Silence::SharedWithServiceSelector);
        }
        let count = of_pool.len();
        let about: Vec<&Layer2Advertisement> = of_pool
            .into_iter()
            .filter(|a| selects(&a.services, &service.labels))
            .collect();
        if about.is_empty() && count > 0 {
            return Err(Silence::NoMatchingAdvertisement);
        }
        Ok(about)
    }

    fn matching<'b>(
        &self,
        advertisements: &[&'b Layer2Advertisement],
        speaker: Option<&Speaker>,
    ) -> Vec<&'b Layer2Advertisement> {
        let matches =
            |a: &&&Layer2Advertisement| speaker.is_some_and(|s| selects(&a.nodes, &s.labels));
        advertisements.iter().filter(matches).copied().collect()
    }

    fn may_hold(
        &self,
        service: &AnnouncedService,
        advertisements: &[&Layer2Advertisement],
        speaker: Option<&Speaker>,
    ) -> Result<(), Silence> {
        if service.endpoint_nodes.is_empty() {
            return Err(Silence::NoEndpoints);
        }
        let speaker = speaker.ok_or(Silence::NoMatchingAdvertisement)?;
        if self.matching(advertisements, Some(speaker)).is_empty() {
            return Err(Silence::NoMatchingAdvertisement);
        }
        speaker.serves(service)
    }

    fn candidates(
        &self,
        service: &AnnouncedService,
        address: IpAddr,
        advertisements: &[&Layer2Advertisement],
    ) -> Vec<Candidate> {
        let able = |speaker: &&Speaker| {
            let able = self.may_hold(service, advertisements, Some(speaker));
            able.is_ok()
        };
        let first = self.elected_by(service, address);
        let candidate = |speaker: &Speaker| Candidate {
            node: speaker.node.clone(),
            rank: rank(&speaker.node, first, weight(advertisements, speaker)),
        };
        let mut candidates: Vec<Candidate> =
            self.speakers.iter().filter(able).map(candidate).collect();
        candidates.sort_by(|a, b| (a.rank, &a.node).cmp(&(b.rank, &b.node)));
        candidates
    }

    /// A Service's first address decides for all of them, so that both families
    /// of it are on one node; where it is shared, the address itself, so that
    /// those who share it agree.
    fn elected_by(&self, service: &AnnouncedService, address: IpAddr) -> IpAddr {
        let own = |a: &IpAddr| self.users.get(a).is_some_and(|users| *users == 1);
        if service.addresses.iter().all(own) {
            service.addresses.first().copied().unwrap_or(address)
        } else {
            address
        }
    }

    fn bgp(&self, service: &AnnouncedService, address: IpAddr, out: &mut Announcements) {
        let Some(pool) = self.config.pools.iter().find(|pool| pool.offers(address)) else {
            return;
        };
        let of_pool = self.config.bgp.iter().filter(|a| a.pools.includes(pool));
        let of_pool: Vec<&BgpAdvertisement> = of_pool.collect();
        if of_pool.is_empty() {
            return;
        }
        if let Err(why) = self.may_announce(service) {
            return out.be_silent(service, address, Protocol::Bgp, why);
        }
        let about = of_pool.into_iter().filter(|a| {
            let node = self.me.is_some_and(|me| selects(&a.nodes, &me.labels));
            node && selects(&a.services, &service.labels)
        });
        let about: Vec<&BgpAdvertisement> = about.collect();
        if about.is_empty() {
            let why = Silence::NoMatchingAdvertisement;
            return out.be_silent(service, address, Protocol::Bgp, why);
        }
        for advertisement in about {
            self.route(service, address, advertisement, out);
        }
    }

    fn may_announce(&self, service: &AnnouncedService) -> Result<(), Silence> {
        if service.endpoint_nodes.is_empty() {
            return Err(Silence::NoEndpoints);
        }
        let me = self.me.ok_or(Silence::NoMatchingAdvertisement)?;
        me.serves(service)
    }

    fn route(
        &self,
        service: &AnnouncedService,
        address: IpAddr,
        advertisement: &BgpAdvertisement,
        out: &mut Announcements,
    ) {
        let length = match address {
            IpAddr::V4(_) => advertisement.aggregation,
            IpAddr::V6(_) => advertisement.aggregation_v6,
        };
        let Ok(prefix) = IpNet::new(address, length) else {
            return;
        };
        let all = advertisement.peers.is_empty();
        let peers = self.config.peers.iter();
        for peer in peers.filter(|p| all || advertisement.peers.contains(&p.name)) {
            if !self.me.is_some_and(|me| selects(&peer.nodes, &me.labels)) {
                continue;
            }
            let routes = out.bgp.entry(peer.name.clone()).or_default();
            let route = routes.entry(prefix.trunc()).or_insert_with(|| BgpRoute {
                local_pref: advertisement.local_pref,
                ..BgpRoute::default()
            });
            if route.local_pref != advertisement.local_pref {
                let why = Silence::ConflictingAdvertisements;
                out.silent
                    .insert((service.name.clone(), address, Protocol::Bgp), why);
                continue;
            }
            route.communities.extend(&advertisement.communities);
            route
                .large_communities
                .extend(&advertisement.large_communities);
            route.services.insert(service.name.clone());
        }
    }
}

impl Speaker {
    /// Whether the node takes traffic for a Service.
    fn serves(&self, service: &AnnouncedService) -> Result<(), Silence> {
        if self.network_unavailable {
            return Err(Silence::NodeNetworkUnavailable);
        }
        if self.labels.contains_key(EXCLUDE) {
            return Err(Silence::NodeLabelledExclude);
        }
        if self.leaving {
            return Err(Silence::NodeLeaving);
        }
        let local = service.external_policy == TrafficPolicy::Local;
        if local && !service.endpoint_nodes.contains(&Some(self.node.clone())) {
            return Err(Silence::NoLocalEndpoints);
        }
        Ok(())
    }
}

impl Announcements {
    fn be_silent(
        &mut self,
        service: &AnnouncedService,
        address: IpAddr,
        protocol: Protocol,
        why: Silence,
    ) {
        self.silent
            .insert((service.name.clone(), address, protocol), why);
    }
}

/// The sum of the preferences for a node, each once for each advertisement that
/// has it.
fn weight(advertisements: &[&Layer2Advertisement], speaker: &Speaker) -> u32 {
    let matching = advertisements
        .iter()
        .filter(|a| selects(&a.nodes, &speaker.labels));
    let preferences = matching.flat_map(|a| &a.preferences);
    preferences
        .filter(|preference| preference.nodes.matches(&speaker.labels))
        .fold(0, |sum, preference| sum.saturating_add(preference.weight))
}

/// The interfaces of several advertisements; one that names none means all.
fn interfaces(advertisements: &[&Layer2Advertisement]) -> Option<BTreeSet<String>> {
    let all = advertisements.iter().any(|a| a.interfaces.is_empty());
    let named = || {
        advertisements
            .iter()
            .flat_map(|a| a.interfaces.iter().cloned())
    };
    (!all).then(|| named().collect())
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotInPool => "notInPool",
            Self::NoEndpoints => "noEndpoints",
            Self::NoLocalEndpoints => "noLocalEndpoints",
            Self::NoMatchingAdvertisement => "noMatchingAdvertisement",
            Self::SharedWithServiceSelector => "sharedIPWithServiceSelector",
            Self::NodeNetworkUnavailable => "nodeNetworkUnavailable",
            Self::NodeLabelledExclude => "nodeLabeledExcludeBalancers",
            Self::NodeLeaving => "nodeLeaving",
            Self::ConflictingAdvertisements => "conflictingAdvertisements",
        })
    }
}
