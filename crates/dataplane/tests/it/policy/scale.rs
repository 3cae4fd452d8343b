//! The size that later issues measure: 1,000 policies on 1,000 pods of one
//! node, 10,000 pods in the cluster, each pod of the node in a group of its own.
//! What is checked is how much is written; the times are printed
//! (`--nocapture`), and mean something in a release build.

use std::fmt::Write as _;
use std::time::Instant;

use podway_dataplane::policy::nftables::NftPolicies;
use podway_dataplane::policy::{PolicyBackend as _, SyncReport};
use podway_kernel::conntrack::FakeMarker;
use podway_kernel::nft::Nft;
use podway_model::{Change, ClusterState, NetworkPolicy, Object, ObjectRef, Pod};
use podway_plan::policy::PolicyPlanner;
use podway_testkit::builders::{IntoObject, labels, name, pod};
use podway_testkit::policy_scenario::parse;

use super::namespace;

const NAMESPACES: usize = 10;
const LOCAL: usize = 100;
const REMOTE: usize = 900;

/// Each application lets in the next one, the first one of every namespace, and
/// a block; it may ask DNS, and no more than that.
fn cluster() -> ClusterState {
    let mut text = String::from("case one\n");
    for space in 0..NAMESPACES {
        for app in 0..LOCAL {
            let next = (app + 1) % LOCAL;
            writeln!(
                text,
                "pod ns{space}/pod{app} node1 10.0.{space}.{app},fd00::{space}:{app} app=app{app}\n\
                 policy ns{space}/app{app} app=app{app}\n\
                 ingress from pods app=app{next} | namespaces * pods app=app0 ports tcp/8080\n\
                 ingress from block 192.0.2.0/24 except 192.0.2.128/25\n\
                 egress ports udp/53 tcp/53",
            )
            .expect("a String takes every write");
        }
    }
    let mut state = parse("scale", &text).remove(0).state;
    for index in 0..NAMESPACES * REMOTE {
        let (space, host) = (index % NAMESPACES, index / NAMESPACES);
        let address = format!("10.1{space}.{}.{}", host / 250, host % 250 + 1);
        let remote = Pod {
            labels: labels(&[("app", "other"), ("index", "some")]),
            ..pod(&format!("ns{space}/remote{host}"), "node2", &[&address])
        };
        state.apply(Change::Upsert(remote.object()));
    }
    state
}

/// A node that follows its cluster, and says how long it takes.
struct Node {
    state: ClusterState,
    planner: PolicyPlanner,
    backend: NftPolicies<Nft, FakeMarker>,
}

impl Node {
    fn step(&mut self, what: &str, change: Change) -> SyncReport {
        let updates = self.state.apply(change);
        let start = Instant::now();
        let change = self.planner.update(&self.state, &updates);
        let planned = start.elapsed();
        let report = self.backend.sync(self.planner.table(), Some(&change));
        let report = report.expect("a change");
        eprintln!(
            "{what}: planned {planned:?}, in force {:?}, {report:?}",
            start.elapsed()
        );
        report
    }

    fn full(&mut self, what: &str) -> SyncReport {
        let start = Instant::now();
        let report = self.backend.sync(self.planner.table(), None);
        let report = report.expect("a full sync");
        eprintln!("{what}: {:?}, {report:?}", start.elapsed());
        report
    }
}

#[test]
fn a_change_writes_what_it_concerns() {
    namespace().run(follow).expect("the namespace");
}

fn follow() {
    let state = cluster();
    let planner = PolicyPlanner::plan(Some("node1".into()), &state);
    let backend = super::backend(Nft::open().expect("nf_tables"));
    let mut node = Node {
        state,
        planner,
        backend,
    };
    assert_eq!(node.planner.table().pods.len(), NAMESPACES * LOCAL);
    node.full("everything");
    assert_eq!(node.full("nothing new").writes, 0);

    let app0 = Pod {
        labels: labels(&[("app", "app0")]),
        ..pod("elsewhere/new", "node2", &["10.200.0.1", "fd01::1"])
    };
    // Nobody else is the first application of a namespace without policies, so
    // its group is new: an element for each pod of the node and family, and two
    // for the addresses.
    let report = node.step("a remote pod in a new group", Change::Upsert(app0.object()));
    assert_eq!(report.elements, 2 * (NAMESPACES * LOCAL) as u64 + 2);
    let second = Pod {
        labels: labels(&[("app", "app0")]),
        ..pod("elsewhere/second", "node2", &["10.200.0.2", "fd01::2"])
    };
    let report = node.step("another one", Change::Upsert(second.object()));
    assert_eq!(report.elements, 2);

    let policy = node
        .state
        .policy(&name("ns3/app7"))
        .expect("the policy")
        .clone();
    let closed = NetworkPolicy {
        ingress: Some(Vec::new()),
        ..(*policy).clone()
    };
    // Its own group and the first application's eleven groups, in each family,
    // and the block; ns3/app8 is in no group any more.
    let report = node.step(
        "a policy",
        Change::Upsert(Object::NetworkPolicy(closed.into())),
    );
    assert_eq!(report.elements, 2 * (1 + 11) + 1 + 2);
    let reopened = Change::Upsert(Object::NetworkPolicy(policy));
    assert_eq!(node.step("and back", reopened), report);

    let gone = Change::Delete(ObjectRef::Pod(name("elsewhere/new")));
    // Its own elements go, and its connections are judged again.
    assert_eq!(node.step("a remote pod goes", gone).elements, 2 + 2);
    assert_eq!(node.full("nothing new").writes, 0);
}
