//! What the specification says about calls, for every version spoken.

use podway_kernel::route::{LinkDetail, RouteFilter, Rtnetlink};
use serde_json::{Value, json};

use crate::node::{Node, agent};

pub(crate) const VERSIONS: [&str; 7] = [
    "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0",
];

#[test]
fn results_are_those_of_every_version() {
    let node = Node::new();
    for version in &VERSIONS[2..] {
        let mut config = node.config();
        config["cniVersion"] = json!(version);
        config["dns"] = json!({ "nameservers": ["10.96.0.10"] });
        let pod = node.pod(&format!("c-{version}"));

        let added = node.add(&pod, &config);
        let result = added.result();
        assert_eq!(added.stderr, "", "{version}");
        assert_eq!(result["cniVersion"], *version);
        assert_eq!(result["dns"]["nameservers"][0], "10.96.0.10");
        let names = ["name", "sandbox", "mtu"].map(|key| result["interfaces"][1][key].clone());
        let mtu = if *version == "1.1.0" {
            json!(1450)
        } else {
            Value::Null
        };
        let sandbox = json!(pod.namespace.path());
        assert_eq!(
            names,
            [json!("eth0"), sandbox, mtu],
            "{version}: {result:#}"
        );
        assert_eq!(result["interfaces"][0].get("sandbox"), None, "{version}");
        assert_eq!(result["interfaces"].as_array().map(Vec::len), Some(2));
        let old = version.starts_with("0.");
        for (i, family, gateway) in [(0, "4", "10.244.1.1"), (1, "6", "fd00:10:244:1::1")] {
            let ip = &result["ips"][i];
            assert_eq!(ip["gateway"], gateway, "{version}: {ip}");
            assert_eq!(ip["interface"], 1, "{version}: {ip}");
            assert_eq!(
                ip["version"].as_str(),
                old.then_some(family),
                "{version}: {ip}"
            );
            assert_eq!(result["routes"][i]["gw"], gateway, "{version}");
        }
        assert_eq!(result["routes"][0]["dst"], "0.0.0.0/0");
        assert_eq!(result["routes"][1]["dst"], "::/0");
    }
}

#[test]
fn before_0_3_0_a_result_had_one_address_of_each_family() {
    let node = Node::new();
    for (i, version) in VERSIONS[..2].iter().enumerate() {
        let mut config = node.config();
        config["cniVersion"] = json!(version);
        let result = node
            .add(&node.pod(&format!("c-{version}")), &config)
            .result();
        let pod = i + 2;
        let expected = json!({
            "cniVersion": version,
            "ip4": {
                "ip": format!("10.244.1.{pod}/32"),
                "gateway": "10.244.1.1",
                "routes": [{ "dst": "0.0.0.0/0", "gw": "10.244.1.1" }],
            },
            "ip6": {
                "ip": format!("fd00:10:244:1::{pod}/128"),
                "gateway": "fd00:10:244:1::1",
                "routes": [{ "dst": "::/0", "gw": "fd00:10:244:1::1" }],
            },
            "dns": {},
        });
        assert_eq!(result, expected);
    }
}

#[test]
fn the_nodes_end_is_the_gateway_and_says_whose_it_is() {
    let node = Node::new();
    let pod = node.pod("c1");
    let result = node.add(&pod, &node.config()).result();
    let host = result["interfaces"][0]["name"].as_str().unwrap();
    let mut socket = Rtnetlink::open_in(&node.namespace).unwrap();
    let link = socket.link(host).unwrap().expect(host);
    assert_eq!((&link.detail, link.master), (&LinkDetail::Veth, None));
    assert_eq!((link.mtu, link.up, link.carrier), (1450, true, true));
    assert_eq!(link.alias.as_deref(), Some("c1/eth0 x/c1"));
    assert_eq!(link.group, podway_cni::LINK_GROUP);
    let mut own = socket.addresses(Some(link.index)).unwrap();
    own.retain(|address| !address.scope_link);
    let own: Vec<String> = own.iter().map(|own| own.address.to_string()).collect();
    assert_eq!(own, ["10.244.1.1/32", "fd00:10:244:1::1/128"]);
    let ours = RouteFilter {
        protocol: Some(112),
        ..RouteFilter::default()
    };
    let routes = socket.routes(ours).unwrap();
    let routes: Vec<String> = routes.iter().map(ToString::to_string).collect();
    let expected = ["10.244.1.2/32", "fd00:10:244:1::2/128"];
    assert_eq!(
        routes,
        expected.map(|to| format!("{to} dev {}", link.index.0))
    );

    let mut inside = Rtnetlink::open_in(&pod.namespace).unwrap();
    let eth0 = inside.link("eth0").unwrap().unwrap();
    let macs = [&link, &eth0].map(|link| link.mac.unwrap().to_string());
    assert_eq!(macs, ["0a:04:0a:f4:01:01", "0a:04:0a:f4:01:02"]);
    for (interface, mac) in macs.iter().enumerate() {
        assert_eq!(result["interfaces"][interface]["mac"], mac.as_str());
    }
    let known = inside.neighbours(eth0.index).unwrap();
    let known: Vec<(String, String)> = known
        .iter()
        .map(|known| (known.address.to_string(), known.mac.to_string()))
        .collect();
    let gateways = ["10.244.1.1", "fd00:10:244:1::1"];
    let expected = gateways.map(|gateway| (gateway.to_owned(), macs[0].clone()));
    assert_eq!(known, expected, "what the pod need not ask for");
}

