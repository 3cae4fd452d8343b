//! How pods begin, and are begun again: variables, init containers, sidecars,
//! startup and liveness probes.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, Secret};
use kube::Api;
use kube::api::{LogParams, PostParams};

use crate::fixture::{Lab, is_ready};

const PODS: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: blue}
---
apiVersion: v1
kind: Pod
metadata: {name: variables, labels: {app: shop}}
spec:
  restartPolicy: Never
  containers:
  - name: a
    image: any
    command: [sh, -c, "echo $MY_colour $KEY $APP $IP $NODE ${NONE-unset}"]
    envFrom: [{prefix: MY_, configMapRef: {name: settings}}]
    env:
    - {name: KEY, valueFrom: {secretKeyRef: {name: keys, key: key}}}
    - {name: APP, valueFrom: {fieldRef: {fieldPath: "metadata.labels['app']"}}}
    - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
    - {name: NONE, valueFrom: {configMapKeyRef: {name: none, key: x, optional: true}}}
---
apiVersion: v1
kind: Pod
metadata: {name: missing}
spec:
  containers:
  - {name: a, image: podway/toolbox, envFrom: [{configMapRef: {name: later}}]}
---
apiVersion: v1
kind: Pod
metadata: {name: ordered}
spec:
  restartPolicy: Never
  initContainers:
  - {name: first, image: any, command: [sh, -c, "sleep 0.2"]}
  - name: beside
    image: podway/toolbox
    restartPolicy: Always
    args: [serve, --tcp, "81"]
    startupProbe: {periodSeconds: 1, tcpSocket: {port: 81}}
  - {name: last, image: podway/toolbox, args: [connect, "127.0.0.1:81"]}
  containers:
  - {name: a, image: podway/toolbox, args: [connect, "127.0.0.1:81"]}
---
apiVersion: v1
kind: Pod
metadata: {name: refused}
spec:
  restartPolicy: Never
  initContainers: [{name: first, image: any, command: ["false"]}]
  containers: [{name: a, image: podway/toolbox}]
---
apiVersion: v1
kind: Pod
metadata: {name: sick}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: a
    image: podway/toolbox
    livenessProbe: {periodSeconds: 1, failureThreshold: 2, exec: {command: ["false"]}}
---
apiVersion: v1
kind: Pod
metadata: {name: late}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: a
    image: podway/toolbox
    startupProbe: {periodSeconds: 1, failureThreshold: 1, exec: {command: ["false"]}}
    readinessProbe: {exec: {command: ["true"]}}
"#;

fn phase(pod: &Pod) -> &str {
    pod.status
        .as_ref()
        .unwrap()
        .phase
        .as_deref()
        .unwrap_or_default()
}

fn statuses(pod: &Pod) -> &[ContainerStatus] {
    let status = pod.status.as_ref().unwrap();
    status.container_statuses.as_deref().unwrap_or_default()
}

fn has_restarted(pod: &Pod) -> bool {
    statuses(pod)
        .first()
        .is_some_and(|status| status.restart_count > 0)
}

#[test]
fn pods_begin_as_they_say() {
    let lab = Lab::up(1);
    // Manifests of the network have no Secrets.
    lab.with_client(|client| async move {
        let secrets: Api<Secret> = Api::default_namespaced(client);
        let secret =
            serde_json::json!({"metadata": {"name": "keys"}, "stringData": {"key": "open"}});
        let secret = serde_json::from_value(secret).unwrap();
        secrets
            .create(&PostParams::default(), &secret)
            .await
            .unwrap();
    });
    lab.apply(PODS);
    variables(&lab);
    order(&lab);
    let refused = lab.pod("refused", |pod| phase(pod) == "Failed");
    assert_eq!(statuses(&refused)[0].restart_count, 0, "{refused:#?}");
    let sick = lab.pod("sick", has_restarted);
    let before = statuses(&sick)[0].last_state.as_ref().unwrap();
    assert!(before.terminated.is_some(), "{sick:#?}");
    let late = lab.pod("late", has_restarted);
    assert!(
        !is_ready(&late),
        "its readiness probe has to wait: {late:#?}"
    );
    lab.down();
}

fn variables(lab: &Lab) {
    let pod = lab.pod("variables", |pod| phase(pod) == "Succeeded");
    let address = pod.status.unwrap().pod_ip.unwrap();
    let log = lab.with_client(|client| async move {
        let pods: Api<Pod> = Api::default_namespaced(client);
        pods.logs("variables", &LogParams::default()).await.unwrap()
    });
    assert_eq!(log, format!("blue open shop {address} node1 unset\n"));
    let waits = |pod: &Pod| {
        let state = statuses(pod)
            .first()
            .and_then(|status| status.state.as_ref());
        let waiting = state.and_then(|state| state.waiting.as_ref());
        waiting.is_some_and(|waiting| {
            let message = waiting.message.clone().unwrap_or_default();
            waiting.reason.as_deref() == Some("CreateContainerConfigError")
                && message.contains("configmap \"later\" not found")
        })
    };
    lab.pod("missing", waits);
    lab.apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: later}}");
    lab.pod("missing", is_ready);
}

fn order(lab: &Lab) {
    let pod = lab.pod("ordered", |pod| phase(pod) == "Succeeded");
    let status = pod.status.as_ref().unwrap();
    let init = status.init_container_statuses.as_deref().unwrap();
    let names: Vec<&str> = init.iter().map(|status| status.name.as_str()).collect();
    assert_eq!(names, ["first", "beside", "last"]);
    let initialized = status
        .conditions
        .iter()
        .flatten()
        .find(|c| c.type_ == "Initialized");
    assert!(initialized.is_some(), "{pod:#?}");
    let code = |status: &ContainerStatus| {
        let state = status.state.as_ref().unwrap();
        state
            .terminated
            .as_ref()
            .map(|terminated| terminated.exit_code)
    };
    assert_eq!(
        (code(&init[0]), code(&init[2])),
        (Some(0), Some(0)),
        "{pod:#?}"
    );
    assert_eq!(code(&statuses(&pod)[0]), Some(0), "{pod:#?}");
}
