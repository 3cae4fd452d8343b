//! Verbs that change objects.

use serde_json::json;

use crate::kubectl::{Kubectl, texts};

fn map(data: &str) -> String {
    format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: c}}, data: {data}}}")
}

fn data(kubectl: &Kubectl) -> serde_json::Value {
    kubectl.json(&["get", "configmap", "c"])["data"].clone()
}

pub(super) fn annotate(kubectl: &Kubectl) {
    kubectl.apply(&map("{a: b}"));
    kubectl.run(&["annotate", "configmap", "c", "note=hello world"]);
    let refused = kubectl.fail(&["annotate", "configmap", "c", "note=other"]);
    assert!(refused.contains("--overwrite"), "{refused}");
    kubectl.run(&["annotate", "--overwrite", "configmap", "c", "note=other"]);
    let value = |kubectl: &Kubectl| {
        let metadata = &kubectl.json(&["get", "configmap", "c"])["metadata"];
        metadata["annotations"]["note"].clone()
    };
    assert_eq!(value(kubectl), "other");
    kubectl.run(&["annotate", "configmap", "c", "note-"]);
    assert_eq!(value(kubectl), json!(null));
}

pub(super) fn label(kubectl: &Kubectl) {
    kubectl.apply(&map("{a: b}"));
    kubectl.run(&["label", "configmap", "c", "tier=front"]);
    assert_eq!(
        kubectl.run(&["get", "cm", "-l", "tier=front", "-o", "name"]),
        "configmap/c\n"
    );
    kubectl.run(&["label", "--all", "--overwrite", "configmap", "tier=back"]);
    assert_eq!(
        kubectl.run(&["get", "cm", "-l", "tier=back", "-o", "name"]),
        "configmap/c\n"
    );
    kubectl.run(&["label", "configmap", "c", "tier-"]);
    assert_eq!(kubectl.run(&["get", "cm", "-l", "tier", "-o", "name"]), "");
}

pub(super) fn apply(kubectl: &Kubectl) {
    assert_eq!(
        kubectl.apply(&map("{a: '1', b: '1'}")),
        "configmap/c created\n"
    );
    assert_eq!(
        kubectl.apply(&map("{a: '1', b: '1'}")),
        "configmap/c unchanged\n"
    );
    // What somebody else added stays, what the file no longer says goes.
    kubectl.run(&[
        "patch",
        "cm",
        "c",
        "--type=merge",
        "-p",
        r#"{"data":{"x":"y"}}"#,
    ]);
    assert_eq!(kubectl.apply(&map("{a: '2'}")), "configmap/c configured\n");
    assert_eq!(data(kubectl), json!({ "a": "2", "x": "y" }));
    let dry = kubectl.run_with_input(&["apply", "--dry-run=server", "-f", "-"], &map("{a: '3'}"));
    assert!(dry.contains("(server dry run)"), "{dry}");
    assert_eq!(data(kubectl)["a"], "2");
    let refused = kubectl.fail_with_input(&["apply", "-f", "-"], &map("{a: '3'}, dat: {}"));
    assert!(refused.contains("unknown field \"dat\""), "{refused}");
}

pub(super) fn apply_server_side(kubectl: &Kubectl) {
    let apply = ["apply", "--server-side", "-f", "-"];
    let other = [&apply[..], &["--field-manager=other"]].concat();
    kubectl.run_with_input(&apply, &map("{a: '1'}"));
    kubectl.run_with_input(&other, &map("{b: '1'}"));
    assert_eq!(data(kubectl), json!({ "a": "1", "b": "1" }));
    let refused = kubectl.fail_with_input(&apply, &map("{a: '1', b: '2'}"));
    assert!(
        refused.contains("conflict with \"other\": .data.b"),
        "{refused}"
    );
    let force = [&apply[..], &["--force-conflicts"]].concat();
    kubectl.run_with_input(&force, &map("{a: '1', b: '2'}"));
    kubectl.run_with_input(&apply, &map("{a: '1'}"));
    assert_eq!(data(kubectl), json!({ "a": "1" }));
}

