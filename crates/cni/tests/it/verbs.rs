//! CHECK, GC and STATUS.

use std::net::IpAddr;

use podway_kernel::netns::NetNs;
use podway_kernel::route::{LinkChange, Neighbour, Route, RouteFilter, Rtnetlink};
use serde_json::{Value, json};

use crate::node::{Node, agent};

/// Something that may happen to an interface of which both ends are there:
/// inside the pod, or on the node.
type Damage = fn(&mut Rtnetlink, &str);

fn lose_address(socket: &mut Rtnetlink, name: &str) {
    let link = socket.link(name).unwrap().unwrap().index;
    let held = socket.addresses(Some(link)).unwrap();
    let lost = held
        .iter()
        .find(|held| held.address.addr().is_ipv4())
        .unwrap();
    socket.delete_address(link, lost.address).unwrap();
}

fn lose_ipv6_routes(socket: &mut Rtnetlink, name: &str) {
    let link = socket.link(name).unwrap().unwrap().index;
    let filter = RouteFilter {
        link: Some(link),
        ..RouteFilter::default()
    };
    let routes = socket.routes(filter).unwrap();
    let unicast = podway_kernel::route::RouteKind::Unicast;
    for route in routes.iter().filter(|route| route.kind == unicast) {
        if route.destination.addr().is_ipv6() {
            socket.delete_route(route).unwrap();
        }
    }
}

fn go_down(socket: &mut Rtnetlink, name: &str) {
    let link = socket.link(name).unwrap().unwrap().index;
    socket.change_link(link, &LinkChange::new().down()).unwrap();
}

fn change_mac(socket: &mut Rtnetlink, name: &str) {
    let link = socket.link(name).unwrap().unwrap().index;
    let mac = "02:00:00:00:00:01".parse().unwrap();
    socket
        .change_link(link, &LinkChange::new().mac(mac))
        .unwrap();
}

fn vanish(socket: &mut Rtnetlink, name: &str) {
    let link = socket.link(name).unwrap().unwrap().index;
    socket.delete_link(link).unwrap();
}

/// What happens, whether in the pod, and what CHECK says of it.
const DAMAGES: [(Damage, bool, &str); 9] = [
    (lose_address, true, "eth0 has lost 10.244.1.2"),
    (lose_address, false, "has lost 10.244.1.1"),
    (
        lose_ipv6_routes,
        true,
        "the pod has no route through fd00:10:244:1::1",
    ),
    (
        lose_ipv6_routes,
        false,
        "the node has no route to fd00:10:244:1::2",
    ),
    (go_down, true, "eth0 carries no packets"),
    (go_down, false, "carries no packets"),
    (change_mac, true, "eth0 has the Ethernet address 02:00:"),
    (vanish, true, "eth0 is gone from the pod"),
    (vanish, false, "is gone from the node"),
];

#[test]
fn check_names_what_is_missing() {
    for (damage, in_pod, words) in DAMAGES {
        let node = Node::new();
        let pod = node.pod("c1");
        let mut config = node.config();
        let result = node.add(&pod, &config).result();
        let host = result["interfaces"][0]["name"].as_str().unwrap().to_owned();
        config["prevResult"] = result;
        node.command("CHECK", &pod, &config).silent();
        let (namespace, name): (&NetNs, &str) = if in_pod {
            (&pod.namespace, "eth0")
        } else {
            (&node.namespace, &host)
        };
        damage(&mut Rtnetlink::open_in(namespace).unwrap(), name);
        let error = node.command("CHECK", &pod, &config).error();
        assert_eq!(error["code"], 102, "{words}: {error:#}");
        assert!(error["msg"].as_str().unwrap().contains(words), "{error:#}");
        node.del(&pod, &config).silent();
        assert_eq!((node.links().len(), node.leased().len()), (1, 0), "{words}");
    }
}

#[test]
fn check_knows_nothing_of_a_container_without_add() {
    let node = Node::new();
    let pod = node.pod("c1");
    let mut config = node.config();
    config["prevResult"] = json!({ "cniVersion": "1.1.0", "interfaces": [], "ips": [] });
    let error = node.command("CHECK", &pod, &config).error();
    let message = error["msg"].as_str().unwrap();
    assert!(message.contains("it has no address any more"), "{message}");
}

