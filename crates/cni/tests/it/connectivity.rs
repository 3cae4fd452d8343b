//! Packets between pods, and between pods and their node.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use ipnet::IpNet;
use podway_kernel::netns::NetNs;
use podway_kernel::route::{LinkChange, Neighbour, Route, Rtnetlink};
use podway_kernel::sysctl;

use crate::node::{Node, Pod};

const PORT: u16 = 80;
pub(crate) const LIMIT: Duration = Duration::from_secs(5);
/// For connections that must not come about; a working one takes microseconds.
pub(crate) const NEVER: Duration = Duration::from_millis(700);

/// Listens in a namespace on every address and answers each connection with
/// the address of the client.
pub(crate) fn serve(namespace: &NetNs) {
    let listener = namespace
        .run(|| TcpListener::bind(("::", PORT)).unwrap())
        .unwrap();
    thread::spawn(move || {
        while let Ok((mut stream, client)) = listener.accept() {
            let _ = write!(stream, "{}", client.ip().to_canonical());
        }
    });
}

/// Connects from a namespace and returns what the server says.
pub(crate) fn connect(from: &NetNs, to: IpAddr, limit: Duration) -> std::io::Result<String> {
    connect_to(from, SocketAddr::new(to, PORT), limit)
}

/// As [`connect`], to a port of one's own choice.
pub(crate) fn connect_to(from: &NetNs, to: SocketAddr, limit: Duration) -> std::io::Result<String> {
    from.run(|| {
        let mut stream = TcpStream::connect_timeout(&to, limit)?;
        stream.set_read_timeout(Some(limit))?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    })
    .unwrap()
}

pub(crate) fn attached(node: &Node, container: &str) -> (Pod, Vec<IpAddr>) {
    let pod = node.pod(container);
    let addresses = node.add(&pod, &node.config()).addresses();
    (pod, addresses)
}

#[test]
fn pods_talk_through_the_node_in_both_families_at_once() {
    let node = Node::new();
    let (server, addresses) = attached(&node, "server");
    serve(&server.namespace);
    let client = node.pod("client");
    let added = node.add(&client, &node.config());
    // Nothing waits between ADD and the first connection.
    for (to, from) in addresses.iter().zip(added.addresses()) {
        let seen = connect(&client.namespace, *to, LIMIT);
        let seen = seen.unwrap_or_else(|error| panic!("{from} -> {to}: {error}"));
        assert_eq!(seen, from.to_string(), "the source is the pod's address");
    }
    for (to, gateway) in addresses.iter().zip(["10.244.1.1", "fd00:10:244:1::1"]) {
        let seen = connect(&node.namespace, *to, LIMIT);
        let seen = seen.unwrap_or_else(|error| panic!("node -> {to}: {error}"));
        assert_eq!(seen, gateway, "the node speaks as the pods' gateway");
    }
    serve(&node.namespace);
    for gateway in ["10.244.1.1", "fd00:10:244:1::1"] {
        let gateway = gateway.parse().unwrap();
        connect(&client.namespace, gateway, LIMIT).unwrap();
    }
}

#[test]
fn ipv6_addresses_are_answered_for_when_add_returns() {
    let node = Node::new();
    let pod = node.pod("c1");
    let added = node.add(&pod, &node.config());
    let gateway = "fd00:10:244:1::1".parse().unwrap();
    for (namespace, address) in [
        (&pod.namespace, added.addresses()[1]),
        (&node.namespace, gateway),
    ] {
        let mut socket = Rtnetlink::open_in(namespace).unwrap();
        assert!(socket.is_local(address).unwrap(), "{address}");
    }
    // Flags in hexadecimal, 40 is IFA_F_TENTATIVE.
    let text = std::fs::read_to_string;
    let states = pod
        .namespace
        .run(|| text("/proc/thread-self/net/if_inet6").unwrap());
    let states = states.unwrap();
    let own = states.lines().find(|line| line.starts_with("fd00"));
    let flags = own.and_then(|line| line.split_whitespace().nth(4)).unwrap();
    let flags = u32::from_str_radix(flags, 16).unwrap();
    assert_eq!(flags & 0x40, 0, "tentative: {states}");
}

#[test]
fn pods_cannot_pass_the_node_by() {
    let node = Node::new();
    let (server, addresses) = attached(&node, "server");
    serve(&server.namespace);
    let (client, _) = attached(&node, "client");
    for address in addresses {
        connect(&client.namespace, address, LIMIT).unwrap();
        forward(&node, false);
        let seen = connect(&client.namespace, address, NEVER);
        assert!(seen.is_err(), "{address} without routing: {seen:?}");
        // A pod that sends to the other's Ethernet address on its own account.
        let mut inside = Rtnetlink::open_in(&client.namespace).unwrap();
        let link = inside.link("eth0").unwrap().unwrap().index;
        let mut theirs = Rtnetlink::open_in(&server.namespace).unwrap();
        let mac = theirs.link("eth0").unwrap().unwrap().mac.unwrap();
        let direct = Route::new(IpNet::from(address)).dev(link).scope_link();
        let neighbour = Neighbour { link, address, mac };
        inside.replace_neighbour(&neighbour).unwrap();
        inside.add_route(&direct).unwrap();
        let seen = connect(&client.namespace, address, NEVER);
        assert!(seen.is_err(), "{address} answered on layer 2: {seen:?}");
        inside.delete_route(&direct).unwrap();
        forward(&node, true);
        connect(&client.namespace, address, LIMIT).unwrap();
    }
}

