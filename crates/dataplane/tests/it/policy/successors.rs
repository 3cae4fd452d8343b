//! A pod at an address that another had before: it inherits nothing.

use std::net::SocketAddr;

use podway_model::{Change, ObjectRef, Pod};
use podway_testkit::builders::{IntoObject, labels, name, pod};

use super::enforced::Enforced;
use super::established::Flows;
use super::node::patience;

const A: [&str; 2] = ["10.244.1.2", "fd00:10:244:1::2"];
const CLOSED: &str = "policy x/p app=closed\ningress none\negress none\n";

fn successor(app: &str) -> Pod {
    Pod {
        labels: labels(&[("app", app)]),
        ..pod("x/successor", "node1", &A)
    }
}

/// Whether b reaches what is at a's addresses, by new connections.
fn expect_reachable(enforced: &Enforced, open: bool, why: &str) {
    let node = &enforced.node;
    for address in node.a.addresses {
        let to = SocketAddr::new(address, 80);
        let connected = node.b.connect(to, patience(open)).is_some();
        assert_eq!(connected, open, "{to}: {why}");
        assert_eq!(node.b.ask(to, patience(open)), open, "{to}: {why}");
    }
}

#[test]
fn connections_of_the_pod_before_are_judged_by_its_successors_policies() {
    let mut enforced = Enforced::new();
    enforced.enforce(CLOSED);
    let node = &enforced.node;
    let mut flows = [
        Flows::open("b to a", &node.b, &node.a, 80),
        Flows::open("a to outside", &node.a, &node.outside, 80),
    ];
    enforced.apply(Change::Delete(ObjectRef::Pod(name("x/a"))));
    enforced.apply(Change::Upsert(successor("closed").object()));
    for flows in &mut flows {
        flows.are_cut("of the pod before");
    }
    expect_reachable(&enforced, false, "the successor is closed");
    enforced.settle();
    for flows in &mut flows {
        flows.are_cut("when marked");
    }
}

#[test]
fn a_successor_is_as_open_as_it_should_be() {
    let mut enforced = Enforced::new();
    enforced.enforce("policy x/p app=a\ningress none\negress none\n");
    expect_reachable(&enforced, false, "a is closed");
    enforced.apply(Change::Delete(ObjectRef::Pod(name("x/a"))));
    enforced.apply(Change::Upsert(successor("open").object()));
    expect_reachable(&enforced, true, "its successor is not");
}

/// The API server may tell of the successor before it tells that the pod before
/// is finished or gone.
#[test]
fn a_pod_that_is_finished_does_not_open_its_successor() {
    let mut enforced = Enforced::new();
    enforced.enforce(CLOSED);
    enforced.apply(Change::Upsert(successor("closed").object()));
    let a = enforced.state.pod(&name("x/a")).expect("the pod").clone();
    let finished = Pod {
        finished: true,
        ..(*a).clone()
    };
    enforced.apply(Change::Upsert(finished.object()));
    expect_reachable(&enforced, false, "a is finished");
    enforced.apply(Change::Delete(ObjectRef::Pod(name("x/a"))));
    expect_reachable(&enforced, false, "a is gone");
}
