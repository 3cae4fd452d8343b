use serde_json::{Value, json};

use super::*;

fn planned(container: &Value) -> Result<ContainerPlan, String> {
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [container]}});
    let pod: Pod = serde_json::from_value(pod).unwrap();
    let environment = BTreeMap::from([("HOSTNAME".to_owned(), "p".to_owned())]);
    let around = Surroundings {
        program: Path::new("/opt/podway"),
        environment: &environment,
    };
    plan(&pod, &pod.spec.as_ref().unwrap().containers[0], around)
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
        (with("envFrom", json!([{"prefix": "x"}])), "envFrom"),
        (
            with(
                "env",
                json!([{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]),
            ),
            "IP",
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
