//! Services in iptables: what is written, and what it does to packets.

pub(crate) mod clusters;
mod kernel;
mod measure;
mod packets;
mod spoiled;
pub(crate) mod trace;
mod writes;

use podway_dataplane::service::iptables::IptablesServices;
use podway_dataplane::service::{ServiceBackend, ServiceSettings, SyncReport};
use podway_kernel::conntrack::FakeConntrack;
use podway_kernel::ipset::FakeIpSets;
use podway_kernel::iptables::FakeIptables;
use podway_model::ClusterState;
use podway_plan::service::{NodeContext, ServiceChange, ServicePlanner, ServiceTable};

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
        ..ServiceSettings::default()
    }
}

type Fake = IptablesServices<FakeIptables, FakeIpSets, FakeConntrack>;

fn fake() -> Fake {
    IptablesServices::new(
        FakeIptables::new(),
        FakeIpSets::new(),
        FakeConntrack::default(),
        settings(&clusters::context()),
    )
}

fn sync(
    backend: &mut impl ServiceBackend,
    table: &ServiceTable,
    change: Option<&ServiceChange>,
) -> SyncReport {
    backend
        .sync(table, change)
        .unwrap_or_else(|error| panic!("{error}: {error:#?}"))
}
