//! What the modes differ in: who is reached which way, and what is published.

use std::num::NonZeroU16;

use super::*;

const KEY: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";

/// A node of a mode, with what it publishes.
fn node_of(name: &str, settings: &OverlaySettings) -> Node {
    said(plain(name), settings, &[])
}

fn said(mut node: Node, main: &OverlaySettings, also: &[&OverlaySettings]) -> Node {
    let state = cluster([node.clone()]);
    let table = |settings| plan_overlay(&state, &node.name, settings, &segments());
    let main = (main, table(main));
    let also: Vec<_> = also
        .iter()
        .map(|settings| (*settings, table(settings)))
        .collect();
    let also: Vec<_> = also
        .iter()
        .map(|(settings, table)| (*settings, table))
        .collect();
    for (annotation, value) in publish(&node, (main.0, &main.1), &also) {
        match value {
            Some(value) => node.annotations.insert(annotation.into(), value),
            None => node.annotations.remove(annotation),
        };
    }
    node
}

/// node1's routing table: its own segment is 172.16.0.0/24 and fd00:172:16::/64,
/// everything else is behind a router.
fn segments() -> Underlay {
    let next = |router: &str| NextHop {
        link: 2,
        router: router.parse().ok(),
    };
    [
        ("172.16.0.0/24", next("")),
        ("fd00:172:16::/64", next("")),
        ("0.0.0.0/0", next("172.16.0.1")),
        ("::/0", next("fd00:172:16::1")),
    ]
    .into_iter()
    .map(|(destination, next)| (prefix(destination), next))
    .collect()
}

/// node2 on node1's segment, node3 on another.
fn both_sides(settings: &OverlaySettings) -> OverlayTable {
    let mut far = plain("node3");
    far.addresses = vec![ip("172.16.1.13"), ip("fd00:172:16:1::13")];
    let nodes = [
        node_of("node1", settings),
        node_of("node2", settings),
        said(far, settings, &[]),
    ];
    plan_overlay(&cluster(nodes), "node1", settings, &segments())
}

#[test]
fn host_gw_reaches_its_segment_and_says_why_not_the_rest() {
    let settings = OverlaySettings::new(OverlayMode::HostGw);
    let table = both_sides(&settings);
    for family in IpFamily::ALL {
        let near = &table.peers[&key("node2", family)];
        assert_eq!(near.way, Way::Direct { link: 2 }, "{family}");
        assert_eq!(near.data, PeerData::Nothing, "{family}");
    }
    assert_eq!(
        table.refused[&key("node3", IpFamily::V4)].to_string(),
        "the node's address 172.16.1.13 is behind router 172.16.0.1, and packets to pods would \
         end there: nodes of host-gw share a segment; vxlan with directRouting takes the tunnel \
         only where it must"
    );
    assert_eq!(
        table.refused[&key("node3", IpFamily::V6)],
        Refusal::OtherSegment {
            address: ip("fd00:172:16:1::13"),
            router: ip("fd00:172:16::1"),
        }
    );
}

#[test]
fn host_gw_reaches_nobody_while_the_interface_is_down_and_all_when_it_is_up() {
    let settings = OverlaySettings::new(OverlayMode::HostGw);
    let nodes = [node_of("node1", &settings), node_of("node2", &settings)];
    let mut planner = OverlayPlanner::new("node1".into(), settings);
    planner.plan_all(&cluster(nodes));
    let refusal = &planner.table().refused[&key("node2", IpFamily::V4)];
    assert!(refusal.to_string().contains("no route leads"), "{refusal}");
    let up = planner.follow_underlay(segments());
    assert_eq!(up.peers.len(), 2, "{up:#?}");
    assert_eq!(
        planner.follow_underlay(segments()),
        OverlayChange::default()
    );
    let down = planner.follow_underlay(Underlay::default());
    assert!(
        down.peers.values().all(|(_, after)| after.is_none()),
        "{down:#?}"
    );
    assert_eq!(down.refused.len(), 2);
}

