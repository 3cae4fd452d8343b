use std::collections::BTreeSet;

use ipnet::IpNet;
use podway_model::ClusterState;

/// Which connections leave the cluster and have to carry the node's address,
/// since nobody outside knows the way back to a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MasqueradeTable {
    /// This node's pods.
    pub pods: BTreeSet<IpNet>,
    /// Every node's pods: between them no address is changed. None contains
    /// another.
    pub cluster: BTreeSet<IpNet>,
    /// Networks outside of the cluster that know the way back to pods: towards
    /// them pods keep their addresses. None contains another.
    pub unmasqueraded: BTreeSet<IpNet>,
}

/// Plans what the node `own` masquerades, towards everything but the networks
/// `unmasqueraded`. Without pod prefixes of its own, nothing.
#[must_use]
pub fn plan_masquerade(
    state: &ClusterState,
    own: &str,
    unmasqueraded: &[IpNet],
) -> MasqueradeTable {
    let Some(own) = state.node(own) else {
        return MasqueradeTable::default();
    };
    MasqueradeTable {
        pods: own.pod_prefixes.iter().map(IpNet::trunc).collect(),
        cluster: outermost(state.nodes().flat_map(|node| &node.pod_prefixes)),
        unmasqueraded: outermost(unmasqueraded.iter()),
    }
}

/// The prefixes that are in no other. Overlapping podCIDRs are a mistake that
/// must not make the kernel refuse the set; neighbouring ones stay apart, so
/// that one node more is one element more.
fn outermost<'a>(prefixes: impl Iterator<Item = &'a IpNet>) -> BTreeSet<IpNet> {
    // In this order a prefix comes before all that it contains.
    let sorted: BTreeSet<IpNet> = prefixes.map(IpNet::trunc).collect();
    let mut outermost: BTreeSet<IpNet> = BTreeSet::new();
    for prefix in sorted {
        let inside = outermost.last().is_some_and(|last| last.contains(&prefix));
        if !inside {
            outermost.insert(prefix);
        }
    }
    outermost
}
