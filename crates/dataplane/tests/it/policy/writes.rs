//! What is written for a change, and that it is what a full sync would write.

use nix::errno::Errno;
use podway_dataplane::policy::nftables::{NftPolicies, TABLE};
use podway_dataplane::policy::{PolicyBackend, SyncReport};
use podway_kernel::conntrack::FakeMarker;
use podway_kernel::nft::{FakeNft, Fault, Nft, Nftables};
use podway_model::{Change, ClusterState, Object};
use podway_plan::policy::{PolicyPlanner, PolicyTable};
use podway_testkit::builders::{IntoObject, ip, labels, name, pod};
use podway_testkit::policy_scenario::parse;
use proptest::prelude::*;

use super::{backend, cases, change, namespace, plain_backend, table};

const NOTHING: SyncReport = SyncReport {
    writes: 0,
    elements: 0,
};

/// A node with its planner and backend.
struct Node<K> {
    state: ClusterState,
    planner: PolicyPlanner,
    backend: NftPolicies<K, FakeMarker>,
}

impl<K: Nftables + Send> Node<K> {
    fn new(nft: K, text: &str) -> Self {
        let state = parse("node", text).remove(0).state;
        let planner = PolicyPlanner::plan(Some("node1".into()), &state);
        let mut backend = plain_backend(nft);
        let report = backend.sync(planner.table(), None).expect("the first sync");
        assert_ne!(report, NOTHING);
        Self {
            state,
            planner,
            backend,
        }
    }

    fn apply(&mut self, change: Change) -> SyncReport {
        let updates = self.state.apply(change);
        let change = self.planner.update(&self.state, &updates);
        self.backend
            .sync(self.planner.table(), Some(&change))
            .expect("a sync of a change")
    }

    fn upsert(&mut self, object: impl IntoObject) -> SyncReport {
        self.apply(Change::Upsert(object.object()))
    }
}

const BASE: &str = "namespace x
pod x/a node1 10.0.1.1,fd00:1::1 app=a
pod x/b node2 10.0.2.1,fd00:2::1 app=b
case base
policy x/p app=a
ingress from pods app=b ports tcp/80
ingress from block 192.0.2.0/24
egress ports udp/53
";

#[test]
fn an_unchanged_table_is_not_written_again() {
    let mut node = Node::new(FakeNft::new(), BASE);
    let report = node.backend.sync(node.planner.table(), None).expect("full");
    assert_eq!(report, NOTHING);
    let unchanged = node
        .backend
        .sync(node.planner.table(), Some(&Default::default()));
    assert_eq!(unchanged.expect("no change"), NOTHING);
    // Another process of the agent: it knows nothing but what it reads.
    let mut restarted = plain_backend(node.backend.nft().clone());
    let report = restarted.sync(node.planner.table(), None).expect("restart");
    assert_eq!(report, NOTHING);
}

#[test]
fn a_new_peer_is_one_element_for_each_address() {
    let mut node = Node::new(FakeNft::new(), BASE);
    let peer = podway_model::Pod {
        labels: labels(&[("app", "b")]),
        ..pod("x/c", "node2", &["10.0.2.2", "fd00:2::2"])
    };
    let report = node.upsert(peer);
    assert_eq!((report.writes, report.elements), (2, 2));
}

#[test]
fn a_policy_of_other_pods_writes_nothing() {
    let mut node = Node::new(FakeNft::new(), BASE);
    let other = podway_model::NetworkPolicy {
        ingress: Some(Vec::new()),
        subjects: podway_testkit::builders::selector(&[("app", "b")]),
        ..podway_testkit::builders::policy("x/q")
    };
    assert_eq!(node.upsert(other), NOTHING);
}

#[test]
fn an_attached_pod_is_isolated_in_one_transaction() {
    let mut node = Node::new(FakeNft::new(), BASE);
    let before = node.backend.nft().written().transactions;
    let attached = node.planner.attach(
        &node.state,
        &name("x/new"),
        "1",
        &[ip("10.0.1.9"), ip("fd00:1::9")],
    );
    let report = node.backend.sync(node.planner.table(), Some(&attached));
    // Its labels are not known: it is among the isolated pods, for each
    // direction and family, and among those that are denied, and that is all.
    assert_eq!(report.expect("attached").elements, 4 + 4);
    assert_eq!(node.backend.nft().written().transactions, before + 1);
}

