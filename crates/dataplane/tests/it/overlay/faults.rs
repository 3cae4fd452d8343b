//! What is known to fail with flannel, as packets see it. (What somebody takes
//! away and the agent brings back is tested with the agent.)

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Command;
use std::thread;

use podway_dataplane::masquerade::Masquerade;
use podway_kernel::netns::NetNs;
use podway_model::Node;
use podway_plan::overlay::plan_masquerade;

use super::nodes::{LIMIT, TestNode, Underlay, connect, ip, published, serve, state};

/// node1 and node2 with vxlan and masquerade.
fn two() -> (Underlay, TestNode, TestNode, [Node; 2]) {
    let mut underlay = Underlay::new();
    let (mut a, mut b) = (underlay.node(1), underlay.node(2));
    let objects = [a.object(), b.object()];
    for node in [&mut a, &mut b] {
        node.follow(&objects);
        let table = plan_masquerade(&state(&objects), &node.name, &[]);
        let masquerade = || Masquerade::open().unwrap().sync(&table, true).unwrap();
        node.namespace.run(masquerade).unwrap();
    }
    (underlay, a, b, objects)
}

fn seen(from: &NetNs, to: IpAddr) -> IpAddr {
    connect(from, to, LIMIT).unwrap_or_else(|error| panic!("to {to}: {error}"))
}

/// `InCsumErrors` and the like: what the kernel dropped for a wrong checksum.
fn checksum_errors(namespace: &NetNs) -> Vec<String> {
    let read = || {
        let nstat = Command::new("nstat").args(["-asz"]).output().unwrap();
        let text = String::from_utf8(nstat.stdout).unwrap();
        let errors = text.lines().filter(|line| line.contains("CsumErrors"));
        let nonzero = errors.filter(|line| line.split_whitespace().nth(1) != Some("0"));
        nonzero.map(str::to_owned).collect()
    };
    namespace.run(read).unwrap()
}

/// Flannel #1279, #1282, Kubernetes #88986: packets that were masqueraded before
/// the tunnel had wrong checksums, and connections stalled for 1, 3, 63 seconds.
#[test]
fn what_is_masqueraded_before_the_tunnel_arrives_whole() {
    let (_underlay, a, mut b, _) = two();
    let server = b.pod(6);
    serve(&server.namespace);
    let locals = [ip("172.16.0.11"), ip("fd00:172:16::11")];
    let tunnel = [ip("10.244.1.0"), ip("fd00:10:244:1::")];
    for ((to, local), own) in server.addresses.into_iter().zip(locals).zip(tunnel) {
        let socket = || UdpSocket::bind((to, 53)).unwrap();
        let socket = server.namespace.run(socket).unwrap();
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok((length, client)) = socket.recv_from(&mut bytes) {
                let text = format!("{} {length}", client.ip());
                socket.send_to(text.as_bytes(), client).unwrap();
            }
        });
        // As with a connection to a service: the node's own address was chosen
        // before the endpoint was.
        let ask = |length: usize| {
            let client = UdpSocket::bind((local, 0)).unwrap();
            client.set_read_timeout(Some(LIMIT)).unwrap();
            client.connect(SocketAddr::new(to, 53)).unwrap();
            client.send(&vec![7; length]).unwrap();
            let mut bytes = [0; 100];
            let length = client.recv(&mut bytes).unwrap();
            String::from_utf8(bytes[..length].to_vec()).unwrap()
        };
        for length in [1, 512, 1300] {
            let answer = a.namespace.run(|| ask(length)).unwrap();
            assert_eq!(answer, format!("{own} {length}"));
        }
        assert_eq!(seen(&a.namespace, to), own);
    }
    for namespace in [&a.namespace, &b.namespace, &server.namespace] {
        assert_eq!(checksum_errors(namespace), Vec::<String>::new());
    }
}

/// Flannel #533, #654: a node made anew with the same addresses is unreachable,
/// since neighbour and forwarding entry say what was.
#[test]
fn a_replaced_node_is_reached_with_its_new_device() {
    let (mut underlay, mut a, mut b, mut objects) = two();
    let client = a.pod(5);
    let old = b.pod(6);
    serve(&old.namespace);
    assert_eq!(
        seen(&client.namespace, old.addresses[1]),
        client.addresses[1]
    );
    drop((old, b));
    underlay.disconnect(2);
    // The same name and addresses, another machine: another device address.
    let mut b = underlay.node(2);
    let mut node = b.plain();
    for (annotation, family) in [("backend-data", 4), ("backend-v6-data", 6)] {
        let data = format!(r#"{{"VNI":1,"VtepMAC":"0e:00:00:00:0{family}:99"}}"#);
        let annotation = format!("flannel.alpha.coreos.com/{annotation}");
        node.annotations.insert(annotation, data);
    }
    objects[1] = published(node, b.settings(), &[]);
    b.follow(&objects);
    // A machine that starts is heard on its wire: its neighbours learn its
    // interface's address from the first question that it asks.
    for address in a.plain().addresses {
        let ask = || {
            let any: IpAddr = if address.is_ipv4() {
                ip("0.0.0.0")
            } else {
                ip("::")
            };
            let socket = UdpSocket::bind((any, 0)).unwrap();
            socket.send_to(&[], (address, 9)).unwrap();
        };
        b.namespace.run(ask).unwrap();
    }
    assert_eq!(
        a.follow(&objects).writes,
        6,
        "neighbour and entry, old entry; twice"
    );
    let new = b.pod(6);
    serve(&new.namespace);
    for (to, own) in new.addresses.into_iter().zip(client.addresses) {
        assert_eq!(seen(&client.namespace, to), own);
    }
}

/// Flannel #835, #864: clients from outside come with a node's address.
#[test]
fn clients_from_outside_keep_their_address() {
    let (mut underlay, mut a, mut b, _) = two();
    let (here, there) = (a.pod(5), b.pod(6));
    for pod in [&here, &there] {
        serve(&pod.namespace);
    }
    underlay.know_the_way_to(&a);
    // Pods of node2 through node1, as routers do that know one way in.
    underlay.route_through(&b, &a);
    for (family, own) in [ip("172.16.0.1"), ip("fd00:172:16::1")]
        .into_iter()
        .enumerate()
    {
        for pod in [&here, &there] {
            assert_eq!(seen(underlay.outside(), pod.addresses[family]), own);
        }
    }
}

/// Flannel #1317, #2145: rules of iptables-legacy and of nftables at once, and
/// programs that flush what they did not write.
#[test]
fn iptables_of_either_kind_can_be_flushed() {
    let (underlay, mut a, ..) = two();
    let pod = a.pod(5);
    serve(underlay.outside());
    for program in [
        "iptables-nft",
        "ip6tables-nft",
        "iptables-legacy",
        "ip6tables-legacy",
    ] {
        for arguments in [["-t", "nat", "-F"], ["-t", "filter", "-F"]] {
            let run = || Command::new(program).args(arguments).output().unwrap();
            let output = a.namespace.run(run).unwrap();
            assert!(
                output.status.success(),
                "{program} {arguments:?}: {output:?}"
            );
        }
    }
    for (outside, own) in [
        ("172.16.0.1", "172.16.0.11"),
        ("fd00:172:16::1", "fd00:172:16::11"),
    ] {
        assert_eq!(seen(&pod.namespace, ip(outside)), ip(own));
    }
}
