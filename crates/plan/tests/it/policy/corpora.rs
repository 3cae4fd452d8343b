//! The corpora of cyclonus, of Kubernetes' own end-to-end tests and of the
//! conformance tests of ClusterNetworkPolicy, every case and step, by `decide`.
//!
//! They are other projects' data and lie outside the repository: in the folder
//! that `PODWAY_CORPORA` names, `/work/shared/corpora/netpol` without it. Where
//! it is absent these tests say so and check nothing: `cases.txt` is the suite
//! that stands on its own.

use podway_model::{ClusterState, Protocol};
use podway_plan::policy::{Connection, Decision, PolicyPlanner, decide};
use podway_testkit::builders::{IntoObject, ip, state};
use serde_json::Value;

use super::cluster_corpus::{self, read};
use super::kubernetes_json::{list, namespace, pod, policy, text};

/// What the corpora must amount to, so that a file that shrank is noticed.
struct Size {
    cases: usize,
    steps: usize,
    verdicts: usize,
}

/// Which of a step's tables a decision is held against.
type Judge = fn(&Decision) -> bool;

#[test]
fn cyclonus_on_a_flat_ipv4_network() {
    cyclonus("cyclonus-flat24.json");
}

#[test]
fn cyclonus_on_two_nodes_with_ipv6() {
    cyclonus("cyclonus-twonode-v6.json");
}

#[test]
fn kubernetes_end_to_end_ipv4() {
    end_to_end("e2e-twonode-v4.json");
}

#[test]
fn kubernetes_end_to_end_ipv6() {
    end_to_end("e2e-twonode-v6.json");
}

fn cyclonus(file: &str) {
    let tables: [(&str, Judge); 3] = [
        ("expected", Decision::is_allowed),
        ("expectedIngress", |decision| decision.ingress.is_allowed()),
        ("expectedEgress", |decision| decision.egress.is_allowed()),
    ];
    // Three tables a step, without the diagonal: 432 flows in 253 steps; three
    // steps have ten or eleven pods and ask for one port.
    let size = Size {
        cases: 230,
        steps: 256,
        verdicts: 329_868,
    };
    replay(file, &tables, &size);
}

fn end_to_end(file: &str) {
    let size = Size {
        cases: 48,
        steps: 65,
        verdicts: 506,
    };
    replay(file, &[("expected", Decision::is_allowed)], &size);
}

#[test]
fn cluster_network_policy_conformance() {
    let (mut pokes, mut wrong) = (0, Vec::new());
    for snapshot in cluster_corpus::snapshots() {
        let planner = PolicyPlanner::plan(None, &snapshot.state);
        for poke in &snapshot.pokes {
            pokes += 1;
            let decision = decide(planner.table(), &poke.connection);
            if decision.is_allowed() != poke.allowed {
                wrong.push(format!("{}: {decision:?}", poke.line));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!([0, cluster_corpus::POKES].contains(&pokes), "{pokes} pokes");
}

fn replay(file: &str, tables: &[(&str, Judge)], size: &Size) {
    let Some(corpus) = read(file) else {
        return;
    };
    let (mut steps, mut verdicts, mut wrong) = (0, 0, Vec::new());
    for case in list(&corpus["cases"]) {
        for step in list(&case["steps"]) {
            steps += 1;
            let place = format!("{file}: case {}: step {steps}", case["index"]);
            verdicts += replay_step(&place, step, tables, &mut wrong);
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert_eq!(list(&corpus["cases"]).count(), size.cases, "cases");
    assert_eq!(steps, size.steps, "steps");
    assert_eq!(verdicts, size.verdicts, "verdicts");
}

fn replay_step(
    place: &str,
    step: &Value,
    tables: &[(&str, Judge)],
    wrong: &mut Vec<String>,
) -> usize {
    let state = state_of(step);
    let planner = PolicyPlanner::plan(None, &state);
    let addresses: Vec<_> = list(&step["pods"])
        .map(|name| {
            let info = list(&step["podInfo"]).find(|info| {
                format!("{}/{}", text(&info["namespace"]), text(&info["name"])) == text(name)
            });
            let info = info.unwrap_or_else(|| panic!("{place}: no pod {name}"));
            ip(text(&info["ip"]))
        })
        .collect();
    let mut verdicts = 0;
    for (table, judge) in tables {
        for (flow, rows) in step[table].as_object().into_iter().flatten() {
            let (protocol, port) = flow.split_once('/').expect("PROTOCOL/PORT");
            for (i, row) in list(rows).enumerate() {
                for (j, cell) in text(row).chars().enumerate().filter(|(j, _)| *j != i) {
                    verdicts += 1;
                    let connection = Connection {
                        source: addresses[i],
                        destination: addresses[j],
                        protocol: Protocol::parse(protocol).expect("a protocol"),
                        port: port.parse().expect("a port"),
                        node: None,
                        through_service: false,
                    };
                    let decision = decide(planner.table(), &connection);
                    if judge(&decision) != (cell == '.') {
                        wrong.push(format!(
                            "{place}: {table} of {flow}, {} to {}: {cell}, decided {decision:?}",
                            step["pods"][i], step["pods"][j],
                        ));
                    }
                }
            }
        }
    }
    verdicts
}

fn state_of(step: &Value) -> ClusterState {
    let namespaces = step["namespaces"].as_object().expect("namespaces");
    let namespaces = namespaces
        .iter()
        .map(|(name, labels)| namespace(name, labels).object());
    let pods = list(&step["podInfo"]).map(|raw| pod(raw).object());
    let policies = list(&step["policies"]).map(|raw| policy(raw).object());
    state(namespaces.chain(pods).chain(policies))
}
