//! A node with two pods, a pod of another node behind it, and a client
//! outside, each in a namespace of its own. Every pod answers each connection
//! and datagram with its name and the address that it saw.

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use ipnet::IpNet;
use podway_kernel::netns::NetNs;
use podway_kernel::route::{LinkChange, NewLink, Route, Rtnetlink, VethPeer};
use podway_kernel::sysctl;
use podway_testkit::builders::ip;

/// Longer than an answer takes: only a broken test waits for it.
const PATIENCE: Duration = Duration::from_secs(10);
/// A packet that is dropped shows itself by nothing. Too short a wait would make
/// a wrong rule look right only where an answer takes longer than this.
const SILENCE: Duration = Duration::from_millis(300);

/// Ports on which pods listen.
pub(crate) const TCP_PORT: u16 = 8080;
pub(crate) const UDP_PORT: u16 = 8053;

/// The node's addresses on the underlay, and as the pods' gateway.
pub(crate) const NODE: [&str; 2] = ["172.16.0.11", "fd00:172:16::11"];
pub(crate) const GATEWAY: [&str; 2] = ["10.244.1.1", "fd00:10:244:1::1"];
pub(crate) const CLIENT: [&str; 2] = ["172.16.0.250", "fd00:172:16::250"];
pub(crate) const ONE: [&str; 2] = ["10.244.1.10", "fd00:10:244:1::10"];
pub(crate) const TWO: [&str; 2] = ["10.244.1.20", "fd00:10:244:1::20"];
pub(crate) const FAR: [&str; 2] = ["10.244.2.10", "fd00:10:244:2::10"];

/// The namespaces.
pub(crate) struct Site {
    pub(crate) node: NetNs,
    pub(crate) client: NetNs,
    pub(crate) one: NetNs,
    pub(crate) two: NetNs,
    pub(crate) far: NetNs,
}

/// What came of a connection or datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// Who answered, and the address that it saw.
    From { pod: String, seen: IpAddr },
    /// A reset, or ICMP port unreachable.
    Refused,
    /// Nothing came back.
    Silence,
}

pub(crate) fn from(pod: &str, seen: &str) -> Reply {
    Reply::From {
        pod: pod.to_owned(),
        seen: ip(seen),
    }
}

impl Site {
    pub(crate) fn new() -> Self {
        let space = || NetNs::anonymous().expect("tests with packets need root (CAP_SYS_ADMIN)");
        let site = Self {
            node: space(),
            client: space(),
            one: space(),
            two: space(),
            far: space(),
        };
        site.node
            .run(|| {
                for (key, value) in [
                    ("net/ipv4/ip_forward", "1"),
                    ("net/ipv6/conf/all/forwarding", "1"),
                    ("net/ipv4/conf/all/send_redirects", "0"),
                    ("net/ipv4/conf/default/send_redirects", "0"),
                ] {
                    sysctl::write(key, value).expect("a kernel parameter");
                }
                let mut netlink = Rtnetlink::open().expect("rtnetlink");
                bring_up(&mut netlink, "lo", &[]);
            })
            .expect("the node's namespace");
        plug(&site.node, "client", NODE, &site.client, CLIENT);
        // The node routes before it translates: without any route to a cluster
        // IP, its own connections fail before they reach our rules.
        let mut netlink = Rtnetlink::open_in(&site.node).expect("rtnetlink");
        let link = netlink
            .link("client")
            .expect("links")
            .map(|link| link.index);
        for gateway in CLIENT {
            let out = Route {
                link,
                onlink: true,
                ..Route::default_via(ip(gateway))
            };
            netlink.add_route(&out).expect("a way out");
        }
        for (name, pod, addresses) in [
            ("one", &site.one, ONE),
            ("two", &site.two, TWO),
            ("far", &site.far, FAR),
        ] {
            plug(&site.node, name, GATEWAY, pod, addresses);
            pod.run(|| serve(name)).expect("a pod's namespace");
        }
        site
    }
}

/// A wire from the node to another namespace, whose way out it is.
fn plug(node: &NetNs, name: &str, gateway: [&str; 2], end: &NetNs, addresses: [&str; 2]) {
    let mut netlink = Rtnetlink::open_in(node).expect("rtnetlink");
    let peer = VethPeer::new("eth0").in_namespace(end);
    netlink
        .create_link(&NewLink::veth(name, peer))
        .expect("a pair of interfaces");
    let link = bring_up(&mut netlink, name, &gateway);
    for address in addresses {
        let route = Route {
            link: Some(link),
            ..Route::new(host(address))
        };
        netlink.add_route(&route).expect("a route to it");
    }
    let mut netlink = Rtnetlink::open_in(end).expect("rtnetlink");
    bring_up(&mut netlink, "lo", &[]);
    let link = bring_up(&mut netlink, "eth0", &addresses);
    for gateway in gateway {
        let out = Route {
            link: Some(link),
            onlink: true,
            ..Route::default_via(ip(gateway))
        };
        netlink.add_route(&out).expect("a way out");
    }
}

