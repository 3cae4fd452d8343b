use std::collections::BTreeSet;
use std::sync::Arc;

use podway_model::{ClusterState, IpFamily, Node, Object};
use podway_testkit::builders::{ip, node, prefix, prefixes, state};

use super::*;

mod incremental;
mod modes;

const SETTINGS: OverlaySettings = OverlaySettings::new(OverlayMode::Vxlan);
const MAC4: &str = "12:c6:65:89:b4:e3";
const MAC6: &str = "12:c6:65:89:b4:e4";

/// node1 to node9: pods 10.244.N.0/24 and fd00:10:244:N::/64, dual stack.
fn plain(name: &str) -> Node {
    let n = name.trim_start_matches("node");
    node(
        name,
        &[&format!("172.16.0.1{n}"), &format!("fd00:172:16::1{n}")],
        &[
            &format!("10.244.{n}.0/24"),
            &format!("fd00:10:244:{n}::/64"),
        ],
    )
}

/// As `plain`, with what flannel publishes.
fn published(name: &str) -> Node {
    let mut node = plain(name);
    let n = name.trim_start_matches("node").to_owned();
    for (annotation, value) in [
        ("kube-subnet-manager", "true".to_owned()),
        ("backend-type", "vxlan".into()),
        (
            "backend-data",
            format!(r#"{{"VNI":1,"VtepMAC":"0e:00:00:00:04:0{n}"}}"#),
        ),
        (
            "backend-v6-data",
            format!(r#"{{"VNI":1,"VtepMAC":"0e:00:00:00:06:0{n}"}}"#),
        ),
        ("public-ip", format!("172.16.0.1{n}")),
        ("public-ipv6", format!("fd00:172:16::1{n}")),
    ] {
        annotate(&mut node, annotation, &value);
    }
    node
}

fn annotate(node: &mut Node, name: &str, value: &str) {
    node.annotations
        .insert(format!("flannel.alpha.coreos.com/{name}"), value.into());
}

fn cluster(nodes: impl IntoIterator<Item = Node>) -> ClusterState {
    state(nodes.into_iter().map(|node| Object::Node(Arc::new(node))))
}

fn plan(nodes: impl IntoIterator<Item = Node>) -> OverlayTable {
    plan_overlay(&cluster(nodes), "node1", &SETTINGS, &Underlay::default())
}

fn key(node: &str, family: IpFamily) -> PeerKey {
    PeerKey::new(&node.into(), family)
}

#[test]
fn a_peer_is_reached_in_both_families_each_with_its_own_device() {
    let table = plan([plain("node1"), published("node2")]);
    let peer = |prefix_: &str, address: &str, mac: &str| Peer {
        prefix: prefix(prefix_),
        address: ip(address),
        way: Way::Tunnel,
        data: PeerData::Vxlan {
            mac: mac.parse().unwrap(),
        },
    };
    let expected = [
        (
            key("node2", IpFamily::V4),
            peer("10.244.2.0/24", "172.16.0.12", "0e:00:00:00:04:02"),
        ),
        (
            key("node2", IpFamily::V6),
            peer("fd00:10:244:2::/64", "fd00:172:16::12", "0e:00:00:00:06:02"),
        ),
    ];
    assert_eq!(table.peers, expected.into_iter().collect(), "{table:#?}");
    assert!(table.refused.is_empty(), "{:#?}", table.refused);
}

#[test]
fn the_own_node_is_no_peer_and_publishes_what_flannel_would() {
    let own = plain("node1");
    let table = plan([own.clone(), published("node2")]);
    assert!(!table.peers.contains_key(&key("node1", IpFamily::V4)));
    let annotations = publish(&own, (&SETTINGS, &table), &[]);
    let mac = VtepMac::of_node("node1", IpFamily::V4);
    let mac6 = VtepMac::of_node("node1", IpFamily::V6);
    assert_ne!(mac, mac6);
    let text: Vec<String> = annotations
        .iter()
        .map(|(name, value)| format!("{name}={}", value.as_deref().unwrap_or("-")))
        .collect();
    let prefix = "flannel.alpha.coreos.com";
    assert_eq!(
        text,
        [
            format!(r#"{prefix}/backend-data={{"VNI":1,"VtepMAC":"{mac}"}}"#),
            format!("{prefix}/backend-type=vxlan"),
            format!(r#"{prefix}/backend-v6-data={{"VNI":1,"VtepMAC":"{mac6}"}}"#),
            format!("{prefix}/kube-subnet-manager=true"),
            format!("{prefix}/public-ip=172.16.0.11"),
            format!("{prefix}/public-ipv6=fd00:172:16::11"),
        ]
    );

    let mut said = own;
    for (name, value) in annotations {
        said.annotations.insert(name.into(), value.unwrap());
    }
    let table = plan([said.clone()]);
    let again = publish(&said, (&SETTINGS, &table), &[]);
    assert!(again.is_empty(), "said already: {again:#?}");
}

#[test]
fn a_family_that_is_gone_is_no_longer_published() {
    let mut own = published("node1");
    own.pod_prefixes = prefixes(&["10.244.1.0/24"]);
    let table = plan([own.clone()]);
    let annotations = publish(&own, (&SETTINGS, &table), &[]);
    assert_eq!(
        annotations.into_iter().collect::<Vec<_>>(),
        [
            ("flannel.alpha.coreos.com/backend-v6-data", None),
            ("flannel.alpha.coreos.com/public-ipv6", None),
        ]
    );
}

#[test]
fn a_published_device_address_is_kept_and_a_broken_one_replaced() {
    let mut own = plain("node1");
    annotate(
        &mut own,
        "backend-data",
        &format!(r#"{{"VNI":1,"VtepMAC":"{MAC4}"}}"#),
    );
    annotate(
        &mut own,
        "backend-v6-data",
        r#"{"VNI":1,"VtepMAC":"ff:ff:ff:ff:ff:ff"}"#,
    );
    let table = plan([own]);
    let mac = |family| match table.own[&family].data {
        PeerData::Vxlan { mac } => mac,
        other => panic!("{other:?}"),
    };
    assert_eq!(mac(IpFamily::V4), MAC4.parse().unwrap());
    assert_eq!(mac(IpFamily::V6), VtepMac::of_node("node1", IpFamily::V6));
}

#[test]
fn an_administrator_may_overwrite_the_published_address() {
    let mut own = plain("node1");
    annotate(&mut own, "public-ip-overwrite", "203.0.113.7");
    let table = plan([own]);
    let own = |family| (table.own[&family].local, table.own[&family].public);
    assert_eq!(own(IpFamily::V4), (ip("172.16.0.11"), ip("203.0.113.7")));
    let v6 = ip("fd00:172:16::11");
    assert_eq!(own(IpFamily::V6), (v6, v6));
}

/// One annotation of a node made wrong (`None`: taken away), and words of the
/// reason for which the node is left out then.
const SPOILT: [(&str, Option<&str>, &str); 13] = [
    ("kube-subnet-manager", None, "does not take part"),
    ("kube-subnet-manager", Some("yes"), "does not take part"),
    ("backend-type", None, "backend-type is missing"),
    (
        "backend-type",
        Some("host-gw"),
        r#"overlay is "host-gw", this node's is "vxlan""#,
    ),
    // Flannel's udp backend.
    ("backend-type", Some(""), r#"overlay is """#),
    (
        "backend-data",
        Some(r#"{"VNI":7,"VtepMAC":"12:c6:65:89:b4:e3"}"#),
        "network is 7, this node's is 1",
    ),
    ("backend-data", Some("{VNI"), "it is not JSON"),
    ("backend-data", Some("null"), "VNI is missing"),
    ("backend-data", Some(r#"{"VNI":1}"#), "VtepMAC is missing"),
    (
        "backend-data",
        Some(r#"{"VNI":1,"VtepMAC":"12:c6"}"#),
        "six pairs",
    ),
    (
        "backend-data",
        Some(r#"{"VNI":1,"VtepMAC":"01:00:5e:00:00:01"}"#),
        "multicast address or zero",
    ),
    ("public-ip", None, "public-ip is missing"),
    ("public-ip", Some("fd00::1"), "not an IPv4 address"),
];

#[test]
fn nodes_that_cannot_be_reached_are_left_out_with_the_reason() {
    for (annotation, value, words) in SPOILT {
        let mut peer = published("node2");
        peer.annotations
            .remove(&format!("flannel.alpha.coreos.com/{annotation}"));
        if let Some(value) = value {
            annotate(&mut peer, annotation, value);
        }
        let table = plan([plain("node1"), peer, published("node3")]);
        let case = format!("{annotation}={value:?}");
        let v4 = key("node2", IpFamily::V4);
        let refusal = table
            .refused
            .get(&v4)
            .unwrap_or_else(|| panic!("{case}: not refused: {table:#?}"));
        assert!(refusal.to_string().contains(words), "{case}: {refusal}");
        assert!(!table.peers.contains_key(&v4), "{case}");
        let other = key("node3", IpFamily::V4);
        assert!(table.peers.contains_key(&other), "{case}: the others stay");
    }
}

#[test]
fn a_node_without_pod_prefixes_is_left_out() {
    let mut peer = published("node2");
    peer.pod_prefixes.clear();
    let table = plan([plain("node1"), peer]);
    let refusal = &table.refused[&key("node2", IpFamily::V4)];
    assert_eq!(*refusal, Refusal::NoPodPrefix);
}

#[test]
fn one_broken_family_leaves_the_other_alone() {
    let mut peer = published("node2");
    annotate(&mut peer, "backend-v6-data", "garbage");
    let table = plan([plain("node1"), peer]);
    assert!(
        table.peers.contains_key(&key("node2", IpFamily::V4)),
        "{table:#?}"
    );
    assert!(
        table.refused.contains_key(&key("node2", IpFamily::V6)),
        "{table:#?}"
    );
}

#[test]
fn overlapping_pod_prefixes_are_the_first_nodes_and_the_other_is_refused() {
    let mut second = published("node2");
    second.pod_prefixes = prefixes(&["10.244.3.128/25", "fd00:10:244:2::/64"]);
    let mut third = published("node3");
    third.pod_prefixes = prefixes(&["10.244.3.0/24", "fd00:10:244:3::/64"]);
    let table = plan([plain("node1"), second, third]);
    let refusal = &table.refused[&key("node3", IpFamily::V4)];
    assert_eq!(
        refusal.to_string(),
        "podCIDR 10.244.3.0/24 overlaps 10.244.3.128/25 of node node2, which keeps it: give one of them another"
    );
    assert!(table.peers.contains_key(&key("node2", IpFamily::V4)));
    assert!(
        table.peers.contains_key(&key("node3", IpFamily::V6)),
        "the other family is fine"
    );
}

#[test]
fn the_own_node_keeps_its_pods_even_against_a_name_that_sorts_first() {
    let mut other = published("node2");
    other.name = "a-node".into();
    other.pod_prefixes = prefixes(&["10.244.0.0/16"]);
    let table = plan([plain("node1"), other]);
    let refusal = table.refused[&key("a-node", IpFamily::V4)].to_string();
    assert!(refusal.contains("10.244.1.0/24 of node node1"), "{refusal}");
}

#[test]
fn two_devices_with_one_address_cannot_both_be_reached() {
    let (mut second, mut third) = (published("node2"), published("node3"));
    for node in [&mut second, &mut third] {
        annotate(
            node,
            "backend-v6-data",
            &format!(r#"{{"VNI":1,"VtepMAC":"{MAC6}"}}"#),
        );
    }
    let table = plan([plain("node1"), second, third]);
    assert!(table.peers.contains_key(&key("node2", IpFamily::V6)));
    let refusal = table.refused[&key("node3", IpFamily::V6)].to_string();
    assert!(refusal.contains("also node node2's"), "{refusal}");
}

#[test]
fn pods_of_a_family_that_the_node_has_no_address_of_are_refused() {
    let mut own = plain("node1");
    own.addresses = vec![ip("172.16.0.11")];
    let table = plan([own, published("node2")]);
    assert_eq!(
        table.refused[&key("node1", IpFamily::V6)],
        Refusal::NoNodeAddress
    );
    assert!(!table.own.contains_key(&IpFamily::V6));
    assert!(!table.peers.contains_key(&key("node2", IpFamily::V6)));
    assert!(table.peers.contains_key(&key("node2", IpFamily::V4)));
}

#[test]
fn a_node_that_is_not_known_yet_plans_nothing() {
    let table = plan([published("node2")]);
    assert_eq!(table, OverlayTable::default());
}

#[test]
fn device_addresses_follow_from_the_name_and_are_local_unicast() {
    let mut seen = BTreeSet::new();
    for n in 0..1000 {
        let name = format!("node{n}");
        for family in IpFamily::ALL {
            let mac = VtepMac::of_node(&name, family);
            assert!(seen.insert(mac), "{name}: {mac} is another's");
            assert_eq!(mac.0[0] & 0b11, 0b10, "{name}: {mac}");
            assert_eq!(mac.to_string().parse(), Ok(mac));
        }
    }
    // Peers have stored it: it must never change.
    assert_eq!(
        VtepMac::of_node("node1", IpFamily::V4).to_string(),
        "1e:c5:df:c2:20:c8"
    );
}

#[test]
fn pods_are_masqueraded_only_towards_what_is_no_pod() {
    let nodes = [
        plain("node1"),
        plain("node2"),
        node("node3", &[], &["10.244.2.0/23"]),
    ];
    let table = plan_masquerade(&cluster(nodes), "node1", &[]);
    assert_eq!(
        table.pods,
        prefixes(&["10.244.1.0/24", "fd00:10:244:1::/64"])
            .into_iter()
            .collect()
    );
    assert_eq!(
        table.cluster,
        prefixes(&[
            "10.244.1.0/24",
            "10.244.2.0/23",
            "fd00:10:244:1::/64",
            "fd00:10:244:2::/64"
        ])
        .into_iter()
        .collect(),
        "what is in another is left out"
    );
    assert_eq!(
        plan_masquerade(&cluster([]), "node1", &[]),
        MasqueradeTable::default()
    );
}