#[test]
fn after_an_error_everything_is_compared() {
    let mut node = Node::new(FakeNft::new(), BASE);
    let held = node.backend.nft().ruleset(TABLE);
    let fault = Fault {
        after: 0,
        errno: Errno::ENOMEM,
    };
    node.backend.nft_mut().inject(fault);
    let gone = Change::Replace(podway_model::ObjectKind::NetworkPolicy, Vec::new());
    let updates = node.state.apply(gone);
    let change = node.planner.update(&node.state, &updates);
    let table = node.planner.table();
    let error = node
        .backend
        .sync(table, Some(&change))
        .expect_err("a fault");
    assert_eq!(
        error.to_string(),
        "cannot program policies: what was in force stays in force",
    );
    assert_eq!(
        node.backend.nft().ruleset(TABLE),
        held,
        "nothing was written"
    );
    // The next change is not what is missing; the next sync finds all of it.
    let report = node.backend.sync(table, Some(&Default::default()));
    assert!(report.expect("the next sync").elements > 0);
    let mut empty = plain_backend(FakeNft::new());
    empty.sync(table, None).expect("an empty table");
    assert_eq!(
        node.backend.nft().ruleset(TABLE),
        empty.nft().ruleset(TABLE)
    );
}

#[test]
fn what_somebody_else_removed_comes_back() {
    let mut node = Node::new(FakeNft::new(), BASE);
    let whole = node.backend.nft().ruleset(TABLE);
    let mut foreign = podway_kernel::nft::Transaction::new(TABLE);
    let (set, elements) = whole
        .as_ref()
        .and_then(|ruleset| ruleset.set("ingress-pods4"))
        .expect("the map of isolated pods");
    foreign.delete(set, elements.to_vec());
    node.backend.nft_mut().apply(&foreign).expect("foreign");
    let report = node.backend.sync(node.planner.table(), None).expect("full");
    assert_eq!((report.writes, report.elements), (1, 1));
    assert_eq!(node.backend.nft().ruleset(TABLE), whole);
}

#[test]
fn cleanup_leaves_nothing_and_may_be_repeated() {
    let mut node = Node::new(FakeNft::new(), BASE);
    for _ in 0..2 {
        node.backend.cleanup().expect("cleanup");
        assert_eq!(node.backend.nft().ruleset(TABLE), None);
    }
}

/// Through a walk over tables; after each step a restarted backend must find
/// nothing to write, in the fake or in the kernel.
fn walk<K: Nftables + Send>(mut open: impl FnMut() -> K, tables: &[PolicyTable], route: &[usize]) {
    let mut backend = backend(open());
    let mut before = PolicyTable::default();
    backend.sync(&before, None).expect("an empty table");
    for step in route {
        let after = &tables[*step];
        let step_report = backend.sync(after, Some(&change(&before, after)));
        step_report.unwrap_or_else(|error| panic!("step {step} of {route:?}: {error:?}"));
        let full = backend.sync(after, None).expect("a full sync");
        assert_eq!(full, NOTHING, "after step {step} of {route:?}");
        before = after.clone();
    }
}

#[test]
fn the_kernel_holds_after_a_change_what_a_full_sync_wants() {
    let tables: Vec<PolicyTable> = cases().iter().map(table).collect();
    // Each table after its neighbour, and after the last but seven.
    let mut route: Vec<usize> = (0..tables.len()).collect();
    route.extend((0..tables.len()).map(|index| (index * 7) % tables.len()));
    namespace()
        .run(|| walk(|| Nft::open().expect("nf_tables"), &tables, &route))
        .expect("the namespace");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_change_writes_what_a_full_sync_would(
        route in proptest::collection::vec(0..cases().len(), 1..12)
    ) {
        let tables: Vec<PolicyTable> = cases().iter().map(table).collect();
        walk(FakeNft::new, &tables, &route);
    }
}

#[test]
fn deleting_everything_frees_every_list() {
    let mut node = Node::new(FakeNft::new(), BASE);
    let objects: Vec<Object> = Vec::new();
    node.apply(Change::Replace(
        podway_model::ObjectKind::NetworkPolicy,
        objects,
    ));
    let mut empty = plain_backend(FakeNft::new());
    empty
        .sync(&PolicyTable::default(), None)
        .expect("an empty table");
    assert_eq!(
        node.backend.nft().ruleset(TABLE),
        empty.nft().ruleset(TABLE)
    );
}
