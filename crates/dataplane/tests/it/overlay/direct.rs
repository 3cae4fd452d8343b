//! Routes without a tunnel: host-gw, and direct routing of vxlan.

use podway_kernel::route::{LinkChange, Route};
use podway_model::IpFamily;
use podway_plan::overlay::{OverlaySettings, PeerKey, Refusal};

use super::nodes::{
    HOST_GW, LIMIT, VXLAN, assert_reaches, connect, ip, net, published, serve, three,
};

fn direct() -> OverlaySettings {
    OverlaySettings {
        direct_routing: true,
        ..VXLAN
    }
}

#[test]
fn pods_of_one_segment_reach_each_other_through_plain_routes() {
    let (_underlay, [mut a, mut b, _], _) = three(&HOST_GW);
    assert_eq!(
        a.routes(),
        [
            "10.244.2.0/24 via 172.16.0.12 dev eth0",
            "fd00:10:244:2::/64 via fd00:172:16::12 dev eth0",
        ]
    );
    assert_eq!(
        a.sync(None).unwrap().pod_mtu,
        Some(1500),
        "nothing is added"
    );
    assert_reaches(&mut a, &mut b);
}

#[test]
fn strict_reverse_path_filtering_does_not_hurt() {
    for settings in [HOST_GW, VXLAN, direct()] {
        let (_underlay, [mut a, mut b, _], _) = three(&settings);
        for node in [&a, &b] {
            for interface in ["all", "eth0"] {
                node.set(&format!("net/ipv4/conf/{interface}/rp_filter"), "1");
            }
        }
        assert_reaches(&mut a, &mut b);
    }
}

#[test]
fn a_node_behind_a_router_is_named_and_the_others_are_reached() {
    let (_underlay, [a, ..], _) = three(&HOST_GW);
    let key = PeerKey::new(&"node3".into(), IpFamily::V6);
    assert_eq!(
        a.table().refused[&key],
        Refusal::OtherSegment {
            address: ip("fd00:172:16:1::13"),
            router: ip("fd00:172:16::1"),
        }
    );
}

#[test]
fn direct_routing_takes_the_tunnel_only_to_the_other_segment() {
    let (_underlay, [mut a, mut b, mut c], _) = three(&direct());
    assert_eq!(
        a.routes(),
        [
            "10.244.2.0/24 via 172.16.0.12 dev eth0",
            "10.244.3.0/24 via 10.244.3.0 dev podway-vxlan",
            "fd00:10:244:2::/64 via fd00:172:16::12 dev eth0",
            "fd00:10:244:3::/64 via fd00:10:244:3:: dev podway-vxlan6",
        ]
    );
    assert_eq!(
        a.entries()
            .iter()
            .filter(|line| line.contains("fdb"))
            .count(),
        2,
        "no tunnel entries for node2: {:?}",
        a.entries()
    );
    a.restart();
    assert_eq!(a.sync(None).unwrap().writes, 0);
    assert_reaches(&mut a, &mut b);
    assert_reaches(&mut b, &mut c);
}

/// flannel decides once, when it hears of a node.
#[test]
fn direct_routing_is_decided_anew_when_the_routing_table_changes() {
    let (_underlay, [mut a, _, mut c], objects) = three(&direct());
    let eth0 = a.socket.link("eth0").unwrap().unwrap().index;
    // node2 is behind the router from now on, and node3 no longer.
    for (neighbour, router) in [
        ("172.16.0.12/32", "172.16.0.1"),
        ("fd00:172:16::12/128", "fd00:172:16::1"),
    ] {
        let route = Route::new(net(neighbour)).via(ip(router)).dev(eth0);
        a.socket.add_route(&route).unwrap();
    }
    for segment in ["172.16.1.0/24", "fd00:172:16:1::/64"] {
        let route = Route::new(net(segment)).dev(eth0).scope_link();
        a.socket.add_route(&route).unwrap();
    }
    let report = a.follow(&objects);
    assert_eq!(
        report.writes, 14,
        "two families; node2: neighbour, entry, route; node3: route, and the rest goes; \
         IPv6's gateway has a route meanwhile"
    );
    assert_eq!(
        a.routes(),
        [
            "10.244.2.0/24 via 10.244.2.0 dev podway-vxlan",
            "10.244.3.0/24 via 172.16.1.13 dev eth0",
            "fd00:10:244:2::/64 via fd00:10:244:2:: dev podway-vxlan6",
            "fd00:10:244:3::/64 via fd00:172:16:1::13 dev eth0",
        ]
    );
    assert_eq!(c.sync(None).unwrap().writes, 0);
}

