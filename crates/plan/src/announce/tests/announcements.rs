use std::collections::BTreeMap;
use std::sync::Arc;

use podway_model::TrafficPolicy;

use super::super::objects::{BgpAdvertisementObject, BgpPeerObject};
use super::super::{
    AnnouncedService, Announcements, BgpRoute, PoolChoice, Preference, Protocol as How, Silence,
    Speaker, plan_announcements, rank,
};
use super::*;

fn speaker(node: &str, text: &str) -> Speaker {
    Speaker {
        node: Arc::from(node),
        labels: labels(text),
        network_unavailable: false,
        leaving: false,
    }
}

fn speakers() -> Vec<Speaker> {
    vec![
        speaker("node1", "zone=a"),
        speaker("node2", "zone=a fast=yes"),
        speaker("node3", "zone=b"),
    ]
}

fn service(name: &str, addresses: &str, nodes: &str) -> AnnouncedService {
    AnnouncedService {
        name: ObjectName::new("default", name),
        labels: labels("app=web"),
        addresses: ips(addresses),
        external_policy: TrafficPolicy::Cluster,
        endpoint_nodes: nodes
            .split_whitespace()
            .map(|n| Some(Arc::from(n)))
            .collect(),
    }
}

fn layer2(advertisements: Vec<Layer2Advertisement>) -> Config {
    let objects = Objects {
        pools: vec![
            pool("p", "172.16.0.200-172.16.0.240 fd00:172::/120"),
            pool("q", "10.0.0.0/24"),
        ],
        layer2: advertisements,
        ..Objects::default()
    };
    objects.read().expect("a configuration")
}

fn everything() -> Layer2Advertisement {
    Layer2Advertisement::default()
}

fn candidates(announcements: &Announcements, address: &str) -> Vec<String> {
    let planned = announcements.layer2.get(&ip(address));
    planned.map_or_else(Vec::new, |planned| {
        planned
            .candidates
            .iter()
            .map(|c| c.node.to_string())
            .collect()
    })
}

/// Computed with `printf 'node1#172.16.0.200' | sha256sum`: `MetalLB`'s choice.
#[test]
fn the_order_is_that_of_the_hash() {
    let address = ip("172.16.0.200");
    let first = |node: &str| rank(node, address, 0) >> 64 & 0xffff_ffff;
    assert_eq!(first("node1"), NODE1);
    assert_eq!(first("node2"), NODE2);
    let config = layer2(vec![everything()]);
    let services = [service("web", "172.16.0.200", "node1")];
    let planned = plan_announcements(&config, &services, &speakers(), "node1");
    let mut expected = ["node1", "node2", "node3"];
    expected.sort_by_key(|node| rank(node, address, 0));
    assert_eq!(candidates(&planned, "172.16.0.200"), expected);
}
const NODE1: u128 = 0x559262e1;
const NODE2: u128 = 0x7df4afd5;

#[test]
fn a_node_that_goes_moves_nobody_elses_addresses() {
    let nodes = ["a", "b", "c", "d"];
    let best = |nodes: &[&str], address| {
        let best = nodes.iter().min_by_key(|node| rank(node, address, 0));
        best.map(|node| (*node).to_owned())
    };
    for n in 0..200_u32 {
        let address = IpAddr::V4(n.into());
        let before = best(&nodes, address);
        let after = best(&nodes[..3], address);
        assert!(
            before == after || before.as_deref() == Some("d"),
            "{address}"
        );
    }
}

#[test]
fn who_may_hold_an_address() {
    let zone_a = Layer2Advertisement {
        nodes: vec![selector("zone=a")],
        ..everything()
    };
    let preferring = Layer2Advertisement {
        preferences: vec![Preference {
            weight: 10,
            nodes: selector("fast=yes"),
        }],
        ..everything()
    };
    let local = AnnouncedService {
        external_policy: TrafficPolicy::Local,
        ..service("web", "172.16.0.200", "node3")
    };
    let plain = service("web", "172.16.0.200", "node3");
    let mut ordered = ["node1", "node2", "node3"];
    ordered.sort_by_key(|node| rank(node, ip("172.16.0.200"), 0));
    let of = |wanted: &[&str]| -> Vec<String> {
        ordered
            .iter()
            .filter(|n| wanted.contains(n))
            .map(|n| (*n).to_owned())
            .collect()
    };
    let all = of(&["node1", "node2", "node3"]);
    let mut preferred = of(&["node1", "node3"]);
    preferred.insert(0, "node2".to_owned());
    let cases = [
        ("everybody", everything(), plain.clone(), all),
        ("some nodes", zone_a, plain.clone(), of(&["node1", "node2"])),
        ("a better node", preferring, plain, preferred),
        ("local endpoints", everything(), local, of(&["node3"])),
    ];
    for (name, advertisement, service, expected) in cases {
        let config = layer2(vec![advertisement]);
        let services = [service];
        for node in ["node1", "node2", "node3"] {
            let planned = plan_announcements(&config, &services, &speakers(), node);
            let mine = expected.iter().any(|n| n == node);
            let expected = if mine { expected.clone() } else { Vec::new() };
            assert_eq!(
                candidates(&planned, "172.16.0.200"),
                expected,
                "{name} on {node}"
            );
        }
    }
}

