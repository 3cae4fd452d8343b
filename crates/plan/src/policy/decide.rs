use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use podway_model::{ObjectName, Protocol};

use super::{Direction, Finding, PodRules, PolicyTable, RuleSet};

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
    /// No policy has a say in this side, or none has decided.
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
    /// A rule of a ClusterNetworkPolicy denies it.
    Refused {
        /// The policy, without a namespace.
        policy: ObjectName,
        /// The index of its rule, from 0, in this direction's list.
        rule: usize,
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
        matches!(self, Self::Open | Self::Allowed { .. })
    }
}

/// What the policies of a table say to a connection. A table that was planned
/// for one node knows only that node's pods; one for all nodes gives the whole
/// answer.
#[must_use]
pub fn decide(table: &PolicyTable, connection: &Connection) -> Decision {
    decide_by(table, connection, |rules, direction| {
        rules.enforced.get(direction)
    })
}

/// What they would say if those in audit mode were enforced.
#[must_use]
pub fn decide_audited(table: &PolicyTable, connection: &Connection) -> Decision {
    decide_by(table, connection, |rules, direction| {
        let audited = rules.audited.get(direction);
        audited.or_else(|| rules.enforced.get(direction))
    })
}

/// The rules of a pod in a direction that count.
type Choose = fn(&PodRules, Direction) -> Option<&Arc<RuleSet>>;

fn decide_by(table: &PolicyTable, connection: &Connection, rules: Choose) -> Decision {
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
    let judge = |subject: Option<&Arc<PodRules>>, direction| {
        let set = subject.and_then(|subject| rules(subject, direction));
        set.map_or(Judgement::Open, |set| {
            judge(table, set, direction, connection)
        })
    };
    Decision {
        egress: judge(source, Direction::Egress),
        ingress: judge(destination, Direction::Ingress),
    }
}

fn judge(
    table: &PolicyTable,
    rules: &RuleSet,
    direction: Direction,
    connection: &Connection,
) -> Judgement {
    let peer = match direction {
        Direction::Ingress => connection.source,
        Direction::Egress => connection.destination,
    };
    let group = table.peers.get(&peer).map(|group| &**group);
    match rules.decide(peer, group, connection.protocol, connection.port) {
        Finding::Open => Judgement::Open,
        Finding::Allowed(policy, rule) => Judgement::Allowed {
            policy: policy.clone(),
            rule,
        },
        Finding::Refused(policy, rule) => Judgement::Refused {
            policy: policy.clone(),
            rule,
        },
        Finding::Isolated => Judgement::Denied {
            isolated_by: rules.isolated_by.clone(),
        },
    }
}
