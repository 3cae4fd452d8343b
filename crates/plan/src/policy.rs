//! Policies: from NetworkPolicies, Pods and Namespaces to rule sets of
//! addresses and ports.
//!
//! [`PolicyPlanner`] keeps the table of a node as the cluster changes,
//! [`rules_for`] plans one pod alone, and [`decide`] says what a table makes of
//! a connection.

mod change;
mod claims;
mod compile;
mod decide;
mod peer_index;
mod planner;
mod policy_index;
mod port_numbers;
mod rule_sets;
mod rules;
mod selector_index;
mod table;

pub use change::{Changed, PolicyChange};
pub use decide::{Connection, Decision, Judgement, decide};
pub use planner::PolicyPlanner;
pub use rules::rules_for;
pub use table::{
    Allow, Block, Direction, NamedPort, NamespaceScope, PeerGroup, PeerSelector, Peers, PodRules,
    PolicyTable, PortRange, RuleSet,
};
