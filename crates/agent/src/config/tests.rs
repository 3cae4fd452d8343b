use super::*;

#[test]
fn what_is_written_is_what_is_read() {
    let config = Configuration {
        node_name: Some("node1".to_owned()),
        kubeconfig: Some("/run/podway/lab/control-plane/node.kubeconfig".into()),
        pods: Pods {
            masquerade: false,
            ..Pods::default()
        },
        overlay: Overlay {
            vni: 7,
            ..Overlay::default()
        },
        ..Configuration::default()
    };
    let text = config.to_yaml().unwrap();
    assert_eq!(
        Configuration::parse("agent.yaml", &text),
        Ok(config),
        "{text}"
    );
}

#[test]
fn the_shortest_file_has_every_default() {
    let text = "apiVersion: podway.dev/v1alpha1\nkind: PodwayConfiguration\n";
    assert_eq!(
        Configuration::parse("a", text),
        Ok(Configuration::default())
    );
}

#[test]
fn every_mistake_is_named_with_its_place() {
    let text = "\
apiVersion: podway.dev/v1alpha1
kind: PodwayConfiguration
nodename: node1
pods:
  enabled: \"yes\"
  masqerade: true
services:
  mode: nftables
";
    let mistakes = Configuration::parse("agent.yaml", text)
        .unwrap_err()
        .to_string();
    for expected in [
        "agent.yaml:3:1: unknown field \"nodename\"",
        "probably meant: nodeName",
        "agent.yaml:5:12: pods.enabled: ",
        "agent.yaml:6:3: unknown field \"masqerade\"",
        "probably meant: masquerade",
    ] {
        assert!(mistakes.contains(expected), "{expected:?} in\n{mistakes}");
    }
}

#[test]
fn values_of_the_overlay_are_checked() {
    for (body, expected) in [
        (
            "overlay: {backend: gre}\n",
            "\"gre\" is not one of vxlan, host-gw",
        ),
        ("overlay: {port: 0}\n", "a:3:17: overlay.port: "),
        (
            "overlay: {mtu: 500}\n",
            "a:3:16: overlay.mtu: 500 is out of range: expected 576-65535",
        ),
        (
            "overlay: {macPrefix: \"01:00\"}\n",
            "overlay.macPrefix: \"01:00\" is not the beginning of a local unicast address",
        ),
        (
            "overlay: {backend: host-gw, directRouting: true}\n",
            "overlay.directRouting: backend host-gw has no tunnel to do without",
        ),
        ("overlay: {also: [hostgw]}\n", "(probably host-gw)"),
        (
            "overlay: {also: [vxlan]}\n",
            "\"vxlan\" is the backend already",
        ),
        ("overlay: {networks: [10.244.0.0]}\n", "overlay.networks"),
    ] {
        let text = format!("{HEADER}{body}");
        let mistakes = Configuration::parse("a", &text).unwrap_err();
        let text = mistakes.to_string();
        assert!(text.contains(expected), "{expected:?} in\n{text}");
    }
}

const HEADER: &str = "apiVersion: podway.dev/v1alpha1\nkind: PodwayConfiguration\n";

#[test]
fn values_are_checked() {
    for (body, expected) in [
        (
            "nodeName: Node_1\n",
            "a:3:11: nodeName: \"Node_1\" is not a node's name",
        ),
        (
            "overlay: {vni: 16777216}\n",
            "a:3:16: overlay.vni: 16777216 is out of range",
        ),
        (
            "pods: {bridge: podway0}\n",
            "a:3:8: unknown field \"bridge\"",
        ),
        (
            "pods: {policyWaitSeconds: 0}\n",
            "a:3:27: pods.policyWaitSeconds: 0 is out of range",
        ),
        ("services: {mode: nftable}\n", "(probably nftables)"),
        (
            "policies: {established: kut}\n",
            "\"kut\" is not one of cut, leave",
        ),
        ("---\nkind: x\n", "expected one document, found 2"),
    ] {
        let mistakes = Configuration::parse("a", &format!("{HEADER}{body}")).unwrap_err();
        assert!(
            mistakes.to_string().contains(expected),
            "{expected:?} in\n{mistakes}"
        );
    }
    for (text, expected) in [
        ("", "expected one document, found 0"),
        ("kind: PodwayConfiguration\n", "missing field `apiVersion`"),
        (
            "apiVersion: v1\nkind: PodwayConfiguration\n",
            "a:1:13: apiVersion: \"v1\" is not one of",
        ),
    ] {
        let mistakes = Configuration::parse("a", text).unwrap_err();
        assert!(
            mistakes.to_string().contains(expected),
            "{expected:?} in\n{mistakes}"
        );
    }
}
