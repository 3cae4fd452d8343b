use std::collections::BTreeSet;
use std::time::Duration;

use ipnet::IpNet;

use super::super::objects::{BfdProfileObject, BgpAdvertisementObject, BgpPeerObject};
use super::super::{
    AddressRange, Objects, Password, PeerAs, PeerEnd, PoolChoice, Preference, parse_config_map,
};
use super::*;

#[test]
fn the_classic_pool_reads_unchanged() {
    let text = "address-pools:\n- name: default\n  protocol: layer2\n  addresses:\n  - 172.16.0.200-172.16.0.240\n";
    let config = parse_config_map(text).expect("a configuration");
    let [pool] = &config.pools[..] else {
        panic!("{config:?}");
    };
    assert_eq!(pool.name, "default");
    assert!(pool.auto_assign && !pool.avoid_buggy);
    assert_eq!(pool.ranges[0].to_string(), "172.16.0.200-172.16.0.240");
    assert_eq!(pool.ranges[0].len(), 41);
    let [advertisement] = &config.layer2[..] else {
        panic!("{config:?}");
    };
    assert!(advertisement.pools.includes(pool));
}

#[test]
fn every_key_of_the_config_map_reads() {
    let text = r"
peers:
- my-asn: 64500
  peer-asn: 64501
  peer-address: 10.0.0.1
  peer-port: 1179
  hold-time: 1m30s
  router-id: 10.0.0.9
  password: secret
  node-selectors:
  - match-labels: {rack: a}
    match-expressions:
    - {key: zone, operator: In, values: [x, y]}
bgp-communities:
  no-export: 65535:65281
address-pools:
- name: bgp
  protocol: bgp
  addresses: [198.51.100.0/24, 'fd00:1::/64']
  avoid-buggy-ips: true
  auto-assign: false
  bgp-advertisements:
  - aggregation-length: 24
    localpref: 200
    communities: [no-export, '64500:7']
- name: plain
  protocol: bgp
  addresses: [203.0.113.0/24]
";
    let config = parse_config_map(text).expect("a configuration");
    let peer = &config.peers[0];
    assert_eq!(peer.end, PeerEnd::Address(ip("10.0.0.1")));
    assert_eq!(
        (peer.my_asn, peer.peer_asn),
        (64_500, PeerAs::Number(64_501))
    );
    assert_eq!(
        (peer.port, peer.hold_time),
        (1179, Some(Duration::from_secs(90)))
    );
    assert_eq!(peer.password, Some(Password::Text("secret".to_owned())));
    assert_eq!(format!("{:?}", peer.password), "Some(Text(…))");
    assert!(peer.nodes[0].matches(&labels("rack=a zone=y")));
    assert!(!peer.nodes[0].matches(&labels("rack=a zone=z")));
    let pool = config.pool("bgp").expect("the pool");
    assert!(pool.avoid_buggy && !pool.auto_assign);
    assert!(pool.offers(ip("198.51.100.1")) && !pool.offers(ip("198.51.100.255")));
    let first = &config.bgp[0];
    assert_eq!((first.aggregation, first.local_pref), (24, Some(200)));
    assert_eq!(
        first.communities,
        BTreeSet::from([0xffff_ff01, 64_500 << 16 | 7])
    );
    assert_eq!((config.bgp[1].aggregation, config.bgp.len()), (32, 2));
    assert!(
        config.bgp[1].pools.names.contains("plain"),
        "the default one"
    );
}

fn pool_text(rest: &str) -> String {
    format!("address-pools:\n- name: p\n  protocol: layer2\n  addresses: [10.0.0.0/24]\n{rest}")
}

