//! Verbs on what keeps pods, and on pods.

use crate::kubectl::Kubectl;

fn web(kubectl: &Kubectl, replicas: &str) {
    let create = [
        "create",
        "deployment",
        "web",
        "--image=podway/toolbox:1",
        "--replicas",
        replicas,
    ];
    kubectl.run(&create);
    settled(kubectl);
}

fn settled(kubectl: &Kubectl) {
    let said = kubectl.run(&["rollout", "status", "deployment/web"]);
    assert!(
        said.contains("deployment \"web\" successfully rolled out"),
        "{said}"
    );
}

fn pods(kubectl: &Kubectl) -> Vec<String> {
    let running = "--field-selector=status.phase=Running";
    let names = kubectl.run(&["get", "pods", "-l", "app=web", "-o", "name", running]);
    names.lines().map(str::to_owned).collect()
}

fn image(kubectl: &Kubectl) -> String {
    let image = "jsonpath={.spec.template.spec.containers[0].image}";
    kubectl.run(&["get", "deployment", "web", "-o", image])
}

pub(super) fn create_deployment(kubectl: &Kubectl) {
    web(kubectl, "3");
    assert_eq!(pods(kubectl).len(), 3);
    let owner = "jsonpath={.items[0].metadata.ownerReferences[0].kind}";
    assert_eq!(kubectl.run(&["get", "pods", "-o", owner]), "ReplicaSet");
    assert_eq!(
        kubectl.run(&["get", "replicasets", "-o", owner]),
        "Deployment"
    );
}

pub(super) fn create_job(kubectl: &Kubectl) {
    kubectl.run(&[
        "create",
        "job",
        "good",
        "--image=podway/toolbox",
        "--",
        "true",
    ]);
    kubectl.run(&["wait", "--for=condition=complete", "job/good"]);
    assert_eq!(
        kubectl.run(&["get", "job", "good", "-o", "jsonpath={.status.succeeded}"]),
        "1"
    );
    kubectl.run(&[
        "create",
        "job",
        "bad",
        "--image=podway/toolbox",
        "--",
        "false",
    ]);
    let limit = r#"{"spec":{"backoffLimit":0}}"#;
    kubectl.run(&["patch", "job", "bad", "-p", limit]);
    kubectl.run(&["wait", "--for=condition=failed", "job/bad"]);
}

pub(super) fn run(kubectl: &Kubectl) {
    let labels = ["--labels=app=web", "--env=A=b", "--port=80"];
    kubectl.run(&[&["run", "web", "--image=podway/toolbox"], &labels[..]].concat());
    kubectl.run(&["wait", "--for=condition=ready", "pod/web"]);
    assert_eq!(pods(kubectl), ["pod/web"]);
}

pub(super) fn expose(kubectl: &Kubectl) {
    web(kubectl, "2");
    kubectl.run(&[
        "expose",
        "deployment",
        "web",
        "--port=80",
        "--target-port=8080",
    ]);
    kubectl.wait_until("two endpoints", || {
        let addresses = "jsonpath={.subsets[*].addresses[*].ip}";
        let output = kubectl.finish(&["get", "endpoints", "web", "-o", addresses], "");
        String::from_utf8_lossy(&output.stdout)
            .split_whitespace()
            .count()
            == 2
    });
    let pod = pods(kubectl).remove(0);
    kubectl.run(&["expose", &pod, "--name=one", "--port=81"]);
    assert!(kubectl.run(&["get", "service", "one"]).contains("81/TCP"));
}

pub(super) fn scale(kubectl: &Kubectl) {
    web(kubectl, "1");
    kubectl.run(&["scale", "deployment", "web", "--replicas=4"]);
    settled(kubectl);
    assert_eq!(pods(kubectl).len(), 4);
    let refused = kubectl.fail(&[
        "scale",
        "deployment",
        "web",
        "--current-replicas=9",
        "--replicas=1",
    ]);
    assert!(
        refused.contains("Expected replicas to be 9, was 4"),
        "{refused}"
    );
    kubectl.run(&["scale", "deployment", "web", "--replicas=0"]);
    kubectl.run(&["wait", "--for=delete", "pod", "-l", "app=web"]);
    assert_eq!(pods(kubectl), [""; 0]);
}

