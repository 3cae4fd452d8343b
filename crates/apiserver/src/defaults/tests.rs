#![allow(
    clippy::too_many_lines,
    reason = "a table of cases is read line by line, not as logic"
)]

use serde_json::{Value, json};

use crate::kinds::{Part, known};

fn created(api_version: &str, kind: &str, object: &Value) -> Value {
    let kind = known(api_version, kind);
    let mut whole = json!({"metadata": {"name": "web", "namespace": "d"}});
    if !kind.namespaced {
        whole["metadata"]
            .as_object_mut()
            .unwrap()
            .remove("namespace");
    }
    json_patch::merge(&mut whole, object);
    kind.admit_create(kind.decode_value(whole).unwrap().object)
        .unwrap()
}

fn updated(old: &Value, new: &Value) -> Value {
    let kind = known("v1", "Service");
    let mut whole = json!({"metadata": {"name": "web", "namespace": "d"}});
    json_patch::merge(&mut whole, new);
    kind.admit_update(kind.decode_value(whole).unwrap().object, old, Part::Object)
        .unwrap()
}

#[test]
fn services_get_what_kubernetes_gives_them() {
    let plain = created("v1", "Service", &json!({"spec": {"ports": [{"port": 80}]}}));
    assert_eq!(
        plain["spec"],
        json!({"type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
            "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}]})
    );
    let balancer = created(
        "v1",
        "Service",
        &json!({"spec": {"type": "LoadBalancer", "sessionAffinity": "ClientIP",
        "ports": [{"port": 80, "targetPort": "http", "protocol": "UDP", "nodePort": 0}]}}),
    );
    assert_eq!(
        balancer["spec"],
        json!({"type": "LoadBalancer", "sessionAffinity": "ClientIP", "internalTrafficPolicy": "Cluster",
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}},
            "externalTrafficPolicy": "Cluster", "allocateLoadBalancerNodePorts": true,
            "ports": [{"port": 80, "protocol": "UDP", "targetPort": "http"}]})
    );
    let external = created(
        "v1",
        "Service",
        &json!({"spec": {"type": "ExternalName", "externalName": "a.b"}}),
    );
    assert_eq!(
        external["spec"],
        json!({"type": "ExternalName", "externalName": "a.b", "sessionAffinity": "None"})
    );
    let asked = created(
        "v1",
        "Service",
        &json!({"spec": {"clusterIP": "10.96.0.9", "ports": [{"port": 80}]}}),
    );
    assert_eq!(asked["spec"]["clusterIPs"], json!(["10.96.0.9"]));
}

