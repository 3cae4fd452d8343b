use serde_json::{Value, json};

use super::{check_creates, check_updates, update};
use crate::kinds::Part;

fn service() -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "d"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}})
}

fn spec(change: &Value) -> Value {
    json!({"spec": change})
}

#[test]
fn service_ports() {
    const PORT: &str = "must be between 1 and 65535, inclusive";
    let label = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
    let ports = |ports: &Value| spec(&json!({"ports": ports}));
    check_creates(
        &service(),
        &[
            (ports(&json!(null)), &["spec.ports: Required value"]),
            (
                ports(&json!([{"port": 0}])),
                &[
                    &format!("spec.ports[0].port: Invalid value: 0: {PORT}"),
                    &format!("spec.ports[0].targetPort: Invalid value: 0: {PORT}"),
                ],
            ),
            (
                ports(&json!([{"port": 80, "targetPort": 65536}])),
                &[&format!(
                    "spec.ports[0].targetPort: Invalid value: 65536: {PORT}"
                )],
            ),
            (
                ports(&json!([{"port": 80, "targetPort": "http-main"}])),
                &[],
            ),
            (
                ports(&json!([{"port": 80, "targetPort": "Http"}])),
                &[
                    "spec.ports[0].targetPort: Invalid value: \"Http\": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
                ],
            ),
            (
                ports(&json!([{"port": 80, "targetPort": "a-name-much-too-long"}])),
                &[
                    "spec.ports[0].targetPort: Invalid value: \"a-name-much-too-long\": must be no more than 15 bytes",
                ],
            ),
            (
                ports(&json!([{"port": 80}, {"port": 81}])),
                &[
                    "spec.ports[0].name: Required value",
                    "spec.ports[1].name: Required value",
                ],
            ),
            (
                ports(&json!([{"port": 80, "name": "a"}, {"port": 81, "name": "a"}])),
                &["spec.ports[1].name: Duplicate value: \"a\""],
            ),
            (
                ports(&json!([{"port": 80, "name": "A_b"}])),
                &[&format!(
                    "spec.ports[0].name: Invalid value: \"A_b\": {label}"
                )],
            ),
            (
                ports(&json!([{"port": 80, "name": "a"}, {"port": 80, "name": "b"}])),
                &["spec.ports[1]: Duplicate value: {\"port\":80,\"protocol\":\"TCP\"}"],
            ),
            (
                ports(
                    &json!([{"port": 80, "name": "a"}, {"port": 80, "name": "b", "protocol": "UDP"}]),
                ),
                &[],
            ),
            (
                ports(&json!([{"port": 80, "protocol": "ICMP"}])),
                &[
                    "spec.ports[0].protocol: Unsupported value: \"ICMP\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
                ],
            ),
            (
                ports(&json!([{"port": 80, "nodePort": 30080}])),
                &["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"],
            ),
            (
                spec(
                    &json!({"type": "NodePort", "ports": [{"port": 80, "name": "a", "nodePort": 30080}, {"port": 81, "name": "b", "nodePort": 30080}]}),
                ),
                &["spec.ports[1].nodePort: Duplicate value: 30080"],
            ),
            (
                spec(
                    &json!({"type": "NodePort", "ports": [{"port": 80, "name": "a", "nodePort": 30080}, {"port": 80, "name": "b", "nodePort": 30080, "protocol": "UDP"}]}),
                ),
                &[],
            ),
            (
                spec(&json!({"type": "LoadBalancer", "ports": [{"port": 10250}]})),
                &[
                    "spec.ports[0].port: Invalid value: 10250: may not expose port 10250 externally since it is used by kubelet",
                ],
            ),
        ],
    );
}

