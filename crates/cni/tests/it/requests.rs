//! What runtimes ask for on a pod's behalf: addresses, ranges, an Ethernet
//! address, DNS settings.

use podway_kernel::route::Rtnetlink;
use serde_json::{Value, json};

use crate::connectivity::{LIMIT, connect, serve};
use crate::node::Node;

/// Environment, and keys of the configuration; then the addresses and the
/// Ethernet address that the pod gets.
type Wish = (&'static str, Value, [&'static str; 2], &'static str);

fn wishes() -> [Wish; 6] {
    [
        (
            "IP=10.244.1.77;MAC=02:11:22:33:44:55",
            json!({}),
            ["10.244.1.77", "fd00:10:244:1::2"],
            "02:11:22:33:44:55",
        ),
        (
            "IP=10.244.1.77/24,fd00:10:244:1::77",
            json!({}),
            ["10.244.1.77", "fd00:10:244:1::77"],
            "0a:04:0a:f4:01:4d",
        ),
        (
            "MAC=02:00:00:00:00:01",
            json!({ "args": { "cni": {
                "ips": ["10.244.1.9"], "mac": "02:00:00:00:00:02", "labels": [],
            }}}),
            ["10.244.1.9", "fd00:10:244:1::2"],
            "02:00:00:00:00:02",
        ),
        (
            "MAC=02:00:00:00:00:01",
            json!({
                "args": { "cni": { "mac": "02:00:00:00:00:02" } },
                "runtimeConfig": {
                    "ips": ["fd00:10:244:1::99/64"], "mac": "02:00:00:00:00:03", "aliases": ["a"],
                },
            }),
            ["10.244.1.2", "fd00:10:244:1::99"],
            "02:00:00:00:00:03",
        ),
        (
            "",
            json!({ "runtimeConfig": { "ipRanges": [
                [{ "subnet": "10.1.0.0/16", "rangeStart": "10.1.9.1", "gateway": "10.1.9.1" }],
                [{ "subnet": "fd01::/64" }],
            ]}}),
            ["10.1.9.2", "fd01::2"],
            "0a:04:0a:01:09:02",
        ),
        (
            "",
            json!({ "reserved": ["10.244.1.0/28", "fd00:10:244:1::2"] }),
            ["10.244.1.16", "fd00:10:244:1::3"],
            "0a:04:0a:f4:01:10",
        ),
    ]
}

#[test]
fn a_pod_gets_what_the_runtime_asks_for() {
    for (args, keys, addresses, mac) in wishes() {
        let node = Node::new();
        let pod = node.pod("c1");
        let mut config = node.config();
        for (key, value) in keys.as_object().unwrap() {
            config[key] = value.clone();
        }
        let netns = pod.namespace.path().display().to_string();
        let variables = [
            ("CNI_COMMAND", "ADD"),
            ("CNI_CONTAINERID", "c1"),
            ("CNI_NETNS", &netns),
            ("CNI_IFNAME", "eth0"),
            ("CNI_ARGS", args),
        ];
        let added = node.call(&variables, &config.to_string());
        let given = added.addresses().into_iter().map(|ip| ip.to_string());
        assert_eq!(given.collect::<Vec<_>>(), addresses, "{args} {keys}");
        let mut inside = Rtnetlink::open_in(&pod.namespace).unwrap();
        let eth0 = inside.link("eth0").unwrap().unwrap();
        assert_eq!(eth0.mac.unwrap().to_string(), mac, "{args} {keys}");
        serve(&pod.namespace);
        for address in addresses {
            connect(&node.namespace, address.parse().unwrap(), LIMIT)
                .unwrap_or_else(|error| panic!("{args} {keys} {address}: {error}"));
        }
        config["prevResult"] = added.result();
        node.command("CHECK", &pod, &config).silent();
    }
}

#[test]
fn an_address_of_another_pod_is_not_given() {
    let node = Node::new();
    node.add(&node.pod("c1"), &node.config()).result();
    let mut config = node.config();
    config["runtimeConfig"] = json!({ "ips": ["10.244.1.2"] });
    let error = node.add(&node.pod("c2"), &config).error();
    assert_eq!(error["code"], 11, "{error:#}");
    let expected = "the requested address 10.244.1.2 is taken by c1/eth0";
    assert_eq!(error["msg"], expected);
    assert_eq!(node.leased().len(), 2);
}

#[test]
fn the_runtimes_dns_settings_come_before_the_networks() {
    let node = Node::new();
    let mut config = node.config();
    config["dns"] = json!({ "nameservers": ["10.96.0.10"] });
    config["runtimeConfig"] = json!({ "dns": {
        "servers": ["192.0.2.53"], "searches": ["example.org"], "options": ["ndots:5"],
    }});
    let result = node.add(&node.pod("c1"), &config).result();
    let expected = json!({
        "nameservers": ["192.0.2.53"], "search": ["example.org"], "options": ["ndots:5"],
    });
    assert_eq!(result["dns"], expected);
}
