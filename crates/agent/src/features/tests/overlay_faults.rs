//! What is known to break flannel until somebody restarts it: here the agent
//! sees it and mends it. (The known faults that are about packets are tests of
//! the dataplane.)

use podway_kernel::route::{LinkDetail, Neighbour, Route, RouteFilter};

use super::*;
use crate::config;

/// What the overlay has in the kernel, one line each, and the MTU of pods.
fn picture(agent: &Agent) -> Vec<String> {
    let mut socket = Rtnetlink::open().unwrap();
    let mut lines = vec![format!("pods {:?}", agent.latest.0.lock().mtu)];
    for link in socket.links().unwrap() {
        if let LinkDetail::Vxlan(vxlan) = &link.detail {
            let (mac, mtu, up) = (link.mac.unwrap(), link.mtu, link.up);
            lines.push(format!("{} {mac} {mtu} {up} {vxlan:?}", link.name));
            for neighbour in socket.neighbours(link.index).unwrap() {
                lines.push(format!("neighbour {} {}", neighbour.address, neighbour.mac));
            }
            for entry in socket.fdb(link.index).unwrap() {
                lines.push(format!("fdb {} {}", entry.mac, entry.remote));
            }
            for address in socket.addresses(Some(link.index)).unwrap() {
                if !address.scope_link {
                    lines.push(format!("address {}", address.address));
                }
            }
        }
    }
    lines.extend(overlay_routes(&mut socket).iter().map(ToString::to_string));
    // Interfaces made anew have other numbers.
    let without_number = |line: String| match line.split_once(" dev ") {
        Some((before, _)) => before.to_owned(),
        None => line,
    };
    let mut lines: Vec<String> = lines.into_iter().map(without_number).collect();
    lines.sort();
    lines
}

fn overlay_routes(socket: &mut Rtnetlink) -> Vec<Route> {
    let filter = RouteFilter {
        protocol: Some(podway_dataplane::overlay::ROUTE_PROTOCOL),
        ..RouteFilter::default()
    };
    socket.routes(filter).unwrap()
}