#[test]
fn direct_routing_takes_the_direct_way_on_one_segment_only() {
    for mode in [OverlayMode::Vxlan, OverlayMode::Udp, OverlayMode::Ipip] {
        let mut settings = OverlaySettings::new(mode);
        let way = |settings: &OverlaySettings, node: &str| {
            both_sides(settings).peers[&key(node, IpFamily::V6)].way
        };
        assert_eq!(way(&settings, "node2"), Way::Tunnel, "{mode:?}");
        settings.direct_routing = true;
        assert_eq!(way(&settings, "node2"), Way::Direct { link: 2 }, "{mode:?}");
        assert_eq!(way(&settings, "node3"), Way::Tunnel, "{mode:?}");
    }
}

#[test]
fn what_is_published_is_flannels() {
    let prefix = "flannel.alpha.coreos.com";
    for (mode, backend, data) in [
        (OverlayMode::HostGw, "host-gw", "null"),
        (OverlayMode::Udp, "", "null"),
        (OverlayMode::Ipip, "ipip", "null"),
        (
            OverlayMode::WireGuard,
            "wireguard",
            r#"{"Port":51820,"PublicKey":"xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="}"#,
        ),
    ] {
        let mut settings = OverlaySettings::new(mode);
        settings.public_key = Some(KEY.parse().unwrap());
        let node = node_of("node1", &settings);
        let said = |name: &str| node.annotations[&format!("{prefix}/{name}")].as_str();
        assert_eq!(said("kube-subnet-manager"), "true", "{mode:?}");
        assert_eq!(said("backend-type"), backend, "{mode:?}");
        assert_eq!(said("backend-data"), data, "{mode:?}");
        assert_eq!(said("public-ipv6"), "fd00:172:16::11", "{mode:?}");
    }
}

#[test]
fn a_wireguard_peer_has_a_key_and_a_port_for_each_family() {
    let mut settings = OverlaySettings::new(OverlayMode::WireGuard);
    let table = plan_overlay(&cluster([plain("node1")]), "node1", &settings, &segments());
    assert_eq!(table.refused[&key("node1", IpFamily::V4)], Refusal::NoKey);
    let key_ = KEY.parse().unwrap();
    settings.public_key = Some(key_);
    let table = both_sides(&settings);
    for (family, port) in [(IpFamily::V4, 51820), (IpFamily::V6, 51821)] {
        let data = PeerData::WireGuard {
            key: key_,
            port: NonZeroU16::new(port).unwrap(),
        };
        assert_eq!(table.peers[&key("node3", family)].data, data, "{family}");
    }
    let mut broken = node_of("node2", &settings);
    annotate(
        &mut broken,
        "backend-data",
        r#"{"PublicKey":"short","Port":1}"#,
    );
    let nodes = cluster([node_of("node1", &settings), broken]);
    let table = plan_overlay(&nodes, "node1", &settings, &segments());
    let refusal = table.refused[&key("node2", IpFamily::V4)].to_string();
    assert!(refusal.contains("PublicKey is not 32 bytes"), "{refusal}");
}

#[test]
fn a_node_is_reached_by_a_mode_that_it_takes_as_well() {
    let vxlan = OverlaySettings::new(OverlayMode::Vxlan);
    let host_gw = OverlaySettings::new(OverlayMode::HostGw);
    // node1 has moved to host-gw and takes vxlan still; node2 takes host-gw
    // already and sends by vxlan still; node3 knows nothing of host-gw.
    let nodes = cluster([
        said(plain("node1"), &host_gw, &[&vxlan]),
        said(plain("node2"), &vxlan, &[&host_gw]),
        node_of("node3", &vxlan),
    ]);
    let from = |own: &str, settings| plan_overlay(&nodes, own, settings, &segments());
    let table = from("node1", &host_gw);
    assert_eq!(table.peers.len(), 2, "{table:#?}");
    assert_eq!(
        table.refused[&key("node3", IpFamily::V4)].to_string(),
        r#"the node's overlay is "vxlan", this node's is "host-gw""#
    );
    let back = &from("node2", &vxlan).peers[&key("node1", IpFamily::V4)];
    let mac = VtepMac::of_node("node1", IpFamily::V4);
    assert_eq!(back.data, PeerData::Vxlan { mac });
    let incoming = OverlaySettings {
        incoming_only: true,
        ..OverlaySettings::new(OverlayMode::Vxlan)
    };
    let ways: BTreeSet<String> = from("node1", &incoming)
        .peers
        .values()
        .map(|peer| format!("{:?}", peer.way))
        .collect();
    assert_eq!(ways.into_iter().collect::<Vec<_>>(), ["Incoming"]);
}