#[test]
fn a_wrong_config_map_says_what_and_where() {
    let bgp = "address-pools:\n- {name: p, protocol: bgp, addresses: [10.0.0.0/28], bgp-advertisements: [";
    let peer = "peers:\n- {my-asn: 1, peer-asn: 2, ";
    let cases: Vec<(String, &str)> = vec![
        (
            pool_text("  adresses: []\n"),
            "5:3: unknown field `adresses`",
        ),
        (pool_text("  auto-assign: perhaps\n"), "5:16: "),
        (
            "address-pools:\n- {name: p, addresses: []}".into(),
            "missing field `protocol`",
        ),
        (
            "address-pools: [{name: p, protocol: layer3, addresses: [10.0.0.0/24]}]".into(),
            "protocol: \"layer3\" is neither",
        ),
        (
            "address-pools: [{name: p, protocol: layer2, addresses: []}]".into(),
            "address pool p: addresses: there is none",
        ),
        (
            "address-pools: [{name: p, protocol: layer2, addresses: [10.0.0.9-10.0.0.1]}]".into(),
            "\"10.0.0.9-10.0.0.1\" ends before it begins",
        ),
        (
            "address-pools: [{name: p, protocol: layer2, addresses: [10.0.0.9-fd00::1]}]".into(),
            "begins in one address family and ends in the other",
        ),
        (
            "address-pools: [{name: p, protocol: layer2, addresses: [10.0.0.9]}]".into(),
            "\"10.0.0.9\" is neither a prefix",
        ),
        (
            pool_text("- name: p\n  protocol: layer2\n  addresses: [10.1.0.0/24]\n"),
            "address pool p: there are two of this name",
        ),
        (
            pool_text("- name: q\n  protocol: layer2\n  addresses: [10.0.0.128-10.0.1.9]\n"),
            "address pool q: 10.0.0.128-10.0.1.9 overlaps 10.0.0.0-10.0.0.255 of address pool p",
        ),
        (
            pool_text("  bgp-advertisements: []\n"),
            "the pool's protocol is layer2",
        ),
        (
            format!("{bgp}{{aggregation-length: 24}}]}}"),
            "is more specific than the aggregation length 24",
        ),
        (
            format!("{bgp}{{aggregation-length: 33}}]}}"),
            "33 is more than 32",
        ),
        (
            format!("{bgp}{{localPref: 1}}]}}"),
            "unknown field `localPref`",
        ),
        (
            format!("{bgp}{{communities: [nope]}}]}}"),
            "\"nope\" is neither a known name",
        ),
        (
            format!("{bgp}{{communities: ['1:2', '1:2']}}]}}"),
            "\"1:2\" is there twice",
        ),
        (
            format!("{peer}peer-address: ten}}"),
            "peers[0]: peer-address: invalid IP",
        ),
        (
            format!("{peer}peer-address: 10.0.0.1, hold-time: 2s}}"),
            "at least 3s",
        ),
        (
            format!("{peer}peer-address: 10.0.0.1, hold-time: soon}}"),
            "\"soon\" is no duration",
        ),
        (
            "peers: [{peer-asn: 2, peer-address: 10.0.0.1}]".into(),
            "missing field `my-asn`",
        ),
    ];
    for (text, expected) in cases {
        let error = parse_config_map(&text).expect_err(&text).to_string();
        assert!(error.contains(expected), "{text}\n{error}\nnot {expected}");
    }
}

fn objects() -> Objects {
    Objects {
        pools: vec![
            pool("b", "10.0.1.0/24"),
            pool("a", "10.0.0.0/24 fd00::/120"),
        ],
        ..Objects::default()
    }
}

#[test]
fn objects_read() {
    let mut objects = objects();
    objects.communities = vec![("mine".to_owned(), "large:64500:1:2".to_owned())];
    objects.bgp = vec![BgpAdvertisementObject {
        name: "adv".to_owned(),
        communities: vec!["mine".to_owned(), "64500:1".to_owned()],
        local_pref: 150,
        ..BgpAdvertisementObject::default()
    }];
    objects.bfd_profiles = vec![BfdProfileObject {
        name: "fast".to_owned(),
        receive_interval: Some(50),
        ..BfdProfileObject::default()
    }];
    objects.peers = vec![BgpPeerObject {
        name: "tor".to_owned(),
        my_asn: 64_500,
        dynamic_asn: "external".to_owned(),
        peer_address: "fd00::1".to_owned(),
        bfd_profile: "fast".to_owned(),
        password_secret: "tor".to_owned(),
        ..BgpPeerObject::default()
    }];
    let config = objects.read().expect("a configuration");
    let names: Vec<&str> = config.pools.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(
        config.bgp[0].large_communities,
        BTreeSet::from([[64_500, 1, 2]])
    );
    assert_eq!(config.peers[0].peer_asn, PeerAs::External);
    assert_eq!(
        config.peers[0].password,
        Some(Password::Secret("tor".to_owned()))
    );
    let profile = &config.bfd_profiles[0];
    assert_eq!(
        (profile.receive.as_millis(), profile.transmit.as_millis()),
        (50, 300)
    );
    assert_eq!(profile.multiplier, 3);
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table of mistakes")]
fn wrong_objects_say_which_and_what() {
    let peer = |change: fn(&mut BgpPeerObject)| {
        let mut peer = BgpPeerObject {
            name: "tor".to_owned(),
            my_asn: 64_500,
            peer_asn: 64_501,
            peer_address: "10.0.0.1".to_owned(),
            ..BgpPeerObject::default()
        };
        change(&mut peer);
        Objects {
            peers: vec![peer],
            ..objects()
        }
    };
    let advertisement = |change: fn(&mut BgpAdvertisementObject)| {
        let mut advertisement = BgpAdvertisementObject {
            name: "adv".to_owned(),
            ..BgpAdvertisementObject::default()
        };
        change(&mut advertisement);
        Objects {
            bgp: vec![advertisement],
            ..objects()
        }
    };
    let profile = |change: fn(&mut BfdProfileObject)| {
        let mut profile = BfdProfileObject {
            name: "fast".to_owned(),
            ..BfdProfileObject::default()
        };
        change(&mut profile);
        Objects {
            bfd_profiles: vec![profile],
            ..objects()
        }
    };
    let weight = Layer2Advertisement {
        name: "l2".to_owned(),
        preferences: vec![Preference {
            weight: 101,
            nodes: selector("a=b"),
        }],
        ..Layer2Advertisement::default()
    };
    let cases = [
        (peer(|p| p.my_asn = 0), "BGPPeer tor: myASN"),
        (peer(|p| p.peer_asn = 0), "peerASN or dynamicASN is needed"),
        (
            peer(|p| p.dynamic_asn = "internal".into()),
            "exclude each other",
        ),
        (
            peer(|p| p.interface = "eth1".into()),
            "peerAddress and interface exclude",
        ),
        (
            peer(|p| p.peer_address = String::new()),
            "peerAddress or interface is needed",
        ),
        (
            peer(|p| p.vrf = "red".into()),
            "vrf: Podway does not use VRFs",
        ),
        (
            peer(|p| p.bfd_profile = "slow".into()),
            "there is no BFD profile \"slow\"",
        ),
        (
            peer(|p| p.connect_time = Some("0".into())),
            "connectTime: it is from 1s",
        ),
        (
            peer(|p| (p.hold_time, p.keepalive_time) = (Some("9s".into()), Some("10s".into()))),
            "longer than holdTime",
        ),
        (
            peer(|p| (p.password, p.password_secret) = ("a".into(), "b".into())),
            "password and passwordSecret exclude",
        ),
        (
            advertisement(|a| a.aggregation_length = Some(16)),
            "more specific than the aggregation length 16",
        ),
        (
            advertisement(|a| a.aggregation_length_v6 = Some(129)),
            "129 is more than 128",
        ),
        (
            advertisement(|a| {
                a.aggregation_length = Some(24);
                a.services = vec![selector("a=b")];
            }),
            "serviceSelectors need host prefixes",
        ),
        (
            profile(|p| p.detect_multiplier = Some(1)),
            "1 is not from 2 to 255",
        ),
        (
            profile(|p| p.transmit_interval = Some(5)),
            "5 ms is not from 10 to 60000",
        ),
        (
            Objects {
                layer2: vec![weight],
                ..objects()
            },
            "L2Advertisement l2: preferredNodeSelectors: weight 101",
        ),
        (
            Objects {
                communities: vec![("x".into(), "1:70000".into())],
                ..objects()
            },
            "community x: value: \"1:70000\"",
        ),
    ];
    for (objects, expected) in cases {
        let error = objects.read().expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}\nnot {expected}");
    }
}

