use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use podway_model::{IpFamily, ObjectName, Protocol, ServicePortName, SortedMap};

/// What this node must do for every Service, with every Kubernetes rule already
/// decided. Ordered, so that rendering does not depend on the order of input.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceTable {
    /// What a client may address, and what becomes of it.
    pub routes: BTreeMap<Frontend, Arc<Route>>,
    /// The sets of endpoints that routes forward to. Every pool that a route
    /// names is here, and no other.
    pub pools: BTreeMap<PoolId, Arc<Pool>>,
    /// Every cluster IP. A connection to one of these that no route takes (a
    /// wrong port) is rejected: nothing else can answer at that address.
    pub cluster_ips: BTreeSet<IpAddr>,
    /// What cluster IPs are allocated from, none of them inside another. A
    /// connection to an address of these that is no cluster IP is dropped.
    pub service_prefixes: BTreeSet<IpNet>,
    /// What to answer load balancers that ask whether the node has endpoints
    /// of a Service, by `spec.healthCheckNodePort`.
    pub health_checks: BTreeMap<u16, Arc<HealthCheck>>,
    /// Endpoints that get no new connections and keep the ones they have.
    pub lingering: BTreeMap<PortId, Arc<Lingering>>,
}

/// A service port in one family.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId {
    /// The service port.
    pub service: ServicePortName,
    /// The family of its frontends and endpoints.
    pub family: IpFamily,
}

/// Endpoints of a service port that are in none of its pools: not ready, far,
/// or terminating while others are ready. Flows to them go on: of UDP, which
/// never ends by itself, while they serve; of TCP and SCTP for as long as slices
/// hold them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lingering {
    /// The endpoints; never empty.
    pub endpoints: BTreeSet<SocketAddr>,
    /// The frontends of the service port that led to them.
    pub frontends: BTreeSet<Frontend>,
}

/// The answer of a health check node port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// The Service.
    pub service: ObjectName,
    /// How many addresses of this node serve it, for each of its families:
    /// those that are ready. Endpoints that terminate or drain (weight 0) do
    /// not count, although they may still be served.
    pub local_endpoints: BTreeMap<IpFamily, usize>,
}

/// What a client addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frontend {
    /// The address.
    pub address: FrontendAddress,
    /// The protocol.
    pub protocol: Protocol,
    /// The port.
    pub port: u16,
}

/// The address part of a frontend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FrontendAddress {
    /// One address: a cluster IP, an external IP, a load balancer's.
    Ip(IpAddr),
    /// Every address of the node that serves node ports, in this family (see
    /// `NodeContext::serves_node_ports`). A frontend of one address goes first.
    Node(IpFamily),
}

/// Why a frontend exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FrontendKind {
    /// A cluster IP.
    ClusterIp,
    /// One of `spec.externalIPs`.
    ExternalIp,
    /// An address of a load balancer.
    LoadBalancerIp,
    /// A node port.
    NodePort,
}

/// What becomes of a connection to a frontend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Whose frontend it is.
    pub service: ServicePortName,
    /// Why it exists.
    pub kind: FrontendKind,
    /// The sources that may use it at all (`loadBalancerSourceRanges`), whatever
    /// kind of source they are; `None` is everybody. Others are dropped, before
    /// anything else is asked, also where the verdict would be a reject.
    pub allow_from: Option<Vec<IpNet>>,
    /// The verdict for a connection from a pod of this node.
    pub from_pod: Verdict,
    /// The verdict for a connection that this node itself opens.
    pub from_node: Verdict,
    /// The verdict for every other connection.
    pub from_outside: Verdict,
}

/// Where a connection comes from, seen from this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// A pod of this node, as the local detector says.
    Pod,
    /// The node itself: a process in its network namespace.
    Node,
    /// Anything else: pods of other nodes included.
    Outside,
}

/// What to do with a new connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Send it to one endpoint of a pool.
    Forward {
        /// The pool. It has at least one endpoint.
        pool: PoolId,
        /// Whether the source address becomes the node's. A connection from an
        /// endpoint to itself (hairpin) is always masqueraded.
        masquerade: bool,
    },
    /// Refuse it: TCP reset or ICMP port unreachable. No endpoint anywhere.
    Reject,
    /// Drop it silently: a local policy without a local endpoint.
    Drop,
}

