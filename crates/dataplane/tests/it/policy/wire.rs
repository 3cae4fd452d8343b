//! A router with our rules in it, and both ends of its wires in hand: packets
//! with any addresses go in at one end, and what comes out at the other, or
//! reaches the router itself, is seen. No socket answers, so nothing is waited
//! for: behind every packet goes one that always passes.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, connect,
    recv, send, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};
use podway_kernel::netns::NetNs;
use podway_kernel::route::{
    LinkChange, LinkIndex, Mac, Neighbour, NewLink, Route, Rtnetlink, VethPeer,
};
use podway_kernel::sysctl;
use podway_model::{IpFamily, Protocol};
use podway_plan::policy::Connection;
use podway_testkit::builders::{ip, prefix};

use super::namespace;
use super::shape::{self, Shape};

const ROUTER: Mac = Mac([2, 0, 0, 0, 0, 1]);
const SENDER: Mac = Mac([2, 0, 0, 0, 0, 2]);
const RECEIVER: Mac = Mac([2, 0, 0, 0, 0, 3]);
/// Longer than any packet takes: only a broken test waits for it.
const PATIENCE_SECONDS: i64 = 10;
/// Neither a pod's nor a node's.
const STRANGER: [&str; 2] = ["203.0.113.9", "2001:db8:ffff::9"];
const ELSEWHERE: [&str; 2] = ["203.0.113.10", "2001:db8:ffff::10"];

/// The router and the two ends.
pub(super) struct Wire {
    pub(super) router: NetNs,
    sender: OwnedFd,
    receiver: OwnedFd,
    /// TCP that reaches the router itself, by family.
    delivered: [OwnedFd; 2],
    addresses: Vec<IpAddr>,
    next_port: u16,
}

impl Wire {
    /// A router with these addresses.
    pub(super) fn new(addresses: &[&str]) -> Self {
        let (router, left, right) = (namespace(), namespace(), namespace());
        let addresses: Vec<IpAddr> = addresses.iter().map(|address| ip(address)).collect();
        plug(&router, &left, "left", SENDER);
        let out = plug(&router, &right, "right", RECEIVER);
        router
            .run(|| configure(out, &addresses))
            .expect("the router's namespace");
        let raw = |family| router.run(|| raw_tcp(family)).expect("a raw socket");
        Self {
            sender: left.run(packet_socket).expect("the sender's end"),
            receiver: right.run(packet_socket).expect("the receiver's end"),
            delivered: [raw(AddressFamily::Inet), raw(AddressFamily::Inet6)],
            router,
            addresses,
            next_port: 20_000,
        }
    }

    /// Whether a connection's first packet gets through. `from_router` is one
    /// that the router itself opens.
    pub(super) fn passes(&mut self, connection: &Connection, from_router: bool) -> bool {
        self.passes_as(Shape::Plain, connection, from_router)
    }

    /// The same for a first packet of an uncommon shape.
    pub(super) fn passes_as(
        &mut self,
        shape: Shape,
        connection: &Connection,
        from_router: bool,
    ) -> bool {
        // Never the same connection twice: the second would be established.
        let (probe, sentinel) = (self.next_port, self.next_port + 1);
        self.next_port += 2;
        let from = SocketAddr::new(connection.source, probe);
        let to = SocketAddr::new(connection.destination, connection.port);
        let opened = from_router.then(|| self.open_from_router(from, to));
        if opened.is_none() {
            self.send(shape, connection.protocol, from, to);
        }
        let family = IpFamily::of(&connection.destination) as usize;
        let stranger = SocketAddr::new(ip(STRANGER[family]), sentinel);
        if self.addresses.contains(&connection.destination) {
            let to = SocketAddr::new(connection.destination, 9);
            self.send(Shape::Plain, Protocol::Tcp, stranger, to);
            arrives(&self.delivered[family], probe, sentinel, |bytes| {
                // IPv4 gives the header with it, IPv6 does not.
                bytes.get(if family == 0 { 20..22 } else { 0..2 })
            })
        } else {
            let to = SocketAddr::new(ip(ELSEWHERE[family]), 9);
            self.send(Shape::Plain, Protocol::Tcp, stranger, to);
            arrives(&self.receiver, probe, sentinel, shape::source_port)
        }
    }

    fn send(&self, shape: Shape, protocol: Protocol, from: SocketAddr, to: SocketAddr) {
        for packet in shape.packets(protocol, from, to) {
            let mut frame = Vec::with_capacity(192);
            frame.extend(ROUTER.0);
            frame.extend(SENDER.0);
            frame.extend(if from.is_ipv4() {
                [0x08, 0x00]
            } else {
                [0x86, 0xdd]
            });
            frame.extend(packet);
            let sent = send(self.sender.as_raw_fd(), &frame, MsgFlags::empty());
            assert_eq!(sent, Ok(frame.len()), "{from} to {to}");
        }
    }