#[test]
fn all_mistakes_are_said_at_once() {
    let objects = Objects {
        pools: vec![pool("a", "x y"), pool("a", "")],
        ..Objects::default()
    };
    let error = objects.read().expect_err("four mistakes");
    assert_eq!(error.0.len(), 4, "{error}");
}

#[test]
fn a_pool_in_the_clusters_own_ranges_is_found() {
    let config = config(vec![pool("p", "10.244.3.0/24 192.0.2.0/24")]);
    let pods: IpNet = "10.244.0.0/16".parse().expect("a prefix");
    let services: IpNet = "10.96.0.0/16".parse().expect("a prefix");
    let error = config.check_apart_from(&[("pods' prefix", pods), ("services' prefix", services)]);
    let error = error.expect_err("an overlap").to_string();
    assert!(
        error.ends_with(
            "address pool p: 10.244.3.0-10.244.3.255 overlaps the pods' prefix 10.244.0.0/16"
        ),
        "{error}"
    );
    assert!(
        config
            .check_apart_from(&[("services' prefix", services)])
            .is_ok()
    );
}

#[test]
fn ranges_know_their_smallest_block() {
    let cases = [
        ("10.0.0.0/24", 24),
        ("10.0.0.0-10.0.0.255", 24),
        ("10.0.0.1-10.0.0.255", 32),
        ("10.0.0.0-10.0.2.255", 24),
        ("172.16.0.200-172.16.0.240", 32),
        ("fd00::/64", 64),
        ("0.0.0.0/0", 0),
        ("::/0", 0),
        ("10.0.0.255-10.0.1.0", 32),
    ];
    for (text, expected) in cases {
        let range: AddressRange = text.parse().expect(text);
        assert_eq!(range.shortest_block(), expected, "{text}");
    }
}

#[test]
fn pools_are_chosen_by_name_or_label_or_not_at_all() {
    let mut labelled = pool("b", "10.1.0.0/24");
    labelled.labels = labels("tier=gold");
    let config = config(vec![pool("a", "10.0.0.0/24"), labelled]);
    let choice = |names: &str, selectors: &str| PoolChoice {
        names: names.split_whitespace().map(str::to_owned).collect(),
        selectors: selectors.split_whitespace().map(selector).collect(),
    };
    let cases = [
        ("", "", "a b"),
        ("a", "", "a"),
        ("", "tier=gold", "b"),
        ("a", "tier=gold", "a b"),
        ("c", "", ""),
    ];
    for (names, selectors, expected) in cases {
        let choice = choice(names, selectors);
        let found = config.pools.iter().filter(|p| choice.includes(p));
        let found: Vec<&str> = found.map(|p| p.name.as_str()).collect();
        assert_eq!(found.join(" "), expected, "{names:?} {selectors:?}");
    }
}
