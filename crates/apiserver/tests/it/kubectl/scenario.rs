//! One walk through the verbs.

use std::io::{BufRead, BufReader};

use super::Kubectl;

const SHOP: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: shop, labels: {app: web}}
spec:
  containers:
  - {name: c, image: podway/toolbox, ports: [{containerPort: 8080, name: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  type: NodePort
  ipFamilyPolicy: RequireDualStack
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: http, nodePort: 30080}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny, namespace: shop}
spec: {podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: shop}
data: {a: "1"}
"#;

const READY: &str = r#"{"status": {"phase": "Running", "podIP": "10.244.1.5",
 "podIPs": [{"ip": "10.244.1.5"}, {"ip": "fd00:10:244:1::5"}],
 "conditions": [{"type": "Ready", "status": "True"}],
 "containerStatuses": [{"name": "c", "image": "podway/toolbox", "imageID": "", "ready": true,
   "restartCount": 0, "state": {"running": {"startedAt": "2026-11-20T10:00:00Z"}}}]}}"#;

pub(super) fn run(kubectl: &Kubectl) {
    discover(kubectl);
    apply(kubectl);
    change(kubectl);
    endpoints(kubectl);
    describe(kubectl);
    watch(kubectl);
    refuse(kubectl);
    delete(kubectl);
}

/// Rows of `get`, without the header and without the age.
fn rows(kubectl: &Kubectl, arguments: &[&str]) -> Vec<Vec<String>> {
    let text = kubectl.run(arguments);
    let lines = text.lines().skip(1);
    lines
        .map(|line| line.split_whitespace().map(str::to_owned).collect())
        .collect()
}

fn discover(kubectl: &Kubectl) {
    let resources = kubectl.run(&["api-resources", "--no-headers"]);
    let names: Vec<&str> = resources
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(
        names,
        [
            "configmaps",
            "endpoints",
            "events",
            "namespaces",
            "nodes",
            "pods",
            "secrets",
            "serviceaccounts",
            "services",
            "customresourcedefinitions",
            "controllerrevisions",
            "daemonsets",
            "deployments",
            "replicasets",
            "jobs",
            "leases",
            "endpointslices",
            "ingressclasses",
            "ingresses",
            "networkpolicies"
        ]
    );
    assert!(kubectl.run(&["version"]).contains("v1.33.0+podway"));
    for kind in ["pod", "service.spec", "networkpolicy", "endpointslices"] {
        assert!(
            kubectl.run(&["explain", kind]).contains("DESCRIPTION"),
            "{kind}"
        );
    }
}

