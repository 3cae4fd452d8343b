//! Nodes on an underlay, pods on nodes, and servers in them.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ipnet::IpNet;
use podway_dataplane::overlay::{Error, OverlayBackend, SyncReport, backend};
use podway_kernel::netns::NetNs;
use podway_kernel::route::{LinkChange, NewLink, Route, Rtnetlink, VethPeer};
use podway_model::{ClusterState, Node, Object};
use podway_plan::overlay::{
    OverlayChange, OverlaySettings, OverlayTable, diff, plan_overlay, publish,
};
use podway_testkit::builders;

pub(crate) const SETTINGS: OverlaySettings = OverlaySettings {
    backend: "vxlan",
    vni: 1,
};
pub(crate) const LIMIT: Duration = Duration::from_secs(5);
const PORT: u16 = 80;

/// The wire between nodes: a bridge in a namespace of its own.
pub(crate) struct Underlay {
    namespace: NetNs,
    socket: Rtnetlink,
}

/// A node: its namespace and its overlay.
pub(crate) struct TestNode {
    pub(crate) name: String,
    pub(crate) namespace: NetNs,
    pub(crate) socket: Rtnetlink,
    pub(crate) table: OverlayTable,
    overlay: Box<dyn OverlayBackend>,
}

/// A pod: its namespace and its addresses, IPv4 first.
pub(crate) struct Pod {
    pub(crate) namespace: NetNs,
    pub(crate) addresses: [IpAddr; 2],
}

impl Underlay {
    pub(crate) fn new() -> Self {
        let namespace = NetNs::anonymous().expect("tests of overlays need root");
        let mut socket = Rtnetlink::open_in(&namespace).unwrap();
        let bridge = NewLink::bridge("underlay").mtu(1500).up();
        let bridge = socket.create_link(&bridge).unwrap();
        for address in ["172.16.0.1/24", "fd00:172:16::1/64"] {
            socket.add_address(bridge, net(address)).unwrap();
        }
        Self { namespace, socket }
    }

    /// Node N: 172.16.0.1N and fd00:172:16::1N on `eth0`.
    pub(crate) fn node(&mut self, number: u8) -> TestNode {
        let (namespace, mut socket) = self.host(number);
        let eth0 = socket.link("eth0").unwrap().unwrap().index;
        for address in [
            format!("172.16.0.1{number}/24"),
            format!("fd00:172:16::1{number}/64"),
        ] {
            socket.add_address(eth0, net(&address)).unwrap();
        }
        TestNode {
            name: format!("node{number}"),
            overlay: open(&namespace),
            namespace,
            socket,
            table: OverlayTable::default(),
        }
    }

    /// A namespace with `eth0` on the underlay, up.
    fn host(&mut self, number: u8) -> (NetNs, Rtnetlink) {
        let bridge = self.socket.link("underlay").unwrap().unwrap().index;
        let namespace = NetNs::anonymous().unwrap();
        let peer = VethPeer::new("eth0").in_namespace(&namespace).up();
        let veth = NewLink::veth(format!("node{number}"), peer)
            .master(bridge)
            .up();
        self.socket.create_link(&veth).unwrap();
        let mut socket = Rtnetlink::open_in(&namespace).unwrap();
        let lo = socket.link("lo").unwrap().unwrap().index;
        socket.change_link(lo, &LinkChange::new().up()).unwrap();
        (namespace, socket)
    }

    /// The underlay's own end stands for the world outside.
    pub(crate) const fn outside(&self) -> &NetNs {
        &self.namespace
    }
}

/// Opens the backend in a namespace.
pub(crate) fn open(namespace: &NetNs) -> Box<dyn OverlayBackend> {
    let spec = backend(SETTINGS.backend).expect("vxlan is in the list");
    namespace.run(|| (spec.open)(&SETTINGS)).unwrap().unwrap()
}

impl TestNode {
    /// The Node object that the API server would hold once the node has
    /// published what it has to.
    pub(crate) fn object(&self) -> Node {
        let n = self.name.trim_start_matches("node");
        let mut node = builders::node(
            &self.name,
            &[&format!("172.16.0.1{n}"), &format!("fd00:172:16::1{n}")],
            &[
                &format!("10.244.{n}.0/24"),
                &format!("fd00:10:244:{n}::/64"),
            ],
        );
        let table = plan_overlay(&state(&[node.clone()]), &self.name, &SETTINGS);
        for (name, value) in publish(&table, &node, &SETTINGS) {
            node.annotations.insert(name.into(), value.unwrap());
        }
        node
    }

    /// Plans for these nodes and writes what changed since the last time.
    pub(crate) fn follow(&mut self, nodes: &[Node]) -> SyncReport {
        let table = plan_overlay(&state(nodes), &self.name, &SETTINGS);
        let change = diff(&self.table, &table);
        self.table = table;
        self.sync(Some(&change)).unwrap()
    }

