//! What policies make of each place that a packet can go to.

use std::net::IpAddr;
use std::sync::Arc;

use podway_model::{ClusterState, ObjectName};

use super::party::{Kind, Party};
use super::path::{Journey, Target};
use super::{EndpointAnswer, Explainer, SideAnswer, Verdict};
use crate::policy::{self, Connection, Judgement};

/// One place, judged.
#[derive(Debug, Clone)]
pub(super) struct Judged {
    pub(super) target: Target,
    pub(super) place: Place,
    pub(super) egress: Judgement,
    pub(super) ingress: Judgement,
}

/// Who is at the address, as far as policies care.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// The source itself, reached without leaving its network.
    Itself,
    /// A pod on the node whose own process connects.
    PodOfOwnNode(ObjectName),
    /// A pod.
    Pod(ObjectName),
    /// A node, or a pod that uses its network.
    Node(Arc<str>),
    /// No pod, though the address is in this node's pod prefix.
    Nobody(Arc<str>),
    /// Something that is no object of the cluster.
    Outside,
}

impl Explainer {
    pub(super) fn judge(
        &self,
        journey: &Journey<'_>,
        target: Target,
        through_service: bool,
    ) -> Judged {
        let node = match &journey.from.kind {
            Kind::Node(node) => Some(node.clone()),
            _ => None,
        };
        let connection = Connection {
            source: journey.source,
            destination: target.address.ip(),
            protocol: journey.question.protocol,
            port: target.address.port(),
            node,
            through_service,
        };
        let decision = policy::decide(&self.policies, &connection);
        Judged {
            place: place(&self.state, journey, &connection),
            egress: decision.egress,
            ingress: decision.ingress,
            target,
        }
    }
}

fn place(state: &ClusterState, journey: &Journey<'_>, connection: &Connection) -> Place {
    let address = connection.destination;
    if connection.source == address && !connection.through_service {
        return Place::Itself;
    }
    match Party::at(state, address).kind {
        Kind::Pod(pod) if connection.node.is_some() && pod.node == connection.node => {
            Place::PodOfOwnNode(pod.name.clone())
        }
        Kind::Pod(pod) => Place::Pod(pod.name.clone()),
        Kind::Node(node) => Place::Node(node),
        Kind::Service | Kind::Address => match (&journey.to.kind, holder(state, address)) {
            (Kind::Address, Some(node)) => Place::Nobody(node),
            _ => Place::Outside,
        },
    }
}

/// The node whose pods have the addresses around this one.
fn holder(state: &ClusterState, address: IpAddr) -> Option<Arc<str>> {
    let mut nodes = state.nodes();
    let node = nodes.find(|node| node.pod_prefixes.iter().any(|p| p.contains(&address)));
    node.map(|node| node.name.clone())
}

impl Judged {
    pub(super) fn verdict(&self) -> Verdict {
        if !self.egress.is_allowed() || !self.ingress.is_allowed() {
            return Verdict::Deny;
        }
        match self.place {
            Place::Nobody(_) => Verdict::Unrouted,
            _ => Verdict::Allow,
        }
    }

    pub(super) fn answer(&self) -> EndpointAnswer {
        EndpointAnswer {
            address: self.target.address,
            pod: self.target.pod.as_ref().map(ToString::to_string),
            verdict: self.verdict(),
            egress: SideAnswer::of(&self.egress),
            ingress: SideAnswer::of(&self.ingress),
        }
    }

    /// `10.244.1.5:8080 (default/web-1)`.
    pub(super) fn text(&self) -> String {
        match &self.target.pod {
            Some(pod) => format!("{} ({pod})", self.target.address),
            None => self.target.address.to_string(),
        }
    }
}
