//! Pods: their network, their files, their containers, their logs, their end.

use k8s_openapi::api::core::v1::{Event, Pod};
use kube::Api;
use kube::api::{DeleteParams, ListParams, LogParams};

use crate::fixture::{Lab, addresses, eventually, is_ready};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const TWO_PODS: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: two}
spec:
  hostname: shop
  containers:
  - {name: server, image: podway/toolbox, args: [serve, --tcp, "81", --udp, "82"]}
  - {name: other, image: registry.k8s.io/e2e-test-images/agnhost:2.53}
---
apiVersion: v1
kind: Pod
metadata: {name: alone}
spec:
  containers: [{name: a, image: podway/toolbox}]
"#;

/// PROBED stands for a file that is there when the last one is ready.
const FOUR_PODS: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: once}
spec:
  restartPolicy: Never
  containers: [{name: a, image: any, command: [sh, -c, "echo $(WORD); exit 3"], env: [{name: WORD, value: hello}]}]
---
apiVersion: v1
kind: Pod
metadata: {name: again}
spec:
  containers: [{name: a, image: any, command: [sh, -c, "echo run; exit 0"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: image}
spec:
  containers: [{name: a, image: nginx}]
---
apiVersion: v1
kind: Pod
metadata: {name: probed}
spec:
  containers:
  - name: a
    image: podway/toolbox
    args: [serve, --http, "80"]
    readinessProbe: {periodSeconds: 1, exec: {command: [test, -e, /tmp/PROBED]}}
"#;

#[test]
fn containers_of_a_pod_share_its_network_and_other_pods_do_not() {
    let lab = Lab::up(1);
    lab.apply(TWO_PODS);
    let two = lab.pod("two", is_ready);
    lab.pod("alone", is_ready);
    for target in ["127.0.0.1:81", "[::1]:81"] {
        assert_eq!(lab.connect("two", target, "tcp"), "OK", "{target}");
        assert_eq!(lab.connect("alone", target, "tcp"), "REFUSED", "{target}");
    }
    let ips = addresses(&two);
    assert_eq!(ips.len(), 2, "one address of each family: {ips:?}");
    for ip in &ips {
        let target = if ip.contains(':') {
            format!("[{ip}]")
        } else {
            ip.clone()
        };
        assert_eq!(
            lab.connect("alone", &format!("{target}:81"), "tcp"),
            "OK",
            "{ip}"
        );
        assert_eq!(
            lab.connect("alone", &format!("{target}:82"), "udp"),
            "OK",
            "{ip}"
        );
        assert_eq!(
            lab.connect("alone", &format!("{target}:83"), "tcp"),
            "REFUSED",
            "{ip}"
        );
    }
    let seen = lab.exec(
        "two",
        &[
            "sh",
            "-c",
            "hostname; ls /sys/class/net; tail -n 2 /etc/hosts",
        ],
    );
    let expected = format!("shop\neth0\nlo\n{}\tshop\n{}\tshop\n", ips[0], ips[1]);
    assert_eq!(text(&seen.stdout), expected);
    let host = std::fs::read_to_string("/etc/hosts").unwrap();
    assert!(
        !host.contains(&ips[0]),
        "the machine's own file was changed: {host}"
    );
}

#[test]
fn a_pod_on_the_node_s_network_has_its_addresses_and_name() {
    let lab = Lab::up(1);
    lab.apply(
        r#"
apiVersion: v1
kind: Pod
metadata: {name: host}
spec:
  hostNetwork: true
  containers: [{name: a, image: podway/toolbox, args: [serve, --http, "8080"]}]
"#,
    );
    let pod = lab.pod("host", is_ready);
    assert_eq!(addresses(&pod), ["172.16.0.11", "fd00:172:16::11"]);
    let name = lab.exec("host", &["hostname"]);
    assert_eq!(text(&name.stdout), "node1\n");
}

#[test]
fn exits_restarts_logs_and_probes_are_reported() {
    let lab = Lab::up(1);
    lab.apply(&FOUR_PODS.replace("PROBED", lab.name().as_str()));
    let status = |pod: &Pod| {
        pod.status
            .as_ref()?
            .container_statuses
            .as_deref()?
            .first()
            .cloned()
    };
    let phase = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.clone());
    let once = lab.pod("once", |pod| phase(pod).as_deref() == Some("Failed"));
    let ended = status(&once)
        .and_then(|status| status.state?.terminated)
        .unwrap();
    assert_eq!(
        (ended.exit_code, ended.reason.as_deref()),
        (3, Some("Error"))
    );
    lab.pod("again", |pod| {
        let waiting = status(pod).and_then(|status| status.state?.waiting?.reason);
        waiting.as_deref() == Some("CrashLoopBackOff")
    });
    let image = lab.pod("image", |pod| {
        let waiting = status(pod).and_then(|status| status.state?.waiting?.reason);
        waiting.as_deref() == Some("CreateContainerConfigError")
    });
    let message = status(&image)
        .and_then(|status| status.state?.waiting?.message)
        .unwrap();
    assert!(
        message.contains("nginx") && message.contains("command"),
        "{message}"
    );
    let log = |pod: &'static str, previous| {
        lab.with_client(|client| async move {
            let pods: Api<Pod> = Api::default_namespaced(client);
            pods.logs(
                pod,
                &LogParams {
                    previous,
                    ..LogParams::default()
                },
            )
            .await
            .unwrap()
        })
    };
    assert_eq!(log("once", false), "hello\n");
    assert_eq!(log("again", true), "run\n");

    let probed = lab.pod("probed", |pod| {
        status(pod).is_some_and(|status| status.started == Some(true))
    });
    assert!(!is_ready(&probed));
    let file = format!("/tmp/{}", lab.name());
    std::fs::write(&file, "").unwrap();
    lab.pod("probed", is_ready);
    std::fs::remove_file(&file).unwrap();
    lab.pod("probed", |pod| !is_ready(pod));
}

