//! Services in nf_tables: what is written, and what it does to packets.

mod packets;
pub(crate) mod served;
pub(crate) mod site;
mod succession;
mod takeover;
mod trace;
mod userspace;
mod writes;

use podway_dataplane::service::ServiceSettings;
use podway_model::ClusterState;
use podway_plan::service::{NodeContext, ServicePlanner, ServiceTable};

pub(crate) fn plan(state: &ClusterState, context: &NodeContext) -> ServiceTable {
    let mut planner = ServicePlanner::new(context.clone());
    planner.plan_all(state);
    planner.table().clone()
}

pub(crate) fn settings(context: &NodeContext) -> ServiceSettings {
    ServiceSettings {
        pod_prefixes: context.pod_prefixes.clone(),
        pod_interfaces: context.pod_interfaces.clone(),
        node_port_prefixes: context.node_port_prefixes.clone(),
        localhost_node_ports: context.localhost_node_ports,
        ..ServiceSettings::default()
    }
}
