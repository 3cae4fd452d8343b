//! What must hold of the planner for any sequence of changes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use podway_model::{
    Change, ClusterNetworkPolicy, ClusterPeer, ClusterPort, ClusterRule, ClusterState,
    ContainerPort, Labels, Namespace, NamespacedPods, NetworkPolicy, Node, Object, ObjectName,
    ObjectRef, Peer, Pod, PolicyPort, PolicyRule, PortMatch, Protocol, RuleAction, Tier, Update,
};
use podway_plan::policy::{Changed, PolicyChange, PolicyPlanner, PolicyTable};
use podway_testkit::builders::{self, IntoObject, ip, name, prefix};
use podway_testkit::policy_scenario::selector;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

/// A step of a cluster's life. Few names, addresses and labels: they collide.
#[derive(Debug, Clone)]
enum Step {
    Apply(Change),
    Attach(ObjectName, String, Vec<IpAddr>),
    Detach(ObjectName, Vec<IpAddr>),
}

const SELECTORS: [&str; 7] = [
    "*",
    "app=a",
    "app=b",
    "app in (a,b)",
    "app notin (a)",
    "!app",
    "t",
];
const ADDRESSES: [&str; 4] = ["10.0.0.1", "10.0.0.2", "10.0.1.1", "fd00::1"];
const PODS: [&str; 4] = ["x/a", "x/b", "y/a", "y/b"];

fn some_labels() -> impl Strategy<Value = Labels> {
    subsequence(vec![("app", "a"), ("app", "b"), ("t", "1")], 0..=3)
        .prop_map(|pairs| builders::labels(&pairs))
}

fn addresses() -> impl Strategy<Value = Vec<IpAddr>> {
    subsequence(ADDRESSES.to_vec(), 0..=2)
        .prop_map(|addresses| addresses.into_iter().map(ip).collect())
}

fn some_pod() -> impl Strategy<Value = Pod> {
    let ports = subsequence(vec![("web", 80), ("web", 81), ("dns", 53)], 0..=2);
    let flags = (0..10_u8, 0..10_u8, 0..4_u8, 0..8_u8);
    (select(&PODS[..]), some_labels(), addresses(), ports, flags).prop_map(
        |(name, labels, addresses, ports, (host, finished, terminating, uid))| Pod {
            labels,
            addresses,
            uid: (if uid == 0 { "1" } else { "0" }).into(),
            host_network: host == 0,
            finished: finished == 0,
            terminating: terminating == 0,
            node: Some(if uid % 2 == 0 { "node1" } else { "node2" }.into()),
            ports: ports
                .into_iter()
                .map(|(name, port)| ContainerPort {
                    name: name.to_owned(),
                    protocol: Protocol::Tcp,
                    port,
                })
                .collect(),
            ..builders::pod(name, "node1", &[])
        },
    )
}

fn some_peer() -> impl Strategy<Value = Peer> {
    let any = || proptest::option::of(select(&SELECTORS[..]));
    prop_oneof![
        4 => (any(), any()).prop_map(|(namespaces, pods)| Peer::Pods {
            namespaces: namespaces.map(selector),
            pods: pods.map(selector),
        }),
        1 => Just(Peer::Block {
            prefix: prefix("10.0.0.0/16"),
            except: vec![prefix("10.0.1.0/24")],
        }),
    ]
}

fn some_rule() -> impl Strategy<Value = PolicyRule> {
    let port = prop_oneof![
        Just(PortMatch::Any),
        Just(PortMatch::Range(80, 81)),
        select(vec!["web", "dns"]).prop_map(|name| PortMatch::Name(name.to_owned())),
    ]
    .prop_map(|port| PolicyPort {
        protocol: Protocol::Tcp,
        port,
    });
    let peers = proptest::collection::vec(some_peer(), 0..3);
    let ports = proptest::collection::vec(port, 0..3);
    (peers, ports).prop_map(|(peers, ports)| PolicyRule { peers, ports })
}

fn some_policy() -> impl Strategy<Value = NetworkPolicy> {
    let rules = || proptest::option::of(proptest::collection::vec(some_rule(), 0..3));
    let names = select(vec!["x/p", "x/q", "y/p"]);
    let audit = proptest::bool::weighted(0.2);
    (names, select(&SELECTORS[..]), rules(), rules(), audit).prop_map(
        |(name, subjects, ingress, egress, audit)| NetworkPolicy {
            subjects: selector(subjects),
            ingress,
            egress,
            audit,
            ..builders::policy(name)
        },
    )
}

