//! Plugins before this one, and what it hands on.

use serde_json::json;

use crate::node::Node;

#[test]
fn what_earlier_plugins_made_stays_in_the_result() {
    let node = Node::new();
    let pod = node.pod("c1");
    let mut config = node.config();
    config["prevResult"] = json!({
        "cniVersion": "1.1.0",
        "interfaces": [{ "name": "net1", "sandbox": pod.namespace.path() }],
        "ips": [{ "address": "192.0.2.7/24", "interface": 0 }],
        "routes": [{ "dst": "198.51.100.0/24" }],
        "dns": { "nameservers": ["192.0.2.53"] },
    });
    let result = node.add(&pod, &config).result();
    assert_eq!(
        result["interfaces"][0],
        config["prevResult"]["interfaces"][0]
    );
    assert_eq!(result["interfaces"][2]["name"], "eth0");
    assert_eq!(result["ips"][0], config["prevResult"]["ips"][0]);
    let own: Vec<_> = result["ips"].as_array().unwrap()[1..]
        .iter()
        .map(|ip| (ip["address"].as_str().unwrap(), ip["interface"].clone()))
        .collect();
    let addresses = ["10.244.1.2/32", "fd00:10:244:1::2/128"];
    assert_eq!(own, addresses.map(|address| (address, json!(2))));
    assert_eq!(result["routes"][0]["dst"], "198.51.100.0/24");
    assert_eq!(result["routes"].as_array().map(Vec::len), Some(3));
    assert_eq!(result["dns"]["nameservers"][0], "192.0.2.53");

    config["prevResult"] = result;
    node.command("CHECK", &pod, &config).silent();
    node.del(&pod, &config).silent();

    // Its own settings win where it has some.
    config["prevResult"]["ips"] = json!(null);
    config["dns"] = json!({ "nameservers": ["10.96.0.10"] });
    let result = node.add(&pod, &config).result();
    assert_eq!(result["dns"]["nameservers"][0], "10.96.0.10");
    assert_eq!(result["ips"].as_array().map(Vec::len), Some(2));
}
