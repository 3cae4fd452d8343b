//! Verbs that only look.

use std::io::{BufRead, BufReader};

use crate::kubectl::Kubectl;

fn contains(kubectl: &Kubectl, arguments: &[&str], words: &[&str]) {
    let text = kubectl.run(arguments);
    for word in words {
        assert!(
            text.contains(word),
            "{arguments:?} without {word:?}:\n{text}"
        );
    }
}

pub(super) fn api_resources(kubectl: &Kubectl) {
    contains(
        kubectl,
        &["api-resources"],
        &["deployments", "deploy", "apps/v1", "Deployment"],
    );
    let verbs = kubectl.run(&["api-resources", "-o", "wide", "--api-group=batch"]);
    assert!(verbs.contains("jobs") && verbs.contains("watch"), "{verbs}");
    let cluster = kubectl.run(&["api-resources", "--namespaced=false", "-o", "name"]);
    assert!(
        cluster.contains("nodes") && !cluster.contains("pods"),
        "{cluster}"
    );
}

pub(super) fn api_versions(kubectl: &Kubectl) {
    contains(
        kubectl,
        &["api-versions"],
        &["apps/v1\n", "networking.k8s.io/v1\n", "v1\n"],
    );
}

pub(super) fn cluster_info(kubectl: &Kubectl) {
    contains(
        kubectl,
        &["cluster-info"],
        &["control plane", "https://127.0.0.1:"],
    );
}

pub(super) fn version(kubectl: &Kubectl) {
    contains(kubectl, &["version"], &["Client Version", "v1.33.0+podway"]);
}

pub(super) fn explain(kubectl: &Kubectl) {
    for (path, words) in [
        ("pods", &["FIELDS", "spec"][..]),
        ("pod.spec.containers", &["image", "livenessProbe"]),
        ("deployment.spec.strategy", &["rollingUpdate"]),
        ("service.spec.ports", &["targetPort"]),
        ("networkpolicy.spec", &["podSelector"]),
        ("daemonset.spec", &["updateStrategy"]),
        ("job.spec", &["backoffLimit"]),
    ] {
        contains(kubectl, &["explain", path], words);
    }
    contains(
        kubectl,
        &["explain", "deployment", "--recursive"],
        &["terminationGracePeriodSeconds"],
    );
    assert!(
        kubectl
            .fail(&["explain", "pod.spec.nothing"])
            .contains("nothing")
    );
}

const WEB: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: podway/toolbox, ports: [{containerPort: 80}]}]}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: d}
spec:
  selector: {matchLabels: {app: d}}
  template:
    metadata: {labels: {app: d}}
    spec: {containers: [{name: c, image: podway/toolbox}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, labels: {app: web}}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: np}
spec: {podSelector: {}, policyTypes: [Ingress]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: in}
spec: {defaultBackend: {service: {name: web, port: {number: 80}}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: cm}
data: {key: value}
---
apiVersion: v1
kind: Secret
metadata: {name: se}
stringData: {key: value}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: sa}
---
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata: {name: le}
spec: {holderIdentity: me}
---
apiVersion: batch/v1
kind: Job
metadata: {name: job}
spec:
  template: {spec: {restartPolicy: Never, containers: [{name: c, image: x, command: ['true']}]}}
";

fn with_web(kubectl: &Kubectl) {
    kubectl.apply(WEB);
    kubectl.run(&["rollout", "status", "deployment/web"]);
    kubectl.run(&["rollout", "status", "daemonset/d"]);
    kubectl.run(&["wait", "--for=condition=complete", "job/job"]);
}