    pub(crate) fn sync(&mut self, change: Option<&OverlayChange>) -> Result<SyncReport, Error> {
        let (table, overlay) = (&self.table, &mut self.overlay);
        self.namespace.run(|| overlay.sync(table, change)).unwrap()
    }

    /// Replaces the backend by a new one, as a restart of the agent does.
    pub(crate) fn restart(&mut self) {
        self.overlay = open(&self.namespace);
    }

    pub(crate) fn cleanup(&mut self) {
        let overlay = &mut self.overlay;
        self.namespace.run(|| overlay.cleanup()).unwrap().unwrap();
    }

    /// A pod with addresses .N and ::N, routed by a link of its own.
    pub(crate) fn pod(&mut self, number: u8) -> Pod {
        let n = self.name.trim_start_matches("node");
        let namespace = NetNs::anonymous().unwrap();
        let peer = VethPeer::new("eth0")
            .in_namespace(&namespace)
            .mtu(1430)
            .up();
        let veth = NewLink::veth(format!("pod{number}"), peer).mtu(1430).up();
        let here = self.socket.create_link(&veth).unwrap();
        let mut inside = Rtnetlink::open_in(&namespace).unwrap();
        let eth0 = inside.link("eth0").unwrap().unwrap().index;
        let addresses = [
            ip(&format!("10.244.{n}.{number}")),
            ip(&format!("fd00:10:244:{n}::{number}")),
        ];
        for (address, gateway) in addresses.iter().zip([ip("169.254.1.1"), ip("fe80::1")]) {
            inside.add_address(eth0, IpNet::from(*address)).unwrap();
            self.socket.add_address(here, IpNet::from(gateway)).unwrap();
            let on_link = Route::new(IpNet::from(gateway)).dev(eth0).scope_link();
            inside.replace_route(&on_link).unwrap();
            let default = Route::default_via(gateway).dev(eth0);
            inside.add_route(&default).unwrap();
            let to_pod = Route::new(IpNet::from(*address)).dev(here).scope_link();
            self.socket.replace_route(&to_pod).unwrap();
        }
        Pod {
            namespace,
            addresses,
        }
    }

    /// What the node's tunnel devices hold, one line an entry.
    pub(crate) fn entries(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        for name in ["podway-vxlan", "podway-vxlan6"] {
            let Some(link) = self.socket.link(name).unwrap() else {
                continue;
            };
            let neighbours = self.socket.neighbours(link.index).unwrap();
            lines.extend(
                neighbours
                    .iter()
                    .map(|n| format!("{name} neighbour {}", n.address)),
            );
            let fdb = self.socket.fdb(link.index).unwrap();
            lines.extend(
                fdb.iter()
                    .map(|entry| format!("{name} fdb {}", entry.remote)),
            );
            let filter = podway_kernel::route::RouteFilter {
                link: Some(link.index),
                protocol: Some(112),
                table: None,
            };
            let routes = self.socket.routes(filter).unwrap();
            lines.extend(
                routes
                    .iter()
                    .map(|r| format!("{name} route {}", r.destination)),
            );
        }
        lines.sort();
        lines
    }
}

pub(crate) fn state(nodes: &[Node]) -> ClusterState {
    let object = |node: &Node| Object::Node(Arc::new(node.clone()));
    builders::state(nodes.iter().map(object))
}

/// Listens in a namespace on every address; answers each connection with the
/// client's address, and then with everything that it sends.
pub(crate) fn serve(namespace: &NetNs) {
    let listener = namespace
        .run(|| TcpListener::bind(("::", PORT)).unwrap())
        .unwrap();
    thread::spawn(move || {
        while let Ok((mut stream, client)) = listener.accept() {
            thread::spawn(move || {
                let _ = writeln!(stream, "{}", client.ip().to_canonical());
                let mut echo = stream.try_clone().unwrap();
                let _ = std::io::copy(&mut stream, &mut echo);
            });
        }
    });
}

/// Connects, sends so much that the largest packets are needed both ways, and
/// returns the client's address as the server saw it.
pub(crate) fn connect(from: &NetNs, to: IpAddr, limit: Duration) -> std::io::Result<IpAddr> {
    from.run(|| exchange(to, limit)).unwrap()
}

fn exchange(to: IpAddr, limit: Duration) -> std::io::Result<IpAddr> {
    const LENGTH: usize = 100_000;
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(to, PORT), limit)?;
    stream.set_read_timeout(Some(limit))?;
    let mut sender = stream.try_clone()?;
    let sent = thread::spawn(move || {
        sender.write_all(&[7; LENGTH])?;
        sender.shutdown(std::net::Shutdown::Write)
    });
    let mut received = Vec::new();
    stream.read_to_end(&mut received)?;
    sent.join().unwrap()?;
    let line = received.iter().position(|byte| *byte == b'\n').unwrap();
    assert_eq!(received.len() - line - 1, LENGTH, "everything came back");
    let seen = String::from_utf8(received[..line].to_vec()).unwrap();
    Ok(seen.parse().unwrap())
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}