fn apply(kubectl: &Kubectl) {
    let words = [
        "namespace/shop",
        "pod/web-1",
        "service/web",
        "networkpolicy.networking.k8s.io/deny",
        "configmap/settings",
    ];
    let outcome = |word: &str| -> String {
        words
            .iter()
            .map(|name| format!("{name} {word}\n"))
            .collect()
    };
    assert_eq!(kubectl.apply(SHOP), outcome("created"));
    assert_eq!(kubectl.apply(SHOP), outcome("unchanged"));
    assert_eq!(kubectl.run_with_input(&["diff", "-f", "-"], SHOP), "");
    let changed = SHOP
        .replace("nodePort: 30080", "nodePort: 30081")
        .replace("a: \"1\"", "b: \"2\"");
    let said = kubectl.apply(&changed);
    assert!(said.contains("service/web configured\n"), "{said}");
    assert!(said.contains("configmap/settings configured\n"), "{said}");
    let data = kubectl.run(&[
        "get",
        "configmap",
        "settings",
        "-n",
        "shop",
        "-o",
        "jsonpath={.data}",
    ]);
    assert_eq!(data, r#"{"b":"2"}"#);
    let row = &rows(kubectl, &["get", "svc", "web", "-n", "shop", "-o", "wide"])[0];
    assert_eq!(
        (row[1].as_str(), row[4].as_str(), row[6].as_str()),
        ("NodePort", "80:30081/TCP", "app=web")
    );
    let dry = kubectl.run_with_input(&["apply", "--dry-run=server", "-f", "-"], SHOP);
    assert!(
        dry.contains("service/web configured (server dry run)\n"),
        "{dry}"
    );
    assert!(
        kubectl
            .run(&["get", "svc", "web", "-n", "shop"])
            .contains("30081")
    );
}

fn change(kubectl: &Kubectl) {
    kubectl.run(&["label", "pod", "web-1", "-n", "shop", "tier=front"]);
    kubectl.run(&[
        "annotate",
        "service",
        "web",
        "-n",
        "shop",
        "note=hello world",
    ]);
    let named = kubectl.run(&[
        "get",
        "pods",
        "-n",
        "shop",
        "-l",
        "tier in (front),app",
        "-o",
        "name",
    ]);
    assert_eq!(named, "pod/web-1\n");
    assert_eq!(
        kubectl.run(&["get", "pods", "-A", "-l", "tier!=front", "-o", "name"]),
        ""
    );
    let patches = [
        (
            "strategic",
            r#"{"spec":{"ports":[{"port":80,"nodePort":30082}]}}"#,
            "80:30082/TCP",
        ),
        (
            "merge",
            r#"{"metadata":{"labels":{"x":"y"}}}"#,
            "80:30082/TCP",
        ),
        (
            "json",
            r#"[{"op":"replace","path":"/spec/ports/0/port","value":81}]"#,
            "81:30082/TCP",
        ),
    ];
    for (format, patch, ports) in patches {
        let patch = [
            "patch", "service", "web", "-n", "shop", "--type", format, "-p", patch,
        ];
        kubectl.run(&patch);
        assert_eq!(
            rows(kubectl, &["get", "svc", "web", "-n", "shop"])[0][4],
            ports,
            "{patch:?}"
        );
    }
    let edited = kubectl.run(&["get", "service", "web", "-n", "shop", "-o", "yaml"]);
    let edited = edited.replace("port: 81", "port: 80");
    kubectl.run_with_input(&["replace", "-f", "-"], &edited);
}

fn endpoints(kubectl: &Kubectl) {
    let url = "/api/v1/namespaces/shop/pods/web-1";
    kubectl.run(&[
        "patch",
        "pod",
        "web-1",
        "-n",
        "shop",
        "--subresource=status",
        "-p",
        READY,
    ]);
    assert!(kubectl.run(&["get", "--raw", url]).contains("10.244.1.5"));
    let row = &rows(
        kubectl,
        &["get", "pod", "web-1", "-n", "shop", "-o", "wide"],
    )[0];
    assert_eq!(row[1..4], ["1/1", "Running", "0"]);
    kubectl.wait_until("endpoints of both families", || {
        let slices = [
            "get",
            "endpointslices",
            "-n",
            "shop",
            "-l",
            "kubernetes.io/service-name=web",
        ];
        let slices = kubectl.run(&slices);
        let endpoints = kubectl.run(&["get", "endpoints", "web", "-n", "shop"]);
        slices.contains("fd00:10:244:1::5")
            && slices.contains("10.244.1.5")
            && endpoints.contains("10.244.1.5:8080")
    });
}

fn describe(kubectl: &Kubectl) {
    let uid = kubectl.run(&[
        "get",
        "pod",
        "web-1",
        "-n",
        "shop",
        "-o",
        "jsonpath={.metadata.uid}",
    ]);
    let event = format!(
        "{{apiVersion: v1, kind: Event, metadata: {{name: web.1, namespace: shop}}, \
         involvedObject: {{kind: Pod, namespace: shop, name: web-1, apiVersion: v1, uid: {uid}}}, \
         reason: Pulled, message: already there, type: Normal, count: 1, \
         firstTimestamp: '2026-11-20T10:00:00Z', lastTimestamp: '2026-11-20T10:00:00Z'}}"
    );
    kubectl.run_with_input(&["create", "-f", "-"], &event);
    let cases: &[(&[&str], &[&str])] = &[
        (
            &["describe", "pod", "web-1", "-n", "shop"],
            &["10.244.1.5", "already there", "tier=front"],
        ),
        (
            &["describe", "service", "web", "-n", "shop"],
            &["10.244.1.5:8080", "30082/TCP", "RequireDualStack"],
        ),
        (
            &["describe", "networkpolicy", "deny", "-n", "shop"],
            &["isolated for ingress"],
        ),
        (&["describe", "namespace", "shop"], &["Active"]),
        (&["get", "events", "-n", "shop"], &["pod/web-1", "Pulled"]),
        (&["get", "all", "-n", "shop"], &["pod/web-1", "service/web"]),
        (
            &["get", "pods", "-A", "--field-selector=status.phase=Running"],
            &["web-1"],
        ),
        (
            &["get", "namespaces", "--chunk-size=1"],
            &["default", "kube-system", "shop"],
        ),
        (&["get", "service", "kubernetes"], &["10.96.0.1", "443/TCP"]),
    ];
    for (arguments, expected) in cases {
        let text = kubectl.run(arguments);
        for word in *expected {
            assert!(text.contains(word), "{arguments:?} without {word}:\n{text}");
        }
    }
}

fn watch(kubectl: &Kubectl) {
    let mut child = kubectl
        .command(&[
            "get",
            "configmaps",
            "-n",
            "shop",
            "-w",
            "--no-headers",
            "-l",
            "watched=yes",
        ])
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || {
        lines
            .next()
            .unwrap()
            .unwrap()
            .split_whitespace()
            .take(2)
            .collect::<Vec<_>>()
            .join(" ")
    };
    let map = |data: &str, label: &str| {
        format!(
            "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: seen, namespace: shop, \
                 labels: {{watched: \"{label}\"}}}}, data: {data}}}"
        )
    };
    kubectl.apply(&map("{a: b}", "yes"));
    assert_eq!(next(), "seen 1");
    kubectl.apply(&map("{a: b, c: d}", "yes"));
    assert_eq!(next(), "seen 2");
    kubectl.apply(&map("{a: b}", "no"));
    assert_eq!(next(), "seen 1", "it ceases to match: a DELETED event");
    child.kill().unwrap();
    child.wait().unwrap();
}

fn refuse(kubectl: &Kubectl) {
    let service = |spec: &str| {
        format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: bad, namespace: shop}}, spec: {spec}}}"
        )
    };
    let cases = [
        (
            service("{ports: [{port: 70000}]}"),
            "must be between 1 and 65535, inclusive",
        ),
        (
            service("{ports: [{prot: 80}]}"),
            "unknown field \"spec.ports[0].prot\"",
        ),
        (service("{ports: [{port: x}]}"), "cannot unmarshal string"),
        (
            service("{type: NodePort, ports: [{port: 1, nodePort: 30082}]}"),
            "provided port is already allocated",
        ),
        (
            service("{clusterIP: 192.0.2.1, ports: [{port: 1}]}"),
            "is not in the valid range",
        ),
        (
            "{apiVersion: example.com/v1, kind: Thing, metadata: {name: d}}".to_owned(),
            "no matches for kind",
        ),
        (
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: x, namespace: none}}".to_owned(),
            "namespaces \"none\" not found",
        ),
    ];
    for (manifest, expected) in cases {
        let refused = kubectl.fail_with_input(&["create", "-f", "-"], &manifest);
        assert!(refused.contains(expected), "{manifest}: {refused}");
    }
    let refused = kubectl.fail(&["get", "pod", "none", "-n", "shop"]);
    assert_eq!(
        refused,
        "Error from server (NotFound): pods \"none\" not found\n"
    );
    let refused = kubectl.fail(&["delete", "namespace", "kube-system"]);
    assert!(
        refused.contains("this namespace may not be deleted"),
        "{refused}"
    );
}

fn delete(kubectl: &Kubectl) {
    let said = kubectl.run(&["delete", "configmap", "seen", "-n", "shop"]);
    assert!(said.starts_with("configmap \"seen\" deleted"), "{said}");
    kubectl.run(&["delete", "pods", "--all", "-n", "shop"]);
    kubectl.apply(SHOP);
    // Namespace and content in one file, the namespace first.
    kubectl.run_with_input(&["delete", "-f", "-"], SHOP);
    let gone = kubectl.fail(&["get", "namespace", "shop"]);
    assert!(gone.contains("NotFound"), "{gone}");
}
