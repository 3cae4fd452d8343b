use k8s_openapi::api::networking::v1 as networking;
use podway_model::{
    NetworkPolicy, Operator, Peer, PolicyPort, PolicyRule, PortMatch, Requirement, Selector,
};
use serde_json::json;

use super::*;

fn policy(spec: &Value) -> (NetworkPolicy, Vec<String>) {
    let metadata = json!({"name": "p", "namespace": "x", "generation": 3});
    let reading = read::<networking::NetworkPolicy>(json!({"metadata": metadata, "spec": spec}));
    let faults = faults(&reading);
    match reading.object {
        Some(Object::NetworkPolicy(policy)) => (NetworkPolicy::clone(&policy), faults),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_directions_of_a_policy() {
    let rule = json!([{}]);
    for (spec, ingress, egress) in [
        (json!({"podSelector": {}}), true, false),
        (json!({"egress": []}), true, false),
        (json!({"egress": rule}), true, true),
        (
            json!({"policyTypes": ["Egress"], "ingress": rule}),
            false,
            true,
        ),
        (
            json!({"policyTypes": ["Ingress"], "egress": rule}),
            true,
            false,
        ),
        (json!({"policyTypes": []}), true, false),
    ] {
        let (policy, faults) = policy(&spec);
        let found = (policy.ingress.is_some(), policy.egress.is_some());
        assert_eq!(found, (ingress, egress), "{spec}");
        assert_eq!(faults, Vec::<String>::new());
        assert_eq!(policy.generation, 3);
    }
}

#[test]
fn the_peers_of_a_policy() {
    let labels = |key: &str, value: &str| Selector::of([(key.to_owned(), value.to_owned())].into());
    for (peer, expected) in [
        (
            json!({"ipBlock": {"cidr": "10.1.2.3/16", "except": ["10.1.9.9/24"]}}),
            Peer::Block {
                prefix: "10.1.0.0/16".parse().unwrap(),
                except: vec!["10.1.9.0/24".parse().unwrap()],
            },
        ),
        (
            json!({"podSelector": {"matchLabels": {"app": "a"}}}),
            Peer::Pods {
                namespaces: None,
                pods: Some(labels("app", "a")),
            },
        ),
        (
            json!({"namespaceSelector": {}, "podSelector": {}}),
            Peer::Pods {
                namespaces: Some(Selector::default()),
                pods: Some(Selector::default()),
            },
        ),
        (
            json!({"namespaceSelector": {"matchExpressions": [
                {"key": "a", "operator": "NotIn", "values": ["x"]}, {"key": "b", "operator": "Exists"},
            ]}}),
            Peer::Pods {
                namespaces: Some(Selector {
                    labels: [].into(),
                    requirements: vec![
                        Requirement {
                            key: "a".to_owned(),
                            operator: Operator::NotIn(["x".to_owned()].into()),
                        },
                        Requirement {
                            key: "b".to_owned(),
                            operator: Operator::Exists,
                        },
                    ],
                }),
                pods: None,
            },
        ),
    ] {
        let (policy, faults) = policy(&json!({"ingress": [{"from": [peer]}]}));
        assert_eq!(policy.ingress.unwrap()[0].peers, [expected], "{peer}");
        assert_eq!(faults, Vec::<String>::new());
    }
}

#[test]
fn a_peer_that_is_not_understood_stays_and_matches_nothing() {
    for (peer, fault) in [
        (json!({}), "spec.egress[0].to[0]: empty peer"),
        (
            json!({"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}),
            "spec.egress[0].to[0]: ipBlock stands alone",
        ),
        (
            json!({"ipBlock": {"cidr": "10.0.0.0"}}),
            "spec.egress[0].to[0]: ipBlock.cidr: \"10.0.0.0\" is not a prefix",
        ),
        (
            json!({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["?"]}}),
            "spec.egress[0].to[0]: ipBlock.except: \"?\" is not a prefix",
        ),
    ] {
        let (policy, faults) = policy(&json!({"egress": [{"to": [peer]}]}));
        let peers = &policy.egress.unwrap()[0].peers;
        assert!(
            matches!(peers.as_slice(), [Peer::Invalid(_)]),
            "{peer}: {peers:?}"
        );
        assert!(faults[0].starts_with(fault), "{peer}: {faults:?}");
    }
    let (policy, faults) = policy(&json!({"ingress": [{"from": [
        {"podSelector": {"matchExpressions": [{"key": "a", "operator": "Like", "values": ["x"]}]}},
    ]}]}));
    let rules = policy.ingress.unwrap();
    let [
        Peer::Pods {
            pods: Some(pods), ..
        },
    ] = &rules[0].peers[..]
    else {
        panic!("{rules:?}")
    };
    assert_eq!(
        pods.requirements[0].operator,
        Operator::Unknown("Like".to_owned())
    );
    let field = "spec.ingress[0].from[0].podSelector.matchExpressions[0].operator";
    assert!(faults[0].starts_with(field), "{faults:?}");
}

#[test]
fn the_ports_of_a_policy() {
    let port = |protocol, port| PolicyPort { protocol, port };
    for (ports, expected) in [
        (json!([{}]), vec![port(Protocol::Tcp, PortMatch::Any)]),
        (
            json!([{"port": 80}]),
            vec![port(Protocol::Tcp, PortMatch::Range(80, 80))],
        ),
        (
            json!([{"port": 80, "endPort": 90, "protocol": "SCTP"}]),
            vec![port(Protocol::Sctp, PortMatch::Range(80, 90))],
        ),
        (
            json!([{"port": "dns", "protocol": "UDP"}]),
            vec![port(Protocol::Udp, PortMatch::Name("dns".to_owned()))],
        ),
        (
            json!([{"port": 80, "endPort": 70}, {"port": 443}]),
            vec![port(Protocol::Tcp, PortMatch::Range(443, 443))],
        ),
    ] {
        let (policy, _) = policy(&json!({"ingress": [{"ports": ports}]}));
        let expected = PolicyRule {
            peers: Vec::new(),
            ports: expected,
        };
        assert_eq!(policy.ingress.unwrap(), [expected], "{ports}");
    }
}

#[test]
fn a_rule_without_a_valid_port_does_not_become_one_for_every_port() {
    for (port, fault) in [
        (
            json!({"port": 0}),
            "spec.ingress[0].ports[0].port: 0 is not a port",
        ),
        (
            json!({"endPort": 80}),
            "spec.ingress[0].ports[0].endPort: needs a port",
        ),
        (
            json!({"port": "a", "endPort": 80}),
            "spec.ingress[0].ports[0].endPort: needs a port",
        ),
        (
            json!({"port": 80, "endPort": 79}),
            "spec.ingress[0].ports[0].endPort: 79 is below",
        ),
        (
            json!({"protocol": "X"}),
            "spec.ingress[0].ports[0].protocol: \"X\"",
        ),
    ] {
        let (policy, faults) = policy(&json!({"ingress": [{"ports": [port]}]}));
        let rules = policy.ingress.unwrap();
        assert!(
            matches!(rules[0].peers.as_slice(), [Peer::Invalid(_)]),
            "{port}: {rules:?}"
        );
        assert!(faults[0].starts_with(fault), "{port}: {faults:?}");
    }
}

#[test]
fn what_validation_refuses_today_opens_nothing() {
    let unknown =
        |key: &str, value: &str| json!([{"key": key, "operator": "NotIn", "values": [value]}]);
    let (policy, faults) = policy(&json!({"ingress": [
        {"from": [{"podSelector": {"matchExpressions": unknown("app", "a b")}}]},
        {"from": [{"ipBlock": {"cidr": "10.0.0/8"}}, {"podSelector": {}}]},
        {"from": [{"namespaceSelector": {"matchLabels": {"a/b/c": "d"}}}]},
    ]}));
    let rules = policy.ingress.unwrap();
    let labels = [("app".to_owned(), "web".to_owned())].into();
    let peers = |index: usize| match &rules[index].peers[..] {
        [Peer::Pods { namespaces, pods }] => {
            let selectors = namespaces.iter().chain(pods);
            selectors
                .map(|selector| selector.matches(&labels))
                .collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!((peers(0), peers(2)), (vec![false], vec![false]));
    assert!(matches!(
        rules[1].peers[..],
        [Peer::Invalid(_), Peer::Pods { .. }]
    ));
    assert_eq!(faults.len(), 3, "{faults:?}");
}

#[test]
fn subjects_that_cannot_be_understood_are_isolated_and_allowed_nothing() {
    let subjects = json!({
        "matchLabels": {"app": "web"},
        "matchExpressions": [{"key": "tier", "operator": "Like", "values": ["x"]}],
    });
    let (policy, faults) = policy(&json!({"podSelector": subjects, "ingress": [{}]}));
    assert_eq!(
        policy.subjects,
        Selector::of([("app".to_owned(), "web".to_owned())].into())
    );
    assert_eq!((policy.ingress, policy.egress), (Some(vec![]), None));
    assert_eq!(faults.len(), 1, "{faults:?}");
}
