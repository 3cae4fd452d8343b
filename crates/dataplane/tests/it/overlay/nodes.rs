//! Nodes on an underlay, pods on nodes, and servers in them.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use podway_dataplane::overlay::{
    self, BACKENDS, Error, OverlayBackend, ROUTE_PROTOCOL, SyncReport, read_underlay,
};
use podway_kernel::netns::NetNs;
use podway_kernel::route::{LinkChange, NewLink, Route, RouteFilter, Rtnetlink, VethPeer};
use podway_kernel::sysctl;
use podway_model::{ClusterState, Node, Object};
use podway_plan::overlay::{
    OverlayChange, OverlayMode, OverlayPlanner, OverlaySettings, OverlayTable, Underlay as Ways,
    publish,
};
use podway_testkit::builders;

pub(crate) const VXLAN: OverlaySettings = OverlaySettings::new(OverlayMode::Vxlan);
pub(crate) const HOST_GW: OverlaySettings = OverlaySettings::new(OverlayMode::HostGw);
pub(crate) const UDP: OverlaySettings = OverlaySettings::new(OverlayMode::Udp);
pub(crate) const LIMIT: Duration = Duration::from_secs(5);
const PORT: u16 = 80;

/// The wires between nodes: two bridges in a namespace of their own, which is
/// the router between them.
pub(crate) struct Underlay {
    namespace: NetNs,
    socket: Rtnetlink,
}

/// A node: its namespace and its overlay.
pub(crate) struct TestNode {
    pub(crate) name: String,
    pub(crate) namespace: NetNs,
    pub(crate) socket: Rtnetlink,
    pub(crate) planner: OverlayPlanner,
    number: u8,
    segment: u8,
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
        for segment in [0, 1] {
            let bridge = NewLink::bridge(format!("segment{segment}")).mtu(1500).up();
            let bridge = socket.create_link(&bridge).unwrap();
            for address in addresses(segment, 1) {
                socket.add_address(bridge, address).unwrap();
            }
        }
        let forward = || {
            sysctl::write("net/ipv4/ip_forward", "1").unwrap();
            sysctl::write("net/ipv6/conf/all/forwarding", "1").unwrap();
        };
        namespace.run(forward).unwrap();
        Self { namespace, socket }
    }

    /// Node N of the first segment, with vxlan.
    pub(crate) fn node(&mut self, number: u8) -> TestNode {
        self.node_on(0, number, &VXLAN)
    }

    /// Node N: 172.16.S.1N and fd00:172:16:S::1N on `eth0`.
    pub(crate) fn node_on(
        &mut self,
        segment: u8,
        number: u8,
        settings: &OverlaySettings,
    ) -> TestNode {
        let (namespace, mut socket) = self.host(segment, number);
        let eth0 = socket.link("eth0").unwrap().unwrap().index;
        for address in addresses(segment, 10 + number) {
            socket.add_address(eth0, address).unwrap();
        }
        for router in addresses(segment, 1) {
            let route = Route::default_via(router.addr()).dev(eth0);
            socket.add_route(&route).unwrap();
        }
        let name = format!("node{number}");
        TestNode {
            planner: OverlayPlanner::new(name.as_str().into(), settings.clone()),
            overlay: open(&namespace, settings),
            name,
            namespace,
            socket,
            number,
            segment,
        }
    }

    /// A namespace with `eth0` on a segment, up.
    fn host(&mut self, segment: u8, number: u8) -> (NetNs, Rtnetlink) {
        let bridge = format!("segment{segment}");
        let bridge = self.socket.link(&bridge).unwrap().unwrap().index;
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

    /// Takes a node's wire away, as a machine that is gone does.
    pub(crate) fn disconnect(&mut self, number: u8) {
        let end = self.socket.link(&format!("node{number}")).unwrap();
        if let Some(end) = end {
            self.socket.delete_link(end.index).unwrap();
        }
    }

    /// Gives the world outside a route to a node's pods.
    pub(crate) fn know_the_way_to(&mut self, node: &TestNode) {
        self.route_through(node, node);
    }

    /// Gives the world outside a route to a node's pods through another.
    pub(crate) fn route_through(&mut self, node: &TestNode, router: &TestNode) {
        let bridge = format!("segment{}", router.segment);
        let bridge = self.socket.link(&bridge).unwrap().unwrap().index;
        let addresses = router.plain().addresses;
        for (prefix, address) in node.plain().pod_prefixes.iter().zip(addresses) {
            let route = Route::new(*prefix).via(address).dev(bridge);
            self.socket.add_route(&route).unwrap();
        }
    }

    /// The underlay's own end stands for the world outside.
    pub(crate) const fn outside(&self) -> &NetNs {
        &self.namespace
    }
}

/// The addresses of a host of a segment, IPv4 first. The host part reads the
/// same in both families.
fn addresses(segment: u8, host: u8) -> [IpNet; 2] {
    [
        net(&format!("172.16.{segment}.{host}/24")),
        net(&format!("fd00:172:16:{segment}::{host}/64")),
    ]
}

/// Opens the backend in a namespace.
pub(crate) fn open(namespace: &NetNs, settings: &OverlaySettings) -> Box<dyn OverlayBackend> {
    let mut specs = BACKENDS.iter();
    let spec = specs.find(|spec| spec.mode == settings.mode).unwrap();
    namespace.run(|| (spec.open)(settings)).unwrap().unwrap()
}

