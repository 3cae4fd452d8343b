use podway_model::{
    ClusterNetworkPolicy, ClusterPeer, ClusterPort, NamespacedPods, PolicyPort, PortMatch,
    RuleAction, Selector, Tier,
};
use serde_json::json;

use super::*;
use crate::objects::cluster_network_policy::api;

fn read_spec(spec: &Value) -> (Option<ClusterNetworkPolicy>, Vec<String>) {
    let reading = read::<api::ClusterNetworkPolicy>(json!({
        "apiVersion": "policy.networking.k8s.io/v1alpha2",
        "kind": "ClusterNetworkPolicy",
        "metadata": {"name": "p", "annotations": {"podway.dev/mode": "audit"}},
        "spec": spec,
        "status": {"conditions": null},
    }));
    let faults = faults(&reading);
    let policy = reading.object.map(|object| match object {
        Object::ClusterNetworkPolicy(policy) => ClusterNetworkPolicy::clone(&policy),
        other => panic!("{other:?}"),
    });
    (policy, faults)
}

fn red() -> Value {
    json!({"matchLabels": {"team": "red"}})
}

fn red_selector() -> Selector {
    Selector::of([("team".to_owned(), "red".to_owned())].into())
}

/// The only egress rule of a policy: what its peers and ports are read as.
fn rule(action: &str, peer: &Value, protocols: &Value) -> (ClusterRuleParts, Vec<String>) {
    let mut rule = json!({"name": "r", "action": action, "to": [peer]});
    if !protocols.is_null() {
        rule["protocols"] = json!([protocols]);
    }
    let (policy, faults) = read_spec(&json!({
        "tier": "Admin", "priority": 5, "subject": {"namespaces": {}}, "egress": [rule],
    }));
    let rule = policy.expect("a policy").egress.remove(0);
    let port = rule.ports.map(|mut ports| ports.remove(0));
    ((rule.action, rule.peers, port), faults)
}

type ClusterRuleParts = (RuleAction, Vec<ClusterPeer>, Option<ClusterPort>);

#[test]
fn tiers_subjects_and_mode() {
    let (policy, faults) = read_spec(&json!({
        "tier": "Baseline", "priority": 7,
        "subject": {"pods": {"namespaceSelector": {}, "podSelector": red()}},
    }));
    let policy = policy.expect("a policy");
    assert_eq!(faults, [""; 0]);
    assert_eq!(
        (policy.tier, policy.priority, policy.audit),
        (Tier::Baseline, 7, true)
    );
    assert_eq!(policy.subject.pods, red_selector());
    assert!(policy.subject.namespaces.is_empty());
    assert!(policy.ingress.is_empty() && policy.egress.is_empty());
}

#[test]
fn a_policy_without_a_tier_or_subject_is_left_out() {
    for (spec, fault) in [
        (
            json!({"tier": "Middle", "priority": 1, "subject": {"namespaces": {}}}),
            "spec.tier: \"Middle\" is not a tier: expected Admin or Baseline",
        ),
        (
            json!({"tier": "Admin", "priority": 1, "subject": {}}),
            "spec.subject: expected one of namespaces and pods",
        ),
    ] {
        let (policy, faults) = read_spec(&spec);
        assert_eq!((policy, faults), (None, vec![fault.to_owned()]), "{spec}");
    }
}

#[test]
fn peers() {
    let pods = NamespacedPods {
        namespaces: red_selector(),
        pods: Selector::default(),
    };
    for (peer, expected) in [
        (
            json!({"namespaces": red()}),
            ClusterPeer::Pods(pods.clone()),
        ),
        (
            json!({"pods": {"namespaceSelector": red(), "podSelector": {}}}),
            ClusterPeer::Pods(pods),
        ),
        (json!({"nodes": red()}), ClusterPeer::Nodes(red_selector())),
        (
            json!({"networks": ["10.0.0.1/8", "fd00::/64"]}),
            ClusterPeer::Networks(vec![
                "10.0.0.0/8".parse().unwrap(),
                "fd00::/64".parse().unwrap(),
            ]),
        ),
    ] {
        let (parts, faults) = rule("Deny", &peer, &Value::Null);
        assert_eq!(parts, (RuleAction::Deny, vec![expected], None), "{peer}");
        assert_eq!(faults, [""; 0], "{peer}");
    }
}

