use serde_json::{Value, json};

use super::{check_creates, check_updates};

const PORT: &str = "must be between 1 and 65535, inclusive";
const ADDRESS: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
const PREFIX: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

#[test]
fn network_policies() {
    let policy = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "p", "namespace": "d"}, "spec": {"podSelector": {}}});
    let from = |peer: &Value| json!({"spec": {"ingress": [{"from": [peer]}]}});
    let to_port = |port: &Value| json!({"spec": {"egress": [{"ports": [port]}]}});
    let block = |block: &Value| from(&json!({"ipBlock": block}));
    let at = "spec.ingress[0].from[0]";
    let port_at = "spec.egress[0].ports[0]";
    check_creates(
        &policy,
        &[
            (
                from(&json!({})),
                &[&format!("{at}: Required value: must specify a peer")],
            ),
            (from(&json!({"podSelector": {}})), &[]),
            (
                from(&json!({"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8"}})),
                &[&format!(
                    "{at}: Forbidden: may not specify both ipBlock and another peer"
                )],
            ),
            (
                block(&json!({"cidr": ""})),
                &[&format!("{at}.ipBlock.cidr: Required value")],
            ),
            (
                block(&json!({"cidr": "10.0.0.0"})),
                &[&format!(
                    "{at}.ipBlock.cidr: Invalid value: \"10.0.0.0\": {PREFIX}"
                )],
            ),
            (
                block(&json!({"cidr": "10.1.2.3/8", "except": ["10.1.0.0/16"]})),
                &[],
            ),
            (
                block(&json!({"cidr": "10.0.0.0/8", "except": ["10.0.0.0/8"]})),
                &[&format!(
                    "{at}.ipBlock.except[0]: Invalid value: \"10.0.0.0/8\": must be a strict subset of `cidr`"
                )],
            ),
            (
                block(&json!({"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"]})),
                &[&format!(
                    "{at}.ipBlock.except[0]: Invalid value: \"11.0.0.0/16\": must be a strict subset of `cidr`"
                )],
            ),
            (
                block(&json!({"cidr": "10.0.0.0/8", "except": ["fd00::/64"]})),
                &[&format!(
                    "{at}.ipBlock.except[0]: Invalid value: \"fd00::/64\": must be a strict subset of `cidr`"
                )],
            ),
            (
                block(&json!({"cidr": "::/0", "except": ["fd00::/8", "x"]})),
                &[&format!(
                    "{at}.ipBlock.except[1]: Invalid value: \"x\": {PREFIX}"
                )],
            ),
            (
                from(
                    &json!({"podSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}),
                ),
                &[&format!(
                    "{at}.podSelector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"
                )],
            ),
            (
                from(
                    &json!({"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]}}),
                ),
                &[&format!(
                    "{at}.namespaceSelector.matchExpressions[0].values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                )],
            ),
            (
                from(
                    &json!({"podSelector": {"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["b"]}]}}),
                ),
                &[&format!(
                    "{at}.podSelector.matchExpressions[0].operator: Invalid value: \"Gt\": not a valid selector operator"
                )],
            ),
            (to_port(&json!({"port": 80, "endPort": 90})), &[]),
            (
                to_port(&json!({"port": 80, "endPort": 79})),
                &[&format!(
                    "{port_at}.endPort: Invalid value: 79: must be greater than or equal to `port`"
                )],
            ),
            (
                to_port(&json!({"port": "http", "endPort": 90})),
                &[&format!(
                    "{port_at}.endPort: Invalid value: 90: may not be specified when `port` is non-numeric"
                )],
            ),
            (
                to_port(&json!({"endPort": 90})),
                &[&format!(
                    "{port_at}.endPort: Invalid value: 90: may not be specified when `port` is not specified"
                )],
            ),
            (
                to_port(&json!({"port": 0})),
                &[&format!("{port_at}.port: Invalid value: 0: {PORT}")],
            ),
            (
                to_port(&json!({"port": "no--name"})),
                &[&format!(
                    "{port_at}.port: Invalid value: \"no--name\": must not contain consecutive hyphens"
                )],
            ),
            (
                to_port(&json!({"protocol": "ICMP"})),
                &[&format!(
                    "{port_at}.protocol: Unsupported value: \"ICMP\": supported values: \"SCTP\", \"TCP\", \"UDP\""
                )],
            ),
            (
                json!({"spec": {"policyTypes": ["Ingress", "Egress", "Ingress"]}}),
                &[
                    "spec.policyTypes: Invalid value: [\"Ingress\",\"Egress\",\"Ingress\"]: may not specify more than two policyTypes",
                ],
            ),
        ],
    );
}

#[test]
fn nodes() {
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"},
        "spec": {"podCIDRs": ["10.244.1.0/24", "fd00:10:244:1::/64"]}});
    let prefixes = |prefixes: &Value| json!({"spec": {"podCIDRs": prefixes}});
    check_creates(
        &node,
        &[
            (
                prefixes(&json!(["10.244.1.0"])),
                &[&format!(
                    "spec.podCIDRs[0]: Invalid value: \"10.244.1.0\": {PREFIX}"
                )],
            ),
            (
                prefixes(&json!(["10.244.1.0/24", "10.244.2.0/24"])),
                &[
                    "spec.podCIDRs: Invalid value: [\"10.244.1.0/24\",\"10.244.2.0/24\"]: may specify no more than one CIDR for each IP family",
                ],
            ),
            (
                json!({"spec": {"podCIDR": "10.9.0.0/24"}}),
                &["spec.podCIDR: Invalid value: \"10.9.0.0/24\": must be the first of `podCIDRs`"],
            ),
            (
                json!({"spec": {"taints": [{"key": "a", "effect": "Now"}]}}),
                &[
                    "spec.taints[0].effect: Unsupported value: \"Now\": supported values: \"NoExecute\", \"NoSchedule\", \"PreferNoSchedule\"",
                ],
            ),
            (
                json!({"status": {"addresses": [{"type": "InternalIP", "address": "1.1.1.1"}, {"type": "InternalIP", "address": "1.1.1.1"}]}}),
                &["status.addresses[1]: Duplicate value: \"InternalIP 1.1.1.1\""],
            ),
        ],
    );
    check_updates(
        &node,
        &[
            (
                json!({"spec": {"unschedulable": true}, "metadata": {"annotations": {"a": "b"}}}),
                &[],
            ),
            (
                json!({"spec": {"podCIDR": "10.244.2.0/24", "podCIDRs": ["10.244.2.0/24"]}}),
                &[
                    "spec.podCIDRs: Forbidden: node updates may not change podCIDR except from \"\" to valid",
                ],
            ),
            (
                json!({"spec": {"externalID": "x"}}),
                &["spec: Forbidden: node updates may only change labels, taints, or capacity"],
            ),
        ],
    );
}

#[test]
fn endpoints_and_slices() {
    let endpoints = json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "e", "namespace": "d"},
        "subsets": [{"addresses": [{"ip": "172.16.0.250"}], "ports": [{"port": 80}]}]});
    let subset = |subset: &Value| json!({"subsets": [subset]});
    check_creates(
        &endpoints,
        &[
            (
                subset(&json!({"ports": [{"port": 80}]})),
                &["subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"],
            ),
            (
                subset(&json!({"addresses": [{"ip": "x"}]})),
                &[&format!(
                    "subsets[0].addresses[0].ip: Invalid value: \"x\": {ADDRESS}"
                )],
            ),
            (
                subset(&json!({"notReadyAddresses": [{"ip": "127.0.0.1"}]})),
                &[
                    "subsets[0].notReadyAddresses[0].ip: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
                ],
            ),
            (
                subset(
                    &json!({"addresses": [{"ip": "1.1.1.1"}], "ports": [{"port": 80}, {"port": 81}]}),
                ),
                &[
                    "subsets[0].ports[0].name: Required value",
                    "subsets[0].ports[1].name: Required value",
                ],
            ),
            (
                subset(&json!({"addresses": [{"ip": "1.1.1.1"}], "ports": [{"port": 0}]})),
                &[&format!(
                    "subsets[0].ports[0].port: Invalid value: 0: {PORT}"
                )],
            ),
        ],
    );
    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "s", "namespace": "d"},
        "addressType": "IPv4", "endpoints": [{"addresses": ["10.244.1.2"]}], "ports": [{"port": 80}]});
    let address = |address: &str| json!({"endpoints": [{"addresses": [address]}]});
    let many: Vec<Value> = (0..1001)
        .map(|_| json!({"addresses": ["10.0.0.1"]}))
        .collect();
    check_creates(
        &slice,
        &[
            (
                json!({"addressType": null}),
                &["addressType: Required value"],
            ),
            (
                json!({"addressType": "IP"}),
                &[
                    "addressType: Unsupported value: \"IP\": supported values: \"FQDN\", \"IPv4\", \"IPv6\"",
                ],
            ),
            (
                json!({"endpoints": [{"addresses": []}]}),
                &["endpoints[0].addresses: Required value: must contain at least 1 address"],
            ),
            (
                address("fd00::1"),
                &[
                    "endpoints[0].addresses[0]: Invalid value: \"fd00::1\": must be a valid IPv4 address",
                ],
            ),
            (
                address("127.0.0.1"),
                &[
                    "endpoints[0].addresses[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
                ],
            ),
            (
                json!({"endpoints": many}),
                &["endpoints: Too many: 1001: must have at most 1000 items"],
            ),
            (
                json!({"ports": [{"port": 80}, {"port": 81}]}),
                &["ports[1].name: Duplicate value: \"\""],
            ),
        ],
    );
    check_updates(
        &slice,
        &[(
            json!({"addressType": "IPv6", "endpoints": []}),
            &["addressType: Invalid value: \"IPv6\": field is immutable"],
        )],
    );
}

