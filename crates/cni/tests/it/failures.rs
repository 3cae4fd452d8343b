//! Every failure: the code, the words, and nothing left behind.

use podway_kernel::route::{LinkChange, NewLink, Rtnetlink, VethPeer};
use serde_json::json;

use crate::node::{Node, agent};

#[test]
fn a_wrong_environment_is_code_4() {
    let node = Node::new();
    let config = node.config().to_string();
    let full = [
        ("CNI_COMMAND", "ADD"),
        ("CNI_CONTAINERID", "c1"),
        ("CNI_NETNS", "/proc/self/ns/net"),
        ("CNI_IFNAME", "eth0"),
    ];
    let cases: [(&str, &str, &str); 12] = [
        ("CNI_COMMAND", "add", "unknown CNI_COMMAND: add"),
        (
            "CNI_COMMAND",
            "GC",
            "required env variables [CNI_PATH] missing",
        ),
        ("CNI_ARGS", "IP=10.244.1", "IP must be an address"),
        ("CNI_ARGS", "MAC=01:00:00:00:00:01", "a station's address"),
        (
            "CNI_CONTAINERID",
            "",
            "required env variables [CNI_CONTAINERID] missing",
        ),
        ("CNI_CONTAINERID", "../c1", "invalid CNI_CONTAINERID"),
        (
            "CNI_NETNS",
            "",
            "required env variables [CNI_NETNS] missing",
        ),
        (
            "CNI_IFNAME",
            "",
            "required env variables [CNI_IFNAME] missing",
        ),
        ("CNI_IFNAME", "sixteen-bytes-lo", "longer than 15 bytes"),
        ("CNI_IFNAME", "a/b", "slash"),
        ("CNI_ARGS", "NOT_KNOWN=1", "unknown key"),
        ("CNI_ARGS", "IgnoreUnknown", "KEY=VALUE"),
    ];
    for (name, value, words) in cases {
        let mut variables = full.to_vec();
        variables.retain(|(key, _)| *key != name);
        variables.push((name, value));
        let error = node.call(&variables, &config).error();
        assert_eq!(error["code"], 4, "{name}={value}: {error:#}");
        let message = error["msg"].as_str().unwrap();
        assert!(message.contains(words), "{name}={value}: {message}");
    }
}

