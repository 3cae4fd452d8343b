//! `cases.txt` and `tiers.txt` with packets: the kernel is the judge.

use podway_dataplane::policy::nftables::NftPolicies;
use podway_dataplane::policy::{PolicyBackend as _, SyncReport};
use podway_kernel::conntrack::FakeMarker;
use podway_kernel::nft::Nft;
use podway_model::ClusterState;
use podway_plan::policy::{Connection, PolicyPlanner, PolicyTable, decide};

use super::wire::{Wire, is_routable};
use super::{cases, change, cluster_corpus, table};

/// All pods are behind one router, which is the node of each of them. So it has
/// the addresses of node1, and what another node opens comes from the wire.
const NODE1: [&str; 2] = ["172.16.0.11", "fd00:172:16::11"];

fn comes_from_own_node(state: &ClusterState, connection: &Connection) -> bool {
    let pod = state.pod_at(connection.destination);
    connection.node.is_some() && pod.is_some_and(|pod| pod.node == connection.node)
}

/// What no router sees: a pod's connection to itself, or to a link.
fn is_seen(connection: &Connection) -> bool {
    let within_pod = connection.source == connection.destination && !connection.through_service;
    !within_pod && is_routable(connection.destination)
}

fn judge_every_case(
    mut sync: impl FnMut(&mut NftPolicies<Nft, FakeMarker>, &PolicyTable) -> SyncReport,
) {
    let mut wire = Wire::new(&NODE1);
    let nft = wire.router.run(Nft::open).expect("the router's namespace");
    let mut backend = super::backend(nft.expect("nf_tables"));
    let (mut judged, mut wrong) = (0, Vec::new());
    for case in cases() {
        let table = table(&case);
        sync(&mut backend, &table);
        for attempt in &case.attempts {
            let connection = &attempt.connection;
            if !is_seen(connection) {
                continue;
            }
            judged += 1;
            let own_node = comes_from_own_node(&case.state, connection);
            let passes = wire.passes(connection, own_node);
            if passes != attempt.allowed {
                wrong.push(format!(
                    "{}\n  in case: {}\n  passed: {passes}\n  decide: {:?}",
                    attempt.line,
                    case.title,
                    decide(&table, connection),
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
    assert!(judged > 300, "only {judged} connections judged");
}

/// The conformance tests of ClusterNetworkPolicy: what is denied is dropped.
#[test]
fn what_other_projects_expect_of_cluster_policies() {
    let mut wire = Wire::new(&NODE1);
    let nft = wire.router.run(Nft::open).expect("the router's namespace");
    let mut backend = super::backend(nft.expect("nf_tables"));
    let mut wrong = Vec::new();
    for snapshot in cluster_corpus::snapshots() {
        let planner = PolicyPlanner::plan(None, &snapshot.state);
        backend.sync(planner.table(), None).expect("a full sync");
        for poke in &snapshot.pokes {
            if wire.passes(&poke.connection, false) != poke.allowed {
                wrong.push(poke.line.clone());
            }
        }
    }
    assert!(wrong.is_empty(), "wrong:\n{}", wrong.join("\n"));
}

#[test]
fn each_table_written_whole() {
    judge_every_case(|backend, table| backend.sync(table, None).expect("a full sync"));
}

#[test]
fn each_table_written_as_a_change_of_the_one_before() {
    let mut before = PolicyTable::default();
    let mut started = false;
    judge_every_case(|backend, table| {
        if !std::mem::replace(&mut started, true) {
            backend.sync(&before, None).expect("an empty table");
        }
        let change = change(&before, table);
        before = table.clone();
        backend.sync(table, Some(&change)).expect("a change")
    });
}