/// Which endpoints of a service port a pool holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reach {
    /// Those of the cluster, after topology.
    Cluster,
    /// Those of this node.
    Local,
}

/// What names a pool.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolId {
    /// The service port.
    pub service: ServicePortName,
    /// The family of its endpoints.
    pub family: IpFamily,
    /// Which of them.
    pub reach: Reach,
}

/// A set of endpoints that share connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// The endpoints, by address; never empty.
    pub endpoints: SortedMap<SocketAddr, PoolEndpoint>,
    /// How long a client keeps its endpoint after its last new connection.
    pub affinity: Option<Duration>,
}

/// One endpoint of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolEndpoint {
    /// Its pod, where the slice names one.
    pub pod: Option<ObjectName>,
    /// Whether it runs on this node.
    pub local: bool,
    /// How many connections it gets, in proportion to the others of the pool: 0
    /// to 100. None where it drains; some endpoint of a pool never does.
    pub weight: u8,
}

impl PoolEndpoint {
    /// The weight of an endpoint that nobody gave one.
    pub const FULL_WEIGHT: u8 = 100;
}

impl Pool {
    /// The endpoints that get new connections.
    pub fn open(&self) -> impl Iterator<Item = (&SocketAddr, &PoolEndpoint)> {
        self.endpoints
            .iter()
            .filter(|(_, endpoint)| endpoint.weight > 0)
    }

    /// How many slots each of the open endpoints has of as few as express their
    /// weights, so that a slot taken by chance is each one's in proportion.
    /// Where all weigh the same, one each. At most `most` slots: of more
    /// endpoints than that, the first ones; finer weights are rounded, but
    /// never to none.
    #[must_use]
    pub fn slots(&self, most: usize) -> Vec<(SocketAddr, usize)> {
        let open: Vec<_> = self.open().take(most).collect();
        let weights = open
            .iter()
            .map(|(_, endpoint)| usize::from(endpoint.weight));
        let divisor = weights.clone().fold(0, greatest_common_divisor).max(1);
        let total: usize = weights.clone().sum();
        let share = |weight: usize| {
            if total / divisor <= most {
                weight / divisor
            } else {
                1 + weight * (most - open.len()) / total
            }
        };
        let addresses = open.iter().map(|(address, _)| **address);
        addresses.zip(weights.map(share)).collect()
    }
}

const fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 {
        a
    } else {
        greatest_common_divisor(b, a % b)
    }
}

impl Frontend {
    /// The family of its address.
    #[must_use]
    pub const fn family(&self) -> IpFamily {
        match self.address {
            FrontendAddress::Ip(address) => IpFamily::of(&address),
            FrontendAddress::Node(family) => family,
        }
    }
}

impl Route {
    /// The verdict for a connection from this kind of source. Source ranges are
    /// the caller's to check first.
    #[must_use]
    pub const fn verdict(&self, source: Source) -> &Verdict {
        match source {
            Source::Pod => &self.from_pod,
            Source::Node => &self.from_node,
            Source::Outside => &self.from_outside,
        }
    }

    /// Whether a source may use the frontend at all.
    #[must_use]
    pub fn admits(&self, source: IpAddr) -> bool {
        self.allow_from
            .as_ref()
            .is_none_or(|prefixes| prefixes.iter().any(|prefix| prefix.contains(&source)))
    }

    /// The pools that the route can lead to.
    pub fn pools(&self) -> impl Iterator<Item = &PoolId> {
        [&self.from_pod, &self.from_node, &self.from_outside]
            .into_iter()
            .filter_map(|verdict| match verdict {
                Verdict::Forward { pool, .. } => Some(pool),
                Verdict::Reject | Verdict::Drop => None,
            })
            .collect::<BTreeSet<_>>()
            .into_iter()
    }
}

impl fmt::Display for Frontend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            FrontendAddress::Ip(address) => {
                write!(
                    f,
                    "{}/{}",
                    SocketAddr::new(address, self.port),
                    self.protocol
                )
            }
            FrontendAddress::Node(family) => {
                write!(f, "node:{}/{} ({family})", self.port, self.protocol)
            }
        }
    }
}

impl fmt::Display for PoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reach = match self.reach {
            Reach::Cluster => "cluster",
            Reach::Local => "local",
        };
        write!(f, "{} {} {reach}", self.service, self.family)
    }
}
