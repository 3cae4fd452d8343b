use k8s_openapi::api::core::v1 as core;
use podway_model::{Service, ServicePort, ServiceType, TargetPort, TrafficPolicy};
use serde_json::json;

use super::*;

fn service(spec: &Value) -> Reading {
    let metadata = json!({"name": "web", "namespace": "shop", "resourceVersion": "7"});
    read::<core::Service>(json!({"metadata": metadata, "spec": spec}))
}

fn read_service(spec: &Value) -> Service {
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
        labels: [].into(),
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
    assert_eq!(read_service(&spec), expected);
}

#[test]
fn labels_are_kept_where_addresses_are_announced_by_them() {
    for (kind, kept) in [("LoadBalancer", 1), ("NodePort", 0)] {
        let read = read::<core::Service>(json!({
            "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}},
            "spec": {"type": kind},
        }));
        let Some(Object::Service(service)) = read.object else {
            panic!("no service");
        };
        assert_eq!(service.labels.len(), kept, "{kind}");
    }
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
        let addresses = read_service(&spec).cluster_ips;
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
        let reading = service(&spec);
        assert_eq!(reading.object, None, "{spec}");
        assert!(
            faults(&reading)[0].starts_with(fault),
            "{spec}: {reading:?}"
        );
    }
}

#[test]
fn a_broken_port_takes_only_itself_out() {
    let reading = service(&json!({"ports": [
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