#[test]
fn why_a_node_is_silent() {
    let selecting = |services: &str| Layer2Advertisement {
        services: vec![selector(services)],
        ..everything()
    };
    let other_node = Layer2Advertisement {
        nodes: vec![selector("zone=b")],
        ..everything()
    };
    let web = || service("web", "172.16.0.200", "node1");
    let with = |change: fn(&mut Speaker)| {
        let mut speakers = speakers();
        change(&mut speakers[0]);
        speakers
    };
    let local = AnnouncedService {
        external_policy: TrafficPolicy::Local,
        ..service("web", "172.16.0.200", "node2")
    };
    let two = vec![web(), service("other", "172.16.0.200", "node1")];
    let cases = [
        (
            everything(),
            vec![service("web", "172.16.0.200", "")],
            speakers(),
            Silence::NoEndpoints,
        ),
        (
            everything(),
            vec![service("web", "192.0.2.1", "node1")],
            speakers(),
            Silence::NotInPool,
        ),
        (
            everything(),
            vec![local],
            speakers(),
            Silence::NoLocalEndpoints,
        ),
        (
            selecting("app=db"),
            vec![web()],
            speakers(),
            Silence::NoMatchingAdvertisement,
        ),
        (
            selecting("app=web"),
            two,
            speakers(),
            Silence::SharedWithServiceSelector,
        ),
        (
            other_node,
            vec![web()],
            speakers(),
            Silence::NoMatchingAdvertisement,
        ),
        (
            everything(),
            vec![web()],
            with(|s| s.network_unavailable = true),
            Silence::NodeNetworkUnavailable,
        ),
        (
            everything(),
            vec![web()],
            with(|s| s.leaving = true),
            Silence::NodeLeaving,
        ),
        (
            everything(),
            vec![web()],
            with(|s| {
                let label = "node.kubernetes.io/exclude-from-external-load-balancers";
                s.labels.insert(label.to_owned(), String::new());
            }),
            Silence::NodeLabelledExclude,
        ),
        (
            everything(),
            vec![web()],
            Vec::new(),
            Silence::NoMatchingAdvertisement,
        ),
    ];
    for (advertisement, services, speakers, expected) in cases {
        let config = layer2(vec![advertisement]);
        let planned = plan_announcements(&config, &services, &speakers, "node1");
        let key = (
            services[0].name.clone(),
            services[0].addresses[0],
            How::Layer2,
        );
        assert_eq!(planned.silent.get(&key), Some(&expected));
        assert!(planned.layer2.is_empty(), "{expected}");
    }
}

#[test]
fn both_families_of_a_service_are_on_one_node_and_sharers_agree() {
    let config = layer2(vec![everything()]);
    let services = [
        service("dual", "172.16.0.201 fd00:172::1", "node1"),
        service("a", "172.16.0.200", "node1"),
        service("b", "172.16.0.200", "node2"),
    ];
    let planned = plan_announcements(&config, &services, &speakers(), "node1");
    assert_eq!(
        candidates(&planned, "172.16.0.201"),
        candidates(&planned, "fd00:172::1")
    );
    let shared = &planned.layer2[&ip("172.16.0.200")];
    assert_eq!((shared.services.len(), shared.candidates.len()), (2, 3));
}

#[test]
fn interfaces_are_those_of_the_advertisements_that_match() {
    let on = |interface: &str, nodes: &str| Layer2Advertisement {
        interfaces: BTreeSet::from([interface.to_owned()]),
        nodes: vec![selector(nodes)],
        ..everything()
    };
    let cases = [
        (
            vec![
                on("eth0", "zone=a"),
                on("eth1", "zone=a"),
                on("eth2", "zone=b"),
            ],
            Some("eth0 eth1"),
        ),
        (vec![on("eth0", "zone=a"), everything()], None),
    ];
    for (advertisements, expected) in cases {
        let config = layer2(advertisements);
        let services = [service("web", "172.16.0.200", "node1")];
        let planned = plan_announcements(&config, &services, &speakers(), "node1");
        let found = &planned.layer2[&ip("172.16.0.200")].interfaces;
        let expected = expected.map(|names| names.split(' ').map(str::to_owned).collect());
        assert_eq!(*found, expected);
    }
}