#[test]
fn config_maps_and_events() {
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": "d"}, "data": {"k": ""}});
    let key = |key: &str, text: &str| format!("data[{key}]: Invalid value: {key:?}: {text}");
    check_creates(
        &map,
        &[
            (
                json!({"data": {"a b": ""}}),
                &[&key(
                    "a b",
                    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
                )],
            ),
            (
                json!({"data": {"..": ""}}),
                &[&key("..", "must not be '..'")],
            ),
            (
                json!({"data": {"..a": ""}}),
                &[&key("..a", "must not start with '..'")],
            ),
            (
                json!({"binaryData": {"k": "eA=="}}),
                &["data[k]: Invalid value: \"k\": duplicate of key present in binaryData"],
            ),
            (
                json!({"data": {"big": "x".repeat(1024 * 1024 + 1)}}),
                &["[]: Too long: may not be more than 1048576 bytes"],
            ),
        ],
    );
    let mut fixed = map.clone();
    fixed["immutable"] = true.into();
    check_updates(
        &fixed,
        &[
            (json!({"metadata": {"labels": {"a": "b"}}}), &[]),
            (
                json!({"data": {"k": "v"}}),
                &["data: Forbidden: field is immutable when `immutable` is set"],
            ),
            (
                json!({"immutable": null}),
                &["immutable: Forbidden: field is immutable when `immutable` is set"],
            ),
        ],
    );
    let event = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e", "namespace": "d"},
        "involvedObject": {"kind": "Pod", "namespace": "d", "name": "p"}});
    check_creates(
        &event,
        &[
            (
                json!({"involvedObject": {"namespace": "other"}}),
                &[
                    "involvedObject.namespace: Invalid value: \"other\": does not match event.namespace",
                ],
            ),
            (
                json!({"involvedObject": {"namespace": null}, "metadata": {"namespace": "default"}}),
                &[],
            ),
            (
                json!({"eventTime": "2026-01-01T00:00:00.000000Z", "reportingComponent": "k.io/c", "reportingInstance": "i", "action": "Run"}),
                &["reason: Required value"],
            ),
        ],
    );
}
