//! `cases.txt` and `tiers.txt` by every way that a decision can be come by.

use std::sync::Arc;

use podway_model::ClusterState;
use podway_plan::policy::{
    Connection, Decision, Direction, Judgement, PolicyPlanner, PolicyTable, decide, decide_audited,
    rules_for,
};
use podway_testkit::policy_scenario::{PolicyCase, outcome, parse};

fn cases() -> Vec<PolicyCase> {
    let mut cases = parse("cases.txt", include_str!("cases.txt"));
    cases.extend(parse("tiers.txt", include_str!("tiers.txt")));
    cases
}

/// Judges every connection of every case and shows all that are wrong.
fn judge(judge: impl Fn(&ClusterState, &Connection) -> Decision) {
    let mut wrong = Vec::new();
    for case in cases() {
        for attempt in &case.attempts {
            let decision = judge(&case.state, &attempt.connection);
            if !attempt.agrees(&decision) {
                wrong.push(format!(
                    "{}\n  in case: {}\n  connection: {:?}\n  decided: {}\n  {decision:?}",
                    attempt.line,
                    case.title,
                    attempt.connection,
                    outcome(&decision),
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn one_planner_for_all_nodes() {
    judge(|state, connection| {
        let planner = PolicyPlanner::plan(None, state);
        decide(planner.table(), connection)
    });
}

#[test]
fn policies_in_audit_mode_as_if_they_were_enforced() {
    for case in cases() {
        let planner = PolicyPlanner::plan(None, &case.state);
        for attempt in &case.attempts {
            let decision = decide_audited(planner.table(), &attempt.connection);
            let line = &attempt.line;
            assert!(attempt.agrees_audited(&decision), "{line}: {decision:?}");
        }
    }
}

#[test]
fn each_side_by_its_own_nodes_planner() {
    let table = |state: &ClusterState, address| {
        let node = state.pod_at(address).and_then(|pod| pod.node.clone());
        PolicyPlanner::plan(Some(node.unwrap_or_else(|| "nowhere".into())), state)
    };
    judge(|state, connection| {
        let source = table(state, connection.source);
        let destination = table(state, connection.destination);
        Decision {
            egress: decide(source.table(), connection).egress,
            ingress: decide(destination.table(), connection).ingress,
        }
    });
}

#[test]
fn pods_planned_alone() {
    judge(|state, connection| {
        // The groups are the planner's; the rules are each pod's own.
        let mut table = PolicyTable {
            peers: PolicyPlanner::plan(None, state).table().peers.clone(),
            ..PolicyTable::default()
        };
        for address in [connection.source, connection.destination] {
            let Some(pod) = state.pod_at(address) else {
                continue;
            };
            let rules = rules_for(state, pod);
            table.pod_at.insert(address, pod.name.clone());
            table.pods.insert(pod.name.clone(), Arc::new(rules));
        }
        decide(&table, connection)
    });
}

#[test]
fn a_pod_planned_alone_has_the_rules_of_the_table() {
    for case in cases() {
        let planner = PolicyPlanner::plan(None, &case.state);
        for pod in case.state.pods() {
            let alone = rules_for(&case.state, pod);
            let expected = planner.table().pods.get(&pod.name).map(|rules| &**rules);
            // Rules without an address are nothing that a node can enforce.
            let in_table = alone.has_rules() && !alone.addresses.is_empty();
            let alone = in_table.then_some(&alone);
            assert_eq!(alone, expected, "{} in case: {}", pod.name, case.title);
        }
    }
}

#[test]
fn a_deny_names_every_policy_that_isolates() {
    let text = "pod x/a node1 10.0.1.1 app=a\n\
        case one\n\
        policy x/p app=a\ningress none\n\
        policy x/q *\ningress from pods app=b\negress none\n\
        policy x/other app=b\ningress none\n\
        connect 192.0.2.1 > x/a 80 = deny ingress\n";
    let case = &parse("inline", text)[0];
    let planner = PolicyPlanner::plan(None, &case.state);
    let decision = decide(planner.table(), &case.attempts[0].connection);
    let Judgement::Denied { isolated_by } = &decision.ingress else {
        panic!("{decision:?}")
    };
    let names: Vec<String> = isolated_by.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["x/p", "x/q"]);
}

#[test]
fn only_isolated_pods_of_the_node_are_in_the_table() {
    let case = &cases()
        .into_iter()
        .find(|case| case.title.starts_with("isolation is per direction: egress"))
        .expect("a case of that title");
    let pods = |node: Option<&str>| {
        let planner = PolicyPlanner::plan(node.map(Into::into), &case.state);
        let pods = planner.table().pods.iter();
        pods.map(|(name, rules)| {
            assert!(rules.direction(Direction::Ingress).is_none(), "{rules:?}");
            name.to_string()
        })
        .collect::<Vec<_>>()
    };
    assert_eq!(pods(None), ["x/a"]);
    assert_eq!(pods(Some("node1")), ["x/a"]);
    assert_eq!(pods(Some("node2")), [""; 0]);
}