fn bring_up(
    netlink: &mut Rtnetlink,
    name: &str,
    addresses: &[&str],
) -> podway_kernel::route::LinkIndex {
    let link = netlink.link(name).expect("links").expect("the link").index;
    let up = LinkChange::new().up();
    netlink.change_link(link, &up).expect("it comes up");
    for address in addresses {
        netlink
            .add_address(link, host(address))
            .expect("an address");
    }
    link
}

fn host(address: &str) -> IpNet {
    ip(address).into()
}

/// Listens before it returns, and answers until the process ends.
pub(crate) fn serve(name: &'static str) {
    let listener = TcpListener::bind(("::", TCP_PORT)).expect("a port to listen on");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || answer(name, stream));
        }
    });
    let socket = UdpSocket::bind(("::", UDP_PORT)).expect("a port to listen on");
    thread::spawn(move || {
        let mut bytes = [0; 64];
        while let Ok((_, peer)) = socket.recv_from(&mut bytes) {
            let _ = socket.send_to(greeting(name, peer).as_bytes(), peer);
        }
    });
}

/// Greets, then repeats every line.
fn answer(name: &str, mut stream: TcpStream) {
    let Ok(peer) = stream.peer_addr() else { return };
    let _ = stream.write_all(greeting(name, peer).as_bytes());
    let mut bytes = [0; 64];
    while let Ok(length @ 1..) = stream.read(&mut bytes) {
        let _ = stream.write_all(&bytes[..length]);
    }
}

fn greeting(name: &str, peer: SocketAddr) -> String {
    format!("{name} {}\n", peer.ip().to_canonical())
}

fn read_greeting(text: &str) -> Reply {
    let (pod, seen) = text.trim().split_once(' ').expect("a greeting");
    from(pod, seen)
}

/// A connection that has been greeted.
pub(crate) struct Connection {
    pub(crate) stream: BufReader<TcpStream>,
    pub(crate) reply: Reply,
}

impl Connection {
    pub(crate) fn open(namespace: &NetNs, to: SocketAddr) -> Result<Self, Reply> {
        Self::open_within(namespace, to, PATIENCE)
    }

    fn open_within(namespace: &NetNs, to: SocketAddr, patience: Duration) -> Result<Self, Reply> {
        let opened = namespace.run(|| TcpStream::connect_timeout(&to, patience));
        let stream = match opened.expect("the client's namespace") {
            Ok(stream) => stream,
            Err(error) => return Err(refusal(&error)),
        };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        match stream.read_line(&mut line) {
            // A proxy takes connections before it knows whether anybody serves.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                return Err(Reply::Refused);
            }
            read => read.expect("a greeting"),
        };
        let reply = read_greeting(&line);
        Ok(Self { stream, reply })
    }

    /// Whether what is sent comes back.
    pub(crate) fn echoes(&mut self, text: &str) -> bool {
        let line = format!("{text}\n");
        let sent = self.stream.get_mut().write_all(line.as_bytes());
        let mut echo = String::new();
        sent.is_ok() && self.stream.read_line(&mut echo).is_ok() && echo == line
    }
}

fn refusal(error: &std::io::Error) -> Reply {
    match error.kind() {
        ErrorKind::ConnectionRefused => Reply::Refused,
        ErrorKind::TimedOut | ErrorKind::WouldBlock => Reply::Silence,
        _ => panic!("neither answered nor refused: {error}"),
    }
}

/// Opens a TCP connection.
pub(crate) fn connect(namespace: &NetNs, to: SocketAddr) -> Reply {
    match Connection::open(namespace, to) {
        Ok(connection) => connection.reply,
        Err(reply) => reply,
    }
}

/// The same where nothing is expected to come back.
pub(crate) fn connect_in_vain(namespace: &NetNs, to: SocketAddr) -> Reply {
    match Connection::open_within(namespace, to, SILENCE) {
        Ok(connection) => connection.reply,
        Err(reply) => reply,
    }
}

/// A UDP socket that keeps its port, so that all it sends is one flow.
pub(crate) fn udp(namespace: &NetNs, to: SocketAddr) -> UdpSocket {
    let any: IpAddr = if to.is_ipv4() {
        ip("0.0.0.0")
    } else {
        ip("::")
    };
    let socket = namespace
        .run(|| UdpSocket::bind((any, 0)).and_then(|socket| socket.connect(to).map(|()| socket)))
        .expect("the client's namespace")
        .expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Sends a datagram and waits for the answer.
pub(crate) fn ask(socket: &UdpSocket) -> Reply {
    let mut bytes = [0; 64];
    match socket.send(b"?").and_then(|_| socket.recv(&mut bytes)) {
        Ok(length) => read_greeting(std::str::from_utf8(&bytes[..length]).expect("text")),
        Err(error) => refusal(&error),
    }
}