#[allow(
    clippy::too_many_lines,
    reason = "a table of cases is read line by line, not as logic"
)]
pub(super) fn get(kubectl: &Kubectl) {
    with_web(kubectl);
    for (arguments, words) in [
        (&["get", "deploy"][..], &["NAME", "UP-TO-DATE", "2/2"][..]),
        (
            &["get", "rs", "-o", "wide"],
            &["IMAGES", "podway/toolbox", "pod-template-hash="],
        ),
        (&["get", "ds", "d"], &["NODE SELECTOR", "<none>"]),
        (&["get", "jobs"], &["COMPLETIONS", "1/1"]),
        (&["get", "nodes", "-o", "wide"], &["Ready", "INTERNAL-IP"]),
        (
            &["get", "pods", "-o", "wide"],
            &["10.244.", "Running", "n1"],
        ),
        (
            &["get", "pods", "--show-labels"],
            &["app=web,pod-template-hash="],
        ),
        (&["get", "pods", "-L", "app"], &["APP", "web"]),
        (
            &["get", "pods", "-l", "app in (d),app!=web", "-o", "name"],
            &["pod/d-"],
        ),
        (
            &[
                "get",
                "pods",
                "--field-selector=spec.nodeName=n1",
                "-o",
                "name",
            ],
            &["pod/"],
        ),
        (
            &["get", "all"],
            &[
                "pod/web-",
                "service/web",
                "daemonset.apps/d",
                "replicaset.apps/web-",
            ],
        ),
        (
            &["get", "deploy/web", "-o", "yaml"],
            &["kind: Deployment", "availableReplicas: 2"],
        ),
        (
            &["get", "deploy/web", "-o", "json"],
            &["\"kind\": \"Deployment\""],
        ),
        (
            &[
                "get",
                "deploy",
                "web",
                "-o",
                "jsonpath={.status.readyReplicas}",
            ],
            &["2"],
        ),
        (
            &[
                "get",
                "svc",
                "-o",
                "go-template={{range .items}}{{.metadata.name}} {{end}}",
            ],
            &["web "],
        ),
        (
            &[
                "get",
                "pods",
                "-o",
                "custom-columns=NAME:.metadata.name,NODE:.spec.nodeName",
            ],
            &["NAME", "NODE", "n1"],
        ),
        (
            &[
                "get",
                "svc,endpointslices,ep,cm,secret,sa,lease,ingress,netpol",
            ],
            &["service/web"],
        ),
        (&["get", "pods", "-A", "--no-headers"], &["web-"]),
        (&["get", "--raw", "/readyz"], &["ok"]),
    ] {
        contains(kubectl, arguments, words);
    }
    let names = kubectl.run(&[
        "get",
        "cm,secret,sa",
        "--sort-by=.metadata.name",
        "-o",
        "name",
    ]);
    assert_eq!(names, "configmap/cm\nserviceaccount/sa\nsecret/se\n");
    let all = kubectl.run(&["get", "pods", "-o", "name"]);
    let chunks = kubectl.run(&["get", "pods", "-o", "name", "--chunk-size=1"]);
    assert_eq!(all, chunks);
    assert_eq!(all.lines().count(), 5, "{all}");
}

pub(super) fn describe(kubectl: &Kubectl) {
    with_web(kubectl);
    for (arguments, words) in [
        (
            &["deploy", "web"][..],
            &["NewReplicaSetAvailable", "Scaled up replica set web-"][..],
        ),
        (
            &["rs", "-l", "app=web"],
            &["Controlled By:", "Created pod: web-"],
        ),
        (
            &["ds", "d"],
            &[
                "Number of Nodes Scheduled with Available Pods: 2",
                "Created pod: d-",
            ],
        ),
        (&["job", "job"], &["1 Succeeded", "Created pod: job-"]),
        (
            &["pods", "-l", "app=web"],
            &["Controlled By:", "Node:", "Tolerations:", "Ready"],
        ),
        (&["svc", "web"], &["Endpoints:", "10.244."]),
        (
            &["endpointslices", "-l", "kubernetes.io/service-name=web"],
            &["AddressType", "10.244."],
        ),
        (&["endpoints", "web"], &["10.244."]),
        (&["netpol", "np"], &["isolated for ingress"]),
        (&["ingress", "in"], &["web:80"]),
        (&["configmap", "cm"], &["key:", "value"]),
        (&["secret", "se"], &["Opaque", "5 bytes"]),
        (&["sa", "sa"], &["sa"]),
        (&["lease", "le"], &["me"]),
        (&["node", "n1"], &["Ready", "Non-terminated Pods"]),
        (&["namespace", "default"], &["Active"]),
    ] {
        contains(kubectl, &[&["describe"], arguments].concat(), words);
    }
}

pub(super) fn watch(kubectl: &Kubectl) {
    let watch = [
        "get",
        "configmaps",
        "-w",
        "--no-headers",
        "-l",
        "watched=yes",
    ];
    let mut child = kubectl.command(&watch).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || {
        let line = lines.next().unwrap().unwrap();
        line.split_whitespace()
            .take(2)
            .collect::<Vec<_>>()
            .join(" ")
    };
    let map = |data: &str| {
        format!(
            "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: seen, \
             labels: {{watched: 'yes'}}}}, data: {data}}}"
        )
    };
    kubectl.apply(&map("{a: b}"));
    assert_eq!(next(), "seen 1");
    kubectl.apply(&map("{a: b, c: d}"));
    assert_eq!(next(), "seen 2");
    kubectl.run(&["delete", "configmap", "seen"]);
    assert_eq!(next(), "seen 2");
    child.kill().unwrap();
    child.wait().unwrap();
}