#[test]
fn service_names_and_types() {
    check_creates(
        &service(),
        &[
            (
                json!({"metadata": {"name": "1web"}}),
                &[
                    "metadata.name: Invalid value: \"1web\": a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')",
                ],
            ),
            (
                spec(&json!({"type": "Cluster"})),
                &[
                    "spec.type: Unsupported value: \"Cluster\": supported values: \"ClusterIP\", \"ExternalName\", \"LoadBalancer\", \"NodePort\"",
                ],
            ),
            (
                spec(&json!({"type": "NodePort", "clusterIP": "None"})),
                &[
                    "spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services",
                ],
            ),
            (
                spec(&json!({"type": "ExternalName", "ports": null})),
                &["spec.externalName: Required value"],
            ),
            (
                spec(
                    &json!({"type": "ExternalName", "ports": null, "externalName": "example.com."}),
                ),
                &[],
            ),
            (
                spec(
                    &json!({"type": "ExternalName", "externalName": "a.b", "clusterIP": "10.96.0.1"}),
                ),
                &["spec.clusterIPs: Forbidden: may not be set for ExternalName services"],
            ),
            (spec(&json!({"clusterIP": "None", "ports": null})), &[]),
            (
                spec(&json!({"selector": {"a": "-"}})),
                &[
                    "spec.selector: Invalid value: \"-\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
                ],
            ),
            (
                spec(&json!({"loadBalancerSourceRanges": ["10.0.0.0/8"]})),
                &[
                    "spec.loadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer'",
                ],
            ),
            (
                spec(&json!({"type": "LoadBalancer", "loadBalancerSourceRanges": ["10.0.0.0"]})),
                &[
                    "spec.loadBalancerSourceRanges[0]: Invalid value: \"10.0.0.0\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
                ],
            ),
            (
                spec(&json!({"allocateLoadBalancerNodePorts": true})),
                &[
                    "spec.allocateLoadBalancerNodePorts: Forbidden: may only be used when `type` is 'LoadBalancer'",
                ],
            ),
        ],
    );
}

#[test]
fn service_addresses_and_families() {
    let address = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
    check_creates(
        &service(),
        &[
            (
                spec(&json!({"clusterIP": "10.96.0.300"})),
                &[&format!(
                    "spec.clusterIPs[0]: Invalid value: \"10.96.0.300\": {address}"
                )],
            ),
            (
                spec(&json!({"clusterIPs": ["10.96.0.3"]})),
                &[
                    "spec.clusterIPs: Invalid value: [\"10.96.0.3\"]: must be empty when `clusterIP` is not specified",
                ],
            ),
            (
                spec(&json!({"clusterIP": "10.96.0.4", "clusterIPs": ["10.96.0.3"]})),
                &[
                    "spec.clusterIPs: Invalid value: [\"10.96.0.3\"]: first value must match `clusterIP`",
                ],
            ),
            (
                spec(&json!({"clusterIP": "10.96.0.3", "clusterIPs": ["10.96.0.3", "10.96.0.4"]})),
                &[
                    "spec.clusterIPs: Invalid value: [\"10.96.0.3\",\"10.96.0.4\"]: may specify no more than one IP for each IP family",
                ],
            ),
            (
                spec(&json!({"clusterIP": "None", "clusterIPs": ["None", "10.96.0.4"]})),
                &[
                    "spec.clusterIPs: Invalid value: [\"None\",\"10.96.0.4\"]: 'None' must be the first and only value",
                ],
            ),
            (
                spec(&json!({"clusterIP": "10.96.0.3", "ipFamilies": ["IPv6"]})),
                &[
                    "spec.clusterIPs[0]: Invalid value: \"10.96.0.3\": expected an IPv6 value as indicated by `ipFamilies[0]`",
                ],
            ),
            (
                spec(&json!({"ipFamilies": ["IPv4", "IPv4"]})),
                &["spec.ipFamilies[1]: Duplicate value: \"IPv4\""],
            ),
            (
                spec(&json!({"ipFamilies": ["ipv4"]})),
                &[
                    "spec.ipFamilies[0]: Unsupported value: \"ipv4\": supported values: \"IPv4\", \"IPv6\"",
                ],
            ),
            (
                spec(&json!({"ipFamilyPolicy": "Dual"})),
                &[
                    "spec.ipFamilyPolicy: Unsupported value: \"Dual\": supported values: \"PreferDualStack\", \"RequireDualStack\", \"SingleStack\"",
                ],
            ),
            (
                spec(&json!({"externalIPs": ["1.2.3.4", "2001:db8::1"]})),
                &[],
            ),
            (
                spec(&json!({"externalIPs": ["one"]})),
                &[&format!(
                    "spec.externalIPs[0]: Invalid value: \"one\": {address}"
                )],
            ),
            (
                spec(
                    &json!({"externalIPs": ["0.0.0.0", "127.0.0.1", "169.254.1.1", "224.0.0.1", "::1", "fe80::1", "ff02::1"]}),
                ),
                &[
                    "spec.externalIPs[0]: Invalid value: \"0.0.0.0\": may not be unspecified (0.0.0.0)",
                    "spec.externalIPs[1]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
                    "spec.externalIPs[2]: Invalid value: \"169.254.1.1\": may not be in the link-local range (169.254.0.0/16, fe80::/10)",
                    "spec.externalIPs[3]: Invalid value: \"224.0.0.1\": may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)",
                    "spec.externalIPs[4]: Invalid value: \"::1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
                    "spec.externalIPs[5]: Invalid value: \"fe80::1\": may not be in the link-local range (169.254.0.0/16, fe80::/10)",
                    "spec.externalIPs[6]: Invalid value: \"ff02::1\": may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)",
                ],
            ),
        ],
    );
}

