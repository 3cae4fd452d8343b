use std::collections::BTreeSet;

use ipnet::IpNet;
use podway_model::ClusterState;

/// Which connections leave the cluster and have to carry the node's address,
/// since nobody outside knows the way back to a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MasqueradeTable {
    /// This node's pods.
    pub pods: BTreeSet<IpNet>,
    /// Every node's pods: between them no address is changed.
    pub cluster: BTreeSet<IpNet>,
}

/// Plans what the node `own` masquerades. Without pod prefixes of its own,
/// nothing.
#[must_use]
pub fn plan_masquerade(state: &ClusterState, own: &str) -> MasqueradeTable {
    let Some(own) = state.node(own) else {
        return MasqueradeTable::default();
    };
    let all: Vec<IpNet> = state
        .nodes()
        .flat_map(|node| &node.pod_prefixes)
        .map(IpNet::trunc)
        .collect();
    MasqueradeTable {
        pods: own.pod_prefixes.iter().map(IpNet::trunc).collect(),
        // Overlapping podCIDRs are a mistake that must not make the kernel
        // refuse the set: merged, they are one interval.
        cluster: IpNet::aggregate(&all).into_iter().collect(),
    }
}