fn forward(node: &Node, on: bool) {
    let value = if on { "1" } else { "0" };
    let switch = || {
        sysctl::write("net/ipv4/ip_forward", value).unwrap();
        sysctl::write("net/ipv6/conf/all/forwarding", value).unwrap();
    };
    node.namespace.run(switch).unwrap();
}

#[test]
fn a_pod_whose_neighbour_table_is_emptied_asks_its_node() {
    let node = Node::new();
    let (server, addresses) = attached(&node, "server");
    serve(&server.namespace);
    let (client, _) = attached(&node, "client");
    let mut inside = Rtnetlink::open_in(&client.namespace).unwrap();
    let link = inside.link("eth0").unwrap().unwrap().index;
    for known in inside.neighbours(link).unwrap() {
        assert!(inside.delete_neighbour(&known).unwrap());
    }
    for address in addresses {
        connect(&client.namespace, address, LIMIT)
            .unwrap_or_else(|error| panic!("{address}: {error}"));
    }
}

/// As the plugin `tuning` does it behind ours, at once or later.
#[test]
fn a_pod_that_gets_another_ethernet_address_is_found() {
    let node = Node::new();
    let (pod, addresses) = attached(&node, "c1");
    let (other, _) = attached(&node, "c2");
    let mut inside = Rtnetlink::open_in(&pod.namespace).unwrap();
    let link = inside.link("eth0").unwrap().unwrap().index;
    serve(&pod.namespace);
    serve(&node.namespace);
    for mac in ["02:00:00:00:00:01", "02:00:00:00:00:02"] {
        inside
            .change_link(link, &LinkChange::new().mac(mac.parse().unwrap()))
            .unwrap();
        for (address, gateway) in addresses.iter().zip(["10.244.1.1", "fd00:10:244:1::1"]) {
            for from in [&other.namespace, &node.namespace] {
                connect(from, *address, LIMIT)
                    .unwrap_or_else(|error| panic!("{address} at {mac}: {error}"));
            }
            connect(&pod.namespace, gateway.parse().unwrap(), LIMIT)
                .unwrap_or_else(|error| panic!("{gateway} from {mac}: {error}"));
        }
    }
}

#[test]
fn reverse_path_filters_let_pods_through() {
    for mode in ["0", "1", "2"] {
        let node = Node::new();
        let key = "net/ipv4/conf/all/rp_filter";
        let write = || sysctl::write(key, mode).unwrap();
        node.namespace.run(write).unwrap();
        let (server, addresses) = attached(&node, "server");
        serve(&server.namespace);
        let (client, _) = attached(&node, "client");
        for from in [&client.namespace, &node.namespace] {
            connect(from, addresses[0], LIMIT).unwrap_or_else(|error| panic!("{mode}: {error}"));
        }
        let found = node.namespace.run(|| sysctl::read(key).unwrap()).unwrap();
        assert_eq!(found, mode);
    }
}

#[test]
fn neither_end_takes_redirects_and_advertisements() {
    let node = Node::new();
    let pod = node.pod("c1");
    let result = node.add(&pod, &node.config()).result();
    let host = result["interfaces"][0]["name"].as_str().unwrap();
    let read = |keys: &[String]| -> Vec<String> {
        keys.iter().map(|key| sysctl::read(key).unwrap()).collect()
    };
    let on = |interface: &str| {
        [
            "ipv4/conf/NAME/accept_redirects",
            "ipv6/conf/NAME/accept_redirects",
            "ipv6/conf/NAME/accept_ra",
            "ipv6/conf/NAME/accept_dad",
        ]
        .map(|key| format!("net/{}", key.replace("NAME", interface)))
    };
    let (ours, pods) = (on(host), on("eth0"));
    assert_eq!(node.namespace.run(|| read(&ours)).unwrap(), ["0"; 4]);
    assert_eq!(pod.namespace.run(|| read(&pods)).unwrap(), ["0"; 4]);
    let all = ["net/ipv4/conf/all/accept_redirects".to_owned()];
    assert_eq!(pod.namespace.run(|| read(&all)).unwrap(), ["0"]);
}

#[test]
fn one_family_alone_works() {
    for (prefix, gateway) in [("10.9.0.0/24", "10.9.0.1"), ("fd09::/64", "fd09::1")] {
        let node = Node::new();
        let mut config = node.config();
        config["podCIDRs"] = serde_json::json!([prefix]);
        let pod = node.pod("c1");
        assert_eq!(node.add(&pod, &config).addresses().len(), 1);
        serve(&node.namespace);
        connect(&pod.namespace, gateway.parse().unwrap(), LIMIT)
            .unwrap_or_else(|error| panic!("{gateway}: {error}"));
    }
}

#[test]
fn a_hundred_at_once_all_work_and_all_go() {
    let node = Node::new();
    let config = node.config();
    let pods: Vec<Pod> = (0..100).map(|n| node.pod(&format!("c{n}"))).collect();
    let results: Vec<Vec<IpAddr>> = thread::scope(|scope| {
        let calls: Vec<_> = pods
            .iter()
            .map(|pod| scope.spawn(|| node.add(pod, &config).addresses()))
            .collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    let mut all: Vec<IpAddr> = results.iter().flatten().copied().collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 200, "two addresses each, none twice");
    for (pod, addresses) in pods.iter().zip(&results).skip(1) {
        serve(&pod.namespace);
        for address in addresses {
            connect(&pods[0].namespace, *address, LIMIT)
                .unwrap_or_else(|error| panic!("{address}: {error}"));
        }
    }
    thread::scope(|scope| {
        for pod in &pods {
            scope.spawn(|| node.del(pod, &config).silent());
        }
    });
    assert_eq!(node.links(), ["lo"]);
    assert_eq!(node.leased(), Vec::<String>::new());
}