    fn open_from_router(&self, from: SocketAddr, to: SocketAddr) -> OwnedFd {
        let opening = || {
            let family = match to {
                SocketAddr::V4(_) => AddressFamily::Inet,
                SocketAddr::V6(_) => AddressFamily::Inet6,
            };
            let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
            let fd = socket(family, SockType::Stream, flags, SockProtocol::Tcp)?;
            bind(fd.as_raw_fd(), &SockaddrStorage::from(from))?;
            match connect(fd.as_raw_fd(), &SockaddrStorage::from(to)) {
                Ok(()) | Err(nix::errno::Errno::EINPROGRESS) => Ok(fd),
                Err(errno) => Err(errno),
            }
        };
        let opened = self.router.run(opening).expect("the router's namespace");
        opened.unwrap_or_else(|errno| panic!("{from} to {to}: {errno}"))
    }
}

/// Whether the probe comes before the sentinel does.
fn arrives(
    socket: &OwnedFd,
    probe: u16,
    sentinel: u16,
    source_port: impl Fn(&[u8]) -> Option<&[u8]>,
) -> bool {
    let mut bytes = [0; 2048];
    let mut arrived = false;
    loop {
        let length = recv(socket.as_raw_fd(), &mut bytes, MsgFlags::empty())
            .unwrap_or_else(|errno| panic!("the packet that always passes did not: {errno}"));
        let port = source_port(&bytes[..length]).and_then(|port| port.first_chunk());
        match port.map(|port| u16::from_be_bytes(*port)) {
            Some(port) if port == probe => arrived = true,
            Some(port) if port == sentinel => return arrived,
            _ => {}
        }
    }
}

/// A wire from the router to an end of it, where it is called eth0.
fn plug(router: &NetNs, end: &NetNs, name: &str, mac: Mac) -> LinkIndex {
    let mut netlink = Rtnetlink::open_in(router).expect("rtnetlink");
    let peer = VethPeer::new("eth0").in_namespace(end).mac(mac);
    let link = NewLink::veth(name, peer).mac(ROUTER);
    let index = netlink.create_link(&link).expect("a pair of interfaces");
    bring_up(&mut netlink, name);
    bring_up(&mut Rtnetlink::open_in(end).expect("rtnetlink"), "eth0");
    index
}

fn bring_up(netlink: &mut Rtnetlink, name: &str) -> LinkIndex {
    let link = netlink.link(name).expect("links").expect("the link").index;
    let up = LinkChange::new().up();
    netlink.change_link(link, &up).expect("it comes up");
    link
}

fn configure(out: LinkIndex, addresses: &[IpAddr]) {
    for (key, value) in [
        ("net/ipv4/ip_forward", "1"),
        ("net/ipv6/conf/all/forwarding", "1"),
        ("net/ipv4/conf/all/rp_filter", "0"),
        ("net/ipv4/conf/left/rp_filter", "0"),
        // A node's own address as a source, from the wire.
        ("net/ipv4/conf/left/accept_local", "1"),
    ] {
        sysctl::write(key, value).expect("a kernel parameter");
    }
    let mut netlink = Rtnetlink::open().expect("rtnetlink");
    let lo = bring_up(&mut netlink, "lo");
    for address in addresses {
        netlink
            .add_address(lo, (*address).into())
            .expect("an address");
    }
    for (gateway, anywhere) in [("10.255.0.2", "0.0.0.0/0"), ("fd00:ffff::2", "::/0")] {
        let neighbour = Neighbour {
            link: out,
            address: ip(gateway),
            mac: RECEIVER,
        };
        netlink.replace_neighbour(&neighbour).expect("a neighbour");
        let route = Route {
            gateway: Some(ip(gateway)),
            link: Some(out),
            onlink: true,
            ..Route::new(prefix(anywhere))
        };
        netlink.add_route(&route).expect("a route");
    }
}

fn packet_socket() -> OwnedFd {
    let fd = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::EthAll,
    )
    .expect("a packet socket");
    let eth0 = getifaddrs()
        .expect("interfaces")
        .filter(|interface| interface.interface_name == "eth0")
        .find_map(|interface| interface.address?.as_link_addr().copied())
        .expect("eth0");
    bind(fd.as_raw_fd(), &eth0).expect("bound to eth0");
    impatient(fd)
}

fn raw_tcp(family: AddressFamily) -> OwnedFd {
    let flags = SockFlag::SOCK_CLOEXEC;
    let fd = socket(family, SockType::Raw, flags, SockProtocol::Tcp).expect("a raw socket");
    impatient(fd)
}

fn impatient(fd: OwnedFd) -> OwnedFd {
    let patience = TimeVal::seconds(PATIENCE_SECONDS);
    setsockopt(&fd, sockopt::ReceiveTimeout, &patience).expect("a receive timeout");
    fd
}

/// Whether a router forwards to the address at all.
pub(super) fn is_routable(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => true,
        IpAddr::V6(address) => !Ipv6Addr::is_unicast_link_local(&address),
    }
}