#[test]
fn service_affinity_and_traffic_policies() {
    let affinity = |seconds: i64| {
        spec(
            &json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": seconds}}}),
        )
    };
    let range = |seconds: i64| {
        format!(
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: {seconds}: must be greater than 0 and less than 86400"
        )
    };
    check_creates(
        &service(),
        &[
            (affinity(1), &[]),
            (affinity(86400), &[]),
            (affinity(0), &[&range(0)]),
            (affinity(86401), &[&range(86401)]),
            (
                spec(&json!({"sessionAffinity": "Cookie"})),
                &[
                    "spec.sessionAffinity: Unsupported value: \"Cookie\": supported values: \"ClientIP\", \"None\"",
                ],
            ),
            (
                spec(&json!({"externalTrafficPolicy": "Local"})),
                &[
                    "spec.externalTrafficPolicy: Invalid value: \"Local\": may only be set for externally-accessible services",
                ],
            ),
            (
                spec(&json!({"externalTrafficPolicy": "Local", "externalIPs": ["1.2.3.4"]})),
                &[],
            ),
            (
                spec(&json!({"type": "NodePort", "externalTrafficPolicy": "Near"})),
                &[
                    "spec.externalTrafficPolicy: Unsupported value: \"Near\": supported values: \"Cluster\", \"Local\"",
                ],
            ),
            (
                spec(&json!({"internalTrafficPolicy": "Near"})),
                &[
                    "spec.internalTrafficPolicy: Unsupported value: \"Near\": supported values: \"Cluster\", \"Local\"",
                ],
            ),
            (
                spec(&json!({"healthCheckNodePort": 30000})),
                &[
                    "spec.healthCheckNodePort: Invalid value: 30000: may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
                ],
            ),
            (
                spec(&json!({"trafficDistribution": "Near"})),
                &[
                    "spec.trafficDistribution: Unsupported value: \"Near\": supported values: \"PreferClose\", \"PreferSameNode\", \"PreferSameZone\"",
                ],
            ),
        ],
    );
}

