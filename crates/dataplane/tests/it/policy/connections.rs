//! Real connections through a node: who gets through, and what is never asked.

use std::net::SocketAddr;
use std::process::Command;

use podway_model::{Change, ObjectRef};
use podway_testkit::builders::name;

use super::enforced::Enforced;
use super::node::{Host, Node, patience};

/// Tries TCP and UDP in both families, and expects the same of all four.
fn expect(from: &Host, to: &Host, port: u16, open: bool, why: &str) {
    for address in to.addresses {
        let to = SocketAddr::new(address, port);
        let source = from.addresses;
        assert_eq!(
            from.connect(to, patience(open)).is_some(),
            open,
            "{source:?} to {to}/tcp: {why}"
        );
        assert_eq!(
            from.ask(to, patience(open)),
            open,
            "{source:?} to {to}/udp: {why}"
        );
    }
}

/// Pings both addresses, and expects the same of both.
fn expect_echo(from: &Host, to: &Host, open: bool, why: &str) {
    let wait = patience(open).as_secs_f32().to_string();
    for address in to.addresses {
        let ping = || {
            let ping = Command::new("ping")
                .args(["-c1", "-W", &wait, &address.to_string()])
                .output();
            ping.expect("the ping program").status.success()
        };
        assert_eq!(from.run(ping), open, "{address}: {why}");
    }
}

/// Both the other pod and the outside reach a, or neither does.
fn expect_into_a(node: &Node, open: bool, why: &str) {
    expect(&node.b, &node.a, 80, open, why);
    expect(&node.outside, &node.a, 80, open, why);
}

#[test]
fn a_policy_closes_and_its_deletion_opens() {
    let mut enforced = Enforced::new();
    expect_into_a(&enforced.node, true, "no policy");

    enforced.enforce("policy x/p app=a\ningress none\n");
    let node = &enforced.node;
    expect_into_a(node, false, "ingress none");
    expect(&node.a, &node.b, 80, true, "egress is open");
    expect(&node.a, &node.outside, 80, true, "egress is open");
    expect(&node.node, &node.a, 80, true, "its own node");

    enforced.apply(Change::Delete(ObjectRef::NetworkPolicy(name("x/p"))));
    expect_into_a(&enforced.node, true, "no policy any more");
}

#[test]
fn who_is_allowed_gets_through_and_nobody_else() {
    let mut enforced = Enforced::new();
    enforced.enforce("policy x/q app=a\ningress from pods app=b ports tcp/80 udp/80\n");
    let node = &enforced.node;
    expect(&node.b, &node.a, 80, true, "allowed");
    expect(&node.b, &node.a, 81, false, "another port");
    expect(&node.outside, &node.a, 80, false, "another peer");

    enforced.enforce("policy x/r app=b\negress none\n");
    let node = &enforced.node;
    expect(&node.b, &node.a, 80, false, "the source's side");
}

#[test]
fn a_pod_and_its_node() {
    let mut enforced = Enforced::new();
    enforced.enforce(
        "policy x/p app=a\ningress none\negress to block 172.16.0.250/32 | block fd00:172:16::250/128\n",
    );
    let Node {
        node,
        a,
        b,
        outside,
    } = &enforced.node;
    expect(a, outside, 80, true, "the block");
    expect(a, node, 80, false, "the node is an address like any other");
    expect(a, b, 80, false, "not in the block");
    expect(node, a, 80, true, "the node reaches its pods");
    // The pod found its gateway's link address, IPv6's as well, or nothing
    // above would have been open.
}

#[test]
fn replies_of_an_isolated_pod_pass() {
    let mut enforced = Enforced::new();
    enforced.enforce("policy x/p app=a\ningress none\negress to pods app=b\n");
    expect(
        &enforced.node.a,
        &enforced.node.b,
        80,
        true,
        "the answers come back",
    );
    enforced.enforce("policy x/q app=b\negress none\n");
    expect(
        &enforced.node.a,
        &enforced.node.b,
        80,
        true,
        "b only answers",
    );
}

#[test]
fn echo_passes_where_a_rule_allows_the_peer_every_port() {
    let mut enforced = Enforced::new();
    expect_echo(&enforced.node.b, &enforced.node.a, true, "no policy");
    enforced.enforce("policy x/p app=a\ningress from pods app=b ports tcp udp sctp\n");
    expect_echo(&enforced.node.b, &enforced.node.a, false, "some ports");
    enforced.enforce("policy x/p app=a\ningress from pods app=b\n");
    expect_echo(&enforced.node.b, &enforced.node.a, true, "every port");
    expect_echo(&enforced.node.outside, &enforced.node.a, false, "others");
    expect_echo(&enforced.node.node, &enforced.node.a, true, "the node");
}

#[test]
fn errors_about_allowed_packets_come_back() {
    let mut enforced = Enforced::new();
    // Nobody listens on 82: the answer is ICMP port unreachable, related to the
    // datagram that a may send, though nothing else may reach a.
    enforced.enforce("policy x/p app=a\ningress none\negress to pods app=b\n");
    for address in enforced.node.b.addresses {
        let to = SocketAddr::new(address, 82);
        let error = enforced.node.a.run(|| {
            let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = std::net::UdpSocket::bind(any).expect("a port");
            socket.connect(to).expect("a route");
            let wait = std::time::Duration::from_secs(10);
            socket.set_read_timeout(Some(wait)).expect("a timeout");
            socket.send(b"?").expect("sent");
            socket.recv(&mut [0; 8]).expect_err("nobody is there")
        });
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused, "{to}");
    }
}
