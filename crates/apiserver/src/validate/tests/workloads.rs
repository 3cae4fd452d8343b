use serde_json::{Value, json};

use super::{check_creates, check_updates};

const NEGATIVE: &str = "Invalid value: -1: must be greater than or equal to 0";

fn template(restart: &str) -> Value {
    json!({
        "metadata": { "labels": { "app": "x" } },
        "spec": { "restartPolicy": restart, "containers": [{ "name": "c", "image": "i" }] },
    })
}

fn workload(kind: &str, version: &str, restart: &str) -> Value {
    json!({
        "apiVersion": version, "kind": kind, "metadata": { "name": "w", "namespace": "d" },
        "spec": { "selector": { "matchLabels": { "app": "x" } }, "template": template(restart) },
    })
}

#[test]
fn what_all_workloads_have_in_common() {
    for (kind, name) in [
        ("Deployment", "deployment"),
        ("ReplicaSet", "replicaset"),
        ("DaemonSet", "daemonset"),
    ] {
        let sound = workload(kind, "apps/v1", "Always");
        let empty =
            format!("spec.selector: Invalid value: {{}}: empty selector is invalid for {name}");
        check_creates(
            &sound,
            &[
                (
                    json!({ "spec": { "selector": { "matchLabels": { "app": "y" } } } }),
                    &[
                        "spec.template.metadata.labels: Invalid value: {\"app\":\"x\"}: `selector` \
                       does not match template `labels`",
                    ],
                ),
                (
                    json!({ "spec": { "selector": { "matchLabels": null } } }),
                    &[&empty],
                ),
                (
                    json!({ "spec": { "template": { "spec": { "restartPolicy": "Never" } } } }),
                    &[
                        "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported \
                       values: \"Always\"",
                    ],
                ),
                (
                    json!({ "spec": { "template": { "spec": { "containers": null } } } }),
                    &["spec.template.spec.containers: Required value"],
                ),
                (
                    json!({ "spec": { "minReadySeconds": -1 } }),
                    &[&format!("spec.minReadySeconds: {NEGATIVE}")],
                ),
            ],
        );
        let more = json!({ "spec": {
            "selector": { "matchLabels": { "tier": "y" } },
            "template": { "metadata": { "labels": { "tier": "y" } } },
        } });
        let whole = "{\"matchLabels\":{\"app\":\"x\",\"tier\":\"y\"}}";
        check_updates(
            &sound,
            &[
                (
                    json!({ "spec": { "template": { "metadata": { "labels": { "z": "z" } } } } }),
                    &[],
                ),
                (
                    more,
                    &[&format!(
                        "spec.selector: Invalid value: {whole}: field is immutable"
                    )],
                ),
            ],
        );
    }
}

#[test]
fn deployments() {
    let rolling = |update: Value| json!({ "spec": { "strategy": { "rollingUpdate": update } } });
    let at = "spec.strategy.rollingUpdate";
    check_creates(
        &workload("Deployment", "apps/v1", "Always"),
        &[
            (
                json!({ "spec": { "replicas": -1 } }),
                &[&format!("spec.replicas: {NEGATIVE}")],
            ),
            (
                json!({ "spec": { "progressDeadlineSeconds": 5, "minReadySeconds": 5 } }),
                &[
                    "spec.progressDeadlineSeconds: Invalid value: 5: must be greater than \
                   minReadySeconds",
                ],
            ),
            (
                json!({ "spec": { "strategy": { "type": "Fast" } } }),
                &[
                    "spec.strategy.type: Unsupported value: \"Fast\": supported values: \
                   \"Recreate\", \"RollingUpdate\"",
                ],
            ),
            (
                json!({ "spec": { "strategy": {
                    "type": "Recreate", "rollingUpdate": { "maxSurge": 1 },
                } } }),
                &[&format!(
                    "{at}: Forbidden: may not be specified when strategy `type` is 'Recreate'"
                )],
            ),
            (
                rolling(json!({ "maxSurge": 0, "maxUnavailable": "0%" })),
                &[&format!(
                    "{at}.maxUnavailable: Invalid value: \"0%\": may not be 0 when `maxSurge` is 0"
                )],
            ),
            (
                rolling(json!({ "maxUnavailable": "101%" })),
                &[&format!(
                    "{at}.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%"
                )],
            ),
            (
                rolling(json!({ "maxSurge": "a" })),
                &[&format!(
                    "{at}.maxSurge: Invalid value: \"a\": a valid percent string must be a numeric \
                     string followed by an ending '%' (e.g. '1%',  or '93%', regex used for \
                     validation is '[0-9]+%')"
                )],
            ),
        ],
    );
}