pub(super) fn rollout_status(kubectl: &Kubectl) {
    web(kubectl, "2");
    kubectl.run(&["set", "image", "deployment/web", "toolbox=podway/toolbox:2"]);
    settled(kubectl);
    let images = "jsonpath={.items[*].spec.containers[0].image}";
    kubectl.wait_until("only the new pods", || {
        kubectl.run(&["get", "pods", "-o", images]) == "podway/toolbox:2 podway/toolbox:2"
    });
}

pub(super) fn rollout_restart(kubectl: &Kubectl) {
    web(kubectl, "2");
    let before = pods(kubectl);
    kubectl.run(&["rollout", "restart", "deployment/web"]);
    settled(kubectl);
    kubectl.wait_until("none of the old pods", || {
        let now = pods(kubectl);
        now.len() == 2 && before.iter().all(|pod| !now.contains(pod))
    });
}

pub(super) fn rollout_undo(kubectl: &Kubectl) {
    web(kubectl, "1");
    for version in ["2", "3"] {
        let image = format!("toolbox=podway/toolbox:{version}");
        kubectl.run(&["set", "image", "deployment/web", &image]);
        settled(kubectl);
    }
    kubectl.run(&["rollout", "undo", "deployment/web"]);
    settled(kubectl);
    assert_eq!(image(kubectl), "podway/toolbox:2");
    kubectl.run(&["rollout", "undo", "deployment/web", "--to-revision=1"]);
    settled(kubectl);
    assert_eq!(image(kubectl), "podway/toolbox:1");
    let daemon = "{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: d}, spec: {\
        selector: {matchLabels: {app: d}}, template: {metadata: {labels: {app: d}}, \
        spec: {containers: [{name: c, image: 'x:1'}]}}}}";
    kubectl.apply(daemon);
    kubectl.run(&["rollout", "status", "daemonset/d"]);
    kubectl.run(&["set", "image", "daemonset/d", "c=x:2"]);
    kubectl.run(&["rollout", "status", "daemonset/d"]);
    kubectl.run(&["rollout", "undo", "daemonset/d"]);
    kubectl.run(&["rollout", "status", "daemonset/d"]);
    let image = "jsonpath={.spec.template.spec.containers[0].image}";
    assert_eq!(kubectl.run(&["get", "daemonset", "d", "-o", image]), "x:1");
}

pub(super) fn rollout_history(kubectl: &Kubectl) {
    web(kubectl, "1");
    kubectl.run(&[
        "annotate",
        "deployment/web",
        "kubernetes.io/change-cause=first",
    ]);
    kubectl.run(&["set", "image", "deployment/web", "toolbox=podway/toolbox:2"]);
    settled(kubectl);
    let history = kubectl.run(&["rollout", "history", "deployment/web"]);
    assert!(history.contains("1") && history.contains("2"), "{history}");
    assert!(history.contains("first"), "{history}");
    let one = kubectl.run(&["rollout", "history", "deployment/web", "--revision=1"]);
    assert!(one.contains("podway/toolbox:1"), "{one}");
}

pub(super) fn rollout_pause(kubectl: &Kubectl) {
    web(kubectl, "1");
    kubectl.run(&["rollout", "pause", "deployment/web"]);
    kubectl.run(&["set", "image", "deployment/web", "toolbox=podway/toolbox:2"]);
    kubectl.run(&[
        "wait",
        "--for=condition=Progressing=Unknown",
        "deployment/web",
    ]);
    let images = "jsonpath={.items[*].spec.containers[0].image}";
    assert_eq!(
        kubectl.run(&["get", "pods", "-o", images]),
        "podway/toolbox:1"
    );
    kubectl.run(&["rollout", "resume", "deployment/web"]);
    settled(kubectl);
    kubectl.wait_until("the new pod alone", || {
        kubectl.run(&["get", "pods", "-o", images]) == "podway/toolbox:2"
    });
}