fn peer(name: &str, backend: &str, number: u8) -> Node {
    let prefix = "flannel.alpha.coreos.com";
    let address = [
        format!("172.16.0.1{number}"),
        format!("fd00:172:16::1{number}"),
    ];
    let data = |family: u8| match backend {
        "vxlan" => format!(r#"{{"VNI":1,"VtepMAC":"0e:00:00:00:0{family}:0{number}"}}"#),
        _ => "null".to_owned(),
    };
    let mut node = node(
        name,
        &[&address[0], &address[1]],
        &[
            &format!("10.244.{number}.0/24"),
            &format!("fd00:10:244:{number}::/64"),
        ],
    );
    for (annotation, value) in [
        ("kube-subnet-manager", "true"),
        ("backend-type", backend),
        ("public-ip", &address[0]),
        ("public-ipv6", &address[1]),
        ("backend-data", &data(4)),
        ("backend-v6-data", &data(6)),
    ] {
        let annotation = format!("{prefix}/{annotation}");
        node.annotations.insert(annotation, value.to_owned());
    }
    node
}

fn own() -> Node {
    node(
        "node1",
        &["172.16.0.11", "fd00:172:16::b"],
        &["10.244.1.0/24", "fd00:10:244:1::/64"],
    )
}

/// An agent with node2 and node3 as peers.
fn start(backend: &str, folder: &tempfile::TempDir) -> Agent {
    let peers = [peer("node2", backend, 2), peer("node3", backend, 3)];
    let mut objects = vec![own().object()];
    objects.extend(peers.map(IntoObject::object));
    let mut agent = start_with_objects(backend, folder, &objects);
    agent.settle();
    agent
}

type Harm = fn(&mut Rtnetlink);

fn device(socket: &mut Rtnetlink) -> podway_kernel::route::LinkIndex {
    socket.link("podway-vxlan6").unwrap().unwrap().index
}

fn eth0(socket: &mut Rtnetlink) -> podway_kernel::route::LinkIndex {
    socket.link("eth0").unwrap().unwrap().index
}

/// Flannel #869, #1070, #1348, #1759 (gone after the network was restarted),
/// #1155, #1330, #1485, #1788 (another Ethernet address, by systemd).
const HARMS: [(&str, &str, Harm); 12] = [
    ("vxlan", "device deleted", |socket| {
        let device = device(socket);
        socket.delete_link(device).unwrap();
    }),
    ("vxlan", "device down", |socket| {
        let device = device(socket);
        socket
            .change_link(device, &LinkChange::new().down())
            .unwrap();
    }),
    ("vxlan", "device down and up", |socket| {
        let device = device(socket);
        socket
            .change_link(device, &LinkChange::new().down())
            .unwrap();
        socket.change_link(device, &LinkChange::new().up()).unwrap();
    }),
    (
        "vxlan",
        "Ethernet address rewritten, as by systemd",
        |socket| {
            let mac = podway_kernel::route::Mac([2, 0, 0, 0, 0, 9]);
            let device = device(socket);
            socket
                .change_link(device, &LinkChange::new().mac(mac))
                .unwrap();
        },
    ),
    ("vxlan", "device renamed", |socket| {
        let device = device(socket);
        socket
            .change_link(device, &LinkChange::new().down())
            .unwrap();
        socket
            .change_link(device, &LinkChange::new().name("other"))
            .unwrap();
        socket.delete_link(device).unwrap();
    }),
    ("vxlan", "address flushed", |socket| {
        let device = device(socket);
        for address in socket.addresses(Some(device)).unwrap() {
            socket.delete_address(device, address.address).unwrap();
        }
    }),
    ("vxlan", "neighbours flushed", |socket| {
        let device = device(socket);
        for neighbour in socket.neighbours(device).unwrap() {
            socket.delete_neighbour(&neighbour).unwrap();
        }
    }),
    ("vxlan", "a neighbour changed", |socket| {
        let device = device(socket);
        let neighbour = socket.neighbours(device).unwrap()[0];
        let mac = podway_kernel::route::Mac([2, 0, 0, 0, 0, 9]);
        socket
            .replace_neighbour(&Neighbour { mac, ..neighbour })
            .unwrap();
    }),
    ("vxlan", "forwarding entries flushed", |socket| {
        let device = device(socket);
        for entry in socket.fdb(device).unwrap() {
            socket.delete_fdb(&entry).unwrap();
        }
    }),
    ("vxlan", "routes flushed", flush_routes),
    ("host-gw", "routes flushed", flush_routes),
    ("host-gw", "interface down and up", |socket| {
        let eth0 = eth0(socket);
        socket.change_link(eth0, &LinkChange::new().down()).unwrap();
        socket.change_link(eth0, &LinkChange::new().up()).unwrap();
        // IPv6 addresses go with it; whoever brings it up sets them.
        socket
            .add_address(eth0, prefix("fd00:172:16::b/64"))
            .unwrap();
    }),
];

fn flush_routes(socket: &mut Rtnetlink) {
    for route in overlay_routes(socket) {
        socket.delete_route(&route).unwrap();
    }
}

#[test]
fn what_somebody_takes_away_comes_back_at_once() {
    for (backend, harm, inflict) in HARMS {
        let folder = tempfile::tempdir().unwrap();
        in_node(|| {
            let mut agent = start(backend, &folder);
            let whole = picture(&agent);
            assert!(whole.len() > 4, "{whole:#?}");
            inflict(&mut Rtnetlink::open().unwrap());
            let began = Instant::now();
            agent.until(harm, |agent| picture(agent) == whole);
            println!("{backend}, {harm}: {:?}", began.elapsed());
            let restless = agent.settle();
            assert_eq!(restless, Writes::default(), "{harm}: mended once");
        });
    }
}

/// Flannel #463, #841, #1011, #1775: the MTU is read once.
#[test]
fn the_mtu_follows_the_interface() {
    let folder = tempfile::tempdir().unwrap();
    in_node(|| {
        let mut agent = start("vxlan", &folder);
        let mut socket = Rtnetlink::open().unwrap();
        let eth0 = eth0(&mut socket);
        for (mtu, of_pods) in [(9000, 8930), (1400, 1330)] {
            socket
                .change_link(eth0, &LinkChange::new().mtu(mtu))
                .unwrap();
            agent.until("MTU", |agent| agent.latest.0.lock().mtu == Some(of_pods));
            let device = device(&mut socket);
            assert_eq!(socket.link_at(device).unwrap().unwrap().mtu, of_pods);
        }
    });
}

/// Flannel #408, #712, #760: `public-ip` changes when flannel is restarted.
#[test]
fn the_own_address_is_followed_and_published() {
    let folder = tempfile::tempdir().unwrap();
    in_node(|| {
        for backend in ["vxlan", "host-gw"] {
            let mut agent = start(backend, &folder);
            let mut socket = Rtnetlink::open().unwrap();
            let eth0 = eth0(&mut socket);
            socket
                .delete_address(eth0, prefix("172.16.0.11/24"))
                .unwrap();
            socket.add_address(eth0, prefix("172.16.0.21/24")).unwrap();
            let mut moved = own();
            moved.addresses[0] = "172.16.0.21".parse().unwrap();
            agent.tell(moved.object());
            agent.until("another address", |agent| {
                let lines = picture(agent);
                let has_routes = lines
                    .iter()
                    .filter(|line| line.starts_with("10.244."))
                    .count()
                    == 2;
                let has_device = lines.iter().any(|line| line.contains("local: 172.16.0.21"));
                has_routes && has_device == (backend == "vxlan")
            });
            let annotations = agent.latest.0.lock().annotations.clone();
            assert_eq!(
                annotations["flannel.alpha.coreos.com/public-ip"].as_deref(),
                Some("172.16.0.21"),
                "{backend}"
            );
            drop(agent);
            socket
                .delete_address(eth0, prefix("172.16.0.21/24"))
                .unwrap();
            socket.add_address(eth0, prefix("172.16.0.11/24")).unwrap();
        }
    });
}

/// While the address is gone nothing can be written; when it is back, the agent
/// does not wait for its next attempt.
#[test]
fn an_address_that_goes_and_comes_back_is_awaited() {
    let folder = tempfile::tempdir().unwrap();
    in_node(|| {
        let mut agent = start("vxlan", &folder);
        let whole = picture(&agent);
        let mut socket = Rtnetlink::open().unwrap();
        let eth0 = eth0(&mut socket);
        socket
            .delete_address(eth0, prefix("172.16.0.11/24"))
            .unwrap();
        agent.until("the problem is told", |agent| {
            let problems = agent.status().problems;
            let said = problems.iter().map(|problem| &problem.message);
            said.clone()
                .any(|said| said.contains("no interface of this node has its address 172.16.0.11"))
        });
        socket.add_address(eth0, prefix("172.16.0.11/24")).unwrap();
        agent.until("the problem is gone", |agent| {
            agent.status().problems.is_empty() && picture(agent) == whole
        });
    });
}

/// Flannel #533, #654 (stale neighbours and forwarding entries), #2554 (stale
/// routes), and a node made anew with another podCIDR.
#[test]
fn other_nodes_are_followed_through_all_that_befalls_them() {
    for backend in ["vxlan", "host-gw"] {
        let folder = tempfile::tempdir().unwrap();
        in_node(|| {
            let mut agent = start(backend, &folder);
            let anew = |nodes: &[Node]| {
                let mut objects = vec![own().object()];
                objects.extend(nodes.iter().cloned().map(IntoObject::object));
                objects
            };
            let node2 = peer("node2", backend, 2);
            let mut node3 = peer("node3", backend, 3);
            let check = |agent: &mut Agent, what: &str, nodes: &[Node]| {
                agent.turn();
                let followed = picture(agent);
                // What an agent writes that knows nothing else.
                podway_dataplane::overlay::cleanup(&mut Rtnetlink::open().unwrap()).unwrap();
                let fresh = start_with_objects(backend, &folder, &anew(nodes));
                assert_eq!(followed, picture(&fresh), "{backend}, {what}");
                agent.settle();
            };
            // Replaced: the same name, another address and device.
            let replacement = peer("node3", backend, 7);
            node3.annotations = replacement.annotations;
            node3.addresses = replacement.addresses;
            agent.tell(node3.clone().object());
            check(&mut agent, "replaced", &[node2.clone(), node3.clone()]);
            // Another podCIDR, the one that node2 had, which has gone.
            node3.pod_prefixes = node2.pod_prefixes.clone();
            let gone = podway_model::ObjectRef::Node("node2".into());
            agent.mailbox.notice(Notice::Change(Change::Delete(gone)));
            agent.tell(node3.clone().object());
            check(&mut agent, "took over node2's podCIDR", &[node3.clone()]);
            // Back, under another name.
            let node4 = peer("node4", backend, 4);
            agent.tell(node4.clone().object());
            check(&mut agent, "a new node", &[node3, node4]);
        });
    }
}

fn start_with_objects(backend: &str, folder: &tempfile::TempDir, objects: &[Object]) -> Agent {
    let config = Configuration {
        overlay: config::Overlay {
            backend: backend.to_owned(),
            ..config::Overlay::default()
        },
        ..Configuration::default()
    };
    Agent::start_with(&config, folder, objects)
}

/// Flannel #2554: an agent that was down did not hear of nodes that went.
#[test]
fn routes_of_nodes_that_went_while_the_agent_was_down_go() {
    for backend in ["vxlan", "host-gw"] {
        let folder = tempfile::tempdir().unwrap();
        in_node(|| {
            drop(start(backend, &folder));
            let objects = [own().object(), peer("node3", backend, 3).object()];
            let agent = start_with_objects(backend, &folder, &objects);
            let lines = picture(&agent);
            let stale = |line: &&String| line.contains("10.244.2.") || line.contains("172.16.0.12");
            assert_eq!(lines.iter().find(stale), None, "{lines:#?}");
            assert!(
                lines.iter().any(|line| line.contains("10.244.3.")),
                "{lines:#?}"
            );
        });
    }
}

/// What others do on the node is no reason to compare everything.
#[test]
fn pods_and_foreign_routes_do_not_disturb() {
    let folder = tempfile::tempdir().unwrap();
    in_node(|| {
        let mut agent = start("vxlan", &folder);
        let mut socket = Rtnetlink::open().unwrap();
        let veth = NewLink::veth("pod5", VethPeer::new("pod5-end"));
        let pod = socket.create_link(&veth).unwrap();
        socket.change_link(pod, &LinkChange::new().up()).unwrap();
        socket.add_address(pod, prefix("169.254.1.1/32")).unwrap();
        let to_pod = Route::new(prefix("10.244.1.5/32"))
            .dev(pod)
            .scope_link()
            .protocol(112);
        socket.add_route(&to_pod).unwrap();
        let foreign = Route::new(prefix("192.0.2.0/24")).dev(pod).scope_link();
        socket.add_route(&foreign).unwrap();
        socket.delete_link(pod).unwrap();
        let quiet = Instant::now() + QUIET;
        let batch = agent.mailbox.take(Some(quiet));
        assert!(batch.disturbed.is_empty(), "{batch:?}");
        assert_eq!(agent.settle(), Writes::default());
    });
}
