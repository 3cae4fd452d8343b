//! Policies: from NetworkPolicies, ClusterNetworkPolicies, Pods, Namespaces and
//! Nodes to rule sets of addresses and ports.
//!
//! [`PolicyPlanner`] keeps the table of a node as the cluster changes,
//! [`rules_for`] plans one pod alone, and [`decide`] says what a table makes of
//! a connection.

mod change;
mod claims;
mod compile;
mod decide;
mod peer_index;
mod peers;
mod planner;
mod policy_index;
mod port_numbers;
mod rule_set;
mod rule_sets;
mod rules;
mod selecting;
mod selector_index;
mod table;

pub(crate) use policy_index::namespace_labels;

pub use change::{Changed, PolicyChange};
pub use decide::{Connection, Decision, Judgement, decide, decide_audited};
pub use peers::{
    Block, NamedPort, NamespaceScope, PeerGroup, PeerSelector, Peers, PodSelector, Who,
};
pub use planner::PolicyPlanner;
pub use rule_set::{Allow, AllowedPorts, Finding, Match, PortRange, RuleSet, TierRule};
pub use rules::rules_for;
pub use table::{Direction, Directions, PodRules, PolicyTable};
