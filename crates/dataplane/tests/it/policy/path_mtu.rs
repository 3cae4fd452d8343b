//! What a router on the way says about a packet that is too big for its next
//! link: without it the sender goes on sending what never arrives.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use ipnet::IpNet;
use podway_kernel::route::{LinkChange, NewLink, Route, Rtnetlink, VethPeer};
use podway_kernel::sysctl;
use podway_testkit::builders::ip;

use super::enforced::Enforced;
use super::node::{BRIEF, Host, Node};

const NARROW: u32 = 1280;
/// Fits the pod's link, and not the narrow one.
const BIG: usize = 1400;
const PORT: u16 = 95;
const TRIES: usize = 40;
const EMSGSIZE: i32 = 90;

/// Somebody behind the outside, which routes there over a narrow link.
fn far_away(node: &Node) -> Host {
    let far = Host::new(["198.51.100.9", "2001:db8:9::9"]);
    let near = ["198.51.100.1", "2001:db8:9::1"].map(ip);
    node.outside.run(|| {
        for key in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
            sysctl::write(key, "1").expect("forwarding");
        }
    });
    let mut outside = Rtnetlink::open_in(&node.outside.namespace).expect("rtnetlink");
    let mut inside = Rtnetlink::open_in(&far.namespace).expect("rtnetlink");
    let mut router = Rtnetlink::open_in(&node.node.namespace).expect("rtnetlink");
    let peer = VethPeer::new("eth0").in_namespace(&far.namespace);
    let narrow = LinkChange::new().mtu(NARROW).up();
    let here = outside
        .create_link(&NewLink::veth("narrow", peer))
        .expect("a link");
    outside.change_link(here, &narrow).expect("it comes up");
    let there = inside.link("eth0").expect("links").expect("eth0").index;
    inside.change_link(there, &narrow).expect("it comes up");
    for (family, near) in near.into_iter().enumerate() {
        let length = if near.is_ipv4() { 24 } else { 64 };
        let net = |address| IpNet::new(address, length).expect("a length");
        outside.add_address(here, net(near)).expect("an address");
        inside
            .add_address(there, net(far.addresses[family]))
            .expect("an address");
        inside
            .add_route(&Route::default_via(near))
            .expect("a route");
        let beyond = Route {
            gateway: Some(node.outside.addresses[family]),
            ..Route::new(net(far.addresses[family]).trunc())
        };
        router.add_route(&beyond).expect("a route");
    }
    // The outside's way back to pods is its default route by the node.
    far
}

/// After how many datagrams of that size one arrives.
fn tries_until_arrival(from: &Host, to: &Host, address: IpAddr) -> Option<usize> {
    let at = SocketAddr::new(address, PORT);
    let server = to.run(|| UdpSocket::bind(at).expect("a port"));
    server.set_read_timeout(Some(BRIEF)).expect("a timeout");
    let client = from.ask_from(at);
    (1..=TRIES).find(|_| {
        // Where the router was heard, the socket says so once, and the sender cuts
        // up what it sends from then on.
        match client.send(&[0; BIG]) {
            Ok(_) => {}
            Err(error) if error.raw_os_error() == Some(EMSGSIZE) => {}
            Err(error) => panic!("{at}: {error}"),
        }
        server.recv(&mut [0; 2048]).is_ok()
    })
}

#[test]
fn a_router_on_the_way_is_heard() {
    let mut enforced = Enforced::new();
    let far = far_away(&enforced.node);
    enforced.enforce(
        "policy x/p app=a\ningress none\negress to block 198.51.100.9/32 | block 2001:db8:9::9/128 ports udp/95\n",
    );
    for address in far.addresses {
        let tries = tries_until_arrival(&enforced.node.a, &far, address);
        // The first one is what the router complains about.
        assert!(tries.is_some_and(|tries| tries > 1), "{address}: {tries:?}");
    }
}
