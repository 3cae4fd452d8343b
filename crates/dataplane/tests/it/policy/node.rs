//! A node with two pods, wired as the CNI plugin wires them, and somebody
//! outside: real namespaces, real sockets.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use ipnet::IpNet;
use podway_kernel::netns::NetNs;
use podway_kernel::route::{LinkChange, LinkIndex, NewLink, Route, Rtnetlink, VethPeer};
use podway_kernel::sysctl;
use podway_testkit::builders::ip;

use super::namespace;

/// How long to wait for what should not come, and what is dropped never does.
/// Allowed packets take microseconds.
pub(super) const BRIEF: Duration = Duration::from_millis(150);
/// How long to wait for what should come: only a broken test waits so long.
pub(super) const PATIENT: Duration = Duration::from_secs(20);

/// How long to wait for what is expected to come, or not to come.
pub(super) const fn patience(expected: bool) -> Duration {
    if expected { PATIENT } else { BRIEF }
}

/// Somebody with addresses of both families.
pub(super) struct Host {
    pub(super) namespace: NetNs,
    pub(super) addresses: [IpAddr; 2],
}

/// The node, its pods a and b, and the outside.
pub(super) struct Node {
    pub(super) node: Host,
    pub(super) a: Host,
    pub(super) b: Host,
    pub(super) outside: Host,
}

impl Host {
    pub(super) fn new(addresses: [&str; 2]) -> Self {
        let host = Self {
            namespace: namespace(),
            addresses: addresses.map(ip),
        };
        // As in a pod of the CNI plugin, before there are interfaces: addresses
        // are usable at once, and nobody is told to go around the node, which
        // Linux does for IPv6 whatever `send_redirects` says.
        for (key, value) in [("accept_dad", "0"), ("accept_redirects", "0")] {
            let key = format!("net/ipv6/conf/default/{key}");
            host.run(|| sysctl::write(&key, value))
                .expect("a kernel parameter");
        }
        host
    }

    /// Runs something in the host's namespace.
    pub(super) fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        self.namespace.run(f).expect("the host's namespace")
    }

    /// Answers TCP and UDP on a port, at both addresses, until the test ends.
    pub(super) fn serve(&self, port: u16) {
        for address in self.addresses {
            let at = SocketAddr::new(address, port);
            let (tcp, udp) = self.run(|| {
                let tcp = TcpListener::bind(at).expect("a TCP port");
                (tcp, UdpSocket::bind(at).expect("a UDP port"))
            });
            std::thread::spawn(move || {
                for stream in tcp.incoming() {
                    std::thread::spawn(|| stream.map(echo));
                }
            });
            std::thread::spawn(move || {
                let mut bytes = [0; 64];
                while let Ok((length, from)) = udp.recv_from(&mut bytes) {
                    // Whoever asked may be gone.
                    let _ = udp.send_to(&bytes[..length], from);
                }
            });
        }
    }

    /// A TCP connection; `None` where nothing answers.
    pub(super) fn connect(&self, to: SocketAddr, wait: Duration) -> Option<TcpStream> {
        match self.run(|| TcpStream::connect_timeout(&to, wait)) {
            Ok(stream) => Some(stream),
            Err(error) if error.kind() == ErrorKind::TimedOut => None,
            Err(error) => panic!("{to} answered, but with: {error}"),
        }
    }

    /// Whether a datagram is answered.
    pub(super) fn ask(&self, to: SocketAddr, wait: Duration) -> bool {
        let socket = self.ask_from(to);
        socket.set_read_timeout(Some(wait)).expect("a timeout");
        socket.send(b"?").expect("sent");
        match socket.recv(&mut [0; 64]) {
            Ok(_) => true,
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(error) => panic!("{to} answered, but with: {error}"),
        }
    }

    /// A UDP socket that is connected to somebody.
    pub(super) fn ask_from(&self, to: SocketAddr) -> UdpSocket {
        let socket = self.run(|| {
            let any: IpAddr = match to {
                SocketAddr::V4(_) => ip("0.0.0.0"),
                SocketAddr::V6(_) => ip("::"),
            };
            UdpSocket::bind((any, 0)).expect("a UDP port")
        });
        socket.connect(to).expect("a route");
        socket
    }
}