fn bgp(advertisements: Vec<BgpAdvertisementObject>) -> Config {
    let peer = |name: &str, nodes: &str| BgpPeerObject {
        name: name.to_owned(),
        my_asn: 64_500,
        peer_asn: 64_501,
        peer_address: "10.0.0.1".to_owned(),
        nodes: nodes.split_whitespace().map(selector).collect(),
        ..BgpPeerObject::default()
    };
    let objects = Objects {
        pools: vec![
            pool("p", "198.51.100.0/24 fd00:1::/64"),
            pool("silent", "203.0.113.0/24"),
        ],
        bgp: advertisements,
        peers: vec![
            peer("all", ""),
            peer("rack-a", "zone=a"),
            peer("rack-b", "zone=b"),
        ],
        ..Objects::default()
    };
    objects.read().expect("a configuration")
}

fn advertisement(name: &str) -> BgpAdvertisementObject {
    BgpAdvertisementObject {
        name: name.to_owned(),
        pools: PoolChoice {
            names: BTreeSet::from(["p".to_owned()]),
            selectors: Vec::new(),
        },
        ..BgpAdvertisementObject::default()
    }
}

#[test]
fn prefixes_go_to_the_peers_of_this_node() {
    let aggregate = BgpAdvertisementObject {
        aggregation_length: Some(24),
        aggregation_length_v6: Some(64),
        peers: BTreeSet::from(["all".to_owned()]),
        communities: vec!["64500:9".to_owned()],
        ..advertisement("aggregate")
    };
    let config = bgp(vec![advertisement("host"), aggregate]);
    let services = [
        service("a", "198.51.100.7 fd00:1::7", "node1"),
        service("b", "198.51.100.8", "node1"),
        service("c", "203.0.113.1", "node1"),
    ];
    let planned = plan_announcements(&config, &services, &speakers(), "node1");
    let told: BTreeMap<&str, Vec<String>> = planned
        .bgp
        .iter()
        .map(|(peer, routes)| {
            (
                peer.as_str(),
                routes.keys().map(ToString::to_string).collect(),
            )
        })
        .collect();
    let hosts = ["198.51.100.7/32", "198.51.100.8/32", "fd00:1::7/128"];
    assert_eq!(told["rack-a"], hosts);
    assert_eq!(
        told["all"],
        [
            "198.51.100.0/24",
            hosts[0],
            hosts[1],
            "fd00:1::/64",
            hosts[2]
        ]
    );
    assert_eq!(told.len(), 2, "rack-b is another rack's");
    let prefix = "198.51.100.0/24".parse().expect("a prefix");
    let expected = BgpRoute {
        local_pref: None,
        communities: BTreeSet::from([64_500 << 16 | 9]),
        large_communities: BTreeSet::new(),
        services: services[..2].iter().map(|s| s.name.clone()).collect(),
    };
    assert_eq!(planned.bgp["all"][&prefix], expected);
    assert!(
        planned.layer2.is_empty() && planned.silent.is_empty(),
        "{:?}",
        planned.silent
    );
}

#[test]
fn why_a_node_tells_no_router() {
    let local = |nodes: &str| AnnouncedService {
        external_policy: TrafficPolicy::Local,
        ..service("web", "198.51.100.7", nodes)
    };
    let elsewhere = BgpAdvertisementObject {
        nodes: vec![selector("zone=b")],
        ..advertisement("x")
    };
    let preferred = |name: &str, local_pref| BgpAdvertisementObject {
        local_pref,
        ..advertisement(name)
    };
    let cases = [
        (vec![advertisement("x")], local(""), Silence::NoEndpoints),
        (
            vec![advertisement("x")],
            local("node2"),
            Silence::NoLocalEndpoints,
        ),
        (
            vec![elsewhere],
            local("node1"),
            Silence::NoMatchingAdvertisement,
        ),
        (
            vec![preferred("x", 100), preferred("y", 200)],
            local("node1"),
            Silence::ConflictingAdvertisements,
        ),
    ];
    for (advertisements, service, expected) in cases {
        let config = bgp(advertisements);
        let services = [service];
        let planned = plan_announcements(&config, &services, &speakers(), "node1");
        let key = (services[0].name.clone(), ip("198.51.100.7"), How::Bgp);
        assert_eq!(planned.silent.get(&key), Some(&expected));
    }
}
