use std::time::{Duration, SystemTime};

use k8s_openapi::api::{core::v1 as core, discovery::v1 as discovery};
use podway_model::{EndpointSlice, IpFamily, SliceEndpoint, SlicePort};
use serde_json::json;

use super::*;

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

fn endpoint(address: &str) -> SliceEndpoint {
    SliceEndpoint {
        address: ip(address),
        ready: true,
        serving: true,
        terminating: false,
        node: None,
        pod: None,
        zone_hints: [].into(),
        node_hints: [].into(),
    }
}

fn port(name: &str, protocol: Protocol, port: u16) -> SlicePort {
    SlicePort {
        name: name.into(),
        protocol,
        port,
    }
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table of cases")]
fn a_slice_is_read_as_kube_proxy_reads_it() {
    let reading = read::<discovery::EndpointSlice>(json!({
        "metadata": {
            "name": "web-1", "namespace": "shop", "resourceVersion": "12",
            "labels": {"kubernetes.io/service-name": "web"},
            "annotations": {
                "podway.dev/weight": "50",
                "endpoints.kubernetes.io/last-change-trigger-time": "1970-01-01T00:00:01.5Z",
            },
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
            SliceEndpoint {
                node: Some("node1".into()),
                pod: Some(ObjectName::new("shop", "web-a")),
                zone_hints: ["z1".to_owned()].into(),
                node_hints: ["node1".to_owned()].into(),
                ..endpoint("10.0.0.10")
            },
            SliceEndpoint {
                ready: false,
                terminating: true,
                ..endpoint("10.0.0.2")
            },
        ],
        weight: Some(50),
        triggered: Some(SystemTime::UNIX_EPOCH + Duration::from_millis(1500)),
    };
    assert_eq!(
        reading.object,
        Some(Object::EndpointSlice(Arc::new(expected)))
    );
}