fn some_pods() -> impl Strategy<Value = NamespacedPods> {
    let some = || select(&SELECTORS[..]);
    (some(), some()).prop_map(|(namespaces, pods)| NamespacedPods {
        namespaces: selector(namespaces),
        pods: selector(pods),
    })
}

fn some_cluster_rule() -> impl Strategy<Value = ClusterRule> {
    let peer = prop_oneof![
        4 => some_pods().prop_map(ClusterPeer::Pods),
        1 => select(&SELECTORS[..]).prop_map(|nodes| ClusterPeer::Nodes(selector(nodes))),
        1 => Just(ClusterPeer::Networks(vec![prefix("10.0.1.0/24"), prefix("fd00::/64")])),
        1 => Just(ClusterPeer::Unknown("unknown".to_owned())),
    ];
    let port = prop_oneof![
        Just(ClusterPort::Port(PolicyPort {
            protocol: Protocol::Tcp,
            port: PortMatch::Range(80, 81),
        })),
        select(vec!["web", "dns"]).prop_map(|name| ClusterPort::Named(name.to_owned())),
    ];
    let action = select(vec![RuleAction::Accept, RuleAction::Deny, RuleAction::Pass]);
    let peers = proptest::collection::vec(peer, 1..3);
    let ports = proptest::option::of(proptest::collection::vec(port, 1..3));
    (action, peers, ports).prop_map(|(action, peers, ports)| ClusterRule {
        name: String::new(),
        action,
        peers,
        ports,
    })
}

fn some_cluster_policy() -> impl Strategy<Value = ClusterNetworkPolicy> {
    let rules = || proptest::collection::vec(some_cluster_rule(), 0..3);
    let names = select(vec!["p", "q", "r"]);
    let tier = select(vec![Tier::Admin, Tier::Baseline]);
    let flags = (0..3_u16, proptest::bool::weighted(0.2));
    (names, tier, flags, some_pods(), rules(), rules()).prop_map(
        |(name, tier, (priority, audit), subject, ingress, egress)| ClusterNetworkPolicy {
            name: name.into(),
            revision: 1,
            generation: 1,
            audit,
            tier,
            priority,
            subject,
            ingress,
            egress,
        },
    )
}

fn some_node() -> impl Strategy<Value = Node> {
    let names = select(vec!["node1", "node2"]);
    (names, some_labels(), addresses()).prop_map(|(name, labels, addresses)| Node {
        labels,
        addresses,
        ..builders::node(name, &[], &[])
    })
}

fn step() -> impl Strategy<Value = Step> {
    let upsert = |object: Object| Step::Apply(Change::Upsert(object));
    let delete = |reference| Step::Apply(Change::Delete(reference));
    let namespace = (select(vec!["x", "y"]), some_labels());
    prop_oneof![
        6 => some_pod().prop_map(move |pod| upsert(pod.object())),
        4 => some_policy().prop_map(move |policy| upsert(policy.object())),
        3 => some_cluster_policy().prop_map(move |policy| upsert(policy.object())),
        1 => some_node().prop_map(move |node| upsert(node.object())),
        1 => select(vec!["p", "q"])
            .prop_map(move |policy| delete(ObjectRef::ClusterNetworkPolicy(policy.into()))),
        1 => Just(delete(ObjectRef::Node("node1".into()))),
        2 => namespace.prop_map(move |(name, labels)| upsert(Namespace {
            labels,
            ..builders::namespace(name)
        }.object())),
        1 => select(&PODS[..]).prop_map(move |pod| delete(ObjectRef::Pod(name(pod)))),
        1 => select(vec!["x/p", "y/p"])
            .prop_map(move |policy| delete(ObjectRef::NetworkPolicy(name(policy)))),
        1 => select(vec!["x", "y"])
            .prop_map(move |namespace| delete(ObjectRef::Namespace(namespace.into()))),
        2 => (select(&PODS[..]), select(vec!["0", "1"]), addresses())
            .prop_map(|(pod, uid, at)| Step::Attach(name(pod), uid.to_owned(), at)),
        1 => (select(&PODS[..]), addresses()).prop_map(|(pod, at)| Step::Detach(name(pod), at)),
    ]
}

