use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use podway_model::{ObjectName, Protocol};

use super::{Direction, PodRules, PolicyTable};

/// A new connection as policies see it: the destination after service DNAT, the
/// source before any SNAT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// The address that opens it.
    pub source: IpAddr,
    /// The address that it reaches.
    pub destination: IpAddr,
    /// Its protocol.
    pub protocol: Protocol,
    /// The destination's port.
    pub port: u16,
    /// The node whose own process opens it; `None` where a pod or somebody
    /// outside the cluster does. A pod's own node always reaches it.
    pub node: Option<Arc<str>>,
    /// Whether it went through a service. A pod that reaches itself directly
    /// never leaves its namespace; through a service it does and is judged.
    pub through_service: bool,
}

/// What policies say to a connection; it needs both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The source's side.
    pub egress: Judgement,
    /// The destination's side.
    pub ingress: Judgement,
}

/// What one side says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// No policy isolates this side, or policies do not apply to it.
    Open,
    /// A rule allows it.
    Allowed {
        /// The policy.
        policy: ObjectName,
        /// The index of its rule, from 0, in this direction's list.
        rule: usize,
    },
    /// No rule allows it.
    Denied {
        /// The policies that isolate this side.
        isolated_by: BTreeSet<ObjectName>,
    },
}

impl Decision {
    /// Whether both sides let it pass.
    #[must_use]
    pub const fn is_allowed(&self) -> bool {
        self.egress.is_allowed() && self.ingress.is_allowed()
    }
}

impl Judgement {
    /// Whether this side lets it pass.
    #[must_use]
    pub const fn is_allowed(&self) -> bool {
        !matches!(self, Self::Denied { .. })
    }
}

/// What the policies of a table say to a connection. A table that was planned
/// for one node knows only that node's pods; one for all nodes gives the whole
/// answer.
#[must_use]
pub fn decide(table: &PolicyTable, connection: &Connection) -> Decision {
    let within_pod = connection.source == connection.destination && !connection.through_service;
    if within_pod {
        return Decision {
            egress: Judgement::Open,
            ingress: Judgement::Open,
        };
    }
    let source = table.rules_at(connection.source);
    let destination = table
        .rules_at(connection.destination)
        .filter(|rules| connection.node.is_none() || rules.node != connection.node);
    Decision {
        egress: judge(table, source, Direction::Egress, connection),
        ingress: judge(table, destination, Direction::Ingress, connection),
    }
}

fn judge(
    table: &PolicyTable,
    subject: Option<&Arc<PodRules>>,
    direction: Direction,
    connection: &Connection,
) -> Judgement {
    let Some(rules) = subject.and_then(|rules| rules.direction(direction)) else {
        return Judgement::Open;
    };
    let peer = match direction {
        Direction::Ingress => connection.source,
        Direction::Egress => connection.destination,
    };
    let group = table.peers.get(&peer).map(|group| &**group);
    match rules.decide(peer, group, connection.protocol, connection.port) {
        Some(allow) => Judgement::Allowed {
            policy: allow.policy.clone(),
            rule: allow.rule,
        },
        None => Judgement::Denied {
            isolated_by: rules.isolated_by.clone(),
        },
    }
}