#[test]
fn version_says_what_is_spoken_and_reads_nothing() {
    let call = Node::new().call(&[("CNI_COMMAND", "VERSION")], "no JSON");
    assert_eq!(
        call.result(),
        json!({ "cniVersion": "1.1.0", "supportedVersions": VERSIONS })
    );
}

#[test]
fn without_a_command_it_says_what_it_is() {
    let call = Node::new().call(&[], "");
    call.silent();
    assert!(call.stderr.contains("CNI plugin of Podway"), "{call:?}");
}

#[test]
fn del_succeeds_whatever_is_missing() {
    let node = Node::new();
    let config = node.config();
    let pod = node.pod("c1");
    node.del(&pod, &config).silent();

    node.add(&pod, &config).result();
    let without_netns = [
        ("CNI_COMMAND", "DEL"),
        ("CNI_CONTAINERID", "c1"),
        ("CNI_IFNAME", "eth0"),
    ];
    node.call(&without_netns, &config.to_string()).silent();
    assert_eq!(node.links(), ["lo"]);
    assert_eq!(node.leased(), Vec::<String>::new());

    // The namespace is gone, and the interface with it.
    let pod = node.pod("c2");
    node.add(&pod, &config).result();
    let path = pod.namespace.path().to_owned();
    drop(pod.namespace);
    podway_kernel::netns::delete_at(&path).unwrap();
    let netns = path.display().to_string();
    let mut variables = without_netns.to_vec();
    variables[1].1 = "c2";
    variables.push(("CNI_NETNS", &netns));
    node.call(&variables, &config.to_string()).silent();
    assert_eq!(node.leased(), Vec::<String>::new());

    // The configuration has become unusable for ADD.
    let pod = node.pod("c3");
    node.add(&pod, &config).result();
    let mut spoilt = config;
    spoilt["podCIDRs"] = json!([]);
    spoilt["surprise"] = json!(true);
    node.del(&pod, &spoilt).silent();
    assert_eq!(node.leased(), Vec::<String>::new());
}

#[test]
fn the_agent_hears_of_pods_before_add_returns() {
    let node = Node::new();
    let socket = node.folder.join("agent.sock");
    let requests = agent(&socket, r#"{"ok":{}}"#);
    let mut config = node.config();
    config["agentSocket"] = json!(socket);
    let pod = node.pod("c1");
    let added = node.add(&pod, &config);
    let addresses = added.addresses();
    let attach = requests.try_recv().expect("asked before ADD returned");
    assert_eq!(
        attach,
        json!({ "attach": {
            "namespace": "x", "name": "c1", "uid": "u-c1",
            "containerID": "c1", "ifname": "eth0", "addresses": addresses,
        }})
    );
    node.del(&pod, &config).silent();
    let detach = requests.try_recv().expect("told before DEL returned");
    assert_eq!(
        detach,
        json!({ "detach": {
            "containerID": "c1", "ifname": "eth0",
            "namespace": "x", "name": "c1", "addresses": addresses,
        }})
    );
}

#[test]
fn pods_outside_kubernetes_need_no_agent() {
    let node = Node::new();
    let mut config = node.config();
    config["agentSocket"] = json!(node.folder.join("nobody.sock"));
    let pod = node.pod("c1");
    let netns = pod.namespace.path().display().to_string();
    let variables = [
        ("CNI_COMMAND", "ADD"),
        ("CNI_CONTAINERID", "c1"),
        ("CNI_NETNS", &netns),
        ("CNI_IFNAME", "eth0"),
    ];
    node.call(&variables, &config.to_string()).result();
}
