//! What is written, and what is not.

use podway_dataplane::overlay::Error;
use podway_kernel::netns::NetNs;
use podway_kernel::route::{
    FdbEntry, LinkChange, LinkDetail, Mac, Neighbour, NewLink, Route, Rtnetlink, VethPeer,
};
use podway_kernel::sysctl;
use podway_model::{IpFamily, Node};
use podway_plan::overlay::{OverlayChange, OverlaySettings, PeerData};

use super::nodes::{TestNode, Underlay, VXLAN, ip, net, open};

/// One node that knows two others, which need not be there for this.
fn one() -> (Underlay, TestNode, Vec<Node>) {
    let mut underlay = Underlay::new();
    let mut node = underlay.node(1);
    let objects: Vec<Node> = [node.object()]
        .into_iter()
        .chain((2..4).map(|n| underlay.node(n).object()))
        .collect();
    node.follow(&objects);
    (underlay, node, objects)
}

const BOTH_PEERS: [&str; 12] = [
    "podway-vxlan fdb 172.16.0.12",
    "podway-vxlan fdb 172.16.0.13",
    "podway-vxlan neighbour 10.244.2.0",
    "podway-vxlan neighbour 10.244.3.0",
    "podway-vxlan route 10.244.2.0/24",
    "podway-vxlan route 10.244.3.0/24",
    "podway-vxlan6 fdb fd00:172:16::12",
    "podway-vxlan6 fdb fd00:172:16::13",
    "podway-vxlan6 neighbour fd00:10:244:2::",
    "podway-vxlan6 neighbour fd00:10:244:3::",
    "podway-vxlan6 route fd00:10:244:2::/64",
    "podway-vxlan6 route fd00:10:244:3::/64",
];

#[test]
fn devices_are_what_flannel_would_make_with_the_right_mtu() {
    let (_underlay, mut node, _) = one();
    let eth0 = node.socket.link("eth0").unwrap().unwrap();
    for (name, family, local, mtu, address) in [
        (
            "podway-vxlan",
            IpFamily::V4,
            "172.16.0.11",
            1450,
            "10.244.1.0/32",
        ),
        (
            "podway-vxlan6",
            IpFamily::V6,
            "fd00:172:16::11",
            1430,
            "fd00:10:244:1::/128",
        ),
    ] {
        let link = node.socket.link(name).unwrap().expect(name);
        let LinkDetail::Vxlan(vxlan) = &link.detail else {
            panic!("{link:#?}");
        };
        assert_eq!(
            (
                vxlan.vni,
                vxlan.port,
                vxlan.local,
                vxlan.lower,
                vxlan.learning
            ),
            (1, 8472, ip(local), Some(eth0.index), false)
        );
        let PeerData::Vxlan { mac } = node.table().own[&family].data else {
            panic!("{:#?}", node.table());
        };
        assert_eq!(
            (link.mac, link.mtu, link.up),
            (Some(Mac(mac.0)), mtu, true),
            "{name}"
        );
        let addresses = node.socket.addresses(Some(link.index)).unwrap();
        let own = |a: &&podway_kernel::route::Address| !a.scope_link;
        let own: Vec<String> = addresses
            .iter()
            .filter(own)
            .map(|a| a.address.to_string())
            .collect();
        assert_eq!(own, [address]);
    }
    let report = node.sync(None).unwrap();
    assert_eq!(report.pod_mtu, Some(1430), "the smaller of the two");
    let forwarding = ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"];
    let read = || forwarding.map(|key| sysctl::read(key).unwrap());
    assert_eq!(node.namespace.run(read).unwrap(), ["1", "1"]);
}

#[test]
fn a_restart_with_nothing_changed_writes_nothing() {
    let (_underlay, mut node, _) = one();
    assert_eq!(node.entries(), BOTH_PEERS);
    node.restart();
    let report = node.sync(None).unwrap();
    assert_eq!((report.writes, report.pod_mtu), (0, Some(1430)));
    assert_eq!(node.entries(), BOTH_PEERS);
}

