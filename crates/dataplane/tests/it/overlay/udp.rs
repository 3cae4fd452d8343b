//! Packets in UDP, moved by the agent; and what a node of flannel's udp backend
//! would see, played by a plain socket.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, socket};
use podway_dataplane::overlay::Error;
use podway_kernel::netns::NetNs;
use podway_kernel::route::{LinkChange, Route};

use super::nodes::{
    LIMIT, TestNode, UDP, Underlay, VXLAN, assert_reaches, connect, ip, net, serve, three,
};

/// How long something is waited for that must not come.
const NEVER: Duration = Duration::from_millis(300);
const FLANNELS: u16 = 8285;

/// node1 of ours; node2 is known and does nothing by itself.
fn beside_flannel() -> (Underlay, TestNode, TestNode, UdpSocket) {
    let mut underlay = Underlay::new();
    let (mut ours, theirs) = (underlay.node_on(0, 1, &UDP), underlay.node_on(0, 2, &UDP));
    let objects = [ours.object(), theirs.object()];
    ours.follow(&objects);
    let flannel = bind(&theirs.namespace, "172.16.0.12", FLANNELS);
    (underlay, ours, theirs, flannel)
}

fn bind(namespace: &NetNs, address: &str, port: u16) -> UdpSocket {
    let bind = || UdpSocket::bind((ip(address), port)).unwrap();
    let socket = namespace.run(bind).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    socket
}

/// What a raw socket of a pod gets of ICMP, from now on.
fn icmp_of(namespace: &NetNs) -> impl Fn() -> Vec<u8> {
    let open = || {
        let raw = SockType::Raw;
        socket(
            AddressFamily::Inet,
            raw,
            SockFlag::empty(),
            SockProtocol::Icmp,
        )
        .unwrap()
    };
    let socket = UdpSocket::from(namespace.run(open).unwrap());
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    move || {
        let mut packet = vec![0; 1500];
        use std::os::fd::AsRawFd;
        let length = recv(socket.as_raw_fd(), &mut packet, MsgFlags::empty()).unwrap();
        packet.truncate(length);
        packet
    }
}

fn sum(bytes: &[u8]) -> u16 {
    let sum = bytes.chunks(2).fold(0_u64, |sum, word| {
        sum + (u64::from(word[0]) << 8 | word.get(1).map_or(0, |low| u64::from(*low)))
    });
    let folded = (sum & 0xffff) + (sum >> 16);
    u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap()
}

/// An IPv4 packet with a UDP datagram without checksum.
fn packet(from: &str, to: IpAddr, ttl: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(28 + payload.len()).unwrap().to_be_bytes();
    let mut packet = vec![0x45, 0, length[0], length[1], 0, 7, 0x40, 0, ttl, 17, 0, 0];
    for address in [ip(from), to] {
        let IpAddr::V4(address) = address else {
            unreachable!("IPv4 only");
        };
        packet.extend(address.octets());
    }
    let header = !sum(&packet);
    packet[10..12].copy_from_slice(&header.to_be_bytes());
    let [high, low] = u16::try_from(8 + payload.len()).unwrap().to_be_bytes();
    packet.extend([0x1f, 0x90, 0x23, 0x28, high, low, 0, 0]);
    packet.extend(payload);
    packet
}

#[test]
fn pods_reach_pods_of_other_nodes_and_segments_in_both_families() {
    let (_underlay, [mut a, mut b, mut c], _) = three(&UDP);
    assert_eq!(
        a.routes(),
        [
            "10.244.2.0/24 dev podway-udp",
            "10.244.3.0/24 dev podway-udp",
            "fd00:10:244:2::/64 dev podway-udp6",
            "fd00:10:244:3::/64 dev podway-udp6",
        ]
    );
    assert_reaches(&mut a, &mut b);
    assert_reaches(&mut c, &mut a);
}

