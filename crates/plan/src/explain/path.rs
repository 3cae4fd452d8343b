//! The way of a packet: between which addresses, by which nodes, and where it
//! can end.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use podway_model::{ClusterState, IpFamily, ObjectName};

use super::Question;
use super::error::ExplainError;
use super::party::{self, Kind, Party};
use crate::service::{self, Decision, Destination, Packet, ServicePlanner, Source};

/// Where services see a packet, and as what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Vantage {
    /// The node; empty for a pod that files put on no node.
    pub(super) node: Arc<str>,
    pub(super) source: Source,
    /// Whether the question left the node open.
    pub(super) assumed: bool,
}

/// Somewhere a packet can go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) address: SocketAddr,
    pub(super) pod: Option<ObjectName>,
    pub(super) masquerade: bool,
}

/// A connection between two addresses of one family.
#[derive(Debug, Clone)]
pub(super) struct Journey<'q> {
    pub(super) question: &'q Question,
    pub(super) from: Party,
    pub(super) to: Party,
    pub(super) source: IpAddr,
    pub(super) destination: SocketAddr,
}

/// Why there is no connection to speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoRoute {
    /// The source has no address.
    SourceWithoutAddress,
    /// The destination has no address.
    DestinationWithoutAddress,
    /// They have, but none of one family.
    NoCommonFamily,
}

impl<'q> Journey<'q> {
    /// Picks the addresses: the destination's first one that the source has one
    /// of the family of.
    pub(super) fn find(question: &'q Question, from: Party, to: Party) -> Result<Self, NoRoute> {
        let pair = to.addresses.iter().find_map(|destination| {
            let source = from.address_in(IpFamily::of(destination))?;
            Some((source, *destination))
        });
        match pair {
            Some((source, destination)) => Ok(Self {
                question,
                destination: SocketAddr::new(destination, question.port),
                source,
                from,
                to,
            }),
            None if from.addresses.is_empty() => Err(NoRoute::SourceWithoutAddress),
            None if to.addresses.is_empty() => Err(NoRoute::DestinationWithoutAddress),
            None => Err(NoRoute::NoCommonFamily),
        }
    }

    /// Where services see the packet first: at the source's own node, or where a
    /// packet from outside enters.
    pub(super) fn first_vantage(&self, state: &ClusterState) -> Result<Vantage, ExplainError> {
        let source = match self.from.kind {
            Kind::Pod(_) => Source::Pod,
            Kind::Node(_) => Source::Node,
            Kind::Service | Kind::Address => Source::Outside,
        };
        let named = match (source, &self.question.node) {
            (Source::Outside, Some(node)) => Some(party::find_node(state, node)?),
            (Source::Outside, None) => self.to.node_name().cloned(),
            (Source::Pod | Source::Node, _) => {
                let unscheduled = || Arc::from("");
                Some(self.from.node_name().cloned().unwrap_or_else(unscheduled))
            }
        };
        let first = || state.nodes().next().map(|node| node.name.clone());
        Ok(Vantage {
            assumed: named.is_none(),
            node: named.or_else(first).unwrap_or_else(|| Arc::from("")),
            source,
        })
    }

    /// Where services see it next if they let it pass: at the node that it is
    /// addressed to, which does not know who it came from.
    pub(super) fn next_vantage(&self, first: &Vantage) -> Option<Vantage> {
        let Kind::Node(node) = &self.to.kind else {
            return None;
        };
        (*node != first.node).then(|| Vantage {
            node: node.clone(),
            source: Source::Outside,
            assumed: false,
        })
    }

    /// What the services of a node make of the packet.
    pub(super) fn decide<'s>(
        &self,
        planner: &'s ServicePlanner,
        vantage: &Vantage,
    ) -> Decision<'s> {
        let address = self.destination.ip();
        let own = matches!(&self.to.kind, Kind::Node(node) if *node == vantage.node);
        let packet = Packet {
            source: vantage.source,
            source_address: self.source,
            destination: self.destination,
            protocol: self.question.protocol,
            to_node_port_address: own && planner.context().serves_node_ports(address),
        };
        service::decide(planner.table(), &packet)
    }

    /// The destination itself, where no service takes the packet.
    pub(super) fn itself(&self) -> Target {
        Target {
            address: self.destination,
            pod: match &self.to.kind {
                Kind::Pod(pod) => Some(pod.name.clone()),
                _ => None,
            },
            masquerade: false,
        }
    }

    /// `10.96.0.10:80/tcp`.
    pub(super) fn destination_text(&self) -> String {
        format!("{}/{}", self.destination, self.question.protocol)
    }
}

impl Target {
    /// The endpoints that a service chooses from.
    pub(super) fn of_service(state: &ClusterState, endpoints: &[Destination<'_>]) -> Vec<Self> {
        let pod_at = |address| state.pod_at(address).map(|pod| pod.name.clone());
        endpoints
            .iter()
            .map(|to| Self {
                address: to.address,
                pod: to.endpoint.pod.clone().or_else(|| pod_at(to.address.ip())),
                masquerade: to.masquerade,
            })
            .collect()
    }
}