pub(super) fn apply_prune(kubectl: &Kubectl) {
    let named = |name: &str| {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, labels: {{set: s}}}}\n")
    };
    let both = format!("{}---\n{}", named("one"), named("two"));
    kubectl.apply(&both);
    let prune = [
        "apply",
        "--prune",
        "-l",
        "set=s",
        "--prune-allowlist=core/v1/ConfigMap",
        "-f",
        "-",
    ];
    let said = kubectl.run_with_input(&prune, &named("one"));
    assert!(said.contains("configmap/two pruned"), "{said}");
    assert_eq!(kubectl.run(&["get", "cm", "-o", "name"]), "configmap/one\n");
}

pub(super) fn diff(kubectl: &Kubectl) {
    kubectl.apply(&map("{a: '1'}"));
    assert_eq!(
        kubectl.run_with_input(&["diff", "-f", "-"], &map("{a: '1'}")),
        ""
    );
    let output = kubectl.finish(&["diff", "-f", "-"], &map("{a: '2'}"));
    let (out, err) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(out.contains("-  a: \"1\"\n+  a: \"2\"\n"), "{out}");
    assert_eq!(data(kubectl)["a"], "1");
}

pub(super) fn edit(kubectl: &Kubectl) {
    kubectl.apply(&map("{a: '1'}"));
    let edit = |script: &str| {
        let mut command = kubectl.command(&["edit", "configmap", "c"]);
        command
            .env("KUBE_EDITOR", format!("sed -i {script}"))
            .output()
            .unwrap()
    };
    let output = edit("s/\\\"1\\\"/\\\"2\\\"/");
    let (out, err) = texts(&output);
    assert!(output.status.success(), "{out}{err}");
    assert!(out.contains("configmap/c edited"), "{out}{err}");
    assert_eq!(data(kubectl)["a"], "2");
    let (out, err) = texts(&edit("s/nothing/nothing/"));
    assert!(
        format!("{out}{err}").contains("no changes made"),
        "{out}{err}"
    );
}

pub(super) fn patch(kubectl: &Kubectl) {
    kubectl.run(&["create", "service", "nodeport", "web", "--tcp=80"]);
    let cases = [
        (
            "strategic",
            r#"{"spec":{"ports":[{"port":80,"name":"x"}]}}"#,
            "80-x",
        ),
        (
            "merge",
            r#"{"spec":{"ports":[{"port":81,"name":"y"}]}}"#,
            "81-y",
        ),
        (
            "json",
            r#"[{"op":"replace","path":"/spec/ports/0/port","value":82}]"#,
            "82-y",
        ),
    ];
    for (format, patch, expected) in cases {
        kubectl.run(&["patch", "service", "web", "--type", format, "-p", patch]);
        let ports = "jsonpath={.spec.ports[0].port}-{.spec.ports[0].name}";
        assert_eq!(
            kubectl.run(&["get", "service", "web", "-o", ports]),
            expected,
            "{format}"
        );
    }
    let bad = r#"{"spec":{"ports":[{"port":0}]}}"#;
    let refused = kubectl.fail(&["patch", "service", "web", "-p", bad]);
    assert!(refused.contains("must be between 1 and 65535"), "{refused}");
    let status = r#"{"status":{"loadBalancer":{"ingress":[{"ip":"192.0.2.1"}]}}}"#;
    let refused = kubectl.fail(&[
        "patch",
        "service",
        "web",
        "--subresource=status",
        "-p",
        status,
    ]);
    assert!(refused.contains("LoadBalancer"), "{refused}");
}

pub(super) fn replace(kubectl: &Kubectl) {
    kubectl.run_with_input(&["create", "-f", "-"], &map("{a: '1', b: '1'}"));
    kubectl.run_with_input(&["replace", "-f", "-"], &map("{a: '2'}"));
    assert_eq!(data(kubectl), json!({ "a": "2" }));
    let stale = kubectl.run(&["get", "cm", "c", "-o", "yaml"]);
    kubectl.run_with_input(&["replace", "-f", "-"], &map("{a: '3'}"));
    let refused = kubectl.fail_with_input(&["replace", "-f", "-"], &stale);
    assert!(
        refused.contains("the object has been modified"),
        "{refused}"
    );
    let uid =
        |kubectl: &Kubectl| kubectl.run(&["get", "cm", "c", "-o", "jsonpath={.metadata.uid}"]);
    let before = uid(kubectl);
    kubectl.run_with_input(&["replace", "--force", "-f", "-"], &map("{a: '4'}"));
    assert_ne!(uid(kubectl), before);
}