#[test]
fn the_mtu_leaves_room_for_ip_and_udp_of_each_family() {
    let (_underlay, [mut a, ..], _) = three(&UDP);
    let mtus = ["podway-udp", "podway-udp6"].map(|name| a.socket.link(name).unwrap().unwrap().mtu);
    assert_eq!(mtus, [1472, 1452]);
    assert_eq!(a.sync(None).unwrap().pod_mtu, Some(1452));
}

#[test]
fn a_datagram_is_one_packet_as_flannel_sends_it() {
    let (_underlay, mut ours, _theirs, flannel) = beside_flannel();
    let pod = ours.pod(5);
    let sender = bind(&pod.namespace, "10.244.1.5", 5000);
    for length in [0, 1, 200, 1400] {
        sender
            .send_to(&vec![b'x'; length], "10.244.2.9:9000")
            .unwrap();
        let mut datagram = [0; 2000];
        let (received, from) = flannel.recv_from(&mut datagram).unwrap();
        let packet = &datagram[..received];
        assert_eq!(from, "172.16.0.11:8285".parse().unwrap());
        assert_eq!(received, 28 + length, "IP, UDP, {length} bytes");
        assert_eq!(packet[0], 0x45, "an IPv4 packet, and nothing before it");
        assert_eq!(packet[8], 62, "one hop the node's, one the tunnel's");
        assert_eq!(packet[12..20], [10, 244, 1, 5, 10, 244, 2, 9]);
        assert_eq!(sum(&packet[..20]), 0xffff, "the header's checksum");
        let mut pseudo = packet[12..20].to_vec();
        pseudo.extend([0, 17, packet[24], packet[25]]);
        pseudo.extend(&packet[20..]);
        assert_eq!(sum(&pseudo), 0xffff, "the checksum of {length} bytes");
    }
}

#[test]
fn packets_of_flannel_arrive_and_those_of_strangers_do_not() {
    let (mut underlay, mut ours, _theirs, flannel) = beside_flannel();
    let pod = ours.pod(5);
    let receiver = bind(&pod.namespace, "10.244.1.5", 9000);
    let stranger = underlay.node_on(0, 9, &UDP);
    let stranger = bind(&stranger.namespace, "172.16.0.19", FLANNELS);
    let to = pod.addresses[0];
    let node: SocketAddr = "172.16.0.11:8285".parse().unwrap();
    let send = |socket: &UdpSocket, ttl, payload: &[u8]| {
        let packet = packet("10.244.2.9", to, ttl, payload);
        socket.send_to(&packet, node).unwrap();
    };
    send(&stranger, 64, b"stranger");
    // Not even an answer may leave for what has no hop left at its end.
    send(&flannel, 1, b"old");
    flannel.send_to(b"no packet", node).unwrap();
    flannel.send_to(&[0x4f; 21], node).unwrap();
    // The kernel of the node takes one, the tunnel another.
    send(&flannel, 3, b"flannel");
    let mut payload = [0; 100];
    let length = receiver.recv(&mut payload).unwrap();
    assert_eq!(&payload[..length], b"flannel");
    receiver.set_read_timeout(Some(NEVER)).unwrap();
    let more = receiver.recv(&mut payload);
    assert!(more.is_err(), "what should not have come: {payload:?}");
}

#[test]
fn what_has_no_hop_left_is_answered_with_time_exceeded() {
    let (_underlay, mut ours, _theirs, _flannel) = beside_flannel();
    let pod = ours.pod(5);
    let answer = icmp_of(&pod.namespace);
    let sender = bind(&pod.namespace, "10.244.1.5", 5000);
    sender.set_ttl(2).unwrap();
    sender.send_to(b"x", "10.244.2.9:9000").unwrap();
    let answer = answer();
    assert_eq!(answer[12..16], [10, 244, 1, 0], "the tunnel's own address");
    assert_eq!((answer[20], answer[21]), (11, 0), "time exceeded");
    assert_eq!(
        answer[28 + 16..28 + 20],
        [10, 244, 2, 9],
        "about this packet"
    );
    assert_eq!(answer.len(), 28 + 28, "the header and eight bytes");
}

