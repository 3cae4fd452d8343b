//! Ports of the node that lead to its pods, from everywhere that they can be
//! reached from.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::thread;

use podway_kernel::netns::NetNs;
use podway_kernel::nft::{Nft, Nftables, Operation, Transaction};
use podway_kernel::route::{LinkChange, NewLink, Route, RouteFilter, Rtnetlink, VethPeer};
use podway_kernel::sysctl;
use serde_json::{Value, json};

use crate::connectivity::{LIMIT, NEVER, connect, connect_to, serve};
use crate::node::{Node, Pod};

const NODE: [&str; 2] = ["172.16.0.11", "fd00:172:16::11"];
const CLIENT: [&str; 2] = ["172.16.0.250", "fd00:172:16::250"];

/// A client outside, on a link of the node's.
fn outside(node: &Node) -> NetNs {
    let client = NetNs::anonymous().unwrap();
    let mut here = Rtnetlink::open_in(&node.namespace).unwrap();
    let mut there = Rtnetlink::open_in(&client).unwrap();
    let lo = here.link("lo").unwrap().unwrap().index;
    here.change_link(lo, &LinkChange::new().up()).unwrap();
    let peer = VethPeer::new("eth0").in_namespace(&client).up();
    let end = here
        .create_link(&NewLink::veth("uplink", peer).up())
        .unwrap();
    let other = there.link("eth0").unwrap().unwrap().index;
    for (node, client) in NODE.iter().zip(CLIENT) {
        let length = if node.contains(':') { 64 } else { 24 };
        let net = |ip: &str| format!("{ip}/{length}").parse().unwrap();
        here.add_address(end, net(node)).unwrap();
        there.add_address(other, net(client)).unwrap();
        there
            .add_route(&Route::default_via(node.parse().unwrap()).dev(other))
            .unwrap();
        while !there.is_local(client.parse().unwrap()).unwrap() {
            thread::yield_now();
        }
    }
    client
}

fn with_ports(node: &Node, mappings: &Value) -> Value {
    let mut config = node.config();
    config["runtimeConfig"] = json!({ "portMappings": mappings });
    config
}

/// A server on port 80 that says who it hears.
fn server(node: &Node, container: &str, mappings: &Value) -> (Pod, Value) {
    let pod = node.pod(container);
    let config = with_ports(node, mappings);
    node.add(&pod, &config).result();
    serve(&pod.namespace);
    (pod, config)
}

#[test]
fn a_host_port_leads_to_its_pod_from_everywhere() {
    let node = Node::new();
    let client = outside(&node);
    let (pod, config) = server(
        &node,
        "c1",
        &json!([{ "hostPort": 8080, "containerPort": 80, "protocol": "tcp" }]),
    );
    let other = node.pod("c2");
    let others = node.add(&other, &node.config()).addresses();
    let gateways = ["10.244.1.1", "fd00:10:244:1::1"];
    for (i, address) in NODE.iter().enumerate() {
        let others = others[i].to_string();
        for (from, seen) in [
            (&client, CLIENT[i]),
            (&node.namespace, address),
            (&other.namespace, &others),
            // To itself, by the node's address.
            (&pod.namespace, gateways[i]),
        ] {
            let to = SocketAddr::new(address.parse().unwrap(), 8080);
            let answer = connect_to(from, to, LIMIT);
            let answer =
                answer.unwrap_or_else(|error| panic!("{to} from {:?}: {error}", from.path()));
            assert_eq!(answer, seen, "{to} from {:?}", from.path());
        }
    }
    let loopback = connect_to(&node.namespace, "127.0.0.1:8080".parse().unwrap(), LIMIT);
    assert_eq!(loopback.unwrap(), gateways[0]);
    // Another port of the same address is the node's own.
    let refused = connect(&client, NODE[0].parse().unwrap(), LIMIT).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);

    node.del(&pod, &config).silent();
    let refused = connect_to(&client, format!("{}:8080", NODE[0]).parse().unwrap(), LIMIT);
    assert_eq!(
        refused.unwrap_err().kind(),
        io::ErrorKind::ConnectionRefused
    );
}

