//! Connections through a service, and straight to a pod behind the same node.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
};
use podway_dataplane::service::BackendSpec;
use podway_kernel::netns::NetNs;
use podway_kernel::route::{LinkChange, LinkIndex, NewLink, Route, Rtnetlink, VethPeer};

use super::programming::Served;
use super::{cluster, node};

/// The client's addresses, and the ports that it uses at each of them, once
/// each: no connection meets one that the node remembers.
const CLIENTS: u32 = 8;
const PORTS: std::ops::Range<u16> = 10_000..60_000;

/// A node that serves, a client on one side and the pods of one service on the
/// other.
pub(super) struct Paths {
    _served: Served,
    client: NetNs,
    _server: NetNs,
    frontend: SocketAddr,
    pods: [SocketAddr; 2],
    used: usize,
}

/// What the pods do with connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Serve {
    /// Accept, and close.
    Accept,
    /// Read until the client has ended.
    Read,
}

impl Paths {
    pub(super) fn new(spec: &BackendSpec, services: u32, serve: Serve) -> anyhow::Result<Self> {
        let number = services / 2;
        let state = cluster::state(services);
        let pods = cluster::slice(number, 2).endpoints;
        let pods = [0, 1].map(|place| SocketAddr::new(pods[place].address, cluster::TARGET_PORT));
        let frontend = SocketAddr::new(cluster::service(number).cluster_ips[0], cluster::PORT);

        let (node, client, server) = (node::namespace()?, node::namespace()?, node::namespace()?);
        let clients: Vec<IpAddr> = (0..CLIENTS).map(client_address).collect();
        plug(&node, "client", &client, &clients)?;
        plug(&node, "server", &server, &pods.map(|pod| pod.ip()))?;
        server.run(|| listen(serve))??;
        Ok(Self {
            _served: Served::of(spec, node, state, services)?,
            client,
            _server: server,
            frontend,
            pods,
            used: 0,
        })
    }

    /// Connects so often each way, in turns; the times straight to a pod, and
    /// through the service.
    pub(super) fn connect(&mut self, count: usize) -> anyhow::Result<[Vec<Duration>; 2]> {
        let Self {
            client,
            used,
            frontend,
            pods,
            ..
        } = self;
        let taken = client.run(|| -> io::Result<_> {
            let mut taken = [Vec::new(), Vec::new()];
            for round in 0..count {
                let ways = [pods[round % 2], *frontend];
                for turn in [round % 2, 1 - round % 2] {
                    let (stream, time) = connected(next(used), ways[turn])?;
                    taken[turn].push(time);
                    // A reset: the server's half goes at once, too.
                    let reset = libc::linger {
                        l_onoff: 1,
                        l_linger: 0,
                    };
                    setsockopt(&stream, sockopt::Linger, &reset)?;
                }
            }
            Ok(taken)
        })?;
        taken.context("connect through the node")
    }

    /// Bytes a second that one connection carries in this time: straight to a
    /// pod, and through the service.
    pub(super) fn send(&mut self, time: Duration) -> anyhow::Result<[f64; 2]> {
        let Self {
            client,
            used,
            frontend,
            pods,
            ..
        } = self;
        let rates = client.run(|| -> io::Result<[f64; 2]> {
            let mut rate = |to| {
                let (mut stream, _) = connected(next(used), to)?;
                let (begin, block, mut sent) = (Instant::now(), vec![0; 1 << 17], 0);
                while begin.elapsed() < time {
                    sent += stream.write(&block)?;
                }
                #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
                Ok::<f64, io::Error>(sent as f64 / begin.elapsed().as_secs_f64())
            };
            Ok([rate(pods[0])?, rate(*frontend)?])
        })?;
        rates.context("send through the node")
    }
}

fn client_address(number: u32) -> IpAddr {
    Ipv4Addr::new(10, 1, 0, 2 + u8::try_from(number).unwrap_or(0)).into()
}

/// An address and port of the client that no connection has had.
fn next(used: &mut usize) -> SocketAddr {
    let place = *used;
    *used += 1;
    let client = u32::try_from(place % CLIENTS as usize).unwrap_or(0);
    let ports = usize::from(PORTS.end - PORTS.start);
    let port = u16::try_from(place / CLIENTS as usize % ports).unwrap_or(0);
    SocketAddr::new(client_address(client), PORTS.start + port)
}

/// A connection, and how long its handshake took.
fn connected(from: SocketAddr, to: SocketAddr) -> io::Result<(TcpStream, Duration)> {
    let made = socket(
        AddressFamily::Inet,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    bind(made.as_raw_fd(), &SockaddrStorage::from(from))?;
    let to = SockaddrStorage::from(to);
    let begin = Instant::now();
    connect(made.as_raw_fd(), &to)?;
    Ok((TcpStream::from(made), begin.elapsed()))
}

/// Serves until the process ends.
fn listen(serve: Serve) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, cluster::TARGET_PORT))?;
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            if serve == Serve::Read {
                thread::spawn(move || {
                    let mut bytes = vec![0; 1 << 17];
                    while let Ok(1..) = stream.read(&mut bytes) {}
                });
            }
        }
    });
    Ok(())
}

/// A wire from the node to a host with these addresses.
fn plug(node: &NetNs, name: &str, host: &NetNs, addresses: &[IpAddr]) -> anyhow::Result<()> {
    let gateway = IpAddr::from(Ipv4Addr::new(169, 254, 1, 1));
    let mut netlink = Rtnetlink::open_in(node)?;
    let peer = VethPeer::new("eth0").in_namespace(host);
    netlink.create_link(&NewLink::veth(name, peer))?;
    let link = bring_up(&mut netlink, name, &[gateway])?;
    for address in addresses {
        let mut route = Route::new((*address).into());
        route.link = Some(link);
        netlink.add_route(&route)?;
    }
    if name == "client" {
        // What the node itself does not know is looked up before it is translated.
        let mut out = Route::default_via(addresses[0]);
        (out.link, out.onlink) = (Some(link), true);
        netlink.add_route(&out)?;
    }
    let mut inside = Rtnetlink::open_in(host)?;
    let eth0 = bring_up(&mut inside, "eth0", addresses)?;
    let mut out = Route::default_via(gateway);
    (out.link, out.onlink) = (Some(eth0), true);
    inside.add_route(&out)?;
    Ok(())
}

fn bring_up(
    netlink: &mut Rtnetlink,
    name: &str,
    addresses: &[IpAddr],
) -> anyhow::Result<LinkIndex> {
    let link = netlink.link(name)?.context("an interface")?.index;
    netlink.change_link(link, &LinkChange::new().up())?;
    for address in addresses {
        netlink.add_address(link, (*address).into())?;
    }
    Ok(link)
}
