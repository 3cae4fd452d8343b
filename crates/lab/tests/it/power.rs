//! Nodes that go off and come back.

use crate::fixture::{Lab, addresses, chain, is_ready};

const PODS: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: one}
spec:
  nodeName: node1
  containers: [{name: a, image: podway/toolbox, args: [serve, --tcp, "81"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: two}
spec:
  nodeName: node2
  containers: [{name: a, image: podway/toolbox, args: [serve, --tcp, "81"]}]
"#;

#[test]
fn a_node_goes_off_and_comes_back_with_its_pods() {
    let lab = Lab::up(2);
    lab.apply(PODS);
    lab.pod("one", is_ready);
    let address = addresses(&lab.pod("two", is_ready))[0].clone();
    assert_eq!(lab.connect("one", &format!("{address}:81"), "tcp"), "OK");

    podway_lab::kill_node(lab.name(), "node2", &mut |_| {})
        .unwrap_or_else(|error| panic!("{}", chain(&error)));
    let status = lab.status();
    assert_eq!(
        (status.nodes[0].ready, status.nodes[1].ready),
        (Some(true), Some(false))
    );
    assert_eq!(status.nodes[1].sandboxes, 0, "{status:#?}");
    let client = |target: &str| {
        let words = ["podway", "toolbox", "connect", target, "--timeout", "500ms"];
        let words: Vec<_> = words.iter().map(Into::into).collect();
        let mut command = podway_lab::client(lab.name(), &words).unwrap();
        command.env("PATH", lab.settings.program.parent().unwrap());
        command.output().unwrap().status.success()
    };
    assert!(!client(&format!("{}:81", status.nodes[1].addresses[0])));

    podway_lab::start_node(lab.name(), "node2", &mut |_| {})
        .unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert_eq!(lab.status().nodes[1].ready, Some(true));
    let restarted = |pod: &k8s_openapi::api::core::v1::Pod| {
        let statuses = pod
            .status
            .as_ref()
            .and_then(|status| status.container_statuses.as_deref());
        is_ready(pod) && statuses.is_some_and(|statuses| statuses[0].restart_count > 0)
    };
    let two = lab.pod("two", restarted);
    for address in addresses(&two) {
        let target = if address.contains(':') {
            format!("[{address}]:81")
        } else {
            format!("{address}:81")
        };
        crate::fixture::eventually("a way to the pod", || {
            lab.connect("one", &target, "tcp") == "OK"
        });
    }
}

#[test]
fn unknown_nodes_are_named_with_those_that_there_are() {
    let lab = Lab::up(1);
    for error in [
        podway_lab::kill_node(lab.name(), "node2", &mut |_| {}).unwrap_err(),
        podway_lab::start_node(lab.name(), "nodeX", &mut |_| {}).unwrap_err(),
        podway_lab::node(lab.name(), "underlay", &["true".into()]).unwrap_err(),
    ] {
        assert!(error.to_string().contains("its nodes are node1"), "{error}");
    }
}