#[test]
fn one_address_of_the_node_comes_before_all_of_them() {
    let node = Node::new();
    let client = outside(&node);
    let (_any, _) = server(
        &node,
        "any",
        &json!([{ "hostPort": 80, "containerPort": 80 }]),
    );
    let (_one, _) = server(
        &node,
        "one",
        &json!([
            { "hostPort": 80, "containerPort": 80, "protocol": "TCP", "hostIP": NODE[1] },
            { "hostPort": 81, "containerPort": 80, "hostIP": "0.0.0.0" },
            { "hostPort": 82, "containerPort": 80, "hostIP": "127.0.0.1" },
        ]),
    );
    let at = |address: &str, port: u16| SocketAddr::new(address.parse().unwrap(), port);
    let table = node
        .namespace
        .run(|| Nft::open().unwrap().dump("podway-hostports").unwrap());
    let table = table.unwrap().unwrap();
    let count = |set: &str| table.sets[set].elements.len();
    let counts = ["at4", "any4", "at6", "any6", "hairpin4", "hairpin6"].map(count);
    assert_eq!(counts, [1, 2, 1, 1, 2, 2]);
    for (to, works) in [
        (at(NODE[0], 80), true),
        (at(NODE[1], 80), true),
        (at(NODE[0], 81), true),
        (at(NODE[1], 81), false),
        (at(NODE[0], 82), false),
    ] {
        assert_eq!(connect_to(&client, to, NEVER).is_ok(), works, "{to}");
    }
    connect_to(&node.namespace, at("127.0.0.1", 82), LIMIT).unwrap();
}

#[test]
fn mappings_that_cannot_be_are_refused_and_leave_nothing() {
    let node = Node::new();
    let pod = node.pod("c1");
    for (mappings, code, words) in [
        (
            json!([{ "hostPort": 0, "containerPort": 80 }]),
            7,
            "0 is no port",
        ),
        (
            json!([{ "hostPort": 80, "containerPort": 0 }]),
            7,
            "0 is no port",
        ),
        (
            json!([{ "hostPort": 65536, "containerPort": 80 }]),
            6,
            "decode",
        ),
        (
            json!([{ "hostPort": 80, "containerPort": 80, "protocol": "icmp" }]),
            6,
            "icmp",
        ),
        (
            json!([{ "hostPort": 80, "containerPort": 80, "hostIP": "node1" }]),
            7,
            "hostIP \"node1\" is no address",
        ),
        (
            json!([{ "hostPort": 80, "containerPort": 80 }, { "hostPort": 80, "containerPort": 81 }]),
            7,
            "80/tcp is mapped twice",
        ),
    ] {
        let error = node.add(&pod, &with_ports(&node, &mappings)).error();
        let text = format!("{} {}", error["msg"], error["details"]).replace('\\', "");
        assert_eq!(error["code"], code, "{mappings}: {error:#}");
        assert!(text.contains(words), "{mappings}: {error:#}");
    }
    let mut config = with_ports(
        &node,
        &json!([{ "hostPort": 80, "containerPort": 80, "hostIP": "::" }]),
    );
    config["podCIDRs"] = json!(["10.244.1.0/24"]);
    let error = node.add(&pod, &config).error();
    assert!(
        error["msg"]
            .as_str()
            .unwrap()
            .contains("no address of ::'s family"),
        "{error:#}"
    );
    assert_eq!((node.links().len(), node.leased().len()), (1, 0));
}

#[test]
fn a_port_has_one_pod_until_that_is_gone() {
    let node = Node::new();
    let client = outside(&node);
    let config = with_ports(&node, &json!([{ "hostPort": 8080, "containerPort": 80 }]));
    let first = node.pod("c1");
    node.add(&first, &config).result();
    let second = node.pod("c2");
    let (links, leased) = (node.links(), node.leased());
    let error = node.add(&second, &config).error();
    assert_eq!(error["code"], 11, "{error:#}");
    assert_eq!(error["msg"], "host port 8080/tcp is taken by c1/eth0");
    assert_eq!((node.links(), node.leased()), (links, leased));

    // The first one goes without a word: nobody says DEL.
    let path = first.namespace.path().to_owned();
    drop(first.namespace);
    podway_kernel::netns::delete_at(&path).unwrap();
    let mut socket = Rtnetlink::open_in(&node.namespace).unwrap();
    while socket.links().unwrap().len() > 2 {
        thread::yield_now();
    }
    node.add(&second, &config).result();
    serve(&second.namespace);
    for address in NODE {
        let to = SocketAddr::new(address.parse().unwrap(), 8080);
        connect_to(&client, to, LIMIT).unwrap_or_else(|error| panic!("{to}: {error}"));
    }
}

/// Answers every datagram with `name`.
fn serve_datagrams(namespace: &NetNs, name: &'static str) {
    let socket = namespace
        .run(|| UdpSocket::bind("[::]:53").unwrap())
        .unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 16];
        while let Ok((_, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(name.as_bytes(), from);
        }
    });
}