/// The Node object that the API server would hold once the node has published
/// what it has to.
pub(crate) fn published(
    mut node: Node,
    settings: &OverlaySettings,
    also: &[OverlaySettings],
) -> Node {
    let state = state(&[node.clone()]);
    let table = |settings: &OverlaySettings| {
        podway_plan::overlay::plan_overlay(&state, &node.name, settings, &Ways::default())
    };
    let tables: Vec<_> = also.iter().map(table).collect();
    let also: Vec<_> = also.iter().zip(&tables).collect();
    for (name, value) in publish(&node, (settings, &table(settings)), &also) {
        match value {
            Some(value) => node.annotations.insert(name.into(), value),
            None => node.annotations.remove(name),
        };
    }
    node
}

impl TestNode {
    pub(crate) fn settings(&self) -> &OverlaySettings {
        self.planner.settings()
    }

    /// The Node object before the node has published anything.
    pub(crate) fn plain(&self) -> Node {
        let n = self.number;
        let own = addresses(self.segment, 10 + n).map(|address| address.addr().to_string());
        builders::node(
            &self.name,
            &[&own[0], &own[1]],
            &[
                &format!("10.244.{n}.0/24"),
                &format!("fd00:10:244:{n}::/64"),
            ],
        )
    }

    /// The Node object once the node has published what it has to.
    pub(crate) fn object(&self) -> Node {
        published(self.plain(), self.settings(), &[])
    }

    /// Plans for these nodes, without writing. What changed.
    pub(crate) fn plan(&mut self, nodes: &[Node]) -> OverlayChange {
        let mut change = self.planner.plan_all(&state(nodes));
        if self.settings().needs_underlay() {
            let underlay = read_underlay(&mut self.socket, self.planner.table()).unwrap();
            change.then(self.planner.follow_underlay(underlay));
        }
        change
    }

    /// Plans for these nodes and writes what changed since the last time.
    pub(crate) fn follow(&mut self, nodes: &[Node]) -> SyncReport {
        let change = self.plan(nodes);
        self.sync(Some(&change)).unwrap()
    }

    pub(crate) fn table(&self) -> &OverlayTable {
        self.planner.table()
    }

    pub(crate) fn sync(&mut self, change: Option<&OverlayChange>) -> Result<SyncReport, Error> {
        let (table, overlay) = (self.planner.table(), &mut self.overlay);
        self.namespace.run(|| overlay.sync(table, change)).unwrap()
    }

    /// Replaces the backend by a new one, as a restart of the agent does.
    pub(crate) fn restart(&mut self) {
        self.overlay = open(&self.namespace, &self.settings().clone());
    }

    /// Restarts with other settings.
    pub(crate) fn reconfigure(&mut self, settings: OverlaySettings) {
        self.overlay = open(&self.namespace, &settings);
        self.planner = OverlayPlanner::new(self.name.as_str().into(), settings);
    }

    pub(crate) fn cleanup(&mut self) -> Vec<String> {
        overlay::cleanup(&mut self.socket).unwrap()
    }

    /// Runs a system call's worth of configuration in the node.
    pub(crate) fn set(&self, key: &str, value: &str) {
        let write = || sysctl::write(key, value).unwrap();
        self.namespace.run(write).unwrap();
    }

    /// The routes of overlays, one line each, without the link's number.
    pub(crate) fn routes(&mut self) -> Vec<String> {
        let filter = RouteFilter {
            protocol: Some(ROUTE_PROTOCOL),
            ..RouteFilter::default()
        };
        let mut lines = Vec::new();
        for route in self.socket.routes(filter).unwrap() {
            let link = self.socket.link_at(route.link.unwrap()).unwrap().unwrap();
            let via = route
                .gateway
                .map_or_else(String::new, |via| format!(" via {via}"));
            lines.push(format!("{}{via} dev {}", route.destination, link.name));
        }
        lines.sort();
        lines
    }

    /// A pod with addresses .N and ::N, routed by a link of its own.
    pub(crate) fn pod(&mut self, number: u8) -> Pod {
        let n = self.number;
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
            let filter = RouteFilter {
                link: Some(link.index),
                protocol: Some(ROUTE_PROTOCOL),
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
    let deadline = Instant::now() + limit;
    loop {
        let outcome = from.run(|| exchange(to, limit)).unwrap();
        match outcome {
            // On a busy machine the kernel tells a bridge late that a port is
            // up: questions for neighbours were lost until then.
            Err(error) if is_unresolved(&error) && Instant::now() < deadline => {}
            outcome => return outcome,
        }
    }
}

fn is_unresolved(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::HostUnreachable
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

/// Pods of two nodes, in both families, and whom the server sees.
pub(crate) fn assert_reaches(from: &mut TestNode, to: &mut TestNode) {
    let (client, server) = (from.pod(5), to.pod(6));
    serve(&server.namespace);
    for (to, own) in server.addresses.iter().zip(client.addresses) {
        let seen = connect(&client.namespace, *to, LIMIT);
        let seen = seen.unwrap_or_else(|error| panic!("to {to}: {error}"));
        assert_eq!(seen, own, "source as the server at {to} saw it");
    }
}

/// node1 and node2 on one segment, node3 behind the router.
pub(crate) fn three(settings: &OverlaySettings) -> (Underlay, [TestNode; 3], [Node; 3]) {
    let mut underlay = Underlay::new();
    let mut nodes = [(0, 1), (0, 2), (1, 3)]
        .map(|(segment, number)| underlay.node_on(segment, number, settings));
    let objects = [0, 1, 2].map(|i: usize| nodes[i].object());
    for node in &mut nodes {
        node.follow(&objects);
    }
    (underlay, nodes, objects)
}
