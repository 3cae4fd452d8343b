//! Debian's own plugins (containernetworking-plugins 1.1.1): chained behind ours,
//! and as the predecessors of a node that changes over.

use std::net::{IpAddr, SocketAddr};

use podway_kernel::route::Rtnetlink;
use podway_kernel::sysctl;
use serde_json::{Value, json};

use crate::connectivity::{LIMIT, connect, connect_to, serve};
use crate::node::{Call, Node, Pod};

/// A list of plugins, called as the specification tells runtimes to.
struct Chain {
    plugins: Vec<Value>,
    result: Option<Value>,
}

impl Chain {
    fn new(node: &Node, behind: &[Value]) -> Self {
        let mut plugins = vec![node.config()];
        plugins.extend_from_slice(behind);
        for plugin in &mut plugins {
            // The newest that Debian's speak.
            plugin["cniVersion"] = json!("1.0.0");
            plugin["name"] = json!("pods");
        }
        Self {
            plugins,
            result: None,
        }
    }

    fn with_result(&self, plugin: &Value) -> Value {
        let mut plugin = plugin.clone();
        if let Some(result) = &self.result {
            plugin["prevResult"] = result.clone();
        }
        plugin
    }

    /// In order, each with the result of the one before.
    fn add(&mut self, node: &Node, pod: &Pod) -> Value {
        for plugin in self.plugins.clone() {
            let result = node.plugin("ADD", pod, &self.with_result(&plugin)).result();
            self.result = Some(result);
        }
        self.result.clone().unwrap()
    }

    /// In order, each with the final result.
    fn check(&self, node: &Node, pod: &Pod) {
        for plugin in &self.plugins {
            node.plugin("CHECK", pod, &self.with_result(plugin))
                .silent();
        }
    }

    /// In reverse order, each with the final result.
    fn del(&self, node: &Node, pod: &Pod) {
        for plugin in self.plugins.iter().rev() {
            node.plugin("DEL", pod, &self.with_result(plugin)).silent();
        }
    }
}

fn addresses(result: &Value) -> Vec<IpAddr> {
    let ips = result["ips"].as_array().unwrap().iter();
    let text = |ip: &Value| ip["address"].as_str().unwrap().to_owned();
    ips.map(|ip| text(ip).split('/').next().unwrap().parse().unwrap())
        .collect()
}

fn assert_clean(node: &Node) {
    assert_eq!(node.links(), ["lo"]);
    assert_eq!(node.leased(), Vec::<String>::new());
}

#[test]
fn portmap_behind_ours() {
    let node = Node::new();
    let mapping = json!({ "hostPort": 8080, "containerPort": 80, "protocol": "tcp" });
    let portmap = json!({
        "type": "portmap", "capabilities": { "portMappings": true }, "snat": true,
        "runtimeConfig": { "portMappings": [mapping] },
    });
    let mut chain = Chain::new(&node, &[portmap]);
    let (pod, other) = (node.pod("c1"), node.pod("c2"));
    chain.add(&node, &pod);
    // Only ours: portmap 1.1.1 looks for the rules of IPv4 in ip6tables too.
    let first = chain.with_result(&chain.plugins[0]);
    node.plugin("CHECK", &pod, &first).silent();
    serve(&pod.namespace);
    let client = node.add(&other, &node.config()).addresses();
    for gateway in ["10.244.1.1", "fd00:10:244:1::1"] {
        // An address of the node.
        let to = SocketAddr::new(gateway.parse().unwrap(), 8080);
        let seen = connect_to(&other.namespace, to, LIMIT);
        let seen = seen.unwrap_or_else(|error| panic!("{to}: {error}"));
        let seen: IpAddr = seen.parse().unwrap();
        assert!(client.contains(&seen), "{to}: {seen}");
    }
    chain.del(&node, &pod);
    chain.del(&node, &pod);
    node.del(&other, &node.config()).silent();
    assert_clean(&node);
}