pub(super) fn set_image(kubectl: &Kubectl) {
    web(kubectl, "1");
    kubectl.run(&["set", "image", "deployment/web", "toolbox=podway/toolbox:2"]);
    assert_eq!(image(kubectl), "podway/toolbox:2");
}

pub(super) fn set_env(kubectl: &Kubectl) {
    web(kubectl, "1");
    kubectl.run(&["set", "env", "deployment/web", "A=b"]);
    assert!(
        kubectl
            .run(&["set", "env", "deployment/web", "--list"])
            .contains("A=b")
    );
    kubectl.run(&["set", "env", "deployment/web", "A-"]);
    assert!(
        !kubectl
            .run(&["set", "env", "deployment/web", "--list"])
            .contains("A=b")
    );
}

pub(super) fn delete(kubectl: &Kubectl) {
    web(kubectl, "2");
    let before = pods(kubectl);
    // The replica set follows; the pod has its grace and is then gone.
    kubectl.run(&["delete", &before[0]]);
    kubectl.wait_until("another pod instead", || {
        let now = pods(kubectl);
        now.len() == 2 && !now.contains(&before[0])
    });
    kubectl.run(&["run", "one", "--image=podway/toolbox"]);
    kubectl.run(&["delete", "pod", "one", "--grace-period=0", "--force"]);
    assert!(kubectl.fail(&["get", "pod", "one"]).contains("NotFound"));
    let none = kubectl.run(&["delete", "pod", "one", "--ignore-not-found"]);
    assert_eq!(none, "");
    kubectl.run(&["delete", "deployment", "web"]);
    kubectl.run(&["wait", "--for=delete", "pod", "-l", "app=web"]);
    assert_eq!(pods(kubectl), [""; 0]);
    assert_eq!(kubectl.run(&["get", "replicasets", "-o", "name"]), "");
}

pub(super) fn delete_cascade(kubectl: &Kubectl) {
    web(kubectl, "2");
    kubectl.run(&["delete", "deployment", "web", "--cascade=orphan"]);
    let set = kubectl.run(&["get", "replicasets", "-o", "name"]);
    assert_eq!(set.lines().count(), 1, "{set}");
    assert_eq!(pods(kubectl).len(), 2);
    // A deployment of the same selector takes over what is there.
    let before = pods(kubectl);
    web(kubectl, "2");
    assert_eq!(pods(kubectl), before);
    kubectl.run(&["delete", "deployment", "web", "--cascade=foreground"]);
    assert_eq!(
        kubectl.run(&["get", "all", "-o", "name"]),
        "",
        "dependents went first"
    );
}

pub(super) fn wait(kubectl: &Kubectl) {
    web(kubectl, "1");
    kubectl.run(&["wait", "--for=condition=available", "deployment/web"]);
    kubectl.run(&[
        "wait",
        "--for=jsonpath={.status.readyReplicas}=1",
        "deployment/web",
    ]);
    kubectl.run(&["wait", "--for=condition=ready", "pod", "-l", "app=web"]);
    let late = kubectl.fail(&[
        "wait",
        "--for=condition=nothing",
        "deployment/web",
        "--timeout=100ms",
    ]);
    assert!(late.contains("timed out waiting"), "{late}");
}

pub(super) fn events(kubectl: &Kubectl) {
    web(kubectl, "1");
    kubectl.wait_until("an event of the replica set", || {
        let text = kubectl.run(&["events", "--for", "deployment/web"]);
        text.contains("ScalingReplicaSet") && text.contains("Scaled up replica set web-")
    });
    let all = kubectl.run(&["get", "events", "--sort-by=.lastTimestamp"]);
    assert!(all.contains("SuccessfulCreate"), "{all}");
}