#[test]
fn a_change_writes_only_the_change() {
    let (mut underlay, mut node, mut objects) = one();
    assert_eq!(node.follow(&objects).writes, 0, "nothing new");
    objects.push(underlay.node(4).object());
    assert_eq!(
        node.follow(&objects).writes,
        6,
        "neighbour, entry, route; twice"
    );
    objects.remove(1);
    assert_eq!(
        node.follow(&objects).writes,
        6,
        "and the same for one that goes"
    );
}

#[test]
fn a_restart_removes_what_vanished_meanwhile_and_mends_what_is_missing() {
    let (_underlay, mut node, objects) = one();
    let vxlan = node.socket.link("podway-vxlan").unwrap().unwrap().index;
    // Node 3 is gone, an entry of node 2 is missing, and one is wrong.
    let neighbour = node.socket.neighbours(vxlan).unwrap()[0];
    node.socket.delete_neighbour(&neighbour).unwrap();
    let entry = node.socket.fdb(vxlan).unwrap()[0];
    let wrong = FdbEntry {
        remote: ip("172.16.0.99"),
        ..entry
    };
    node.socket.replace_fdb(&wrong).unwrap();
    node.restart();
    node.plan(&objects[..2]);
    node.sync(None).unwrap();
    let rest: Vec<&str> = BOTH_PEERS
        .into_iter()
        .filter(|line| !line.contains("13") && !line.contains("244.3.") && !line.contains("244:3:"))
        .collect();
    assert_eq!(node.entries(), rest);
    assert_eq!(node.sync(None).unwrap().writes, 0);
}

#[test]
fn what_others_put_elsewhere_is_not_touched() {
    let (_underlay, mut node, _) = one();
    let eth0 = node.socket.link("eth0").unwrap().unwrap().index;
    let route = Route::new(net("192.0.2.0/24"))
        .via(ip("172.16.0.1"))
        .dev(eth0);
    node.socket.add_route(&route).unwrap();
    let neighbour = Neighbour {
        link: eth0,
        address: ip("172.16.0.77"),
        mac: Mac([2, 0, 0, 0, 0, 1]),
    };
    node.socket.replace_neighbour(&neighbour).unwrap();
    assert_eq!(node.sync(None).unwrap().writes, 0);
    assert_eq!(
        node.cleanup(),
        ["interface podway-vxlan", "interface podway-vxlan6"]
    );
    assert_eq!(node.socket.neighbours(eth0).unwrap(), [neighbour]);
    assert!(
        node.socket.delete_route(&route).unwrap(),
        "the route is still there"
    );
    assert_eq!(node.socket.link("podway-vxlan").unwrap(), None);
    assert_eq!(node.socket.link("podway-vxlan6").unwrap(), None);
    assert!(node.cleanup().is_empty());
}

#[test]
fn a_deleted_or_changed_device_comes_back_as_it_was() {
    type Harm = fn(&mut Rtnetlink, podway_kernel::route::LinkIndex);
    let (_underlay, mut node, _) = one();
    let harms: [(&str, Harm); 5] = [
        ("deleted", |socket, link| socket.delete_link(link).unwrap()),
        ("down and up", |socket, link| {
            // Loses routes and neighbours, keeps forwarding entries.
            socket.change_link(link, &LinkChange::new().down()).unwrap();
            socket.change_link(link, &LinkChange::new().up()).unwrap();
        }),
        ("down", |socket, link| {
            socket.change_link(link, &LinkChange::new().down()).unwrap();
        }),
        ("another Ethernet address", |socket, link| {
            let change = LinkChange::new().mac(Mac([2, 0, 0, 0, 0, 9]));
            socket.change_link(link, &change).unwrap();
        }),
        ("another MTU", |socket, link| {
            socket
                .change_link(link, &LinkChange::new().mtu(1000))
                .unwrap();
        }),
    ];
    for (case, harm) in harms {
        for name in ["podway-vxlan", "podway-vxlan6"] {
            let before = node.socket.link(name).unwrap().unwrap();
            harm(&mut node.socket, before.index);
            let report = node
                .sync(None)
                .unwrap_or_else(|error| panic!("{case} {name}: {error:?}"));
            assert!(report.writes > 0, "{case} {name}");
            let after = node.socket.link(name).unwrap().unwrap();
            let looks = |link: &podway_kernel::route::Link| {
                (link.mac, link.mtu, link.up, link.detail.clone())
            };
            assert_eq!(looks(&before), looks(&after), "{case} {name}");
            assert_eq!(node.entries(), BOTH_PEERS, "{case} {name}");
            assert_eq!(node.sync(None).unwrap().writes, 0, "{case} {name}");
        }
    }
}

