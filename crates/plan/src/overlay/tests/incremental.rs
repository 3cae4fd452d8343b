//! Planning what changed is planning anew.

use podway_model::{Change, ObjectRef};
use proptest::prelude::*;

use super::*;

/// Applies changes one by one and keeps a planner that is told only of them.
struct Followed {
    state: ClusterState,
    planner: OverlayPlanner,
}

impl Followed {
    fn new(settings: OverlaySettings) -> Self {
        Self {
            state: ClusterState::default(),
            planner: OverlayPlanner::new("node1".into(), settings),
        }
    }

    fn apply(&mut self, change: Change) -> OverlayChange {
        let updates = self.state.apply(change);
        let before = self.planner.table().clone();
        let told = self.planner.update(&updates);
        let after = self.planner.table();
        assert_eq!(told.own, before.own != after.own, "{told:#?}");
        let keys: BTreeSet<&PeerKey> = before.peers.keys().chain(after.peers.keys()).collect();
        for key in keys {
            let (old, new) = (before.peers.get(key), after.peers.get(key));
            let expected = (old != new).then(|| (old.copied(), new.copied()));
            assert_eq!(told.peers.get(key), expected.as_ref(), "{key}");
        }
        let keys = before.refused.keys().chain(after.refused.keys());
        let differing = keys.filter(|key| before.refused.get(key) != after.refused.get(key));
        assert_eq!(told.refused, differing.cloned().collect());
        told
    }

    fn upsert(&mut self, node: Node) -> OverlayChange {
        self.apply(Change::Upsert(Object::Node(Arc::new(node))))
    }

    fn anew(&self) -> OverlayTable {
        plan_overlay(
            &self.state,
            "node1",
            self.planner.settings(),
            &Underlay::default(),
        )
    }
}

#[test]
fn a_change_says_what_was_and_what_is() {
    let mut followed = Followed::new(SETTINGS);
    for node in [plain("node1"), published("node2"), published("node3")] {
        followed.upsert(node);
    }
    assert!(followed.upsert(published("node2")).is_empty());
    let mut moved = published("node3");
    annotate(&mut moved, "public-ip", "172.16.0.99");
    let mut change = followed.upsert(moved);
    change.then(followed.apply(Change::Delete(ObjectRef::Node("node2".into()))));
    change.then(followed.upsert(published("node4")));
    change.then(followed.upsert(published("node5")));
    change.then(followed.apply(Change::Delete(ObjectRef::Node("node5".into()))));
    let said: Vec<String> = change
        .peers
        .iter()
        .map(|(key, (before, after))| {
            let address = |peer: &Option<Peer>| {
                peer.as_ref()
                    .map_or("-".to_owned(), |peer| peer.address.to_string())
            };
            format!("{key}: {} -> {}", address(before), address(after))
        })
        .collect();
    assert_eq!(
        said,
        [
            "node2 (IPv4): 172.16.0.12 -> -",
            "node2 (IPv6): fd00:172:16::12 -> -",
            "node3 (IPv4): 172.16.0.13 -> 172.16.0.99",
            "node4 (IPv4): - -> 172.16.0.14",
            "node4 (IPv6): - -> fd00:172:16::14",
        ]
    );
    assert!(!change.own);
}

#[test]
fn a_loser_has_its_turn_when_the_winner_goes() {
    let mut followed = Followed::new(SETTINGS);
    followed.upsert(plain("node1"));
    followed.upsert(published("node2"));
    let mut same = published("node3");
    same.pod_prefixes = prefixes(&["10.244.2.0/25", "fd00:10:244:3::/64"]);
    annotate(
        &mut same,
        "backend-v6-data",
        r#"{"VNI":1,"VtepMAC":"0e:00:00:00:06:02"}"#,
    );
    followed.upsert(same);
    let table = followed.planner.table();
    assert!(matches!(
        table.refused[&key("node3", IpFamily::V4)],
        Refusal::Overlap { .. }
    ));
    assert!(matches!(
        table.refused[&key("node3", IpFamily::V6)],
        Refusal::MacTaken { .. }
    ));
    followed.apply(Change::Delete(ObjectRef::Node("node2".into())));
    let table = followed.planner.table();
    assert_eq!(table.peers.len(), 2, "{table:#?}");
    assert!(table.refused.is_empty(), "{table:#?}");
}

/// Nodes that meet each other's prefixes and device addresses often.
fn nodes() -> impl Strategy<Value = Change> {
    let node = (
        1..6_u8,
        prop::option::of((0..4_u8, 22..27_u8)),
        prop::option::of(0..3_u8),
        prop::bool::ANY,
        prop::option::of(1..4_u8),
    );
    let upsert = node.prop_map(|(name, prefix4, prefix6, takes_part, mac)| {
        let mut node = published(&format!("node{name}"));
        node.pod_prefixes.clear();
        if let Some((third, length)) = prefix4 {
            let prefix = format!("10.244.{third}.0/{length}");
            node.pod_prefixes.push(prefix.parse().unwrap());
        }
        if let Some(fourth) = prefix6 {
            let prefix = format!("fd00:10:244:{fourth}::/64");
            node.pod_prefixes.push(prefix.parse().unwrap());
        }
        if !takes_part {
            node.annotations.clear();
        }
        if let Some(mac) = mac {
            let data = format!(r#"{{"VNI":1,"VtepMAC":"0e:00:00:00:00:0{mac}"}}"#);
            annotate(&mut node, "backend-data", &data);
        }
        Change::Upsert(Object::Node(Arc::new(node)))
    });
    let delete = (1..6_u8).prop_map(|name| {
        let name = format!("node{name}");
        Change::Delete(ObjectRef::Node(name.as_str().into()))
    });
    prop_oneof![4 => upsert, 1 => delete]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn following_changes_is_planning_anew(changes in prop::collection::vec(nodes(), 1..30)) {
        let mut followed = Followed::new(SETTINGS);
        for change in changes {
            let text = format!("{change:#?}");
            followed.apply(change);
            prop_assert_eq!(followed.planner.table(), &followed.anew(), "{}", text);
        }
    }
}