#[test]
fn an_applied_manifest_keeps_what_was_allocated() {
    let ports = json!([{"name": "a", "port": 80, "nodePort": 30080}, {"name": "b", "port": 81, "nodePort": 30081}]);
    let old = created(
        "v1",
        "Service",
        &json!({"spec": {"type": "NodePort", "clusterIP": "10.96.0.9", "ports": ports,
        "clusterIPs": ["10.96.0.9", "fd00::9"], "ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "PreferDualStack"}}),
    );
    // The next manifest, what to look at, and what is there.
    let cases = [
        (
            json!({"type": "NodePort", "ports": [{"name": "a", "port": 82}, {"name": "b", "port": 81}]}),
            "/clusterIPs",
            json!(["10.96.0.9", "fd00::9"]),
        ),
        (
            json!({"type": "NodePort", "ports": [{"name": "a", "port": 82}, {"name": "b", "port": 81}]}),
            "/ports/0/nodePort",
            json!(30080),
        ),
        (
            json!({"type": "NodePort", "ports": [{"name": "a", "port": 82}, {"name": "b", "port": 81}]}),
            "/ipFamilyPolicy",
            json!("PreferDualStack"),
        ),
        (
            json!({"type": "NodePort", "ports": [{"name": "new", "port": 82}]}),
            "/ports/0/nodePort",
            Value::Null,
        ),
        (
            json!({"type": "NodePort", "ports": [{"name": "a", "port": 80}, {"name": "b", "port": 81, "nodePort": 30080}]}),
            "/ports/0/nodePort",
            Value::Null,
        ),
        (
            json!({"type": "ClusterIP", "ports": ports, "externalTrafficPolicy": "Cluster"}),
            "/ports/0/nodePort",
            Value::Null,
        ),
        (
            json!({"type": "ClusterIP", "ports": ports, "externalTrafficPolicy": "Cluster"}),
            "/externalTrafficPolicy",
            Value::Null,
        ),
        (
            json!({"type": "ExternalName", "externalName": "a.b", "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9", "fd00::9"]}),
            "/clusterIP",
            Value::Null,
        ),
        (
            json!({"type": "NodePort", "ports": ports, "ipFamilyPolicy": "SingleStack"}),
            "/clusterIPs",
            json!(["10.96.0.9"]),
        ),
        (
            json!({"type": "NodePort", "ports": ports, "ipFamilyPolicy": "SingleStack"}),
            "/ipFamilies",
            json!(["IPv4"]),
        ),
    ];
    for (spec, at, expected) in cases {
        let new = updated(&old, &json!({"spec": spec}));
        assert_eq!(
            new["spec"].pointer(at).unwrap_or(&Value::Null),
            &expected,
            "{spec} gave {new:#}"
        );
    }
}

#[test]
fn a_load_balancers_addresses_go_with_its_type() {
    let spec = json!({"spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}});
    let mut old = created("v1", "Service", &spec);
    old["status"]["loadBalancer"] = json!({"ingress": [{"ip": "1.2.3.4", "ipMode": "VIP"}]});
    assert_eq!(updated(&old, &spec)["status"], old["status"]);
    let internal = updated(&old, &json!({"spec": {"ports": [{"port": 80}]}}));
    assert_eq!(internal["status"], json!({"loadBalancer": {}}));
}

#[test]
fn pods_get_what_kubernetes_gives_them() {
    let pod = created(
        "v1",
        "Pod",
        &json!({"spec": {"hostNetwork": true, "volumes": [{"name": "v"}, {"name": "m", "configMap": {"name": "c"}}],
        "containers": [{"name": "c", "image": "podway/toolbox", "ports": [{"containerPort": 80}],
            "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
            "readinessProbe": {"httpGet": {"port": 80}}}]},
        "status": {"phase": "Running"}}),
    );
    let probe = json!({"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "timeoutSeconds": 1,
        "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3});
    assert_eq!(
        pod["spec"],
        json!({"hostNetwork": true, "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler",
            "terminationGracePeriodSeconds": 30, "enableServiceLinks": true, "securityContext": {},
            "tolerations": [
                {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
                {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
            ],
            "volumes": [{"name": "v", "emptyDir": {}}, {"name": "m", "configMap": {"name": "c", "defaultMode": 420}}],
            "containers": [{"name": "c", "image": "podway/toolbox", "imagePullPolicy": "Always",
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                "ports": [{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}],
                "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}},
                "readinessProbe": probe}]})
    );
    assert_eq!(
        pod["status"],
        json!({"phase": "Pending", "qosClass": "Guaranteed"})
    );
    let tags = [
        ("a", "Always"),
        ("a:latest", "Always"),
        ("a:1", "IfNotPresent"),
        ("r:5000/a", "Always"),
        ("r:5000/a:1", "IfNotPresent"),
        ("a@sha256:0", "IfNotPresent"),
    ];
    for (image, policy) in tags {
        let pod = created(
            "v1",
            "Pod",
            &json!({"spec": {"containers": [{"name": "c", "image": image}]}}),
        );
        assert_eq!(
            pod["spec"]["containers"][0]["imagePullPolicy"], policy,
            "{image}"
        );
        assert_eq!(pod["status"]["qosClass"], "BestEffort");
    }
}

#[test]
fn policies_isolate_what_they_have_rules_for() {
    let cases = [
        (json!({"podSelector": {}}), json!(["Ingress"])),
        (json!({"podSelector": {}, "egress": []}), json!(["Ingress"])),
        (
            json!({"podSelector": {}, "egress": [{}]}),
            json!(["Ingress", "Egress"]),
        ),
        (
            json!({"policyTypes": ["Egress"], "ingress": [{}]}),
            json!(["Egress"]),
        ),
    ];
    for (spec, types) in cases {
        let policy = created(
            "networking.k8s.io/v1",
            "NetworkPolicy",
            &json!({"spec": spec}),
        );
        assert_eq!(policy["spec"]["policyTypes"], types, "{spec}");
        assert_eq!(policy["spec"]["podSelector"], json!({}), "{spec}");
    }
    let ports = json!({"ingress": [{"ports": [{}]}], "egress": [{"ports": [{"port": "dns"}]}]});
    let policy = created(
        "networking.k8s.io/v1",
        "NetworkPolicy",
        &json!({"spec": ports}),
    );
    assert_eq!(policy["spec"]["ingress"][0]["ports"][0]["protocol"], "TCP");
    assert_eq!(policy["spec"]["egress"][0]["ports"][0]["protocol"], "TCP");
}

#[test]
fn the_other_kinds() {
    let namespace = created(
        "v1",
        "Namespace",
        &json!({"status": {"phase": "Terminating"}}),
    );
    assert_eq!(
        namespace["metadata"]["labels"],
        json!({"kubernetes.io/metadata.name": "web"})
    );
    assert_eq!(namespace["spec"]["finalizers"], json!(["kubernetes"]));
    assert_eq!(namespace["status"], json!({"phase": "Active"}));
    let node = created(
        "v1",
        "Node",
        &json!({"spec": {"podCIDRs": ["10.244.1.0/24"]}, "status": {"nodeInfo": {}}}),
    );
    assert_eq!(node["spec"]["podCIDR"], "10.244.1.0/24");
    assert!(
        node["status"].is_object(),
        "a kubelet registers with its status"
    );
    let node = created("v1", "Node", &json!({"spec": {"podCIDR": "10.244.1.0/24"}}));
    assert_eq!(node["spec"]["podCIDRs"], json!(["10.244.1.0/24"]));
    let slice = created(
        "discovery.k8s.io/v1",
        "EndpointSlice",
        &json!({"addressType": "IPv4", "endpoints": [], "ports": [{"port": 80}]}),
    );
    assert_eq!(
        slice["ports"],
        json!([{"name": "", "port": 80, "protocol": "TCP"}])
    );
    let endpoints = created(
        "v1",
        "Endpoints",
        &json!({"subsets": [{"addresses": [{"ip": "1.1.1.1"}], "ports": [{"port": 80}]}]}),
    );
    assert_eq!(
        endpoints["subsets"][0]["ports"],
        json!([{"port": 80, "protocol": "TCP"}])
    );
}