/// Whether a connection still carries something there and back.
pub(super) fn is_alive(stream: &mut TcpStream, wait: Duration) -> bool {
    stream.set_read_timeout(Some(wait)).expect("a timeout");
    let mut byte = [0];
    stream.write_all(b"!").is_ok() && stream.read_exact(&mut byte).is_ok()
}

fn echo(mut stream: TcpStream) {
    let mut bytes = [0; 64];
    while let Ok(length @ 1..) = stream.read(&mut bytes) {
        if stream.write_all(&bytes[..length]).is_err() {
            break;
        }
    }
}

impl Node {
    /// Wires them up. The node's end of each pod's pair has the gateway's
    /// addresses and a route to the pod's, so that the node routes between them.
    pub(super) fn new() -> Self {
        let node = Self {
            node: Host::new(["172.16.0.11", "fd00:172:16::11"]),
            a: Host::new(["10.244.1.2", "fd00:10:244:1::2"]),
            b: Host::new(["10.244.1.3", "fd00:10:244:1::3"]),
            outside: Host::new(["172.16.0.250", "fd00:172:16::250"]),
        };
        node.node.run(|| {
            for key in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
                sysctl::write(key, "1").expect("forwarding");
            }
        });
        let mut netlink = Rtnetlink::open_in(&node.node.namespace).expect("rtnetlink");
        bring_up(&mut netlink, "lo");
        for (name, pod) in [("pod-a", &node.a), ("pod-b", &node.b)] {
            plug_pod(&mut netlink, name, pod);
        }
        node.plug_outside(&mut netlink);
        node
    }

    fn plug_outside(&self, netlink: &mut Rtnetlink) {
        let peer = VethPeer::new("eth0").in_namespace(&self.outside.namespace);
        let link = NewLink::veth("underlay", peer);
        netlink.create_link(&link).expect("the underlay");
        let here = bring_up(netlink, "underlay");
        let mut there = Rtnetlink::open_in(&self.outside.namespace).expect("rtnetlink");
        bring_up(&mut there, "lo");
        let eth0 = bring_up(&mut there, "eth0");
        for (own, other) in self.node.addresses.into_iter().zip(self.outside.addresses) {
            let length = if own.is_ipv4() { 24 } else { 64 };
            let own_net = IpNet::new(own, length).expect("a length");
            let other_net = IpNet::new(other, length).expect("a length");
            netlink.add_address(here, own_net).expect("an address");
            there.add_address(eth0, other_net).expect("an address");
            let default = Route {
                link: Some(eth0),
                ..Route::default_via(own)
            };
            there.add_route(&default).expect("a default route");
        }
    }
}

const GATEWAYS: [&str; 2] = ["10.244.1.1", "fd00:10:244:1::1"];
/// The group of the pods' interfaces.
pub(super) const POD_INTERFACES: u32 = 28791;

fn plug_pod(netlink: &mut Rtnetlink, name: &str, pod: &Host) {
    let peer = VethPeer::new("eth0").in_namespace(&pod.namespace);
    let pair = NewLink::veth(name, peer).group(POD_INTERFACES).up();
    let end = netlink.create_link(&pair).expect("a pod's interface");
    let mut inside = Rtnetlink::open_in(&pod.namespace).expect("rtnetlink");
    bring_up(&mut inside, "lo");
    let eth0 = bring_up(&mut inside, "eth0");
    for (address, gateway) in pod.addresses.into_iter().zip(GATEWAYS) {
        let (address, gateway) = (IpNet::from(address), ip(gateway));
        netlink
            .add_address(end, gateway.into())
            .expect("the gateway's address");
        let to_pod = Route::new(address).dev(end).scope_link();
        netlink.add_route(&to_pod).expect("a route to the pod");
        inside.add_address(eth0, address).expect("an address");
        let on_link = Route::new(gateway.into()).dev(eth0).scope_link();
        inside
            .replace_route(&on_link)
            .expect("a route to the gateway");
        let default = Route::default_via(gateway).dev(eth0);
        inside.add_route(&default).expect("a default route");
    }
}

fn bring_up(netlink: &mut Rtnetlink, name: &str) -> LinkIndex {
    let link = netlink.link(name).expect("links").expect("the link").index;
    let up = LinkChange::new().up();
    netlink.change_link(link, &up).expect("it comes up");
    link
}