#[test]
fn a_pod_without_a_network_waits_and_says_why() {
    let lab = Lab::up(1);
    let conflists = lab.status().directory.join("node1/cni/net.d");
    for entry in std::fs::read_dir(&conflists).unwrap().flatten() {
        std::fs::rename(entry.path(), lab.status().directory.join(entry.file_name())).unwrap();
    }
    eventually("a node that is not ready", || {
        lab.status().nodes[0].ready == Some(false)
    });
    let refuse = r#"{"cniVersion":"1.0.0","name":"x","plugins":[{"type":"no-such-plugin"}]}"#;
    lab.apply("apiVersion: v1\nkind: Pod\nmetadata: {name: lone}\nspec: {nodeName: node1, containers: [{name: a, image: podway/toolbox}]}\n");
    std::fs::write(conflists.join("00-bad.conflist"), refuse).unwrap();
    eventually("an Event about the plugin", || {
        let events = lab.with_client(|client| async move {
            let events: Api<Event> = Api::default_namespaced(client);
            events.list(&ListParams::default()).await.unwrap()
        });
        events.iter().any(|event| {
            let message = event.message.as_deref().unwrap_or_default();
            event.reason.as_deref() == Some("FailedCreatePodSandBox")
                && message.contains("no-such-plugin")
        })
    });
    let directory = lab.status().directory;
    eventually("no namespace after a failed attempt", || {
        std::fs::read_dir(directory.join("node1/netns"))
            .unwrap()
            .count()
            == 0
    });
    std::fs::remove_file(conflists.join("00-bad.conflist")).unwrap();
    let good = std::fs::read_dir(&directory)
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    for path in good.filter(|path| {
        path.extension()
            .is_some_and(|extension| extension == "conflist")
    }) {
        std::fs::rename(&path, conflists.join(path.file_name().unwrap())).unwrap();
    }
    lab.pod("lone", is_ready);
}

#[test]
fn a_deleted_pod_is_gone_without_a_trace() {
    let lab = Lab::up(1);
    lab.apply(r#"
apiVersion: v1
kind: Pod
metadata: {name: stubborn}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: a, image: any, command: [sh, -c, "trap '' TERM; setsid sleep 1000 & while true; do sleep 1; done"]}]
"#);
    lab.pod("stubborn", is_ready);
    lab.with_client(|client| async move {
        let pods: Api<Pod> = Api::default_namespaced(client);
        pods.delete("stubborn", &DeleteParams::default())
            .await
            .unwrap();
    });
    let folder = lab.status().directory.join("node1");
    eventually("the pod's end", || {
        let pods = std::fs::read_dir(folder.join("pods")).unwrap().count();
        let gone = lab.with_client(|client| async move {
            let pods: Api<Pod> = Api::default_namespaced(client);
            pods.get_opt("stubborn").await.unwrap().is_none()
        });
        pods == 0 && gone
    });
    assert_eq!(std::fs::read_dir(folder.join("netns")).unwrap().count(), 0);
    let links = podway_lab::node(lab.name(), "node1", &["ls".into(), "/sys/class/net".into()]);
    let links = links.unwrap().output().unwrap();
    assert!(
        !text(&links.stdout).contains("pod1"),
        "a link is left over: {}",
        text(&links.stdout)
    );
    let marks = crate::fixture::traces(lab.name());
    let processes = marks
        .iter()
        .filter(|trace| trace.starts_with("process"))
        .count();
    assert_eq!(processes, 3, "control plane, agent and kubelet: {marks:#?}");
}