#[test]
fn bandwidth_behind_ours() {
    let node = Node::new();
    let bandwidth = json!({
        "type": "bandwidth", "capabilities": { "bandwidth": true },
        "runtimeConfig": { "bandwidth": {
            "ingressRate": 8_000_000, "ingressBurst": 800_000,
            "egressRate": 8_000_000, "egressBurst": 800_000,
        }},
    });
    let mut chain = Chain::new(&node, &[bandwidth]);
    let pod = node.pod("c1");
    let result = chain.add(&node, &pod);
    // It has found the node's end and made an interface for the other direction.
    assert_eq!(node.links().len(), 3, "{:?}", node.links());
    chain.check(&node, &pod);
    serve(&pod.namespace);
    for address in addresses(&result) {
        connect(&node.namespace, address, LIMIT).unwrap();
    }
    chain.del(&node, &pod);
    assert_clean(&node);
}

#[test]
fn tuning_behind_ours() {
    let node = Node::new();
    let mac = "02:11:22:33:44:55";
    let tuning = json!({
        "type": "tuning", "mac": mac, "mtu": 1400,
        "sysctl": { "net.core.somaxconn": "500" },
    });
    let mut chain = Chain::new(&node, &[tuning]);
    let pod = node.pod("c1");
    let result = chain.add(&node, &pod);
    let mut inside = Rtnetlink::open_in(&pod.namespace).unwrap();
    let eth0 = inside.link("eth0").unwrap().unwrap();
    assert_eq!(
        (eth0.mtu, eth0.mac.unwrap().to_string().as_str()),
        (1400, mac)
    );
    let somaxconn = || sysctl::read("net/core/somaxconn").unwrap();
    assert_eq!(pod.namespace.run(somaxconn).unwrap(), "500");
    // The changed Ethernet address is no difference, and packets find it.
    chain.check(&node, &pod);
    serve(&pod.namespace);
    for address in addresses(&result) {
        connect(&node.namespace, address, LIMIT)
            .unwrap_or_else(|error| panic!("{address}: {error}"));
    }
    chain.del(&node, &pod);
    assert_clean(&node);
}

/// What Debian's bridge and host-local have made on a node before it changed over.
fn predecessor(node: &Node) -> Value {
    json!({
        "cniVersion": "1.0.0", "name": "cbr0", "type": "bridge", "bridge": "cni0",
        "isDefaultGateway": true,
        "ipam": {
            "type": "host-local", "dataDir": node.folder.join("host-local"),
            "ranges": [[{ "subnet": "10.244.1.0/24" }], [{ "subnet": "fd00:10:244:1::/64" }]],
        },
    })
}

#[test]
fn pods_of_bridge_and_host_local_keep_their_addresses_until_their_del() {
    let node = Node::new();
    let predecessor = predecessor(&node);
    let old: Vec<Pod> = ["old1", "old2"].map(|name| node.pod(name)).into();
    let kept: Vec<IpAddr> = old
        .iter()
        .flat_map(|pod| node.plugin("ADD", pod, &predecessor).addresses())
        .collect();
    assert_eq!(kept[0].to_string(), "10.244.1.2");

    let mut config = node.config();
    config["hostLocalDir"] = json!(node.folder.join("host-local"));
    let new = node.pod("new");
    let given = node.add(&new, &config).addresses();
    assert_eq!(given[0].to_string(), "10.244.1.4", "not one of {kept:?}");
    for pod in &old {
        node.del(pod, &config).silent();
        let mut inside = Rtnetlink::open_in(&pod.namespace).unwrap();
        assert_eq!(inside.link("eth0").unwrap(), None);
        node.del(pod, &config).silent();
    }
    // Free again: they can be asked for.
    config["runtimeConfig"] = json!({ "ips": [kept[0], kept[1]] });
    let asked: Call = node.add(&old[0], &config);
    assert_eq!(asked.addresses(), kept[..2]);
}