#[test]
fn service_updates() {
    let mut dual = service();
    dual["spec"]["clusterIP"] = "10.96.0.3".into();
    dual["spec"]["clusterIPs"] = json!(["10.96.0.3", "fd00:10:96::3"]);
    dual["spec"]["ipFamilies"] = json!(["IPv4", "IPv6"]);
    dual["spec"]["ipFamilyPolicy"] = "RequireDualStack".into();
    check_updates(
        &dual,
        &[
            (spec(&json!({"ports": [{"port": 81}]})), &[]),
            (
                spec(
                    &json!({"clusterIP": null, "clusterIPs": null, "ipFamilies": null, "ipFamilyPolicy": null}),
                ),
                &[],
            ),
            (
                spec(&json!({"clusterIP": "10.96.0.4"})),
                &[
                    "spec.clusterIPs[0]: Invalid value: [\"10.96.0.4\"]: may not change once set",
                    "spec.clusterIPs[0]: Invalid value: [\"10.96.0.4\"]: `ipFamilyPolicy` must be set to 'SingleStack' when releasing the secondary clusterIP",
                ],
            ),
            (
                spec(&json!({"clusterIPs": ["10.96.0.3"], "ipFamilies": ["IPv4"]})),
                &[
                    "spec.clusterIPs[0]: Invalid value: [\"10.96.0.3\"]: `ipFamilyPolicy` must be set to 'SingleStack' when releasing the secondary clusterIP",
                    "spec.ipFamilies[0]: Invalid value: [\"IPv4\"]: `ipFamilyPolicy` must be set to 'SingleStack' when releasing the secondary ipFamily",
                ],
            ),
            (spec(&json!({"ipFamilyPolicy": "SingleStack"})), &[]),
            (
                spec(&json!({"ipFamilies": ["IPv6", "IPv4"]})),
                &[
                    "spec.clusterIPs[0]: Invalid value: \"10.96.0.3\": expected an IPv6 value as indicated by `ipFamilies[0]`",
                    "spec.clusterIPs[1]: Invalid value: \"fd00:10:96::3\": expected an IPv4 value as indicated by `ipFamilies[1]`",
                    "spec.ipFamilies[0]: Invalid value: [\"IPv6\",\"IPv4\"]: may not change once set",
                    "spec.ipFamilies[1]: Invalid value: [\"IPv6\",\"IPv4\"]: may not change once set",
                ],
            ),
            (
                spec(&json!({"type": "ExternalName", "externalName": "a.b"})),
                &[],
            ),
            (
                spec(&json!({"clusterIP": "None", "clusterIPs": ["None"]})),
                &[
                    "spec.clusterIPs[0]: Invalid value: [\"None\"]: may not change once set",
                    "spec.clusterIPs[0]: Invalid value: [\"None\"]: `ipFamilyPolicy` must be set to 'SingleStack' when releasing the secondary clusterIP",
                ],
            ),
        ],
    );
    let mut balancer = service();
    balancer["spec"]["type"] = "LoadBalancer".into();
    balancer["spec"]["loadBalancerClass"] = "a/b".into();
    check_updates(
        &balancer,
        &[(
            spec(&json!({"loadBalancerClass": "a/c"})),
            &["spec.loadBalancerClass: Invalid value: \"a/c\": may not change once set"],
        )],
    );
}

#[test]
fn service_status() {
    let ingress = |entry: &Value| json!({"status": {"loadBalancer": {"ingress": [entry]}}});
    let mut balancer = service();
    balancer["spec"]["type"] = "LoadBalancer".into();
    let cases: &[(&Value, Value, &[&str])] = &[
        (&balancer, json!({"ip": "172.16.0.200"}), &[]),
        (
            &balancer,
            json!({"ip": "one"}),
            &[
                "status.loadBalancer.ingress[0].ip: Invalid value: \"one\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            ],
        ),
        (
            &balancer,
            json!({"hostname": "1.2.3.4"}),
            &[
                "status.loadBalancer.ingress[0].hostname: Invalid value: \"1.2.3.4\": must be a DNS name, not an IP address",
            ],
        ),
        (
            &balancer,
            json!({"ip": "1.2.3.4", "ipMode": "Wire"}),
            &[
                "status.loadBalancer.ingress[0].ipMode: Unsupported value: \"Wire\": supported values: \"Proxy\", \"VIP\"",
            ],
        ),
        (
            &service(),
            json!({"ip": "1.2.3.4"}),
            &[
                "status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is 'LoadBalancer'",
            ],
        ),
    ];
    for (object, entry, expected) in cases {
        assert_eq!(
            update(object, &ingress(entry), Part::Status),
            *expected,
            "{entry}"
        );
    }
}
