use serde_json::{Value, json};

use super::{check_creates, check_updates, update};
use crate::kinds::Part;

const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const PORT: &str = "must be between 1 and 65535, inclusive";
const ADDRESS: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";

#[test]
fn pods() {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "d"},
        "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let container = |change: &Value| {
        let mut container = json!({"name": "c", "image": "i"});
        json_patch::merge(&mut container, change);
        json!({"spec": {"containers": [container]}})
    };
    let at = "spec.containers[0]";
    check_creates(
        &pod,
        &[
            (json!({"spec": null}), &["spec: Required value"]),
            (
                json!({"spec": {"containers": null}}),
                &["spec.containers: Required value"],
            ),
            (
                container(&json!({"name": null})),
                &[&format!("{at}.name: Required value")],
            ),
            (
                container(&json!({"name": "C"})),
                &[&format!("{at}.name: Invalid value: \"C\": {LABEL}")],
            ),
            (
                container(&json!({"image": null})),
                &[&format!("{at}.image: Required value")],
            ),
            (
                json!({"spec": {"containers": [{"name": "c", "image": "i"}, {"name": "c", "image": "i"}]}}),
                &["spec.containers[1].name: Duplicate value: \"c\""],
            ),
            (
                json!({"spec": {"initContainers": [{"name": "c", "image": "i"}]}}),
                &["spec.initContainers[0].name: Duplicate value: \"c\""],
            ),
            (
                container(&json!({"imagePullPolicy": "Often"})),
                &[&format!(
                    "{at}.imagePullPolicy: Unsupported value: \"Often\": supported values: \"Always\", \"IfNotPresent\", \"Never\""
                )],
            ),
            (
                container(
                    &json!({"ports": [{"name": "a", "containerPort": 80}, {"name": "a", "containerPort": 81}]}),
                ),
                &[&format!("{at}.ports[1].name: Duplicate value: \"a\"")],
            ),
            (
                container(&json!({"ports": [{"name": "80"}]})),
                &[
                    &format!(
                        "{at}.ports[0].name: Invalid value: \"80\": must contain at least one letter (a-z)"
                    ),
                    &format!("{at}.ports[0].containerPort: Required value"),
                ],
            ),
            (
                container(&json!({"ports": [{"containerPort": 65536}]})),
                &[&format!(
                    "{at}.ports[0].containerPort: Invalid value: 65536: {PORT}"
                )],
            ),
            (
                container(
                    &json!({"ports": [{"containerPort": 80, "hostPort": 80}, {"containerPort": 81, "hostPort": 80}]}),
                ),
                &[&format!(
                    "{at}.ports[1].hostPort: Duplicate value: \"TCP//80\""
                )],
            ),
            (
                container(&json!({"env": [{"name": "A=B"}]})),
                &[&format!(
                    "{at}.env[0].name: Invalid value: \"A=B\": a valid environment variable name must consist only of printable ASCII characters other than '=' (regex used for validation is '[ -<>-~]+')"
                )],
            ),
            (
                container(&json!({"volumeMounts": [{"name": "v", "mountPath": "/a"}]})),
                &[&format!("{at}.volumeMounts[0].name: Not found: \"v\"")],
            ),
            (
                json!({"spec": {"volumes": [{"name": "v"}, {"name": "v"}]}}),
                &["spec.volumes[1].name: Duplicate value: \"v\""],
            ),
            (
                container(&json!({"readinessProbe": {}})),
                &[&format!(
                    "{at}.readinessProbe: Required value: must specify a handler type"
                )],
            ),
            (
                container(
                    &json!({"livenessProbe": {"httpGet": {"port": 80}, "tcpSocket": {"port": 80}}}),
                ),
                &[&format!(
                    "{at}.livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type"
                )],
            ),
            (
                container(
                    &json!({"livenessProbe": {"exec": {"command": ["true"]}, "successThreshold": 2, "periodSeconds": -1}}),
                ),
                &[
                    &format!(
                        "{at}.livenessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0"
                    ),
                    &format!("{at}.livenessProbe.successThreshold: Invalid value: 2: must be 1"),
                ],
            ),
            (
                json!({"spec": {"restartPolicy": "Sometimes"}}),
                &[
                    "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"Never\", \"OnFailure\"",
                ],
            ),
            (
                json!({"spec": {"dnsPolicy": "Local"}}),
                &[
                    "spec.dnsPolicy: Unsupported value: \"Local\": supported values: \"ClusterFirst\", \"ClusterFirstWithHostNet\", \"Default\", \"None\"",
                ],
            ),
            (
                json!({"spec": {"terminationGracePeriodSeconds": -1}}),
                &[
                    "spec.terminationGracePeriodSeconds: Invalid value: -1: must be greater than or equal to 0",
                ],
            ),
            (
                json!({"spec": {"hostAliases": [{"ip": "x"}]}}),
                &[&format!(
                    "spec.hostAliases[0].ip: Invalid value: \"x\": {ADDRESS}"
                )],
            ),
        ],
    );
    let forbidden = "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\nchanged: ";
    check_updates(
        &pod,
        &[
            (json!({"metadata": {"labels": {"a": "b"}}}), &[]),
            (container(&json!({"image": "j"})), &[]),
            (
                container(&json!({"command": ["x"]})),
                &[&format!("{forbidden}spec.containers")],
            ),
            (
                json!({"spec": {"nodeName": "n", "dnsPolicy": "Default"}}),
                &[&format!("{forbidden}spec.dnsPolicy, spec.nodeName")],
            ),
            (
                json!({"spec": {"containers": [{"name": "c", "image": "i"}, {"name": "d", "image": "i"}]}}),
                &["spec.containers: Forbidden: pod updates may not add or remove containers"],
            ),
            (
                json!({"spec": {"tolerations": [
                    {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
                    {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
                    {"operator": "Exists"},
                ]}}),
                &[],
            ),
            (
                json!({"spec": {"tolerations": [{"operator": "Exists"}]}}),
                &[
                    "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds",
                ],
            ),
            (json!({"status": {"podIPs": [{"ip": "x"}]}}), &[]),
        ],
    );
    let ips = |ips: &Value| update(&pod, &json!({"status": {"podIPs": ips}}), Part::Status);
    assert_eq!(
        ips(&json!([{"ip": "10.244.1.2"}, {"ip": "fd00::2"}])),
        Vec::<String>::new()
    );
    assert_eq!(
        ips(&json!([{"ip": "x"}])),
        [format!("status.podIPs[0]: Invalid value: \"x\": {ADDRESS}")]
    );
    assert_eq!(
        ips(&json!([{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}])),
        [
            "status.podIPs: Invalid value: \"10.0.0.2\": may specify no more than one IP for each IP family"
        ]
    );
}