pub(super) fn create_configmap(kubectl: &Kubectl) {
    kubectl.run(&[
        "create",
        "configmap",
        "c",
        "--from-literal=a=1",
        "--from-literal=b=",
    ]);
    assert_eq!(data(kubectl), json!({ "a": "1", "b": "" }));
    let again = kubectl.fail(&["create", "configmap", "c"]);
    assert!(again.contains("already exists"), "{again}");
}

pub(super) fn create_secret(kubectl: &Kubectl) {
    kubectl.run(&["create", "secret", "generic", "s", "--from-literal=a=b"]);
    assert_eq!(kubectl.json(&["get", "secret", "s"])["data"]["a"], "Yg==");
    let login = [
        "--docker-server=x",
        "--docker-username=u",
        "--docker-password=p",
    ];
    kubectl.run(&[&["create", "secret", "docker-registry", "r"], &login[..]].concat());
    let kind = kubectl.run(&["get", "secret", "r", "-o", "jsonpath={.type}"]);
    assert_eq!(kind, "kubernetes.io/dockerconfigjson");
}

pub(super) fn create_namespace(kubectl: &Kubectl) {
    let name = kubectl.run(&["config", "view", "--minify", "-o", "jsonpath={..namespace}"]);
    let name = format!("{name}-more");
    kubectl.run(&["create", "namespace", &name]);
    kubectl.run(&["create", "configmap", "c", "-n", &name]);
    kubectl.run(&["delete", "namespace", &name]);
    assert!(
        kubectl
            .fail(&["get", "namespace", &name])
            .contains("NotFound")
    );
}

pub(super) fn create_service(kubectl: &Kubectl) {
    kubectl.run(&["create", "service", "clusterip", "a", "--tcp=80:8080"]);
    kubectl.run(&["create", "service", "nodeport", "b", "--tcp=80"]);
    kubectl.run(&["create", "service", "loadbalancer", "c", "--tcp=80"]);
    kubectl.run(&[
        "create",
        "service",
        "externalname",
        "d",
        "--external-name=example.com",
    ]);
    let types = kubectl.run(&["get", "services", "-o", "jsonpath={.items[*].spec.type}"]);
    assert_eq!(types, "ClusterIP NodePort LoadBalancer ExternalName");
}

pub(super) fn create_ingress(kubectl: &Kubectl) {
    kubectl.run(&[
        "create",
        "ingress",
        "i",
        "--rule=a.example/x*=web:80,tls=cert",
    ]);
    let spec = &kubectl.json(&["get", "ingress", "i"])["spec"];
    assert_eq!(spec["rules"][0]["http"]["paths"][0]["pathType"], "Prefix");
    assert_eq!(spec["tls"][0]["secretName"], "cert");
}

pub(super) fn cordon(kubectl: &Kubectl) {
    kubectl.run(&["cordon", "n2"]);
    assert!(
        kubectl
            .run(&["get", "node", "n2"])
            .contains("SchedulingDisabled")
    );
    kubectl.run(&["uncordon", "n2"]);
    assert!(
        !kubectl
            .run(&["get", "node", "n2"])
            .contains("SchedulingDisabled")
    );
}

pub(super) fn taint(kubectl: &Kubectl) {
    kubectl.run(&["taint", "node", "n2", "k=v:PreferNoSchedule"]);
    assert!(
        kubectl
            .run(&["describe", "node", "n2"])
            .contains("k=v:PreferNoSchedule")
    );
    kubectl.run(&["taint", "node", "n2", "k-"]);
    assert!(
        kubectl
            .run(&["describe", "node", "n2"])
            .contains("Taints:             <none>")
    );
}
