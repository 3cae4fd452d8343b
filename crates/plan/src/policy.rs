//! Policies: from NetworkPolicies, Pods and Namespaces to rule sets of
//! addresses and ports.

mod table;

pub use table::{Allow, Direction, Peers, PodRules, PolicyTable, PortRange, RuleSet};
