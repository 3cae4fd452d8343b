use std::time::Duration;

use serde_json::{Value, json};

use super::super::{Config, Objects, Password, PeerAs, RESOURCES};
use super::*;

fn read(objects: &[(&str, Value)]) -> Config {
    let mut read = Objects::default();
    for (kind, object) in objects {
        assert!(RESOURCES.iter().any(|resource| resource.kind == *kind));
        read.insert(kind, object).expect(kind);
    }
    read.read().expect("a configuration")
}

fn object(name: &str, spec: &Value) -> Value {
    json!({"metadata": {"name": name, "namespace": "metallb-system", "labels": {"of": name}}, "spec": spec})
}

#[test]
fn pools_and_layer_2_advertisements_read() {
    let selector =
        json!({"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]});
    let config = read(&[
        (
            "IPAddressPool",
            object(
                "p",
                &json!({"addresses": ["10.0.0.0/24", "fd00::1-fd00::9"], "autoAssign": false, "avoidBuggyIPs": true,
                "serviceAllocation": {"priority": 7, "namespaces": ["x"], "serviceSelectors": [{"matchLabels": {"app": "web"}}]}}),
            ),
        ),
        (
            "L2Advertisement",
            object(
                "a",
                &json!({"ipAddressPools": ["p"], "interfaces": ["eth0"], "nodeSelectors": [selector],
                "preferredNodeSelectors": [{"weight": 3, "selector": {"matchLabels": {"rack": "1"}}}], "laterVersion": true}),
            ),
        ),
        (
            "L2Advertisement",
            object(
                "b",
                &json!({"ipAddressPoolSelectors": [{"matchLabels": {"of": "p"}}]}),
            ),
        ),
    ]);
    let pool = config.pool("p").expect("the pool");
    assert!(!pool.auto_assign && pool.avoid_buggy);
    assert_eq!(pool.ranges.len(), 2);
    let allocation = pool.allocation.as_ref().expect("an allocation");
    assert_eq!(allocation.priority, 7);
    assert!(allocation.namespaces.contains("x"));
    assert!(allocation.service_selectors[0].matches(&labels("app=web")));
    let [first, second] = &config.layer2[..] else {
        panic!("{config:#?}");
    };
    assert!(first.pools.includes(pool) && second.pools.includes(pool));
    assert!(first.nodes[0].matches(&labels("zone=a")));
    assert!(!first.nodes[0].matches(&labels("zone=b")));
    assert!(first.interfaces.contains("eth0"));
    assert_eq!(first.preferences[0].weight, 3);
}

#[test]
fn everything_of_bgp_reads() {
    let config = read(&[
        (
            "IPAddressPool",
            object("p", &json!({"addresses": ["10.0.0.0/24"]})),
        ),
        (
            "BGPPeer",
            object(
                "r",
                &json!({"myASN": 64500, "peerASN": 64501, "peerAddress": "10.9.0.1", "peerPort": 1179, "holdTime": "90s",
                "passwordSecret": {"name": "s"}, "bfdProfile": "fast", "enableGracefulRestart": true, "ebgpMultiHop": true}),
            ),
        ),
        (
            "BGPAdvertisement",
            object(
                "a",
                &json!({"aggregationLength": 24, "localPref": 5, "communities": ["mine", "64500:1"], "peers": ["r"]}),
            ),
        ),
        (
            "Community",
            object(
                "c",
                &json!({"communities": [{"name": "mine", "value": "64500:2"}]}),
            ),
        ),
        (
            "BFDProfile",
            object(
                "fast",
                &json!({"receiveInterval": 50, "detectMultiplier": 4, "passiveMode": true}),
            ),
        ),
    ]);
    let peer = &config.peers[0];
    assert_eq!((peer.peer_asn, peer.port), (PeerAs::Number(64_501), 1179));
    assert_eq!(peer.hold_time, Some(Duration::from_secs(90)));
    assert_eq!(peer.password, Some(Password::Secret("s".to_owned())));
    assert!(peer.graceful_restart && peer.multi_hop);
    let advertisement = &config.bgp[0];
    assert_eq!(
        (advertisement.aggregation, advertisement.local_pref),
        (24, Some(5))
    );
    assert_eq!(advertisement.communities.len(), 2);
    let profile = &config.bfd_profiles[0];
    assert_eq!(
        (profile.receive, profile.multiplier),
        (Duration::from_millis(50), 4)
    );
    assert!(profile.passive);
}

#[test]
fn a_field_of_the_wrong_kind_is_named() {
    for (kind, object, expected) in [
        (
            "IPAddressPool",
            object("p", &json!({"addresses": "10.0.0.0/24"})),
            "IPAddressPool p: spec.addresses: invalid type",
        ),
        (
            "BGPPeer",
            object("r", &json!({"peerPort": 70000})),
            "BGPPeer r: spec.peerPort: invalid value",
        ),
        (
            "L2Advertisement",
            json!({"spec": {}}),
            "L2Advertisement without a name: missing field `metadata`",
        ),
    ] {
        let problem = Objects::default()
            .insert(kind, &object)
            .expect_err(kind)
            .to_string();
        assert!(problem.starts_with(expected), "{problem}\nnot {expected}");
    }
}