#[test]
fn check_leaves_alone_what_others_have_added() {
    let node = Node::new();
    let pod = node.pod("c1");
    let mut config = node.config();
    let mut result = node.add(&pod, &config).result();
    let mut inside = Rtnetlink::open_in(&pod.namespace).unwrap();
    let link = inside.link("eth0").unwrap().unwrap().index;
    inside
        .add_address(link, "192.0.2.1/24".parse().unwrap())
        .unwrap();
    let gateway: IpAddr = "192.0.2.254".parse().unwrap();
    let other = Route::new("198.51.100.0/24".parse().unwrap()).via(gateway);
    inside.add_route(&other).unwrap();
    let mac = "02:00:00:00:00:01".parse().unwrap();
    let neighbour = Neighbour {
        link,
        address: gateway,
        mac,
    };
    inside.replace_neighbour(&neighbour).unwrap();
    // As tuning does, which says so in its result.
    inside
        .change_link(link, &LinkChange::new().mac(mac))
        .unwrap();
    result["interfaces"][1]["mac"] = json!(mac.to_string());
    result["ips"].as_array_mut().unwrap().push(json!({
        "address": "192.0.2.1/24", "gateway": "192.0.2.254", "interface": 1,
    }));
    config["prevResult"] = result;
    node.command("CHECK", &pod, &config).silent();
}

fn with_valid(config: &Value, containers: &[&str]) -> Value {
    let mut config = config.clone();
    config["cni.dev/valid-attachments"] = containers
        .iter()
        .map(|container| json!({ "containerID": container, "ifname": "eth0" }))
        .collect();
    config
}

#[test]
fn gc_removes_what_is_not_valid_and_nothing_else() {
    let node = Node::new();
    let socket = node.folder.join("agent.sock");
    let requests = agent(&socket, r#"{"ok":{}}"#);
    let config = node.config();
    let mut other = config.clone();
    other["name"] = json!("others");
    other["podCIDRs"] = json!(["10.245.1.0/24"]);
    let pods = ["c1", "c2", "c3", "c4"].map(|container| node.pod(container));
    for pod in &pods[..3] {
        node.add(pod, &config).result();
    }
    node.add(&pods[3], &other).result();
    // A pod whose namespace went without DEL, and one that is still there.
    let path = pods[2].namespace.path().to_owned();
    podway_kernel::netns::delete_at(&path).unwrap();
    let mut collecting = with_valid(&config, &["c1"]);
    collecting["agentSocket"] = json!(socket);
    node.command("GC", &pods[0], &collecting).silent();
    let mut detached: Vec<String> = requests
        .try_iter()
        .map(|request| {
            request["detach"]["containerID"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    detached.sort();
    assert_eq!(detached, ["c2", "c3"]);
    assert_eq!(node.links().len(), 3, "lo, c1 and the other network's");
    assert_eq!(node.leased(), [r#""10.244.1.2""#, r#""fd00:10:244:1::2""#]);
    node.command("GC", &pods[0], &collecting).silent();

    // As runtimes have sent it before there was a specification of it.
    let mut older = config.clone();
    older["cni.dev/attachments"] = json!([]);
    node.command("GC", &pods[0], &older).silent();
    assert_eq!(node.leased(), Vec::<String>::new());
    assert_eq!(node.links().len(), 2, "lo and the other network's");
}

#[test]
fn gc_without_a_list_removes_nothing() {
    let node = Node::new();
    let pod = node.pod("c1");
    node.add(&pod, &node.config()).result();
    let error = node.command("GC", &pod, &node.config()).error();
    assert_eq!(error["code"], 7, "{error:#}");
    assert_eq!(node.leased().len(), 2);
}

#[test]
fn status_says_why_pods_cannot_start() {
    let node = Node::new();
    let pod = node.pod("c1");
    let ready = node.folder.join("ready.sock");
    let starting = node.folder.join("starting.sock");
    let _requests = (
        agent(
            &ready,
            r#"{"status":{"ready":true,"message":"all in force"}}"#,
        ),
        agent(
            &starting,
            r#"{"status":{"ready":false,"message":"Services are not listed yet"}}"#,
        ),
    );
    let mut config = node.config();
    config["podCIDRs"] = json!(["10.244.1.0/30"]);
    config["policyWaitSeconds"] = json!(1);
    config["agentSocket"] = json!(ready);
    node.command("STATUS", &pod, &config).silent();
    for (socket, words) in [
        (&starting, "Services are not listed yet"),
        (&node.folder.join("absent.sock"), "is it running?"),
    ] {
        config["agentSocket"] = json!(socket);
        let error = node.command("STATUS", &pod, &config).error();
        assert_eq!(error["code"], 50, "{error:#}");
        assert!(error["msg"].as_str().unwrap().contains(words), "{error:#}");
        config["failOpen"] = json!(true);
        node.command("STATUS", &pod, &config).silent();
        config["failOpen"] = json!(false);
    }
    let mut unasked = config.clone();
    unasked.as_object_mut().unwrap().remove("agentSocket");
    node.add(&pod, &unasked).result();
    let error = node.command("STATUS", &pod, &unasked).error();
    assert_eq!(error["code"], 50, "{error:#}");
    let words = "no address left in 10.244.1.0/30";
    assert!(error["msg"].as_str().unwrap().contains(words), "{error:#}");
    node.del(&pod, &unasked).silent();
    node.command("STATUS", &pod, &unasked).silent();
}