#[test]
fn what_no_node_has_is_unreachable() {
    let (_underlay, mut ours, _theirs, _flannel) = beside_flannel();
    let link = ours.socket.link("podway-udp").unwrap().unwrap().index;
    let nowhere = Route::new(net("10.244.9.0/24")).dev(link).scope_link();
    ours.socket.add_route(&nowhere).unwrap();
    let pod = ours.pod(5);
    let answer = icmp_of(&pod.namespace);
    let sender = bind(&pod.namespace, "10.244.1.5", 5000);
    sender.send_to(b"x", "10.244.9.9:9000").unwrap();
    let answer = answer();
    assert_eq!((answer[20], answer[21]), (3, 0), "network unreachable");
    assert_eq!(answer[8], 8, "hops, as flannel's");
}

#[test]
fn a_device_that_somebody_removed_or_took_down_carries_packets_again() {
    let (_underlay, [mut a, mut b, _], _) = three(&UDP);
    assert_reaches(&mut a, &mut b);
    let link = a.socket.link("podway-udp").unwrap().unwrap().index;
    a.socket.delete_link(link).unwrap();
    let link = a.socket.link("podway-udp6").unwrap().unwrap().index;
    let down = LinkChange::new().down();
    a.socket.change_link(link, &down).unwrap();
    assert!(a.sync(None).unwrap().writes > 0);
    assert_reaches_again(&mut a, &mut b);
    assert_eq!(a.sync(None).unwrap().writes, 0, "everything is there");
}

#[test]
fn a_restart_adopts_the_devices_and_keeps_the_routes() {
    let (_underlay, [mut a, mut b, _], objects) = three(&UDP);
    assert_reaches(&mut a, &mut b);
    let routes = a.routes();
    a.reconfigure(UDP);
    assert_eq!(a.routes(), routes, "nothing goes with the process");
    a.plan(&objects);
    assert_eq!(a.sync(None).unwrap().writes, 0);
    assert_reaches_again(&mut a, &mut b);
}

fn assert_reaches_again(from: &mut TestNode, to: &mut TestNode) {
    let (client, server) = (from.pod(7), to.pod(8));
    serve(&server.namespace);
    for to in server.addresses {
        let seen = connect(&client.namespace, to, LIMIT);
        seen.unwrap_or_else(|error| panic!("to {to}: {error}"));
    }
}

#[test]
fn a_port_that_somebody_has_is_named() {
    let mut underlay = Underlay::new();
    let mut node = underlay.node_on(0, 1, &UDP);
    let taken = bind(&node.namespace, "172.16.0.11", FLANNELS);
    node.plan(&[node.object()]);
    let error = node.sync(None).unwrap_err();
    let text = chain(&error);
    assert!(
        text.contains("172.16.0.11:8285") && text.contains("is another overlay using the port?"),
        "{text}"
    );
    drop(taken);
    node.sync(None).unwrap();
}

fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[test]
fn a_node_moves_from_vxlan_and_back_while_the_other_stays() {
    let mut underlay = Underlay::new();
    let (mut a, mut b) = (
        underlay.node_on(0, 1, &VXLAN),
        underlay.node_on(0, 2, &VXLAN),
    );
    let objects = [a.object(), b.object()];
    a.follow(&objects);
    b.follow(&objects);
    for settings in [UDP, VXLAN] {
        for node in [&mut a, &mut b] {
            node.reconfigure(settings.clone());
        }
        let objects = [a.object(), b.object()];
        for node in [&mut a, &mut b] {
            node.plan(&objects);
            node.sync(None).unwrap();
        }
        let name = if settings == UDP {
            "podway-udp"
        } else {
            "podway-vxlan"
        };
        let routes = a.routes();
        assert!(routes[0].contains(&format!("dev {name}")), "{routes:?}");
    }
    assert_reaches(&mut a, &mut b);
}