#[test]
fn a_change_on_a_device_that_is_gone_is_an_error_that_a_full_sync_mends() {
    let (mut underlay, mut node, mut objects) = one();
    let link = node.socket.link("podway-vxlan").unwrap().unwrap();
    node.socket.delete_link(link.index).unwrap();
    objects.push(underlay.node(4).object());
    let change = node.plan(&objects);
    let error = node.sync(Some(&change)).unwrap_err();
    assert!(matches!(error, Error::Route(_)), "{error:?}");
    node.sync(None).unwrap();
    assert_eq!(node.entries().len(), BOTH_PEERS.len() + 6);
}

#[test]
fn a_family_that_is_given_up_takes_its_device_along() {
    let (_underlay, mut node, mut objects) = one();
    objects[0].pod_prefixes.pop();
    let report = node.follow(&objects);
    assert_eq!(report.pod_mtu, Some(1450));
    assert_eq!(node.socket.link("podway-vxlan6").unwrap(), None);
    assert_eq!(node.entries(), BOTH_PEERS[..6]);
}

#[test]
fn a_node_that_is_not_known_for_a_while_keeps_its_overlay() {
    let (_underlay, mut node, objects) = one();
    assert_eq!(node.follow(&objects[1..]).writes, 0);
    assert_eq!(node.entries(), BOTH_PEERS);
    assert_eq!(node.follow(&objects).writes, 0);
}

#[test]
fn another_pod_prefix_moves_the_devices_address() {
    let (_underlay, mut node, mut objects) = one();
    objects[0].pod_prefixes[0] = net("10.244.9.0/24");
    node.follow(&objects);
    let link = node.socket.link("podway-vxlan").unwrap().unwrap();
    let addresses = node.socket.addresses(Some(link.index)).unwrap();
    let ipv4: Vec<String> = addresses
        .iter()
        .filter(|address| address.address.addr().is_ipv4())
        .map(|address| address.address.to_string())
        .collect();
    assert_eq!(ipv4, ["10.244.9.0/32"]);
}

#[test]
fn a_foreign_device_of_our_name_is_refused_and_kept() {
    let mut underlay = Underlay::new();
    let mut node = underlay.node(1);
    let foreign = NewLink::veth("podway-vxlan", VethPeer::new("other"));
    let index = node.socket.create_link(&foreign).unwrap();
    node.plan(&[node.object()]);
    let error = node.sync(None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "interface podway-vxlan is a veth, not ours: rename it or take it away"
    );
    node.cleanup();
    assert!(node.socket.link_at(index).unwrap().is_some());
}

#[test]
fn an_underlay_that_cannot_carry_it_is_named() {
    let mut underlay = Underlay::new();
    let mut node = underlay.node(1);
    node.plan(&[node.object()]);
    let eth0 = node.socket.link("eth0").unwrap().unwrap().index;
    node.socket
        .change_link(eth0, &LinkChange::new().mtu(1300))
        .unwrap();
    let error = node.sync(None).unwrap_err().to_string();
    assert_eq!(
        error,
        "interface eth0 has MTU 1300: too little for a tunnel of IPv6 (at least 1350)"
    );
    node.socket
        .delete_address(eth0, net("172.16.0.11/24"))
        .unwrap();
    let error = node.sync(None).unwrap_err().to_string();
    assert!(
        error.contains("no interface of this node has its address 172.16.0.11"),
        "{error}"
    );
}