/// A key, its value as JSON, the error's code, and words of its text.
const SPOILT: [(&str, &str, u32, &str); 26] = [
    ("cniVersion", r#""1.2.0""#, 1, "supported are 0.1.0"),
    ("cniVersion", r#""9.9.9""#, 1, "9.9.9"),
    ("cniVersion", "null", 6, "decode"),
    ("surprise", r#"{"a":1}"#, 2, r#"surprise = {"a":1}"#),
    ("ipam", r#"{"type":"host-local"}"#, 2, "ipam"),
    ("name", r#""""#, 7, "name"),
    ("name", r#""../../etc""#, 7, "name"),
    ("bridge", r#""podway0""#, 2, r#"bridge = "podway0""#),
    ("mtu", "1200", 7, "1280 (IPv6)"),
    ("mtu", "70000", 7, "65535"),
    ("mtu", r#""1450""#, 6, "decode"),
    ("mtu", "-1", 6, "decode"),
    ("podCIDRs", "[]", 7, "podCIDRs"),
    ("podCIDRs", r#"["10.0.0.0/33"]"#, 6, "decode"),
    (
        "podCIDRs",
        r#"["10.0.0.0/31"]"#,
        7,
        "no room for a gateway and a pod",
    ),
    (
        "podCIDRs",
        r#"["10.0.0.0/24","10.1.0.0/24"]"#,
        7,
        "second one of its family",
    ),
    ("prevResult", "7", 6, "decode"),
    (
        "reserved",
        r#"["10.244.1.300"]"#,
        6,
        "neither an address nor",
    ),
    (
        "runtimeConfig",
        r#"{"ips":["10.244.2.2/24"]}"#,
        7,
        "10.244.2.2 is in none of the ranges",
    ),
    (
        "runtimeConfig",
        r#"{"ips":["10.244.1.7","10.244.1.8"]}"#,
        7,
        "one address of each family",
    ),
    ("runtimeConfig", r#"{"mac":"02:00"}"#, 7, "not an Ethernet"),
    (
        "runtimeConfig",
        r#"{"mac":"ff:ff:ff:ff:ff:ff"}"#,
        7,
        "station's",
    ),
    (
        "runtimeConfig",
        r#"{"ipRanges":[[{"subnet":"10.1.0.0/24"},{"subnet":"10.1.0.0/25"}]]}"#,
        7,
        "10.1.0.1-10.1.0.254 and 10.1.0.1-10.1.0.126 overlap",
    ),
    (
        "runtimeConfig",
        r#"{"ipRanges":[[{"subnet":"10.1.0.0/24"},{"subnet":"fd00::/64"}]]}"#,
        7,
        "both families",
    ),
    (
        "runtimeConfig",
        r#"{"ipRanges":[[{"subnet":"10.1.0.0/24"}],[{"subnet":"10.2.0.0/24"}]]}"#,
        7,
        "second one of its family",
    ),
    ("dataDir", r#""/dev/null/state""#, 5, "cannot create"),
];

#[test]
fn a_wrong_configuration_has_its_code_and_leaves_nothing() {
    let node = Node::new();
    let pod = node.pod("c1");
    for (key, value, code, words) in SPOILT {
        let mut config = node.config();
        config[key] = serde_json::from_str(value).unwrap();
        let error = node.add(&pod, &config).error();
        let text = format!("{} {}", error["msg"], error["details"]).replace("\\\"", "\"");
        assert_eq!(error["code"], code, "{key}={value}: {error:#}");
        assert!(text.contains(words), "{key}={value}: {error:#}");
    }
    assert_nothing_left(&node);
}

#[test]
fn what_is_no_configuration_is_code_6() {
    let node = Node::new();
    let pod = node.pod("c1");
    let netns = pod.namespace.path().display().to_string();
    let variables = [
        ("CNI_COMMAND", "ADD"),
        ("CNI_CONTAINERID", "c1"),
        ("CNI_NETNS", &netns),
        ("CNI_IFNAME", "eth0"),
    ];
    for input in ["", "{", "[]", "null"] {
        let error = node.call(&variables, input).error();
        assert_eq!(error["code"], 6, "{input:?}: {error:#}");
        assert_eq!(error["cniVersion"], "1.1.0", "{input:?}");
    }
    assert_nothing_left(&node);
}

fn assert_nothing_left(node: &Node) {
    assert_eq!(node.links(), ["lo"]);
    assert_eq!(node.leased(), Vec::<String>::new());
}

#[test]
fn a_namespace_that_is_none_is_code_8() {
    let node = Node::new();
    std::fs::write(node.folder.join("file"), "").unwrap();
    let file = node.folder.join("file").display().to_string();
    for (netns, words) in [
        ("/run/netns/podway-test-not-there", "does not exist"),
        (&file, "not a network namespace"),
        ("/proc/self/ns/net", "the plugin runs in"),
    ] {
        let variables = [
            ("CNI_COMMAND", "ADD"),
            ("CNI_CONTAINERID", "c1"),
            ("CNI_NETNS", netns),
            ("CNI_IFNAME", "eth0"),
        ];
        let error = node.call(&variables, &node.config().to_string()).error();
        assert_eq!(error["code"], 8, "{netns}: {error:#}");
        assert!(error["msg"].as_str().unwrap().contains(words), "{error:#}");
    }
    assert_eq!(node.links(), ["lo"]);
}

#[test]
fn an_interface_that_is_there_already_is_refused_and_kept() {
    let node = Node::new();
    let pod = node.pod("c1");
    let mut inside = Rtnetlink::open_in(&pod.namespace).unwrap();
    let foreign = NewLink::veth("eth0", VethPeer::new("other"));
    let index = inside.create_link(&foreign).unwrap();
    let error = node.add(&pod, &node.config()).error();
    assert_eq!(error["code"], 100, "{error:#}");
    let message = error["msg"].as_str().unwrap();
    assert!(
        message.contains("interface eth0 exists already in"),
        "{message}"
    );
    assert!(
        inside.link_at(index).unwrap().is_some(),
        "the foreign one stays"
    );
    assert_nothing_left(&node);
}

#[test]
fn a_second_add_is_refused_and_the_first_keeps_working() {
    let node = Node::new();
    let pod = node.pod("c1");
    node.add(&pod, &node.config()).result();
    let (links, leased) = (node.links(), node.leased());
    let error = node.add(&pod, &node.config()).error();
    assert_eq!(error["code"], 100, "{error:#}");
    assert_eq!((node.links(), node.leased()), (links, leased));
}

/// Somebody else's interface has the name that a pod's would have, or another
/// container's has, which happens once in 2^52 times.
#[test]
fn an_interface_of_somebody_else_with_the_pods_name_is_refused_and_kept() {
    let node = Node::new();
    let pod = node.pod("c1");
    let name = node.add(&pod, &node.config()).result()["interfaces"][0]["name"]
        .as_str()
        .map(str::to_owned)
        .unwrap();
    node.del(&pod, &node.config()).silent();
    let mut socket = Rtnetlink::open_in(&node.namespace).unwrap();
    for (group, alias) in [(0, ""), (podway_cni::LINK_GROUP, "c2/eth0 x/c2")] {
        let foreign = NewLink::veth(&name, VethPeer::new("other")).group(group);
        let index = socket.create_link(&foreign).unwrap();
        socket
            .change_link(index, &LinkChange::new().alias(alias))
            .unwrap();
        let error = node.add(&pod, &node.config()).error();
        assert_eq!(error["code"], 100, "{error:#}");
        let message = error["msg"].as_str().unwrap();
        let expected = format!("interface {name} exists already in the node's namespace");
        assert_eq!(message, expected);
        // As every runtime does after a failed ADD.
        node.del(&pod, &node.config()).silent();
        assert!(socket.link_at(index).unwrap().is_some(), "{alias:?}");
        assert_eq!(node.leased(), Vec::<String>::new());
        socket.delete_link(index).unwrap();
    }
}

#[test]
fn a_full_range_is_code_11_and_a_del_makes_room() {
    let node = Node::new();
    let mut config = node.config();
    config["podCIDRs"] = json!(["10.244.1.0/30", "fd00:10:244:1::/64"]);
    let (first, second) = (node.pod("c1"), node.pod("c2"));
    node.add(&first, &config).result();
    let (links, leased) = (node.links(), node.leased());
    let error = node.add(&second, &config).error();
    assert_eq!(error["code"], 11, "{error:#}");
    let message = error["msg"].as_str().unwrap();
    assert!(
        message.starts_with("no address left in 10.244.1.0/30"),
        "{message}"
    );
    assert_eq!((node.links(), node.leased()), (links, leased));
    node.del(&first, &config).silent();
    node.add(&second, &config).result();
}

#[test]
fn a_pod_that_no_agent_vouches_for_gets_nothing() {
    let node = Node::new();
    let refusing = node.folder.join("refusing.sock");
    let babbling = node.folder.join("babbling.sock");
    let _requests = (
        agent(
            &refusing,
            r#"{"error":{"message":"pod x/c1 is not known"}}"#,
        ),
        agent(&babbling, "hello"),
    );
    // Bound, but nobody answers.
    let silent = node.folder.join("silent.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&silent).unwrap();
    let absent = node.folder.join("absent.sock");
    let pod = node.pod("c1");
    for (socket, words) in [
        (&refusing, "pod x/c1 is not known"),
        (&babbling, "hello"),
        (&silent, "no answer within"),
        (&absent, "is it running?"),
    ] {
        let mut config = node.config();
        config["agentSocket"] = json!(socket);
        config["policyWaitSeconds"] = json!(1);
        let error = node.add(&pod, &config).error();
        assert_eq!(error["code"], 11, "{error:#}");
        assert!(error["msg"].as_str().unwrap().contains("x/c1"), "{error:#}");
        let details = error["details"].as_str().unwrap();
        assert!(details.contains(words), "{details}");
        assert_nothing_left(&node);
        let mut inside = Rtnetlink::open_in(&pod.namespace).unwrap();
        assert_eq!(inside.link("eth0").unwrap(), None);
        config["failOpen"] = json!(true);
        let added = node.add(&pod, &config);
        assert_eq!(added.addresses().len(), 2);
        let said = "it starts all the same (failOpen): the policies of pod x/c1";
        assert!(added.stderr.contains(said), "{added:#?}");
        assert!(added.stderr.contains(words), "{added:#?}");
        node.del(&pod, &config).silent();
    }
}
