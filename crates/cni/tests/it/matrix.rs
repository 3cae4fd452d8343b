//! Every command in every version of the specification, as a runtime calls them
//! one after the other.

use serde_json::json;

use crate::node::{Node, Pod};
use crate::protocol::VERSIONS;

/// Whether a version is `since` or later.
fn has(version: &str, since: &str) -> bool {
    let place = |wanted: &str| VERSIONS.iter().position(|version| *version == wanted);
    place(version) >= place(since)
}

fn assert_clean(node: &Node, version: &str) {
    assert_eq!(node.links(), ["lo"], "{version}");
    assert_eq!(node.leased(), Vec::<String>::new(), "{version}");
}

#[test]
fn every_command_in_every_version() {
    for version in VERSIONS {
        let node = Node::new();
        let mut config = node.config();
        config["cniVersion"] = json!(version);
        let pod = node.pod("c1");

        let answer = node.command("VERSION", &pod, &config).result();
        assert_eq!(answer["supportedVersions"], json!(VERSIONS), "{version}");

        let status = node.command("STATUS", &pod, &config);
        if has(version, "1.1.0") {
            status.silent();
        } else {
            assert_eq!(status.error()["code"], 1, "{version}: {status:?}");
        }

        let mut full = config.clone();
        full["podCIDRs"] = json!(["10.244.1.0/24", "fd00::/128"]);
        assert_eq!(node.add(&pod, &full).error()["code"], 7, "{version}");
        assert_clean(&node, version);

        let result = node.add(&pod, &config).result();
        assert_eq!(result["cniVersion"], version);
        assert_eq!(node.add(&pod, &config).error()["code"], 100, "{version}");

        let mut with_result = config.clone();
        with_result["prevResult"] = result;
        let check = node.command("CHECK", &pod, &with_result);
        if has(version, "0.4.0") {
            check.silent();
            let without = node.command("CHECK", &pod, &config).error();
            assert_eq!(without["code"], 7, "{version}: {without:#}");
        } else {
            assert_eq!(check.error()["code"], 1, "{version}: {check:?}");
            with_result = config.clone();
        }

        collect(&node, &pod, &config, version);
        for _ in 0..2 {
            node.del(&pod, &with_result).silent();
            assert_clean(&node, version);
        }
        without_namespace(&node, &config, version);
    }
}

/// GC of everything but the pod leaves it alone.
fn collect(node: &Node, pod: &Pod, config: &serde_json::Value, version: &str) {
    let mut config = config.clone();
    config["cni.dev/valid-attachments"] = json!([{ "containerID": "c1", "ifname": "eth0" }]);
    let (links, leased) = (node.links(), node.leased());
    let gc = node.command("GC", pod, &config);
    if has(version, "1.1.0") {
        gc.silent();
    } else {
        assert_eq!(gc.error()["code"], 1, "{version}: {gc:?}");
    }
    assert_eq!((node.links(), node.leased()), (links, leased), "{version}");
}

fn without_namespace(node: &Node, config: &serde_json::Value, version: &str) {
    for netns in [None, Some(""), Some("/run/netns/podway-test-gone")] {
        let container = format!("c-{}", netns.map_or(99, str::len));
        let pod = node.pod(&container);
        node.add(&pod, config).result();
        let mut variables = vec![
            ("CNI_COMMAND", "DEL"),
            ("CNI_CONTAINERID", container.as_str()),
            ("CNI_IFNAME", "eth0"),
        ];
        variables.extend(netns.map(|path| ("CNI_NETNS", path)));
        node.call(&variables, &config.to_string()).silent();
        assert_clean(node, version);
    }
}
