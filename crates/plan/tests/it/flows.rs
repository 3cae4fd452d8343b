//! Every flow of `flows/*.txt`, judged by `decide`.

use podway_model::ClusterState;
use podway_plan::service::{self, NodeContext, ServicePlanner, ServiceTable};
use podway_testkit::scenario::{self, Case};

/// The table of one node, from nothing.
pub(crate) fn plan(state: &ClusterState, context: &NodeContext) -> ServiceTable {
    let mut planner = ServicePlanner::new(context.clone());
    planner.plan_all(state);
    planner.table().clone()
}

macro_rules! scenarios {
    ($($test:ident: $file:literal),* $(,)?) => {
        $(#[test]
        fn $test() {
            judge($file, include_str!(concat!("flows/", $file)));
        })*
    };
}

scenarios! {
    cluster_ip_in_general: "cluster_ip.txt",
    masquerade_by_policy_and_source: "masquerade.txt",
    terminating_endpoints: "terminating.txt",
    load_balancer_and_source_ranges: "load_balancer.txt",
    node_ports: "node_ports.txt",
    traffic_policies: "traffic_policy.txt",
    topology_hints: "topology.txt",
    no_endpoints: "no_endpoints.txt",
    contested_frontends: "conflicts.txt",
    endpoint_weights: "weights.txt",
    unallocated_cluster_ips: "unallocated.txt",
    node_ports_at_loopback: "localhost.txt",
}

fn judge(file: &str, text: &str) {
    let mut wrong = Vec::new();
    for case in scenario::parse(file, text) {
        assert!(
            !case.flows.is_empty(),
            "{file}: case `{}` has no flow",
            case.title
        );
        wrong.extend(mistakes(&case));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn mistakes(case: &Case) -> Vec<String> {
    let mut wrong = Vec::new();
    for flow in &case.flows {
        let table = plan(&case.state, &case.contexts[&flow.context]);
        let decision = service::decide(&table, &flow.packet);
        let outcome = scenario::outcome(&decision.outcome);
        if outcome != flow.outcome {
            wrong.push(format!(
                "case `{}` on {}: {}\n  decided: {outcome}\n  table: {table:#?}",
                case.title, flow.context, flow.line
            ));
        }
    }
    wrong
}
