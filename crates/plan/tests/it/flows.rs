//! Every flow of `podway_testkit::flows`, judged by `decide`.

use podway_model::ClusterState;
use podway_plan::service::{self, NodeContext, ServicePlanner, ServiceTable};
use podway_testkit::flows;
use podway_testkit::scenario::{self, Case};

/// The table of one node, from nothing.
pub(crate) fn plan(state: &ClusterState, context: &NodeContext) -> ServiceTable {
    let mut planner = ServicePlanner::new(context.clone());
    planner.plan_all(state);
    planner.table().clone()
}

#[test]
fn every_flow_is_decided_as_written() {
    let mut wrong = Vec::new();
    for (file, cases) in flows::all() {
        for case in cases {
            // A case in IPv6 is without flows where none of its own is IPv4.
            let is_written = !case.title.ends_with("(IPv6)");
            let has_flows = !case.flows.is_empty();
            assert!(has_flows || !is_written, "{file}: no flow: {}", case.title);
            wrong.extend(mistakes(&case));
        }
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