#[test]
fn jobs() {
    let mut job = workload("Job", "batch/v1", "Never");
    job["spec"]["selector"] = Value::Null;
    job["metadata"]["uid"] = json!("u");
    check_creates(
        &job,
        &[
            (
                json!({ "spec": { "template": { "spec": { "restartPolicy": "Always" } } } }),
                &[
                    "spec.template.spec.restartPolicy: Unsupported value: \"Always\": supported \
                   values: \"OnFailure\", \"Never\"",
                ],
            ),
            (
                json!({ "spec": { "parallelism": -1 } }),
                &[&format!("spec.parallelism: {NEGATIVE}")],
            ),
            (
                json!({ "spec": { "completionMode": "All" } }),
                &[
                    "spec.completionMode: Unsupported value: \"All\": supported values: \
                   \"Indexed\", \"NonIndexed\"",
                ],
            ),
        ],
    );
    check_updates(
        &job,
        &[
            (json!({ "spec": { "parallelism": 3 } }), &[]),
            (
                json!({ "spec": { "completions": 3 } }),
                &["spec.completions: Invalid value: 3: field is immutable"],
            ),
        ],
    );
}

#[test]
fn secrets() {
    let secret = json!({ "apiVersion": "v1", "kind": "Secret",
        "metadata": { "name": "s", "namespace": "d" }, "data": { "a": "Yg==" } });
    check_creates(
        &secret,
        &[
            (json!({ "stringData": { "tls.key": "x" } }), &[]),
            (
                json!({ "type": "kubernetes.io/tls", "stringData": { "tls.key": "x" } }),
                &["data[tls.crt]: Required value"],
            ),
            (
                json!({
                    "type": "kubernetes.io/dockerconfigjson",
                    "stringData": { ".dockerconfigjson": "{" },
                }),
                &[
                    "data[.dockerconfigjson]: Invalid value: \"<secret contents redacted>\": not JSON",
                ],
            ),
            (
                json!({ "type": "kubernetes.io/service-account-token" }),
                &["metadata.annotations[kubernetes.io/service-account.name]: Required value"],
            ),
        ],
    );
    check_updates(
        &secret,
        &[
            (json!({ "data": { "a": "Yw==" } }), &[]),
            (
                json!({ "type": "other" }),
                &["type: Invalid value: \"other\": field is immutable"],
            ),
        ],
    );
}

#[test]
fn ingresses_and_leases() {
    let backend = json!({ "service": { "name": "web", "port": { "number": 80 } } });
    let path = json!({ "path": "/", "pathType": "Prefix", "backend": backend });
    let ingress = json!({ "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": { "name": "i", "namespace": "d" },
        "spec": { "rules": [{ "host": "a.b", "http": { "paths": [path] } }] } });
    let with_path = |change: Value| {
        let mut path = path.clone();
        json_patch::merge(&mut path, &change);
        json!({ "spec": { "rules": [{ "http": { "paths": [path] } }] } })
    };
    let at = "spec.rules[0].http.paths[0]";
    check_creates(
        &ingress,
        &[
            (
                json!({ "spec": { "rules": null } }),
                &["spec: Invalid value: {}: either `defaultBackend` or `rules` must be specified"],
            ),
            (
                json!({ "spec": { "rules": [{ "host": "10.0.0.1" }] } }),
                &[
                    "spec.rules[0].host: Invalid value: \"10.0.0.1\": must be a DNS name, not an IP \
                   address",
                ],
            ),
            (json!({ "spec": { "rules": [{ "host": "*.a.b" }] } }), &[]),
            (
                with_path(json!({ "pathType": null })),
                &[&format!(
                    "{at}.pathType: Required value: pathType must be specified"
                )],
            ),
            (
                with_path(json!({ "path": "x" })),
                &[&format!(
                    "{at}.path: Invalid value: \"x\": must be an absolute path"
                )],
            ),
            (
                with_path(json!({ "backend": { "service": { "port": { "number": null } } } })),
                &[&format!(
                    "{at}.backend.service.port: Required value: port name or number is required"
                )],
            ),
        ],
    );
    let lease = json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": { "name": "l", "namespace": "d" }, "spec": { "leaseDurationSeconds": 40 } });
    check_creates(
        &lease,
        &[(
            json!({ "spec": { "leaseDurationSeconds": 0 } }),
            &["spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"],
        )],
    );
}