fn ask(socket: &UdpSocket) -> io::Result<String> {
    socket.send(b"?")?;
    let mut buffer = [0; 16];
    let length = socket.recv(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

#[test]
fn datagrams_follow_the_port_to_its_next_pod() {
    let node = Node::new();
    let client = outside(&node);
    let mapping = json!([{ "hostPort": 53, "containerPort": 53, "protocol": "udp" }]);
    let config = with_ports(&node, &mapping);
    let clients = NODE.map(|address| {
        let to = SocketAddr::new(address.parse().unwrap(), 53);
        client
            .run(|| {
                let any: IpAddr = if to.is_ipv4() {
                    [0; 4].into()
                } else {
                    [0; 16].into()
                };
                let socket = UdpSocket::bind((any, 0)).unwrap();
                socket.connect(to).unwrap();
                socket.set_read_timeout(Some(LIMIT)).unwrap();
                socket
            })
            .unwrap()
    });
    // Nobody listens: the flow is one to the node itself.
    for socket in &clients {
        let error = ask(socket).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
    for name in ["one", "two"] {
        let pod = node.pod(name);
        node.add(&pod, &config).result();
        serve_datagrams(&pod.namespace, name);
        for socket in &clients {
            let answer = ask(socket).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(answer, name);
        }
        node.del(&pod, &config).silent();
    }
}

#[test]
fn check_and_restore_see_what_others_took_away() {
    let node = Node::new();
    let client = outside(&node);
    let (pod, mut config) = server(
        &node,
        "c1",
        &json!([{ "hostPort": 8080, "containerPort": 80 }]),
    );
    node.del(&pod, &config).silent();
    config["prevResult"] = node.add(&pod, &config).result();
    node.command("CHECK", &pod, &config).silent();
    let data_dir = node.folder.join("state");
    let restore = || podway_cni::restore_host_ports(&data_dir).unwrap();
    assert!(!node.namespace.run(restore).unwrap(), "nothing to do");
    let flush = || {
        let mut transaction = Transaction::new("podway-hostports");
        transaction.push(Operation::DeleteTable);
        Nft::open().unwrap().apply(&transaction).unwrap();
    };
    node.namespace.run(flush).unwrap();
    let error = node.command("CHECK", &pod, &config).error();
    assert!(
        error["msg"]
            .as_str()
            .unwrap()
            .contains("host ports are not in force"),
        "{error:#}"
    );
    assert!(node.namespace.run(restore).unwrap());
    node.command("CHECK", &pod, &config).silent();
    let to = SocketAddr::new(NODE[0].parse().unwrap(), 8080);
    connect_to(&client, to, LIMIT).unwrap();
}

/// `route_localnet`, without which 127.0.0.1 could not lead to pods, would let
/// pods reach what listens there.
#[test]
fn a_pod_with_a_host_port_cannot_reach_the_nodes_loopback() {
    let node = Node::new();
    let _client = outside(&node);
    let listen = || UdpSocket::bind("127.0.0.1:9099").unwrap();
    let secret = node.namespace.run(listen).unwrap();
    secret.set_read_timeout(Some(NEVER)).unwrap();
    let (pod, _) = server(
        &node,
        "c1",
        &json!([{ "hostPort": 8080, "containerPort": 80 }]),
    );
    let mut inside = Rtnetlink::open_in(&pod.namespace).unwrap();
    let local = RouteFilter {
        table: Some(255),
        ..RouteFilter::default()
    };
    for route in inside.routes(local).unwrap() {
        if route.destination.addr().is_loopback() {
            inside.delete_route(&route).unwrap();
        }
    }
    let eth0 = inside.link("eth0").unwrap().unwrap().index;
    let gateway = "10.244.1.1".parse().unwrap();
    let over = Route::new("127.0.0.0/8".parse().unwrap())
        .via(gateway)
        .dev(eth0);
    inside.add_route(&over).unwrap();
    let attack = || {
        sysctl::write("net/ipv4/conf/eth0/route_localnet", "1").unwrap();
        let socket = UdpSocket::bind("10.244.1.2:0").unwrap();
        socket.send_to(b"?", "127.0.0.1:9099").unwrap();
    };
    pod.namespace.run(attack).unwrap();
    let heard = secret.recv_from(&mut [0; 1]);
    assert!(heard.is_err(), "the node's loopback heard {heard:?}");

    // It is the table that keeps it out.
    let mut transaction = Transaction::new("podway-hostports");
    transaction.push(Operation::FlushChain("guard".into()));
    let unguarded = || Nft::open().unwrap().apply(&transaction).unwrap();
    node.namespace.run(unguarded).unwrap();
    pod.namespace.run(attack).unwrap();
    secret.recv_from(&mut [0; 1]).unwrap();
}