#[test]
fn a_device_address_begins_as_configured() {
    let mut settings = OverlaySettings::new(OverlayMode::Vxlan);
    settings.mac_prefix = mac_prefix_of("0E-2A");
    let table = plan_overlay(&cluster([plain("node1")]), "node1", &settings, &segments());
    let mac = |table: &OverlayTable| match table.own[&IpFamily::V4].data {
        PeerData::Vxlan { mac } => mac.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(mac(&table), "0e:2a:df:c2:20:c8");
    // One that is published already stays if it begins so.
    for (stored, kept) in [(MAC4, false), ("0e:2a:00:00:00:07", true)] {
        let mut node = plain("node1");
        let data = format!(r#"{{"VNI":1,"VtepMAC":"{stored}"}}"#);
        annotate(&mut node, "backend-data", &data);
        let table = plan_overlay(&cluster([node]), "node1", &settings, &segments());
        assert_eq!(mac(&table) == stored, kept, "{stored}");
    }
    for wrong in [
        "", "0e", "0e:", "00:2a", "01:2a", "zz:2a", "0e:2a:00", "+e:2a",
    ] {
        assert_eq!(mac_prefix_of(wrong), None, "{wrong:?}");
    }
}

#[test]
fn a_node_outside_of_the_pods_network_is_refused() {
    let settings = OverlaySettings {
        networks: prefixes(&["10.10.0.0/16", "fd00:10:244::/48"]),
        ..OverlaySettings::new(OverlayMode::Vxlan)
    };
    let table = plan_overlay(&cluster([plain("node1")]), "node1", &settings, &segments());
    assert_eq!(
        table.refused[&key("node1", IpFamily::V4)].to_string(),
        "podCIDR 10.244.1.0/24 is in no configured network of pods (10.10.0.0/16, fd00:10:244::/48)"
    );
    assert!(table.own.contains_key(&IpFamily::V6));
}

#[test]
fn somebody_elses_overlay_has_own_ends_but_no_peers_and_publishes_nothing() {
    let settings = OverlaySettings::new(OverlayMode::None);
    let node = node_of("node1", &settings);
    assert!(node.annotations.is_empty(), "{:?}", node.annotations);
    let nodes = cluster([published("node1"), published("node2")]);
    let table = plan_overlay(&nodes, "node1", &settings, &segments());
    assert_eq!(
        (table.own.len(), table.peers.len(), table.refused.len()),
        (2, 0, 0)
    );
    let annotations = publish(&published("node1"), (&settings, &table), &[]);
    assert!(annotations.is_empty(), "{annotations:?}");
}

#[test]
fn subnet_env_is_flannels() {
    let mut settings = OverlaySettings {
        networks: prefixes(&["10.244.0.0/16", "fd00:10:244::/48"]),
        ..OverlaySettings::new(OverlayMode::Vxlan)
    };
    let table = plan_overlay(&cluster([plain("node1")]), "node1", &settings, &segments());
    assert_eq!(
        subnet_env(&table, &settings, 1430, true).unwrap(),
        "FLANNEL_NETWORK=10.244.0.0/16\n\
         FLANNEL_SUBNET=10.244.1.1/24\n\
         FLANNEL_IPV6_NETWORK=fd00:10:244::/48\n\
         FLANNEL_IPV6_SUBNET=fd00:10:244:1::1/64\n\
         FLANNEL_MTU=1430\n\
         FLANNEL_IPMASQ=true\n"
    );
    settings.networks.pop();
    assert_eq!(subnet_env(&table, &settings, 1430, true), None);
    assert_eq!(
        subnet_env(&OverlayTable::default(), &settings, 1430, true),
        None
    );
}

#[test]
fn networks_that_know_the_way_back_to_pods_see_their_addresses() {
    let networks = prefixes(&["192.168.0.0/16", "192.168.7.0/24", "fd00:5::/32"]);
    let table = plan_masquerade(&cluster([plain("node1")]), "node1", &networks);
    assert_eq!(
        table.unmasqueraded,
        prefixes(&["192.168.0.0/16", "fd00:5::/32"])
            .into_iter()
            .collect()
    );
}
