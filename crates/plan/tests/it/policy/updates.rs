//! What a change of the cluster changes in the table, and nothing else.

use podway_model::{Change, ClusterState, NetworkPolicy, Object, ObjectRef, Pod};
use podway_plan::policy::{PolicyChange, PolicyPlanner};
use podway_testkit::builders::{IntoObject, ip, labels, name, pod, policy};
use podway_testkit::policy_scenario::parse;

/// A state and the planner that follows it.
struct Cluster {
    state: ClusterState,
    planner: PolicyPlanner,
}

impl Cluster {
    fn new(node: Option<&str>) -> Self {
        let text = "namespace x\nnamespace y team=green\n\
            pod x/a node1 10.0.1.1,fd00:1::1 app=a\n\
            pod x/b node2 10.0.2.1,fd00:2::1 app=b\n\
            pod y/c node1 10.0.1.3,fd00:1::3 app=c port=web:80/tcp\n\
            case base\n\
            policy x/p app=a\ningress from pods app=b\negress to namespaces team=green ports tcp/web\n\
            connect x/b > x/a 80 = allow\n";
        let state = parse("base", text).remove(0).state;
        let planner = PolicyPlanner::plan(node.map(Into::into), &state);
        Self { state, planner }
    }

    fn apply(&mut self, change: Change) -> PolicyChange {
        let updates = self.state.apply(change);
        self.planner.update(&self.state, &updates)
    }

    fn upsert(&mut self, object: impl IntoObject) -> PolicyChange {
        self.apply(Change::Upsert(object.object()))
    }

    fn pod(&self, pod: &str) -> Pod {
        (**self.state.pod(&name(pod)).expect("a pod of that name")).clone()
    }

    fn attach(&mut self, pod: &str, uid: &str, addresses: &[&str]) -> PolicyChange {
        let addresses: Vec<_> = addresses.iter().map(|a| ip(a)).collect();
        self.planner
            .attach(&self.state, &name(pod), uid, &addresses)
    }

    fn detach(&mut self, pod: &str, addresses: &[&str]) -> PolicyChange {
        let addresses: Vec<_> = addresses.iter().map(|a| ip(a)).collect();
        self.planner.detach(&self.state, &name(pod), &addresses)
    }
}

/// A change in short: `pod +`, `pod -`, `pod *`, the same for addresses.
fn short(change: &PolicyChange) -> Vec<String> {
    let sign = |before: bool, after: bool| match (before, after) {
        (false, _) => '+',
        (_, false) => '-',
        _ => '*',
    };
    let pods = change.pods.iter().map(|(name, changed)| {
        format!(
            "{name} {}",
            sign(changed.before.is_some(), changed.after.is_some())
        )
    });
    let peers = change.peers.iter().map(|(address, changed)| {
        format!(
            "{address} {}",
            sign(changed.before.is_some(), changed.after.is_some())
        )
    });
    pods.chain(peers).collect()
}

/// The rules of a pod in short: its addresses, and how many allows each
/// direction has.
fn rules(cluster: &Cluster, pod: &str) -> Option<(Vec<String>, Option<usize>, Option<usize>)> {
    let rules = cluster.planner.table().pods.get(&name(pod))?;
    Some((
        rules.addresses.iter().map(ToString::to_string).collect(),
        rules.enforced.ingress.as_ref().map(|set| set.allows.len()),
        rules.enforced.egress.as_ref().map(|set| set.allows.len()),
    ))
}

const NOTHING: [&str; 0] = [];

#[test]
fn readiness_and_other_kinds_change_nothing() {
    let mut cluster = Cluster::new(None);
    let unready = Pod {
        ready: false,
        revision: 7,
        ..cluster.pod("x/a")
    };
    assert_eq!(short(&cluster.upsert(unready)), NOTHING);
    let touched = NetworkPolicy {
        revision: 9,
        generation: 2,
        ..(**cluster.state.policy(&name("x/p")).expect("the policy")).clone()
    };
    assert_eq!(short(&cluster.upsert(touched)), NOTHING);
}

#[test]
fn a_peers_labels_change_its_own_addresses_only() {
    let mut cluster = Cluster::new(None);
    let relabelled = Pod {
        labels: labels(&[("app", "other")]),
        ..cluster.pod("x/b")
    };
    assert_eq!(
        short(&cluster.upsert(relabelled)),
        ["10.0.2.1 -", "fd00:2::1 -"]
    );
}

