use std::net::IpAddr;

use k8s_openapi::api::{
    core::v1 as core, discovery::v1 as discovery, networking::v1 as networking,
};
use podway_model::{
    ContainerPort, EndpointSlice, IpFamily, NetworkPolicy, Node, Operator, Peer, Pod, PolicyPort,
    PolicyRule, PortMatch, Requirement, Selector, Service, ServicePort, ServiceType, TargetPort,
    TrafficPolicy,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;

fn read<K: Readable + DeserializeOwned>(value: Value) -> Reading {
    serde_json::from_value::<K>(value).unwrap().read()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn faults(reading: &Reading) -> Vec<String> {
    let print = |fault: &Fault| format!("{}: {}", fault.field, fault.reason);
    reading.faults.iter().map(print).collect()
}

fn service(spec: Value) -> Reading {
    let metadata = json!({"name": "web", "namespace": "shop", "resourceVersion": "7"});
    read::<core::Service>(json!({"metadata": metadata, "spec": spec}))
}

fn read_service(spec: Value) -> Service {
    match service(spec).object {
        Some(Object::Service(service)) => Service::clone(&service),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_service_has_the_defaults_of_the_api_server() {
    let expected = Service {
        name: ObjectName::new("shop", "web"),
        revision: 7,
        created: 0,
        service_type: ServiceType::ClusterIp,
        cluster_ips: vec![ip("10.96.0.10"), ip("fd00::a")],
        external_ips: Vec::new(),
        load_balancer: Vec::new(),
        source_ranges: Vec::new(),
        ports: vec![ServicePort {
            name: "".into(),
            protocol: Protocol::Tcp,
            port: 80,
            target_port: TargetPort::Number(80),
            node_port: None,
        }],
        selector: None,
        affinity_seconds: None,
        internal_policy: TrafficPolicy::Cluster,
        external_policy: TrafficPolicy::Cluster,
        health_check_node_port: None,
        publish_not_ready: false,
    };
    let spec = json!({"clusterIPs": ["10.96.0.10", "fd00::a"], "ports": [{"port": 80}]});
    assert_eq!(read_service(spec), expected);
}

#[test]
fn a_service_with_everything() {
    let read = read::<core::Service>(json!({
        "metadata": {
            "name": "web", "namespace": "shop", "creationTimestamp": "2026-01-02T03:04:05Z",
        },
        "spec": {
            "type": "LoadBalancer", "clusterIP": "172.30.0.041",
            "externalIPs": ["192.0.2.1", "no address"],
            "loadBalancerSourceRanges": [" 10.1.2.3/8 ", "fd00::/8"],
            "selector": {"app": "web"},
            "sessionAffinity": "ClientIP",
            "internalTrafficPolicy": "Local", "externalTrafficPolicy": "Local",
            "healthCheckNodePort": 31000, "publishNotReadyAddresses": true,
            "ports": [
                {"name": "http", "port": 80, "targetPort": "web", "nodePort": 30080},
                {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 5353},
            ],
        },
        "status": {"loadBalancer": {"ingress": [
            {"ip": "198.51.100.7"}, {"ip": "198.51.100.8", "ipMode": "Proxy"}, {"hostname": "x"},
        ]}},
    }));
    assert_eq!(
        faults(&read),
        ["spec.externalIPs[1]: \"no address\" is not an IP address"]
    );
    let Some(Object::Service(service)) = read.object else {
        panic!("no service");
    };
    assert_eq!(service.created, 1_767_323_045);
    assert_eq!(service.service_type, ServiceType::LoadBalancer);
    assert_eq!(
        service.cluster_ips,
        [ip("172.30.0.41")],
        "leading zeros are decimal"
    );
    assert_eq!(service.external_ips, [ip("192.0.2.1")]);
    let modes: Vec<bool> = service.load_balancer.iter().map(|a| a.is_vip).collect();
    assert_eq!(modes, [true, false]);
    let ranges: Vec<String> = service
        .source_ranges
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(ranges, ["10.0.0.0/8", "fd00::/8"]);
    assert_eq!(service.affinity_seconds, Some(10_800));
    assert_eq!(service.internal_policy, TrafficPolicy::Local);
    assert_eq!(service.external_policy, TrafficPolicy::Local);
    assert_eq!(service.health_check_node_port, Some(31_000));
    assert!(service.publish_not_ready);
    let [http, dns] = service.ports.as_slice() else {
        panic!("{:?}", service.ports);
    };
    assert_eq!(http.target_port, TargetPort::Name("web".to_owned()));
    assert_eq!((http.node_port, dns.node_port), (Some(30_080), None));
    assert_eq!(
        (dns.protocol, &dns.target_port),
        (Protocol::Udp, &TargetPort::Number(5353))
    );
}

#[test]
fn a_headless_service_has_no_address() {
    for spec in [
        json!({"clusterIP": "None"}),
        json!({"clusterIPs": ["None"]}),
        json!({"clusterIP": ""}),
        json!({}),
    ] {
        let addresses = read_service(spec.clone()).cluster_ips;
        assert!(addresses.is_empty(), "{spec}: {addresses:?}");
    }
}

#[test]
fn what_a_service_cannot_do_without_takes_it_out() {
    for (spec, fault) in [
        (
            json!({"type": "Magic"}),
            "spec.type: \"Magic\" is not a type",
        ),
        (
            // Without the range the list would be empty, which means everybody.
            json!({"loadBalancerSourceRanges": ["10.0.0.0"]}),
            "spec.loadBalancerSourceRanges[0]: \"10.0.0.0\" is not a prefix",
        ),
        (
            json!({"internalTrafficPolicy": "x"}),
            "spec.internalTrafficPolicy: \"x\"",
        ),
    ] {
        let reading = service(spec.clone());
        assert_eq!(reading.object, None, "{spec}");
        assert!(
            faults(&reading)[0].starts_with(fault),
            "{spec}: {reading:?}"
        );
    }
}

#[test]
fn a_broken_port_takes_only_itself_out() {
    let reading = service(json!({"ports": [
        {"port": 0}, {"port": 70000}, {"port": 80, "protocol": "ICMP"},
        {"port": 81, "nodePort": 99999}, {"port": 82, "targetPort": -1},
    ]}));
    assert_eq!(
        faults(&reading),
        [
            "spec.ports[0].port: 0 is not a port: expected 1-65535",
            "spec.ports[1].port: 70000 is not a port: expected 1-65535",
            "spec.ports[2].protocol: \"ICMP\" is not a protocol: expected TCP, UDP or SCTP",
            "spec.ports[3].nodePort: 99999 is not a port: expected 1-65535",
            "spec.ports[4].targetPort: -1 is not a port: expected 1-65535",
        ]
    );
    let Some(Object::Service(service)) = reading.object else {
        panic!("no service");
    };
    let ports: Vec<u16> = service.ports.iter().map(|port| port.port).collect();
    assert_eq!(ports, [81]);
}

#[test]
fn labels_that_hide_objects_from_us() {
    let labels = json!({"service.kubernetes.io/service-proxy-name": ""});
    let hidden = read::<core::Service>(json!({"metadata": {"name": "a", "labels": labels}}));
    assert_eq!((hidden.object, hidden.faults), (None, Vec::new()));

    for (labels, address_type) in [
        (
            json!({"kubernetes.io/service-name": "web", "service.kubernetes.io/headless": ""}),
            "IPv4",
        ),
        (json!({"kubernetes.io/service-name": "web"}), "FQDN"),
        (json!({}), "IPv4"),
    ] {
        let hidden = read::<discovery::EndpointSlice>(json!({
            "metadata": {"name": "a", "labels": labels}, "addressType": address_type, "endpoints": [],
        }));
        assert_eq!(
            (hidden.object, hidden.faults),
            (None, Vec::new()),
            "{labels}"
        );
    }
}

#[test]
fn a_slice_is_read_as_kube_proxy_reads_it() {
    let reading = read::<discovery::EndpointSlice>(json!({
        "metadata": {
            "name": "web-1", "namespace": "shop", "resourceVersion": "12",
            "labels": {"kubernetes.io/service-name": "web"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}, {"name": "any"}, {"port": 53, "protocol": "UDP"}],
        "endpoints": [
            {
                "addresses": ["10.0.0.010", "10.0.0.11"], "nodeName": "node1",
                "targetRef": {"kind": "Pod", "name": "web-a"},
                "hints": {"forZones": [{"name": "z1"}], "forNodes": [{"name": "node1"}]},
            },
            {
                "addresses": ["10.0.0.2"],
                "conditions": {"ready": false, "serving": true, "terminating": true},
                "targetRef": {"kind": "Node", "name": "node1"},
            },
            {"addresses": ["fd00::1"]}, {"addresses": ["x"]}, {"addresses": []},
        ],
    }));
    assert_eq!(
        faults(&reading),
        [
            "endpoints[2].addresses[0]: fd00::1 is not an IPv4 address",
            "endpoints[3].addresses[0]: \"x\" is not an IP address",
            "endpoints[4].addresses: no address",
        ]
    );
    let endpoint = |address: &str| podway_model::SliceEndpoint {
        address: ip(address),
        ready: true,
        serving: true,
        terminating: false,
        node: None,
        pod: None,
        zone_hints: [].into(),
        node_hints: [].into(),
    };
    let port = |name: &str, protocol, port| podway_model::SlicePort {
        name: name.into(),
        protocol,
        port,
    };
    let expected = EndpointSlice {
        name: ObjectName::new("shop", "web-1"),
        revision: 12,
        service: ObjectName::new("shop", "web"),
        family: IpFamily::V4,
        ports: vec![
            port("http", Protocol::Tcp, 8080),
            port("", Protocol::Udp, 53),
        ],
        endpoints: vec![
            podway_model::SliceEndpoint {
                node: Some("node1".into()),
                pod: Some(ObjectName::new("shop", "web-a")),
                zone_hints: ["z1".to_owned()].into(),
                node_hints: ["node1".to_owned()].into(),
                ..endpoint("10.0.0.10")
            },
            podway_model::SliceEndpoint {
                ready: false,
                terminating: true,
                ..endpoint("10.0.0.2")
            },
        ],
    };
    assert_eq!(
        reading.object,
        Some(Object::EndpointSlice(Arc::new(expected)))
    );
}

#[test]
fn a_pod_has_the_ports_that_serve() {
    let reading = read::<core::Pod>(json!({
        "metadata": {"name": "a", "namespace": "x", "uid": "u", "labels": {"app": "a"}},
        "spec": {
            "nodeName": "node1", "hostNetwork": false,
            "initContainers": [
                {"name": "once", "ports": [{"containerPort": 1}]},
                {"name": "sidecar", "restartPolicy": "Always", "ports": [{"containerPort": 2, "name": "s"}]},
            ],
            "containers": [{"name": "main", "ports": [
                {"containerPort": 80, "name": "http"}, {"containerPort": 90000},
            ]}],
        },
        "status": {
            "phase": "Running", "podIP": "10.0.0.9",
            "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }));
    assert_eq!(
        faults(&reading),
        ["spec.containers[0].ports[1].containerPort: 90000 is not a port: expected 1-65535"]
    );
    let port = |name: &str, port| ContainerPort {
        name: name.to_owned(),
        protocol: Protocol::Tcp,
        port,
    };
    let expected = Pod {
        name: ObjectName::new("x", "a"),
        uid: "u".into(),
        revision: 0,
        labels: [("app".to_owned(), "a".to_owned())].into(),
        node: Some("node1".into()),
        host_network: false,
        finished: false,
        ready: true,
        terminating: false,
        addresses: vec![ip("10.0.0.1"), ip("fd00::1")],
        ports: vec![port("http", 80), port("s", 2)],
    };
    assert_eq!(reading.object, Some(Object::Pod(Arc::new(expected))));
}

#[test]
fn a_pod_that_has_ended_is_finished_with_its_address() {
    for (status, finished, addresses) in [
        (
            json!({"phase": "Succeeded", "podIP": "10.0.0.1"}),
            true,
            vec![ip("10.0.0.1")],
        ),
        (json!({"phase": "Failed"}), true, vec![]),
        (json!({"phase": "Pending", "podIP": ""}), false, vec![]),
    ] {
        let reading = read::<core::Pod>(json!({"metadata": {"name": "a"}, "status": status}));
        let Some(Object::Pod(pod)) = reading.object else {
            panic!("no pod");
        };
        assert_eq!(
            (pod.finished, &pod.addresses),
            (finished, &addresses),
            "{status}"
        );
        assert_eq!(&*pod.name.namespace, "default");
    }
}

#[test]
fn a_node_has_its_internal_addresses_first_and_one_prefix_a_family() {
    let reading = read::<core::Node>(json!({
        "metadata": {
            "name": "node1",
            "annotations": {"flannel.alpha.coreos.com/backend-type": "vxlan", "other": "x"},
        },
        "spec": {"podCIDRs": ["10.244.1.5/24", "10.9.0.0/24", "fd00::/64"], "podCIDR": "10.244.1.0/24"},
        "status": {
            "addresses": [
                {"type": "Hostname", "address": "node1"},
                {"type": "ExternalIP", "address": "192.0.2.1"},
                {"type": "InternalIP", "address": "172.16.0.11"},
            ],
            "conditions": [{"type": "Ready", "status": "False"}],
        },
    }));
    assert_eq!(
        faults(&reading),
        ["spec.podCIDRs: 10.9.0.0/24 is the second prefix of its family"]
    );
    let expected = Node {
        name: "node1".into(),
        revision: 0,
        labels: [].into(),
        annotations: [(
            "flannel.alpha.coreos.com/backend-type".to_owned(),
            "vxlan".to_owned(),
        )]
        .into(),
        addresses: vec![ip("172.16.0.11"), ip("192.0.2.1")],
        pod_prefixes: vec![
            "10.244.1.0/24".parse().unwrap(),
            "fd00::/64".parse().unwrap(),
        ],
        ready: false,
    };
    assert_eq!(reading.object, Some(Object::Node(Arc::new(expected))));
}

#[test]
fn a_namespace_always_has_its_name_as_a_label() {
    let reading = read::<core::Namespace>(json!({"metadata": {"name": "shop"}}));
    let Some(Object::Namespace(namespace)) = reading.object else {
        panic!("no namespace");
    };
    assert_eq!(namespace.labels["kubernetes.io/metadata.name"], "shop");
}

fn policy(spec: Value) -> (NetworkPolicy, Vec<String>) {
    let metadata = json!({"name": "p", "namespace": "x", "generation": 3});
    let reading = read::<networking::NetworkPolicy>(json!({"metadata": metadata, "spec": spec}));
    let faults = faults(&reading);
    match reading.object {
        Some(Object::NetworkPolicy(policy)) => (NetworkPolicy::clone(&policy), faults),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_directions_of_a_policy() {
    let rule = json!([{}]);
    for (spec, ingress, egress) in [
        (json!({"podSelector": {}}), true, false),
        (json!({"egress": []}), true, false),
        (json!({"egress": rule}), true, true),
        (
            json!({"policyTypes": ["Egress"], "ingress": rule}),
            false,
            true,
        ),
        (
            json!({"policyTypes": ["Ingress"], "egress": rule}),
            true,
            false,
        ),
        (json!({"policyTypes": []}), true, false),
    ] {
        let (policy, faults) = policy(spec.clone());
        let found = (policy.ingress.is_some(), policy.egress.is_some());
        assert_eq!(found, (ingress, egress), "{spec}");
        assert_eq!(faults, Vec::<String>::new());
        assert_eq!(policy.generation, 3);
    }
}

#[test]
fn the_peers_of_a_policy() {
    let labels = |key: &str, value: &str| Selector::of([(key.to_owned(), value.to_owned())].into());
    for (peer, expected) in [
        (
            json!({"ipBlock": {"cidr": "10.1.2.3/16", "except": ["10.1.9.9/24"]}}),
            Peer::Block {
                prefix: "10.1.0.0/16".parse().unwrap(),
                except: vec!["10.1.9.0/24".parse().unwrap()],
            },
        ),
        (
            json!({"podSelector": {"matchLabels": {"app": "a"}}}),
            Peer::Pods {
                namespaces: None,
                pods: Some(labels("app", "a")),
            },
        ),
        (
            json!({"namespaceSelector": {}, "podSelector": {}}),
            Peer::Pods {
                namespaces: Some(Selector::default()),
                pods: Some(Selector::default()),
            },
        ),
        (
            json!({"namespaceSelector": {"matchExpressions": [
                {"key": "a", "operator": "NotIn", "values": ["x"]}, {"key": "b", "operator": "Exists"},
            ]}}),
            Peer::Pods {
                namespaces: Some(Selector {
                    labels: [].into(),
                    requirements: vec![
                        Requirement {
                            key: "a".to_owned(),
                            operator: Operator::NotIn(["x".to_owned()].into()),
                        },
                        Requirement {
                            key: "b".to_owned(),
                            operator: Operator::Exists,
                        },
                    ],
                }),
                pods: None,
            },
        ),
    ] {
        let (policy, faults) = policy(json!({"ingress": [{"from": [peer]}]}));
        assert_eq!(policy.ingress.unwrap()[0].peers, [expected], "{peer}");
        assert_eq!(faults, Vec::<String>::new());
    }
}

#[test]
fn a_peer_that_is_not_understood_stays_and_matches_nothing() {
    for (peer, fault) in [
        (json!({}), "spec.egress[0].to[0]: empty peer"),
        (
            json!({"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}),
            "spec.egress[0].to[0]: ipBlock stands alone",
        ),
        (
            json!({"ipBlock": {"cidr": "10.0.0.0"}}),
            "spec.egress[0].to[0]: ipBlock.cidr: \"10.0.0.0\" is not a prefix",
        ),
        (
            json!({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["?"]}}),
            "spec.egress[0].to[0]: ipBlock.except: \"?\" is not a prefix",
        ),
    ] {
        let (policy, faults) = policy(json!({"egress": [{"to": [peer]}]}));
        let peers = &policy.egress.unwrap()[0].peers;
        assert!(
            matches!(peers.as_slice(), [Peer::Invalid(_)]),
            "{peer}: {peers:?}"
        );
        assert!(faults[0].starts_with(fault), "{peer}: {faults:?}");
    }
    let (policy, faults) = policy(json!({"podSelector": {"matchExpressions": [
        {"key": "a", "operator": "Like", "values": ["x"]},
    ]}}));
    let operator = &policy.subjects.requirements[0].operator;
    assert_eq!(*operator, Operator::Unknown("Like".to_owned()));
    assert!(faults[0].starts_with("spec.podSelector.matchExpressions[0].operator: \"Like\""));
}

#[test]
fn the_ports_of_a_policy() {
    let port = |protocol, port| PolicyPort { protocol, port };
    for (ports, expected) in [
        (json!([{}]), vec![port(Protocol::Tcp, PortMatch::Any)]),
        (
            json!([{"port": 80}]),
            vec![port(Protocol::Tcp, PortMatch::Range(80, 80))],
        ),
        (
            json!([{"port": 80, "endPort": 90, "protocol": "SCTP"}]),
            vec![port(Protocol::Sctp, PortMatch::Range(80, 90))],
        ),
        (
            json!([{"port": "dns", "protocol": "UDP"}]),
            vec![port(Protocol::Udp, PortMatch::Name("dns".to_owned()))],
        ),
        (
            json!([{"port": 80, "endPort": 70}, {"port": 443}]),
            vec![port(Protocol::Tcp, PortMatch::Range(443, 443))],
        ),
    ] {
        let (policy, _) = policy(json!({"ingress": [{"ports": ports}]}));
        let expected = PolicyRule {
            peers: Vec::new(),
            ports: expected,
        };
        assert_eq!(policy.ingress.unwrap(), [expected], "{ports}");
    }
}

#[test]
fn a_rule_without_a_valid_port_does_not_become_one_for_every_port() {
    for (port, fault) in [
        (
            json!({"port": 0}),
            "spec.ingress[0].ports[0].port: 0 is not a port",
        ),
        (
            json!({"endPort": 80}),
            "spec.ingress[0].ports[0].endPort: needs a port",
        ),
        (
            json!({"port": "a", "endPort": 80}),
            "spec.ingress[0].ports[0].endPort: needs a port",
        ),
        (
            json!({"port": 80, "endPort": 79}),
            "spec.ingress[0].ports[0].endPort: 79 is below",
        ),
        (
            json!({"protocol": "X"}),
            "spec.ingress[0].ports[0].protocol: \"X\"",
        ),
    ] {
        let (policy, faults) = policy(json!({"ingress": [{"ports": [port]}]}));
        let rules = policy.ingress.unwrap();
        assert!(
            matches!(rules[0].peers.as_slice(), [Peer::Invalid(_)]),
            "{port}: {rules:?}"
        );
        assert!(faults[0].starts_with(fault), "{port}: {faults:?}");
    }
}
