//! Packets.

use std::time::Duration;

use podway_dataplane::masquerade::Masquerade;
use podway_kernel::netns::NetNs;
use podway_model::Node;
use podway_plan::overlay::{MasqueradeTable, plan_masquerade};

use super::nodes::{LIMIT, TestNode, Underlay, connect, ip, serve, state};

/// For connections that must not come about.
const NEVER: Duration = Duration::from_millis(500);

/// Two nodes that know each other.
fn two() -> (Underlay, TestNode, TestNode, [Node; 2]) {
    let mut underlay = Underlay::new();
    let (mut a, mut b) = (underlay.node(1), underlay.node(2));
    let objects = [a.object(), b.object()];
    a.follow(&objects);
    b.follow(&objects);
    (underlay, a, b, objects)
}

fn masquerade(node: &TestNode, table: &MasqueradeTable) {
    let program = || Masquerade::open().unwrap().sync(table, true).unwrap();
    node.namespace.run(program).unwrap();
}

fn assert_seen(from: &NetNs, to: std::net::IpAddr, as_: std::net::IpAddr) {
    let seen = connect(from, to, LIMIT).unwrap_or_else(|error| panic!("to {to}: {error}"));
    assert_eq!(seen, as_, "source as the server at {to} saw it");
}

#[test]
fn pods_reach_pods_of_other_nodes_in_both_families_with_their_own_address() {
    let (_underlay, mut a, mut b, objects) = two();
    for (node, name) in [(&a, "node1"), (&b, "node2")] {
        masquerade(node, &plan_masquerade(&state(&objects), name, &[]));
    }
    let (client, server) = (a.pod(5), b.pod(6));
    serve(&server.namespace);
    serve(&client.namespace);
    for family in 0..2 {
        let (here, there) = (client.addresses[family], server.addresses[family]);
        assert_seen(&client.namespace, there, here);
        assert_seen(&server.namespace, here, there);
    }
}

#[test]
fn a_node_reaches_pods_of_other_nodes_and_the_answer_takes_the_tunnel() {
    let (_underlay, a, mut b, objects) = two();
    masquerade(&a, &plan_masquerade(&state(&objects), "node1", &[]));
    let server = b.pod(6);
    serve(&server.namespace);
    // The tunnel device's own address, which is the pod prefix's first.
    for (to, own) in server
        .addresses
        .iter()
        .zip(["10.244.1.0", "fd00:10:244:1::"])
    {
        assert_seen(&a.namespace, *to, ip(own));
    }
}

#[test]
fn what_leaves_the_cluster_carries_the_nodes_address() {
    let (underlay, mut a, b, objects) = two();
    masquerade(&a, &plan_masquerade(&state(&objects), "node1", &[]));
    let pod = a.pod(5);
    serve(underlay.outside());
    serve(&b.namespace);
    for (outside, node, own) in [
        ("172.16.0.1", "172.16.0.12", "172.16.0.11"),
        ("fd00:172:16::1", "fd00:172:16::12", "fd00:172:16::11"),
    ] {
        assert_seen(&pod.namespace, ip(outside), ip(own));
        assert_seen(&pod.namespace, ip(node), ip(own));
    }
}

#[test]
fn a_pods_own_node_sees_the_pods_address() {
    let (_underlay, mut a, _b, objects) = two();
    masquerade(&a, &plan_masquerade(&state(&objects), "node1", &[]));
    let pod = a.pod(5);
    serve(&a.namespace);
    for (node, own) in ["172.16.0.11", "fd00:172:16::11"].iter().zip(pod.addresses) {
        assert_seen(&pod.namespace, ip(node), own);
    }
}

#[test]
fn a_removed_peer_is_reached_no_more_and_comes_back() {
    let (_underlay, mut a, mut b, objects) = two();
    let (client, server) = (a.pod(5), b.pod(6));
    serve(&server.namespace);
    for _ in 0..2 {
        for (to, from) in server.addresses.iter().zip(client.addresses) {
            assert_seen(&client.namespace, *to, from);
        }
        a.follow(&objects[..1]);
        assert_eq!(a.entries(), Vec::<String>::new());
        for to in server.addresses {
            let seen = connect(&client.namespace, to, NEVER);
            assert!(seen.is_err(), "{to} still answers: {seen:?}");
        }
        a.follow(&objects);
    }
}

#[test]
fn a_node_that_moved_to_another_address_is_followed() {
    let (_underlay, mut a, mut b, mut objects) = two();
    let (client, server) = (a.pod(5), b.pod(6));
    serve(&server.namespace);
    let eth0 = b.socket.link("eth0").unwrap().unwrap().index;
    for (old, new) in [
        ("172.16.0.12/24", "172.16.0.17/24"),
        ("fd00:172:16::12/64", "fd00:172:16::17/64"),
    ] {
        b.socket
            .delete_address(eth0, super::nodes::net(old))
            .unwrap();
        b.socket.add_address(eth0, super::nodes::net(new)).unwrap();
    }
    objects[1].addresses = vec![ip("172.16.0.17"), ip("fd00:172:16::17")];
    for (name, value) in [
        ("public-ip", "172.16.0.17"),
        ("public-ipv6", "fd00:172:16::17"),
    ] {
        let name = format!("flannel.alpha.coreos.com/{name}");
        objects[1].annotations.insert(name, value.into());
    }
    let report = a.follow(&objects);
    assert_eq!(
        report.writes, 2,
        "one forwarding entry a family, nothing else"
    );
    b.follow(&objects);
    for (to, from) in server.addresses.iter().zip(client.addresses) {
        assert_seen(&client.namespace, *to, from);
    }
}

#[test]
fn networks_that_know_the_way_back_see_the_pods_address() {
    let (mut underlay, mut a, _b, objects) = two();
    let known = [
        super::nodes::net("172.16.0.1/32"),
        super::nodes::net("fd00:172:16::1/128"),
    ];
    masquerade(&a, &plan_masquerade(&state(&objects), "node1", &known));
    let pod = a.pod(5);
    underlay.know_the_way_to(&a);
    serve(underlay.outside());
    for (outside, own) in ["172.16.0.1", "fd00:172:16::1"]
        .into_iter()
        .zip(pod.addresses)
    {
        assert_seen(&pod.namespace, ip(outside), own);
    }
}