#[test]
fn a_namespaces_labels_change_the_addresses_of_its_pods() {
    let mut cluster = Cluster::new(None);
    let mut namespace = (**cluster.state.namespace("y").expect("y")).clone();
    namespace.labels = labels(&[("team", "red")]);
    assert_eq!(
        short(&cluster.upsert(namespace.clone())),
        ["10.0.1.3 -", "fd00:1::3 -"]
    );
    namespace.labels = labels(&[("team", "blue"), ("tier", "edge")]);
    assert_eq!(short(&cluster.upsert(namespace)), NOTHING);
}

#[test]
fn a_policy_changes_the_pods_that_it_selects_or_selected() {
    let mut cluster = Cluster::new(None);
    let deny = NetworkPolicy {
        ingress: Some(Vec::new()),
        ..policy("y/deny")
    };
    assert_eq!(short(&cluster.upsert(deny.clone())), ["y/c +"]);
    let gone = Change::Delete(ObjectRef::NetworkPolicy(name("y/deny")));
    assert_eq!(short(&cluster.apply(gone)), ["y/c -"]);
    let gone = Change::Delete(ObjectRef::NetworkPolicy(name("x/p")));
    assert_eq!(
        short(&cluster.apply(gone)),
        [
            "x/a -",
            "10.0.1.3 -",
            "10.0.2.1 -",
            "fd00:1::3 -",
            "fd00:2::1 -"
        ],
    );
    assert!(cluster.planner.table().pods.is_empty());
    assert!(cluster.planner.table().peers.is_empty());
}

#[test]
fn a_new_number_of_a_named_port_re_plans_the_policies_that_use_the_name() {
    let mut cluster = Cluster::new(None);
    let mut c = cluster.pod("y/c");
    c.ports[0].port = 8080;
    let change = cluster.upsert(c);
    assert_eq!(short(&change), ["x/a *", "10.0.1.3 *", "fd00:1::3 *"]);
}

#[test]
fn pods_of_other_nodes_are_peers_and_no_subjects() {
    let mut cluster = Cluster::new(Some("node2"));
    assert!(cluster.planner.table().pods.is_empty());
    assert!(cluster.planner.table().peers.is_empty());
    let all = NetworkPolicy {
        ingress: Some(Vec::new()),
        ..policy("x/all")
    };
    assert_eq!(short(&cluster.upsert(all)), ["x/b +"]);
}

#[test]
fn an_attached_pod_has_rules_before_its_status_has_addresses() {
    let mut cluster = Cluster::new(Some("node1"));
    let new = Pod {
        labels: labels(&[("app", "a")]),
        ..pod("x/new", "node1", &[])
    };
    assert_eq!(short(&cluster.upsert(new.clone())), NOTHING);
    let addresses = ["10.0.1.9", "fd00:1::9"];
    let change = cluster.attach("x/new", &new.uid, &addresses);
    assert_eq!(short(&change), ["x/new +"]);
    assert_eq!(
        rules(&cluster, "x/new"),
        Some((addresses.map(str::to_owned).to_vec(), Some(1), Some(1))),
    );
    let announced = Pod {
        addresses: addresses.map(ip).to_vec(),
        ..new
    };
    assert_eq!(short(&cluster.upsert(announced)), NOTHING);
    assert_eq!(
        short(&cluster.attach("x/new", "uid of x/new", &addresses)),
        NOTHING
    );
}

#[test]
fn an_attached_pod_is_here_though_it_is_not_known_to_be_scheduled() {
    let mut cluster = Cluster::new(Some("node1"));
    let new = Pod {
        labels: labels(&[("app", "a")]),
        node: None,
        ..pod("x/new", "node1", &[])
    };
    cluster.upsert(new);
    let change = cluster.attach("x/new", "uid of x/new", &["10.0.1.9"]);
    assert_eq!(short(&change), ["x/new +"]);
}

#[test]
fn an_attached_pod_is_a_peer_at_once() {
    let mut cluster = Cluster::new(Some("node1"));
    let new = Pod {
        labels: labels(&[("app", "b")]),
        ..pod("x/new", "node1", &[])
    };
    cluster.upsert(new);
    let change = cluster.attach("x/new", "uid of x/new", &["10.0.1.9"]);
    assert_eq!(short(&change), ["10.0.1.9 +"]);
}

