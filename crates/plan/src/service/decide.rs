use std::net::{IpAddr, SocketAddr};

use podway_model::{IpFamily, Protocol};

use super::{Frontend, FrontendAddress, Pool, PoolEndpoint, Route, ServiceTable, Source, Verdict};

/// The first packet of a connection, as this node meets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// The kind of source.
    pub source: Source,
    /// The source's address.
    pub source_address: IpAddr,
    /// What the client addresses.
    pub destination: SocketAddr,
    /// The protocol.
    pub protocol: Protocol,
    /// Whether the destination is an address of this node that serves node
    /// ports (`NodeContext::serves_node_ports`).
    pub to_node_port_address: bool,
}

/// What the services make of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision<'t> {
    /// The frontend that it was sent to, where there is one.
    pub matched: Option<(Frontend, &'t Route)>,
    /// What becomes of it.
    pub outcome: Outcome<'t>,
}

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<'t> {
    /// No service's business: it goes where it was sent.
    Pass,
    /// It goes to one of these, never empty, each as likely as its weight, which
    /// is never 0, says.
    Forward(Vec<Destination<'t>>),
    /// It is refused.
    Reject(RejectReason),
    /// It is dropped.
    Drop(DropReason),
}

/// An endpoint that a packet may go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Destination<'t> {
    /// Its address and port.
    pub address: SocketAddr,
    /// What is known of it.
    pub endpoint: &'t PoolEndpoint,
    /// Whether its source becomes the node's, hairpin included.
    pub masquerade: bool,
}

/// Why a packet is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RejectReason {
    /// The service port has no endpoint anywhere.
    NoEndpoints,
    /// The cluster IP has no such port.
    WrongPort,
}

/// Why a packet is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropReason {
    /// The source is in none of the service's source ranges.
    SourceRange,
    /// A local policy, and no endpoint on this node.
    NoLocalEndpoints,
    /// An address for cluster IPs that is no Service's.
    UnallocatedClusterIp,
}

/// Decides what the services of a node make of a packet. This is the whole
/// logic of the userspace mode and the oracle of the other modes.
#[must_use]
pub fn decide<'t>(table: &'t ServiceTable, packet: &Packet) -> Decision<'t> {
    let Some((frontend, route)) = find_route(table, packet) else {
        return Decision {
            matched: None,
            outcome: without_route(table, packet.destination.ip()),
        };
    };
    let outcome = if route.admits(packet.source_address) {
        follow(table, route.verdict(packet.source), packet.source_address)
    } else {
        Outcome::Drop(DropReason::SourceRange)
    };
    Decision {
        matched: Some((frontend, route)),
        outcome,
    }
}

fn find_route<'t>(table: &'t ServiceTable, packet: &Packet) -> Option<(Frontend, &'t Route)> {
    let ip = packet.destination.ip();
    let node = packet
        .to_node_port_address
        .then_some(FrontendAddress::Node(IpFamily::of(&ip)));
    [Some(FrontendAddress::Ip(ip)), node]
        .into_iter()
        .flatten()
        .find_map(|address| {
            let frontend = Frontend {
                address,
                protocol: packet.protocol,
                port: packet.destination.port(),
            };
            Some((frontend, &**table.routes.get(&frontend)?))
        })
}

fn without_route(table: &ServiceTable, destination: IpAddr) -> Outcome<'_> {
    let mut prefixes = table.service_prefixes.iter();
    if table.cluster_ips.contains(&destination) {
        Outcome::Reject(RejectReason::WrongPort)
    } else if prefixes.any(|prefix| prefix.contains(&destination)) {
        Outcome::Drop(DropReason::UnallocatedClusterIp)
    } else {
        Outcome::Pass
    }
}

fn follow<'t>(table: &'t ServiceTable, verdict: &Verdict, source: IpAddr) -> Outcome<'t> {
    match verdict {
        Verdict::Forward { pool, masquerade } => {
            let pool = table.pools.get(pool).map(|pool| &**pool);
            Outcome::Forward(
                pool.into_iter()
                    .flat_map(Pool::open)
                    .map(|(address, endpoint)| Destination {
                        address: *address,
                        endpoint,
                        // A reply straight from an endpoint to itself would not
                        // pass the node, and so never be translated back.
                        masquerade: *masquerade || address.ip() == source,
                    })
                    .collect(),
            )
        }
        Verdict::Reject => Outcome::Reject(RejectReason::NoEndpoints),
        Verdict::Drop => Outcome::Drop(DropReason::NoLocalEndpoints),
    }
}