#[test]
fn routes_come_back_with_the_interface() {
    let (_underlay, [mut a, mut b, _], objects) = three(&HOST_GW);
    let before = a.routes();
    let eth0 = a.socket.link("eth0").unwrap().unwrap().index;
    let addresses = a.socket.addresses(Some(eth0)).unwrap();
    a.socket
        .change_link(eth0, &LinkChange::new().down())
        .unwrap();
    // Whatever the kernel said: the routes are gone, and nothing can be written.
    assert_eq!(a.follow(&objects).writes, 0);
    assert!(a.routes().is_empty());
    let refusal = a.table().refused[&PeerKey::new(&"node2".into(), IpFamily::V4)].to_string();
    assert!(
        refusal.contains("no route leads to the node's address 172.16.0.12"),
        "{refusal}"
    );
    a.socket.change_link(eth0, &LinkChange::new().up()).unwrap();
    for address in addresses.iter().filter(|address| !address.scope_link) {
        a.socket.add_address(eth0, address.address).unwrap();
    }
    assert_eq!(a.follow(&objects).writes, 2);
    assert_eq!(a.routes(), before);
    assert_reaches(&mut a, &mut b);
}

#[test]
fn a_route_that_somebody_deleted_changed_or_added_is_mended() {
    let (_underlay, [mut a, ..], _) = three(&HOST_GW);
    let before = a.routes();
    let eth0 = a.socket.link("eth0").unwrap().unwrap().index;
    let route = |to: &str, via: &str| Route::new(net(to)).via(ip(via)).dev(eth0).protocol(112);
    let deleted = route("10.244.2.0/24", "172.16.0.12");
    assert!(a.socket.delete_route(&deleted).unwrap());
    a.socket
        .replace_route(&route("fd00:10:244:2::/64", "fd00:172:16::99"))
        .unwrap();
    // Of a node that is gone: what an agent left that was killed.
    a.socket
        .add_route(&route("10.244.9.0/24", "172.16.0.19"))
        .unwrap();
    // Somebody else's, and one to a pod of the node's own.
    let foreign = Route::new(net("192.0.2.0/24"))
        .via(ip("172.16.0.1"))
        .dev(eth0);
    a.socket.add_route(&foreign).unwrap();
    let pod = Route::new(net("10.244.1.5/32"))
        .dev(eth0)
        .scope_link()
        .protocol(112);
    a.socket.add_route(&pod).unwrap();
    assert_eq!(a.sync(None).unwrap().writes, 3);
    let mut expected = before;
    expected.insert(0, "10.244.1.5/32 dev eth0".to_owned());
    assert_eq!(a.routes(), expected);
    assert_eq!(a.cleanup(), ["routes to pods of other nodes"]);
    assert_eq!(a.routes(), ["10.244.1.5/32 dev eth0"]);
    assert!(a.socket.delete_route(&foreign).unwrap(), "not ours");
}

/// A node moves from one overlay to another: each route changes in one step, and
/// the other devices go once nobody needs them.
#[test]
fn routes_of_one_overlay_take_the_place_of_anothers() {
    let (_underlay, [mut a, mut b, _], _) = three(&VXLAN);
    let (client, server) = (a.pod(5), b.pod(6));
    serve(&server.namespace);
    let reach = || {
        for to in server.addresses {
            connect(&client.namespace, to, LIMIT).unwrap_or_else(|e| panic!("{to}: {e}"));
        }
    };
    reach();
    // node1 sends by host-gw and takes both, node2 the other way round.
    let moved = [
        published(a.plain(), &HOST_GW, &[VXLAN]),
        published(b.plain(), &VXLAN, &[HOST_GW]),
    ];
    b.follow(&moved);
    let mut took = b.socket.links().unwrap();
    took.retain(|link| link.name == "podway-vxlan");
    a.reconfigure(HOST_GW);
    a.plan(&moved);
    assert_eq!(
        a.sync(None).unwrap().writes,
        4,
        "node2's two routes change, node3's go"
    );
    assert_eq!(
        a.routes(),
        [
            "10.244.2.0/24 via 172.16.0.12 dev eth0",
            "fd00:10:244:2::/64 via fd00:172:16::12 dev eth0",
        ]
    );
    reach();
    b.reconfigure(HOST_GW);
    b.plan(&moved);
    b.sync(None).unwrap();
    reach();
    for node in [&mut a, &mut b] {
        let removed =
            podway_dataplane::overlay::remove_others(&mut node.socket, &[HOST_GW.mode]).unwrap();
        assert_eq!(removed, ["podway-vxlan", "podway-vxlan6"]);
    }
    reach();
}