/// The table that planning everything at once gives, with these attachments.
fn from_scratch(
    node: Option<&str>,
    state: &ClusterState,
    attached: &BTreeMap<ObjectName, (String, Vec<IpAddr>)>,
) -> PolicyTable {
    let mut planner = PolicyPlanner::new(node.map(Into::into));
    for (name, (uid, addresses)) in attached {
        planner.attach(&ClusterState::default(), name, uid, addresses);
    }
    let policies = state.policies().cloned().map(Object::NetworkPolicy);
    let cluster = state.cluster_policies().cloned();
    let nodes = state.nodes().cloned().map(Object::Node);
    let pods = state.pods().cloned().map(Object::Pod);
    let updates: Vec<Update> = policies
        .chain(cluster.map(Object::ClusterNetworkPolicy))
        .chain(nodes)
        .chain(pods)
        .map(|object| Update {
            before: None,
            after: Some(object),
        })
        .collect();
    planner.update(state, &updates);
    for (name, (uid, addresses)) in attached {
        planner.attach(state, name, uid, addresses);
    }
    planner.table().clone()
}

/// Writes a change over a table.
fn apply(table: &mut PolicyTable, change: &PolicyChange) {
    fn write<K: Ord + Clone + std::fmt::Debug, V: PartialEq + std::fmt::Debug>(
        entries: &mut BTreeMap<K, std::sync::Arc<V>>,
        changes: &BTreeMap<K, Changed<V>>,
    ) {
        for (key, changed) in changes {
            assert_ne!(changed.before, changed.after, "{key:?} did not change");
            assert_eq!(entries.get(key), changed.before.as_ref(), "{key:?} before");
            match &changed.after {
                Some(after) => entries.insert(key.clone(), after.clone()),
                None => entries.remove(key),
            };
        }
    }
    write(&mut table.pods, &change.pods);
    write(&mut table.peers, &change.peers);
    table.pod_at = table
        .pods
        .iter()
        .flat_map(|(name, rules)| rules.addresses.iter().map(|a| (*a, name.clone())))
        .collect();
}

fn follow(node: Option<&str>, steps: &[Step]) {
    let mut state = ClusterState::default();
    let mut planner = PolicyPlanner::new(node.map(Into::into));
    let mut attached = BTreeMap::new();
    let mut table = PolicyTable::default();
    for step in steps {
        let change = match step {
            Step::Apply(change) => {
                let updates = state.apply(change.clone());
                planner.update(&state, &updates)
            }
            Step::Attach(name, uid, addresses) => {
                attached.insert(name.clone(), (uid.clone(), addresses.clone()));
                planner.attach(&state, name, uid, addresses)
            }
            Step::Detach(name, addresses) => {
                if attached.get(name).is_some_and(|(_, at)| at == addresses) {
                    attached.remove(name);
                }
                planner.detach(&state, name, addresses)
            }
        };
        apply(&mut table, &change);
        assert_eq!(&table, planner.table(), "the change, after {step:?}");
        let expected = from_scratch(node, &state, &attached);
        assert_eq!(&expected, planner.table(), "from scratch, after {step:?}");
        ports_agree(&table);
    }
}

/// What a rule set says port by port is what it says of each connection.
fn ports_agree(table: &PolicyTable) {
    const PORTS: [u16; 8] = [0, 52, 53, 79, 80, 81, 82, u16::MAX];
    for rules in table.pods.values() {
        for (set, peer) in rules
            .sets()
            .flat_map(|set| ADDRESSES.map(|peer| (set, ip(peer))))
        {
            let group = table.peers.get(&peer).map(|group| &**group);
            let allowed = set.allowed_ports(|one| one.peers.contain(peer, group));
            let covers = |protocol, port| {
                let mut ranges = allowed.ranges.iter();
                ranges.any(|r| r.protocol == protocol && (r.first..=r.last).contains(&port))
            };
            for (protocol, port) in Protocol::ALL
                .into_iter()
                .flat_map(|p| PORTS.map(|n| (p, n)))
            {
                let finding = set.decide(peer, group, protocol, port);
                let place = format!("{peer} {protocol}/{port}: {set:?}");
                assert_eq!(finding.is_allowed(), covers(protocol, port), "{place}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn step_by_step_is_all_at_once(steps in proptest::collection::vec(step(), 1..24)) {
        follow(None, &steps);
        follow(Some("node1"), &steps);
    }
}