#[test]
fn a_pod_that_is_not_known_yet_is_denied_what_some_policy_isolates() {
    let mut cluster = Cluster::new(Some("node1"));
    let addresses = ["10.0.1.9"];
    assert_eq!(short(&cluster.attach("y/new", "1", &addresses)), NOTHING);
    cluster.detach("y/new", &addresses);
    assert_eq!(
        short(&cluster.attach("x/new", "1", &addresses)),
        ["x/new +"]
    );
    let denied = (vec!["10.0.1.9".to_owned()], Some(0), Some(0));
    assert_eq!(rules(&cluster, "x/new"), Some(denied.clone()));

    // An older pod of the name says nothing of this one's labels.
    let older = Pod {
        uid: "0".into(),
        ..pod("x/new", "node1", &["10.0.1.8"])
    };
    assert_eq!(short(&cluster.upsert(older.clone())), NOTHING);
    assert_eq!(rules(&cluster, "x/new"), Some(denied));

    let announced = Pod {
        uid: "1".into(),
        addresses: Vec::new(),
        ..older
    };
    assert_eq!(short(&cluster.upsert(announced)), ["x/new -"]);
}

#[test]
fn a_policy_reaches_pods_that_are_not_known_yet() {
    let mut cluster = Cluster::new(Some("node1"));
    cluster.attach("y/new", "1", &["10.0.1.9"]);
    let deny = NetworkPolicy {
        egress: Some(Vec::new()),
        ..policy("y/deny")
    };
    assert_eq!(short(&cluster.upsert(deny)), ["y/c +", "y/new +"]);
    assert_eq!(
        rules(&cluster, "y/new"),
        Some((vec!["10.0.1.9".to_owned()], None, Some(0)))
    );
}

#[test]
fn an_address_given_on_leaves_the_pod_that_had_it() {
    let mut cluster = Cluster::new(Some("node1"));
    let new = Pod {
        labels: labels(&[("app", "c")]),
        ..pod("y/new", "node1", &[])
    };
    cluster.upsert(new);
    let change = cluster.attach("y/new", "uid of y/new", &["10.0.1.1"]);
    assert_eq!(short(&change), ["x/a *"]);
    assert_eq!(
        rules(&cluster, "x/a"),
        Some((vec!["fd00:1::1".to_owned()], Some(1), Some(1)))
    );
    let change = cluster.detach("y/new", &["10.0.1.1"]);
    assert_eq!(short(&change), ["x/a *"]);
}

#[test]
fn an_attached_pod_keeps_its_address_while_it_terminates() {
    let mut cluster = Cluster::new(Some("node1"));
    cluster.attach("x/a", "uid of x/a", &["10.0.1.1"]);
    let going = Pod {
        terminating: true,
        ..cluster.pod("x/a")
    };
    cluster.upsert(going);
    let stale = pod("x/stale", "node1", &["10.0.1.1"]);
    assert_eq!(short(&cluster.upsert(stale)), NOTHING);
}

#[test]
fn a_late_detachment_of_an_older_sandbox_changes_nothing() {
    let mut cluster = Cluster::new(Some("node1"));
    cluster.attach("x/a", "uid of x/a", &["10.0.1.7"]);
    cluster.attach("x/a", "uid of x/a", &["10.0.1.8"]);
    assert_eq!(short(&cluster.detach("x/a", &["10.0.1.7"])), NOTHING);
    assert_eq!(short(&cluster.detach("x/a", &["10.0.1.8"])), ["x/a *"]);
    assert_eq!(short(&cluster.detach("x/a", &["10.0.1.8"])), NOTHING);
}

#[test]
fn a_finished_pod_goes_even_while_it_is_attached() {
    let mut cluster = Cluster::new(Some("node1"));
    cluster.attach("x/a", "uid of x/a", &["10.0.1.1", "fd00:1::1"]);
    let finished = Pod {
        finished: true,
        ..cluster.pod("x/a")
    };
    let change = cluster.upsert(finished);
    assert!(short(&change).contains(&"x/a -".to_owned()), "{change:?}");
    assert!(cluster.planner.table().pod_at.is_empty());
}

#[test]
fn a_list_that_lost_a_pod_takes_it_out() {
    let mut cluster = Cluster::new(None);
    let rest = vec![Object::Pod(cluster.pod("x/a").into())];
    let change = cluster.apply(Change::Replace(podway_model::ObjectKind::Pod, rest));
    assert_eq!(
        short(&change),
        [
            "x/a *",
            "10.0.1.3 -",
            "10.0.2.1 -",
            "fd00:1::3 -",
            "fd00:2::1 -"
        ],
    );
}