#[test]
fn a_backend_that_knows_nothing_yet_writes_no_change() {
    let namespace = NetNs::anonymous().unwrap();
    let mut overlay = open(&namespace, &VXLAN);
    let report = namespace
        .run(|| {
            overlay
                .sync(&Default::default(), Some(&OverlayChange::default()))
                .unwrap()
        })
        .unwrap();
    assert_eq!((report.writes, report.pod_mtu), (0, None));
}

#[test]
fn options_reach_the_device() {
    let mut underlay = Underlay::new();
    let settings = OverlaySettings {
        vni: 7,
        port: std::num::NonZeroU16::new(4789),
        mtu: Some(1400),
        mac_prefix: Some([0x0e, 0x2a]),
        ..VXLAN
    };
    let mut node = underlay.node_on(0, 1, &settings);
    let report = node.follow(&[node.object()]);
    assert_eq!(report.pod_mtu, Some(1330));
    for (name, mtu) in [("podway-vxlan", 1350), ("podway-vxlan6", 1330)] {
        let link = node.socket.link(name).unwrap().unwrap();
        let LinkDetail::Vxlan(vxlan) = &link.detail else {
            panic!("{link:#?}");
        };
        assert_eq!((vxlan.vni, vxlan.port, link.mtu), (7, 4789, mtu), "{name}");
        assert_eq!(link.mac.unwrap().0[..2], [0x0e, 0x2a], "{name}");
    }
    // Other options: the devices are made anew.
    node.reconfigure(VXLAN);
    let report = node.follow(&[node.object()]);
    assert_eq!(report.pod_mtu, Some(1430));
}

#[test]
fn more_than_the_underlay_carries_is_refused() {
    let mut underlay = Underlay::new();
    let settings = OverlaySettings {
        mtu: Some(9000),
        ..VXLAN
    };
    let mut node = underlay.node_on(0, 1, &settings);
    node.plan(&[node.object()]);
    assert_eq!(
        node.sync(None).unwrap_err().to_string(),
        "overlay.mtu is 9000, and interface eth0 carries only 1500"
    );
    assert_eq!(node.socket.link("podway-vxlan").unwrap(), None);
}

#[test]
fn a_network_that_another_device_has_is_refused_by_that_devices_name() {
    let mut underlay = Underlay::new();
    let mut node = underlay.node(1);
    let eth0 = node.socket.link("eth0").unwrap().unwrap().index;
    let flannel = podway_kernel::route::Vxlan {
        vni: 1,
        port: 8472,
        local: ip("172.16.0.11"),
        lower: Some(eth0),
        learning: false,
    };
    let flannel = NewLink::vxlan("flannel.1", flannel);
    node.socket.create_link(&flannel).unwrap();
    node.plan(&[node.object()]);
    let error = node.sync(None).unwrap_err().to_string();
    assert!(
        error.starts_with("interface flannel.1 has VXLAN network 1 on port 8472 already"),
        "{error}"
    );
}

#[test]
fn forwarding_entries_that_somebody_adds_go() {
    let (_underlay, mut node, _) = one();
    let vxlan = node.socket.link("podway-vxlan").unwrap().unwrap().index;
    // As flooding to every node would be set up by hand.
    for remote in ["172.16.0.98", "172.16.0.99"] {
        let run = || {
            std::process::Command::new("bridge")
                .args(["fdb", "append", "00:00:00:00:00:00"])
                .args(["dev", "podway-vxlan", "dst", remote, "self", "permanent"])
                .status()
                .unwrap()
        };
        assert!(node.namespace.run(run).unwrap().success());
    }
    assert_eq!(node.socket.fdb(vxlan).unwrap().len(), 4);
    assert_eq!(node.sync(None).unwrap().writes, 2);
    assert_eq!(node.entries(), BOTH_PEERS);
}