#[test]
fn peers_that_cannot_be_understood_are_kept_as_such() {
    for (peer, fault) in [
        (
            json!({"domainNames": ["example.org"]}),
            "spec.egress[0].to[0]: domainNames are not offered: no rule can be held to them",
        ),
        (
            json!({"newer": {}}),
            "spec.egress[0].to[0]: expected one of namespaces, pods, nodes and networks",
        ),
        (
            json!({"networks": ["10.0.0.0"]}),
            "spec.egress[0].to[0]: networks: \"10.0.0.0\" is not a prefix: expected \
             address/length, as 10.0.0.0/8 or fd00::/64",
        ),
        (
            json!({"nodes": {"matchExpressions": [{"key": "a", "operator": "Gt"}]}}),
            "spec.egress[0].to[0].nodes.matchExpressions[0].operator: \"Gt\" is not an operator: \
             expected In, NotIn, Exists or DoesNotExist",
        ),
        (
            json!({"namespaces": {"matchLabels": {"team": "a b"}}}),
            "spec.egress[0].to[0].namespaces.matchLabels[team]: \"a b\" is not the value of a \
             label: expected at most 63 of a-z A-Z 0-9 - _ ., the first and last a letter or digit",
        ),
    ] {
        let ((_, peers, _), faults) = rule("Accept", &peer, &Value::Null);
        assert!(matches!(peers[..], [ClusterPeer::Unknown(_)]), "{peers:?}");
        assert_eq!(faults, [fault]);
    }
}

#[test]
fn a_subject_that_cannot_be_understood_is_denied_what_is_denied() {
    let rule = |action: &str| json!({"action": action, "from": [{"namespaces": {}}]});
    let subject = json!({"matchLabels": {"team": "red", "a b": "c"}});
    let (policy, faults) = read_spec(&json!({
        "tier": "Admin", "priority": 1, "subject": {"namespaces": subject},
        "ingress": [rule("Accept"), rule("Deny"), rule("Pass")],
    }));
    let policy = policy.expect("a policy");
    assert_eq!(policy.subject.namespaces, red_selector());
    let actions: Vec<RuleAction> = policy.ingress.iter().map(|rule| rule.action).collect();
    assert_eq!(actions, [RuleAction::Deny]);
    assert_eq!(
        faults,
        ["spec.subject.namespaces.matchLabels[a b]: \"a b\" is not the key of a label"]
    );
}

#[test]
fn protocols() {
    let any = json!({"namespaces": {}});
    let port = |protocol, port| Some(ClusterPort::Port(PolicyPort { protocol, port }));
    for (raw, expected) in [
        (
            json!({"tcp": {"destinationPort": {"number": 80}}}),
            port(Protocol::Tcp, PortMatch::Range(80, 80)),
        ),
        (
            json!({"udp": {"destinationPort": {"range": {"start": 1, "end": 9}}}}),
            port(Protocol::Udp, PortMatch::Range(1, 9)),
        ),
        (json!({"sctp": {}}), port(Protocol::Sctp, PortMatch::Any)),
        (
            json!({"destinationNamedPort": "web"}),
            Some(ClusterPort::Named("web".to_owned())),
        ),
    ] {
        let ((_, _, port), faults) = rule("Accept", &any, &raw);
        assert_eq!(port, expected, "{raw}");
        assert_eq!(faults, [""; 0]);
    }
    for raw in [
        json!({"icmp": {}}),
        json!({"tcp": {"destinationPort": {"range": {"start": 9, "end": 1}}}}),
        json!({"tcp": {}, "udp": {}}),
    ] {
        let ((_, _, port), faults) = rule("Accept", &any, &raw);
        assert!(matches!(port, Some(ClusterPort::Unknown(_))), "{raw}");
        assert_eq!(faults.len(), 1, "{faults:?}");
    }
}
