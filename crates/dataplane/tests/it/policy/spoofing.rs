//! What a pod sends with addresses that are not its own.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};

use nix::ifaddrs::getifaddrs;
use podway_dataplane::policy::PolicyOptions;
use podway_kernel::route::Rtnetlink;
use podway_testkit::builders::ip;

use super::enforced::{DEFAULT, Enforced};
use super::node::{Host, patience};

const PORT: u16 = 95;
const OPEN: PolicyOptions = PolicyOptions {
    anti_spoofing: None,
    ..DEFAULT
};

/// Whether what b sends from an address arrives at somebody.
fn arrives(b: &Host, from: IpAddr, to: &Host, expected: bool) -> bool {
    let to_address = to.addresses[usize::from(from.is_ipv6())];
    let at = SocketAddr::new(to_address, PORT);
    let server = to.run(|| UdpSocket::bind(at).expect("a port"));
    let sender = b.run(|| UdpSocket::bind((from, 0)).expect("an address of the namespace"));
    sender.send_to(b"forged", at).expect("sent");
    server
        .set_read_timeout(Some(patience(expected)))
        .expect("a timeout");
    server.recv(&mut [0; 64]).is_ok()
}

/// Gives b addresses that are not its own, as its root user can.
fn claim(b: &Host, addresses: &[IpAddr]) {
    let mut inside = Rtnetlink::open_in(&b.namespace).expect("rtnetlink");
    let lo = inside.link("lo").expect("links").expect("lo").index;
    for address in addresses {
        inside
            .add_address(lo, (*address).into())
            .expect("an address");
    }
}

/// The neighbour's, somebody's outside, the node's.
fn foreign(enforced: &Enforced) -> Vec<IpAddr> {
    let node = &enforced.node;
    let elsewhere = ["203.0.113.9", "2001:db8::9"].map(ip);
    [node.a.addresses, node.node.addresses, elsewhere].concat()
}

fn link_local(host: &Host, interface: &str) -> SocketAddrV6 {
    let find = || {
        let addresses = getifaddrs().expect("interfaces");
        addresses
            .filter(|one| one.interface_name == interface)
            .filter_map(|one| one.address?.as_sockaddr_in6().copied())
            .find(|address| address.ip().is_unicast_link_local())
            .unwrap_or_else(|| panic!("{interface} has no link-local address"))
    };
    let found = host.run(find);
    SocketAddrV6::new(found.ip(), PORT, 0, found.scope_id())
}

/// Whether what b sends to its node's link-local address arrives.
fn arrives_by_link_local(enforced: &Enforced, expected: bool) -> bool {
    let (node, b) = (&enforced.node.node, &enforced.node.b);
    let server = node.run(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, PORT)).expect("a port"));
    let mut to = link_local(node, "pod-b");
    to.set_scope_id(link_local(b, "eth0").scope_id());
    let sender = b.run(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).expect("a port"));
    sender.send_to(b"?", to).expect("sent");
    server
        .set_read_timeout(Some(patience(expected)))
        .expect("a timeout");
    server.recv(&mut [0; 64]).is_ok()
}

#[test]
fn only_its_own_addresses_take_a_pod_anywhere() {
    let enforced = Enforced::with(DEFAULT);
    let node = &enforced.node;
    for own in node.b.addresses {
        assert!(arrives(&node.b, own, &node.outside, true), "{own}");
        assert!(arrives(&node.b, own, &node.node, true), "{own}");
        assert!(arrives(&node.b, own, &node.a, true), "{own}");
    }
    let foreign = foreign(&enforced);
    claim(&node.b, &foreign);
    for address in foreign {
        for to in [&node.outside, &node.node] {
            assert!(!arrives(&node.b, address, to, false), "{address}");
        }
    }
    assert!(!arrives_by_link_local(&enforced, false));
}

#[test]
fn a_forged_source_is_no_way_around_a_policy() {
    let mut enforced = Enforced::with(DEFAULT);
    enforced
        .enforce("policy x/p app=a\ningress from block 172.16.0.0/24 | block fd00:172:16::/64\n");
    let node = &enforced.node;
    let outside = node.outside.addresses;
    claim(&node.b, &outside);
    for address in outside {
        assert!(arrives(&node.outside, address, &node.a, true), "{address}");
        assert!(!arrives(&node.b, address, &node.a, false), "{address}");
    }
    // And what b sends to its node by a link-local address is not asked by any
    // policy, so it must not arrive.
    enforced.enforce("policy x/q app=b\negress none\n");
    assert!(!arrives_by_link_local(&enforced, false));
}

#[test]
fn forging_can_be_left_to_others() {
    let enforced = Enforced::with(OPEN);
    let node = &enforced.node;
    let elsewhere = ["203.0.113.9", "2001:db8::9"].map(ip);
    claim(&node.b, &elsewhere);
    for address in elsewhere {
        assert!(arrives(&node.b, address, &node.outside, true), "{address}");
    }
    assert!(arrives_by_link_local(&enforced, true));
}
