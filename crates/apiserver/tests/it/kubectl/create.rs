//! `kubectl create KIND`: protobuf since 1.32, JSON before.

use serde_json::{Value, json};

use super::{Kubectl, with_each_version};

/// What is created, and what is then there.
#[allow(
    clippy::too_many_lines,
    reason = "a table of cases is read line by line, not as logic"
)]
fn cases(namespace: &str) -> Vec<(Vec<&str>, &'static str, Value)> {
    vec![
        (
            vec!["configmap", "c", "--from-literal=a=1", "--from-literal=b="],
            "configmap/c",
            json!({ "data": { "a": "1", "b": "" } }),
        ),
        (
            vec!["service", "clusterip", "web", "--tcp=80:8080"],
            "service/web",
            json!({ "spec": {
                "type": "ClusterIP", "selector": { "app": "web" },
                "ports": [{
                    "name": "80-8080", "port": 80, "targetPort": 8080, "protocol": "TCP",
                }],
            } }),
        ),
        (
            vec!["service", "nodeport", "np", "--tcp=80"],
            "service/np",
            json!({ "spec": { "type": "NodePort" }, "metadata": { "namespace": namespace } }),
        ),
        (
            vec!["service", "loadbalancer", "lb", "--tcp=1:http"],
            "service/lb",
            json!({ "spec": { "type": "LoadBalancer", "ports": [{ "targetPort": "http" }] } }),
        ),
        (
            vec!["service", "externalname", "en", "--external-name=a.b"],
            "service/en",
            json!({ "spec": { "type": "ExternalName", "externalName": "a.b" } }),
        ),
        (
            vec!["service", "clusterip", "headless", "--clusterip=None"],
            "service/headless",
            json!({ "spec": { "clusterIP": "None" } }),
        ),
        (
            vec!["secret", "generic", "s", "--from-literal=a=b"],
            "secret/s",
            json!({ "type": "Opaque", "data": { "a": "Yg==" } }),
        ),
        (
            vec![
                "secret",
                "docker-registry",
                "pull",
                "--docker-server=x",
                "--docker-username=u",
                "--docker-password=p",
            ],
            "secret/pull",
            json!({ "type": "kubernetes.io/dockerconfigjson" }),
        ),
        (vec!["serviceaccount", "sa"], "serviceaccount/sa", json!({})),
        (
            vec![
                "deployment",
                "d",
                "--image=podway/toolbox",
                "--replicas=0",
                "--port=80",
            ],
            "deployment.apps/d",
            json!({ "spec": {
                "replicas": 0, "selector": { "matchLabels": { "app": "d" } },
                "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": "25%" } },
                "template": { "spec": { "containers": [{
                    "image": "podway/toolbox", "ports": [{ "containerPort": 80 }],
                }] } },
            } }),
        ),
        (
            vec!["job", "j", "--image=podway/toolbox", "--", "true", "-x"],
            "job.batch/j",
            json!({ "spec": {
                "completions": 1, "parallelism": 1, "backoffLimit": 6,
                "template": { "spec": {
                    "restartPolicy": "Never", "containers": [{ "command": ["true", "-x"] }],
                } },
            } }),
        ),
        (
            vec![
                "ingress",
                "i",
                "--class=nginx",
                "--rule=a.b/x*=web:80,tls=cert",
            ],
            "ingress.networking.k8s.io/i",
            json!({ "spec": {
                "ingressClassName": "nginx",
                "rules": [{ "host": "a.b", "http": { "paths": [{
                    "path": "/x", "pathType": "Prefix",
                    "backend": { "service": { "name": "web", "port": { "number": 80 } } },
                }] } }],
                "tls": [{ "hosts": ["a.b"], "secretName": "cert" }],
            } }),
        ),
    ]
}

/// Whether `found` has everything that `wanted` has.
fn holds(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => wanted
            .iter()
            .all(|(key, value)| found.get(key).is_some_and(|found| holds(found, value))),
        (Value::Array(found), Value::Array(wanted)) => {
            found.len() == wanted.len() && found.iter().zip(wanted).all(|(a, b)| holds(a, b))
        }
        (found, wanted) => found == wanted,
    }
}

#[test]
fn create() {
    with_each_version(|kubectl: &Kubectl, namespace| {
        for (arguments, name, expected) in cases(namespace) {
            let arguments = [&["create"], arguments.as_slice()].concat();
            assert_eq!(kubectl.run(&arguments), format!("{name} created\n"));
            let found = kubectl.json(&["get", name]);
            assert!(holds(&found, &expected), "{arguments:?}: {found:#}");
        }
        let refused = kubectl.fail(&["create", "configmap", "c"]);
        assert!(refused.contains("already exists"), "{refused}");
        let dry = [
            "create",
            "configmap",
            "dry",
            "--dry-run=server",
            "-o",
            "name",
        ];
        assert_eq!(kubectl.run(&dry), "configmap/dry\n");
        kubectl.fail(&["get", "configmap", "dry"]);
    });
}
