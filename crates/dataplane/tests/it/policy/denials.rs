//! What is denied is counted for each pod and direction, and can be read packet
//! by packet.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use podway_dataplane::policy::{Denial, DenialReason, PolicyOptions};
use podway_kernel::route::Rtnetlink;
use podway_plan::policy::Direction::{self, Egress, Ingress};
use podway_testkit::builders::ip;

use super::enforced::{DEFAULT, Enforced};
use super::node::{BRIEF, Host, PATIENT};

const LOGGED: PolicyOptions = PolicyOptions {
    log: Some(7),
    ..DEFAULT
};
const UDP: u8 = 17;
const ICMP: u8 = 1;
const PORT: u16 = 97;

/// Sends a datagram to both addresses of somebody.
fn send(from: &Host, to: &Host) {
    for address in to.addresses {
        let socket = from.ask_from(SocketAddr::new(address, PORT));
        socket.send(b"?").expect("sent");
    }
}

fn counts(enforced: &mut Enforced) -> BTreeMap<(Direction, IpAddr), u64> {
    let denied = enforced.backend.denied().expect("counts");
    let counts = denied.into_iter();
    counts
        .map(|one| ((one.direction, one.address), one.packets))
        .collect()
}

#[test]
fn packets_are_counted_for_the_pod_that_they_are_denied_to() {
    let mut enforced = Enforced::new();
    assert_eq!(counts(&mut enforced), [].into());
    enforced.enforce("policy x/p app=a\ningress none\negress to pods app=b\n");
    let [a4, a6] = enforced.node.a.addresses;
    let expected = |ingress, egress| {
        let zero = [(Ingress, ingress), (Egress, egress)];
        let both =
            zero.map(|(direction, count)| [((direction, a4), count), ((direction, a6), count)]);
        both.concat().into_iter().collect::<BTreeMap<_, u64>>()
    };
    assert_eq!(counts(&mut enforced), expected(0, 0));
    for _ in 0..3 {
        send(&enforced.node.b, &enforced.node.a);
    }
    send(&enforced.node.a, &enforced.node.outside);
    send(&enforced.node.a, &enforced.node.b);
    assert_eq!(counts(&mut enforced), expected(3, 1));
    // Other rules, the same pod: it goes on counting.
    enforced.enforce("policy x/p app=a\ningress from pods app=c\negress none\n");
    assert_eq!(enforced.restart(), 0);
    send(&enforced.node.b, &enforced.node.a);
    assert_eq!(counts(&mut enforced), expected(4, 1));
    enforced.delete("x/p");
    assert_eq!(counts(&mut enforced), [].into());
}

/// Reads until as many packets as are expected have been logged.
fn read(enforced: &mut Enforced, count: usize) -> Vec<Denial> {
    let deadline = Instant::now() + PATIENT;
    let mut read = Vec::new();
    while read.len() < count && Instant::now() < deadline {
        read.extend(enforced.backend.denials().expect("the log"));
        std::thread::sleep(Duration::from_millis(1));
    }
    read.sort_unstable();
    read
}

#[test]
fn packets_are_logged_with_who_and_why() {
    let mut enforced = Enforced::with(LOGGED);
    enforced.enforce("policy x/p app=a\ningress none\negress to pods app=b\n");
    let node = &enforced.node;
    let (a, b, outside) = (node.a.addresses, node.b.addresses, node.outside.addresses);
    send(&node.b, &node.a);
    send(&node.a, &node.outside);
    let target = a[0].to_string();
    let ping = || {
        let mut ping = Command::new("ping");
        ping.args(["-c1", "-W0.1", &target]).output()
    };
    node.outside.run(ping).expect("the ping program");
    let udp = |direction, source, destination| Denial {
        reason: DenialReason::Policies(direction),
        source,
        destination,
        protocol: UDP,
        port: Some(PORT),
    };
    let mut expected = vec![
        udp(Ingress, b[0], a[0]),
        udp(Ingress, b[1], a[1]),
        udp(Egress, a[0], outside[0]),
        udp(Egress, a[1], outside[1]),
        Denial {
            protocol: ICMP,
            port: None,
            ..udp(Ingress, outside[0], a[0])
        },
    ];
    expected.sort_unstable();
    assert_eq!(read(&mut enforced, expected.len()), expected);
}

#[test]
fn answers_of_a_cut_connection_are_denied_to_who_opened_it() {
    let mut enforced = Enforced::with(LOGGED);
    let node = &enforced.node;
    let at = SocketAddr::new(node.a.addresses[0], PORT);
    let server = node.a.run(|| UdpSocket::bind(at).expect("a port"));
    let client = node.b.ask_from(at);
    client.send(b"?").expect("sent");
    let (_, from) = server.recv_from(&mut [0; 8]).expect("open");
    enforced.enforce("policy x/p app=a\ningress none\n");
    server.send_to(b"!", from).expect("sent");
    client.set_read_timeout(Some(BRIEF)).expect("a timeout");
    assert!(client.recv(&mut [0; 8]).is_err(), "cut");
    let expected = Denial {
        reason: DenialReason::Policies(Ingress),
        source: enforced.node.b.addresses[0],
        destination: at.ip(),
        protocol: UDP,
        port: Some(PORT),
    };
    assert_eq!(read(&mut enforced, 1), [expected]);
}

#[test]
fn forged_packets_are_logged_as_such() {
    let mut enforced = Enforced::with(LOGGED);
    let node = &enforced.node;
    let forged = ip("203.0.113.9");
    let mut inside = Rtnetlink::open_in(&node.b.namespace).expect("rtnetlink");
    let lo = inside.link("lo").expect("links").expect("lo").index;
    inside.add_address(lo, forged.into()).expect("an address");
    let socket = node.b.run(|| UdpSocket::bind((forged, 0)).expect("bound"));
    let to = SocketAddr::new(node.outside.addresses[0], PORT);
    socket.send_to(b"?", to).expect("sent");
    let expected = Denial {
        reason: DenialReason::Forged,
        source: forged,
        destination: to.ip(),
        protocol: UDP,
        port: Some(PORT),
    };
    assert_eq!(read(&mut enforced, 1), [expected]);
}
