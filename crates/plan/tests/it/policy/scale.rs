//! The size that later issues measure: 10,000 pods, 1,000 policies, planned for
//! all nodes. What is checked is how much of the table a change touches; the
//! times are printed (`--nocapture`), and mean something in a release build.

use std::time::Instant;

use podway_model::{Change, ClusterState, NetworkPolicy, Pod};
use podway_plan::policy::{PolicyChange, PolicyPlanner};
use podway_testkit::builders::{IntoObject, labels, name, namespace, pod};
use podway_testkit::policy_scenario::parse;

const NAMESPACES: usize = 100;
const PODS_EACH: usize = 100;
const POLICIES_EACH: usize = 10;

fn some_pod(space: usize, index: usize) -> Pod {
    let address = format!("10.{}.{}.{}", index / 50, space, index % 50 + 1);
    let v6 = format!("fd00:{space:x}::{:x}", index + 1);
    Pod {
        labels: labels(&[("app", &format!("app{}", index % POLICIES_EACH))]),
        ..pod(&format!("ns{space}/pod{index}"), "node1", &[&address, &v6])
    }
}

/// In each namespace: each application lets in the next one of its namespace,
/// the first one of all, and a block; DNS is allowed out.
fn cluster() -> ClusterState {
    let mut state = ClusterState::default();
    for space in 0..NAMESPACES {
        state.apply(Change::Upsert(namespace(&format!("ns{space}")).object()));
        for index in 0..PODS_EACH {
            state.apply(Change::Upsert(some_pod(space, index).object()));
        }
        for app in 0..POLICIES_EACH {
            let next = (app + 1) % POLICIES_EACH;
            let text = format!(
                "case one\npolicy ns{space}/app{app} app=app{app}\n\
                 ingress from pods app=app{next} | namespaces * pods app=app0 ports tcp/8080\n\
                 ingress from block 192.0.2.0/24 except 192.0.2.128/25\n\
                 egress ports udp/53 tcp/53\n"
            );
            let case = parse("scale", &text).remove(0);
            for policy in case.state.policies() {
                state.apply(Change::Upsert((**policy).clone().object()));
            }
        }
    }
    state
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let value = work();
    eprintln!("{what}: {:?}", start.elapsed());
    value
}

#[test]
fn a_change_touches_what_it_concerns() {
    let mut state = cluster();
    let mut planner = timed("plan everything", || PolicyPlanner::plan(None, &state));
    assert_eq!(planner.table().pods.len(), NAMESPACES * PODS_EACH);
    // Every application is the next one of another, so every address is a peer.
    assert_eq!(planner.table().peers.len(), NAMESPACES * PODS_EACH * 2);

    let mut step = |state: &mut ClusterState, what: &str, change: Change| -> PolicyChange {
        let updates = state.apply(change);
        timed(what, || planner.update(state, &updates))
    };

    let mut relabelled = some_pod(7, 3);
    relabelled.labels = labels(&[("app", "app0")]);
    let change = step(
        &mut state,
        "one pod's label",
        Change::Upsert(relabelled.object()),
    );
    assert_eq!(
        (change.pods.len(), change.peers.len()),
        (1, 2),
        "{change:?}"
    );

    let new = Pod {
        labels: labels(&[("app", "app0")]),
        ..pod("ns5/new", "node1", &["10.200.0.1", "fd01::1"])
    };
    let change = step(&mut state, "a new pod", Change::Upsert(new.object()));
    assert_eq!(
        (change.pods.len(), change.peers.len()),
        (1, 2),
        "{change:?}"
    );

    let mut open = (**state_policy(&state, "ns9/app4")).clone();
    open.ingress = Some(Vec::new());
    let change = step(&mut state, "one policy", Change::Upsert(open.object()));
    assert_eq!(change.pods.len(), PODS_EACH / POLICIES_EACH);
    assert_eq!(change.peers.len(), 2 * PODS_EACH / POLICIES_EACH);
}

fn state_policy<'a>(state: &'a ClusterState, policy: &str) -> &'a std::sync::Arc<NetworkPolicy> {
    state.policy(&name(policy)).expect("a policy of that name")
}
