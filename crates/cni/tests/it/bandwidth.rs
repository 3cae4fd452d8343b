//! Limits on what pods send and receive.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use podway_kernel::netns::NetNs;
use podway_kernel::route::Rtnetlink;
use serde_json::{Value, json};

use crate::node::Node;

/// 8 Mbit/s with a burst of 64 KiB.
const RATE: u64 = 8_000_000;
const BURST: u64 = 65_536 * 8;
const BYTES: usize = 600_000;

fn with_bandwidth(node: &Node, bandwidth: &Value) -> Value {
    let mut config = node.config();
    config["runtimeConfig"] = json!({ "bandwidth": bandwidth });
    config
}

/// How long it takes until everything has arrived.
fn transfer(from: &NetNs, to: &NetNs, address: IpAddr) -> Duration {
    let listener = to
        .run(|| TcpListener::bind((address, 5001)).unwrap())
        .unwrap();
    let receiver = thread::spawn(move || {
        let mut bytes = Vec::new();
        listener
            .accept()
            .unwrap()
            .0
            .read_to_end(&mut bytes)
            .unwrap();
        bytes.len()
    });
    let mut stream = from
        .run(|| TcpStream::connect((address, 5001)).unwrap())
        .unwrap();
    let start = Instant::now();
    stream.write_all(&vec![7; BYTES]).unwrap();
    drop(stream);
    assert_eq!(receiver.join().unwrap(), BYTES);
    start.elapsed()
}

#[test]
fn both_directions_are_limited_by_themselves() {
    let node = Node::new();
    for (direction, other) in [("ingress", "egress"), ("egress", "ingress")] {
        let pod = node.pod(direction);
        let limits =
            json!({ format!("{direction}Rate"): RATE, format!("{direction}Burst"): BURST });
        let config = with_bandwidth(&node, &limits);
        let addresses = node.add(&pod, &config).addresses();
        let peer = node.pod(&format!("peer-{direction}"));
        let peers = node.add(&peer, &node.config()).addresses();
        let least = Duration::from_secs_f64((BYTES as f64 * 8.0 - BURST as f64) / RATE as f64);
        for (own, peers) in addresses.into_iter().zip(peers) {
            let received = transfer(&peer.namespace, &pod.namespace, own);
            let sent = transfer(&pod.namespace, &peer.namespace, peers);
            let (limited, free) = match direction {
                "ingress" => (received, sent),
                _ => (sent, received),
            };
            assert!(
                limited >= least.mul_f64(0.9),
                "{direction} of {own}: {limited:?}"
            );
            assert!(
                free < limited,
                "{other} of {own}: {free:?}, limited {limited:?}"
            );
        }
    }
}

#[test]
fn the_limits_come_and_go_with_the_pod() {
    let node = Node::new();
    let pod = node.pod("c1");
    let mut config = with_bandwidth(
        &node,
        &json!({
            "ingressRate": RATE, "ingressBurst": BURST,
            "egressRate": 2 * RATE, "egressBurst": u32::MAX,
        }),
    );
    let result = node.add(&pod, &config).result();
    let name = |place: usize| {
        result["interfaces"][place]["name"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let (host, detour) = (name(0), name(2));
    assert_eq!(result["ips"][0]["interface"], 1);
    assert!(
        detour.starts_with("pb") && detour[2..] == host[2..],
        "{detour} {host}"
    );
    let listed = |interface: &str| {
        let tc = || {
            Command::new("tc")
                .args(["qdisc", "show", "dev", interface])
                .output()
        };
        let output = node.namespace.run(tc).unwrap().expect("iproute2 is needed");
        String::from_utf8(output.stdout).unwrap()
    };
    let (in_, out) = (listed(&host), listed(&detour));
    assert!(
        in_.contains("tbf") && in_.contains("rate 8Mbit burst 64Kb lat 25ms"),
        "{in_}"
    );
    // A tenth of a second, since nobody said.
    assert!(out.contains("rate 16Mbit burst 200000b lat 25ms"), "{out}");

    config["prevResult"] = result;
    node.command("CHECK", &pod, &config).silent();
    let mut socket = Rtnetlink::open_in(&node.namespace).unwrap();
    let link = socket.link(&detour).unwrap().unwrap();
    assert_eq!(link.alias.as_deref(), Some("c1/eth0"));
    socket.delete_link(link.index).unwrap();
    let error = node.command("CHECK", &pod, &config).error();
    assert!(
        error["msg"]
            .as_str()
            .unwrap()
            .contains("bandwidth is not limited"),
        "{error:#}"
    );

    node.del(&pod, &config).silent();
    node.add(&pod, &config).result();
    assert_eq!(node.links().len(), 3);
    node.del(&pod, &config).silent();
    assert_eq!(node.links(), ["lo"]);
}

#[test]
fn a_burst_needs_a_rate() {
    let node = Node::new();
    let config = with_bandwidth(&node, &json!({ "egressBurst": 1000 }));
    let error = node.add(&node.pod("c1"), &config).error();
    assert_eq!(error["code"], 7, "{error:#}");
    let message = error["msg"].as_str().unwrap();
    assert!(
        message.contains("egressBurst without egressRate"),
        "{message}"
    );
}
