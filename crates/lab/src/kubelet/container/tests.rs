use serde_json::{Value, json};

use super::*;

fn planned(container: &Value) -> Result<ContainerPlan, String> {
    let labels = json!({"app": "web"});
    let pod =
        json!({"metadata": {"name": "p", "labels": labels}, "spec": {"containers": [container]}});
    let pod: Pod = serde_json::from_value(pod).unwrap();
    let environment = BTreeMap::from([("HOSTNAME".to_owned(), "p".to_owned())]);
    let around = Surroundings {
        program: Path::new("/opt/podway"),
        environment: &environment,
        sources: &sources(),
        addresses: &["10.244.1.2".parse().unwrap(), "fd00::2".parse().unwrap()],
        host: &["172.16.0.11".parse().unwrap()],
    };
    plan(&pod, &pod.spec.as_ref().unwrap().containers[0], around)
}

fn sources() -> Sources {
    let values = |value: &str| BTreeMap::from([("k".to_owned(), value.to_owned())]);
    Sources {
        config_maps: BTreeMap::from([("map".to_owned(), values("from map"))]),
        secrets: BTreeMap::from([("secret".to_owned(), values("from secret"))]),
    }
}

#[test]
fn variables_come_from_maps_secrets_and_the_pod() {
    let from = |kind: &str, name: &str, optional: bool| json!({kind: {"name": name, "key": "k", "optional": optional}});
    let field = |path: &str| json!({"fieldRef": {"fieldPath": path}});
    for (source, expected) in [
        (from("configMapKeyRef", "map", false), Ok(Some("from map"))),
        (
            from("secretKeyRef", "secret", false),
            Ok(Some("from secret")),
        ),
        (from("secretKeyRef", "map", true), Ok(None)),
        (
            from("configMapKeyRef", "none", false),
            Err("env V: configmap \"none\" not found"),
        ),
        (
            json!({"configMapKeyRef": {"name": "map", "key": "x"}}),
            Err("env V: couldn't find key x in configmap \"map\""),
        ),
        (field("metadata.name"), Ok(Some("p"))),
        (field("metadata.labels['app']"), Ok(Some("web"))),
        (field("metadata.annotations['none']"), Ok(Some(""))),
        (field("status.podIP"), Ok(Some("10.244.1.2"))),
        (field("status.podIPs"), Ok(Some("10.244.1.2,fd00::2"))),
        (field("status.hostIP"), Ok(Some("172.16.0.11"))),
        (
            field("spec.x"),
            Err("env V: the lab does not know fieldPath \"spec.x\""),
        ),
    ] {
        let env = json!([{"name": "V", "valueFrom": source}]);
        let found = planned(&json!({"image": "podway/toolbox", "env": env}));
        let found = found.map(|plan| plan.environment.get("V").cloned());
        let expected = expected
            .map(|value| value.map(str::to_owned))
            .map_err(str::to_owned);
        assert_eq!(found, expected, "{source}");
    }
    let whole = json!([{"prefix": "A_", "configMapRef": {"name": "map"}}]);
    let plan = planned(&json!({"image": "podway/toolbox", "envFrom": whole})).unwrap();
    assert_eq!(plan.environment["A_k"], "from map");
}

fn line(container: &Value) -> Vec<String> {
    let plan = planned(container).unwrap();
    let mut line = vec![plan.program.display().to_string()];
    line.extend(plan.arguments);
    line
}

#[test]
fn an_image_or_a_command_makes_the_command_line() {
    fn toolbox<'a>(args: &[&'a str]) -> Vec<&'a str> {
        [&["/opt/podway", "toolbox"], args].concat()
    }
    for (container, expected) in [
        (json!({"image": "podway/toolbox"}), toolbox(&["pause"])),
        (
            json!({"image": "podway/toolbox:v1", "args": ["serve", "--http", "80"]}),
            toolbox(&["serve", "--http", "80"]),
        ),
        (
            json!({"image": "registry.k8s.io/e2e-test-images/agnhost:2.53", "args": ["netexec"]}),
            toolbox(&["netexec"]),
        ),
        (
            json!({"image": "r:5000/agnhost@sha256:00", "command": ["/agnhost", "porter"]}),
            toolbox(&["porter"]),
        ),
        (
            json!({"image": "registry.k8s.io/pause:3.9"}),
            toolbox(&["pause"]),
        ),
        (
            json!({"image": "busybox", "command": ["sh", "-c"], "args": ["echo"]}),
            vec!["sh", "-c", "echo"],
        ),
        (
            json!({"image": "podway/toolbox", "command": ["sleep"], "args": ["1"]}),
            vec!["sleep", "1"],
        ),
    ] {
        assert_eq!(line(&container), expected, "{container}");
    }
}

#[test]
fn what_the_lab_does_not_have_is_refused_with_a_reason() {
    let with = |key: &str, value: Value| {
        let mut container = json!({"image": "podway/toolbox"});
        container[key] = value;
        container
    };
    for (container, word) in [
        (json!({"image": "nginx"}), "nginx"),
        (
            json!({"command": [""], "image": "x", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}),
            "volume",
        ),
        (
            with("envFrom", json!([{"secretRef": {"name": "x"}}])),
            "secret",
        ),
    ] {
        let reason = planned(&container).unwrap_err();
        assert!(reason.contains(word), "{container}: {reason}");
    }
}

#[test]
fn variables_are_expanded_as_kubernetes_does() {
    let plan = planned(&json!({
        "image": "podway/toolbox",
        "args": ["$(A)-$(B)-$(NONE)-$$(A)-$", "$(HOSTNAME)"],
        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)2"}, {"name": "PATH", "value": "/x"}],
        "workingDir": "/tmp",
    }))
    .unwrap();
    assert_eq!(plan.arguments[1..], ["1-12-$(NONE)-$(A)-$", "p"]);
    assert_eq!(plan.environment["PATH"], "/x:/opt");
    assert_eq!(plan.folder, Path::new("/tmp"));
}
