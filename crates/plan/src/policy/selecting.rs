use std::collections::BTreeSet;

use podway_model::{
    ClusterNetworkPolicy, ContainerPort, NetworkPolicy, ObjectName, Protocol, Tier,
};

use super::compile::{self, Destination};
use super::policy_index::order;
use super::{Allow, Direction, Match, RuleSet, TierRule};

/// The policies that select a pod, or those of them that count.
#[derive(Debug, Clone)]
pub(super) struct Selecting<'a> {
    /// In name order.
    network: Vec<&'a NetworkPolicy>,
    /// In the order in which they are asked.
    cluster: Vec<&'a ClusterNetworkPolicy>,
}

impl<'a> Selecting<'a> {
    /// The NetworkPolicies must be in name order.
    pub(super) fn of(
        network: Vec<&'a NetworkPolicy>,
        mut cluster: Vec<&'a ClusterNetworkPolicy>,
    ) -> Self {
        cluster.sort_by_key(|policy| order(policy));
        Self { network, cluster }
    }

    /// Those that have something to say in a direction.
    pub(super) fn in_direction(&self, direction: Direction) -> Self {
        Self {
            network: filtered(&self.network, |policy| {
                compile::rules_of(policy, direction).is_some()
            }),
            cluster: filtered(&self.cluster, |policy| {
                !compile::cluster_rules_of(policy, direction).is_empty()
            }),
        }
    }

    /// Those that are not in audit mode.
    pub(super) fn enforced(&self) -> Self {
        Self {
            network: filtered(&self.network, |policy| !policy.audit),
            cluster: filtered(&self.cluster, |policy| !policy.audit),
        }
    }

    /// Whether some is in audit mode.
    pub(super) fn has_audit(&self) -> bool {
        self.network.iter().any(|policy| policy.audit)
            || self.cluster.iter().any(|policy| policy.audit)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.network.is_empty() && self.cluster.is_empty()
    }

    /// What they are called, which tells them from any others.
    pub(super) fn names(&self) -> Vec<ObjectName> {
        let network = self.network.iter().map(|policy| policy.name.clone());
        let cluster = self.cluster.iter().map(|policy| policy.object_name());
        network.chain(cluster).collect()
    }

    /// The container ports of a subject that its named ingress ports mean.
    pub(super) fn own_ports(&self, ports: &[ContainerPort]) -> BTreeSet<(String, Protocol, u16)> {
        let network = self.network.iter().flat_map(|policy| {
            let names = compile::port_names(policy, Direction::Ingress);
            names.map(|(name, protocol)| (name, Some(protocol)))
        });
        let cluster = self.cluster.iter().flat_map(|policy| {
            let names = compile::named_ports(policy, Direction::Ingress);
            names.map(|name| (name, None))
        });
        let names: BTreeSet<(&str, Option<Protocol>)> = network.chain(cluster).collect();
        let is_named = |port: &&ContainerPort| {
            names.contains(&(port.name.as_str(), None))
                || names.contains(&(port.name.as_str(), Some(port.protocol)))
        };
        let named = ports.iter().filter(is_named);
        named
            .map(|port| (port.name.clone(), port.protocol, port.port))
            .collect()
    }

    /// What they say together in a direction; `None` where they say nothing.
    pub(super) fn rule_set(
        &self,
        direction: Direction,
        destination: Destination<'_>,
    ) -> Option<RuleSet> {
        let one = self.in_direction(direction);
        if one.is_empty() {
            return None;
        }
        let tier = |tier| -> Vec<TierRule> {
            let of_tier = one.cluster.iter().filter(|policy| policy.tier == tier);
            of_tier
                .flat_map(|policy| compile::tier_rules(policy, direction, destination))
                .collect()
        };
        let (admin, baseline) = (tier(Tier::Admin), tier(Tier::Baseline));
        let has_tiers = !admin.is_empty() || !baseline.is_empty();
        let network = || one.network.iter();
        let allows = network().flat_map(|policy| compile::allows(policy, direction, destination));
        let in_tiers = |allow: Allow| Allow {
            matches: Match {
                peers: allow.matches.peers.with_members(),
                ports: allow.matches.ports,
            },
            ..allow
        };
        Some(RuleSet {
            admin,
            isolated_by: network().map(|policy| policy.name.clone()).collect(),
            allows: if has_tiers {
                allows.map(in_tiers).collect()
            } else {
                allows.collect()
            },
            baseline,
        })
    }
}

fn filtered<'a, T>(all: &[&'a T], keep: impl Fn(&T) -> bool) -> Vec<&'a T> {
    all.iter().copied().filter(|one| keep(one)).collect()
}
