//! Policies of both kinds, Pods, Nodes and Namespaces of the corpora: JSON as the API server
//! would have stored it, read into the model's words. The corpora hold valid
//! objects, so anything unexpected panics.

use std::collections::BTreeSet;

use podway_model::{
    ClusterNetworkPolicy, ClusterPeer, ClusterPort, ClusterRule, ContainerPort, Labels, Namespace,
    NamespacedPods, NetworkPolicy, Node, Operator, Peer, Pod, PolicyPort, PolicyRule, PortMatch,
    Protocol, Requirement, RuleAction, Selector, Tier,
};
use podway_testkit::builders;
use serde_json::Value;

pub(crate) fn namespace(name: &str, raw: &Value) -> Namespace {
    Namespace {
        labels: labels(raw),
        ..builders::namespace(name)
    }
}

pub(crate) fn pod(raw: &Value) -> Pod {
    let name = format!("{}/{}", text(&raw["namespace"]), text(&raw["name"]));
    Pod {
        labels: labels(&raw["labels"]),
        ports: list(&raw["ports"])
            .map(|port| ContainerPort {
                name: text(&port["name"]).to_owned(),
                protocol: protocol(&port["protocol"]),
                port: number(&port["port"]),
            })
            .collect(),
        host_network: raw["hostNetwork"].as_bool().unwrap_or(false),
        ..builders::pod(
            &name,
            raw["node"].as_str().unwrap_or("node1"),
            &[text(&raw["ip"])],
        )
    }
}

pub(crate) fn node(name: &str, raw: &Value) -> Node {
    let addresses: Vec<&str> = list(&raw["ips"]).map(text).collect();
    Node {
        labels: labels(&raw["labels"]),
        ..builders::node(name, &addresses, &[])
    }
}

pub(crate) fn cluster_policy(raw: &Value) -> ClusterNetworkPolicy {
    let spec = &raw["spec"];
    let rules = |side: &str, peers: &str| {
        let rules = list(&spec[side]);
        rules.map(|rule| cluster_rule(rule, peers)).collect()
    };
    ClusterNetworkPolicy {
        name: text(&raw["metadata"]["name"]).into(),
        revision: 1,
        generation: 1,
        audit: false,
        tier: match text(&spec["tier"]) {
            "Admin" => Tier::Admin,
            "Baseline" => Tier::Baseline,
            other => panic!("no tier {other}"),
        },
        priority: number(&spec["priority"]),
        subject: namespaced_pods(&spec["subject"]).expect("a subject"),
        ingress: rules("ingress", "from"),
        egress: rules("egress", "to"),
    }
}

fn cluster_rule(raw: &Value, peers: &str) -> ClusterRule {
    ClusterRule {
        name: String::new(),
        action: match text(&raw["action"]) {
            "Accept" => RuleAction::Accept,
            "Deny" => RuleAction::Deny,
            "Pass" => RuleAction::Pass,
            other => panic!("no action {other}"),
        },
        peers: list(&raw[peers]).map(cluster_peer).collect(),
        ports: raw
            .get("protocols")
            .map(|ports| list(ports).map(cluster_port).collect()),
    }
}

fn namespaced_pods(raw: &Value) -> Option<NamespacedPods> {
    if let Some(namespaces) = raw.get("namespaces") {
        let namespaces = selector(namespaces);
        let pods = Selector::default();
        return Some(NamespacedPods { namespaces, pods });
    }
    raw.get("pods").map(|pods| NamespacedPods {
        namespaces: selector(&pods["namespaceSelector"]),
        pods: selector(&pods["podSelector"]),
    })
}

fn cluster_peer(raw: &Value) -> ClusterPeer {
    if let Some(networks) = raw.get("networks") {
        let networks = list(networks).map(|network| builders::prefix(text(network)));
        return ClusterPeer::Networks(networks.collect());
    }
    if let Some(nodes) = raw.get("nodes") {
        return ClusterPeer::Nodes(selector(nodes));
    }
    let pods = namespaced_pods(raw);
    ClusterPeer::Pods(pods.unwrap_or_else(|| panic!("no peer {raw}")))
}

fn cluster_port(raw: &Value) -> ClusterPort {
    if let Some(name) = raw.get("destinationNamedPort") {
        return ClusterPort::Named(text(name).to_owned());
    }
    let (name, ports) = raw
        .as_object()
        .and_then(|one| one.iter().next())
        .expect("a protocol");
    let port = match &ports["destinationPort"] {
        Value::Null => PortMatch::Any,
        port => match port.get("range") {
            Some(range) => PortMatch::Range(number(&range["start"]), number(&range["end"])),
            None => PortMatch::Range(number(&port["number"]), number(&port["number"])),
        },
    };
    let protocol = Protocol::parse(&name.to_uppercase()).expect("a protocol");
    ClusterPort::Port(PolicyPort { protocol, port })
}

pub(crate) fn policy(raw: &Value) -> NetworkPolicy {
    let metadata = &raw["metadata"];
    let name = format!(
        "{}/{}",
        text(&metadata["namespace"]),
        text(&metadata["name"])
    );
    let spec = &raw["spec"];
    let types: BTreeSet<&str> = list(&spec["policyTypes"]).map(text).collect();
    let (ingress, egress) = if types.is_empty() {
        (true, list(&spec["egress"]).next().is_some())
    } else {
        (types.contains("Ingress"), types.contains("Egress"))
    };
    let rules = |side: &str, peers: &str| list(&spec[side]).map(|r| rule(r, peers)).collect();
    NetworkPolicy {
        subjects: selector(&spec["podSelector"]),
        ingress: ingress.then(|| rules("ingress", "from")),
        egress: egress.then(|| rules("egress", "to")),
        ..builders::policy(&name)
    }
}

fn rule(raw: &Value, peers: &str) -> PolicyRule {
    PolicyRule {
        peers: list(&raw[peers]).map(peer).collect(),
        ports: list(&raw["ports"]).map(port).collect(),
    }
}

fn peer(raw: &Value) -> Peer {
    if let Some(block) = raw.get("ipBlock") {
        return Peer::Block {
            prefix: builders::prefix(text(&block["cidr"])),
            except: list(&block["except"])
                .map(|except| builders::prefix(text(except)))
                .collect(),
        };
    }
    Peer::Pods {
        namespaces: raw.get("namespaceSelector").map(selector),
        pods: raw.get("podSelector").map(selector),
    }
}

fn port(raw: &Value) -> PolicyPort {
    PolicyPort {
        protocol: protocol(&raw["protocol"]),
        port: match (&raw["port"], &raw["endPort"]) {
            (Value::Null, _) => PortMatch::Any,
            (Value::String(name), _) => PortMatch::Name(name.clone()),
            (first, Value::Null) => PortMatch::Range(number(first), number(first)),
            (first, last) => PortMatch::Range(number(first), number(last)),
        },
    }
}

fn selector(raw: &Value) -> Selector {
    Selector {
        labels: labels(&raw["matchLabels"]),
        requirements: list(&raw["matchExpressions"]).map(requirement).collect(),
    }
}

fn requirement(raw: &Value) -> Requirement {
    let values = list(&raw["values"]).map(|v| text(v).to_owned()).collect();
    Requirement {
        key: text(&raw["key"]).to_owned(),
        operator: match text(&raw["operator"]) {
            "In" => Operator::In(values),
            "NotIn" => Operator::NotIn(values),
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            other => panic!("no operator {other}"),
        },
    }
}

fn labels(raw: &Value) -> Labels {
    let entries = raw.as_object().into_iter().flatten();
    entries
        .map(|(key, value)| (key.clone(), text(value).to_owned()))
        .collect()
}

fn protocol(raw: &Value) -> Protocol {
    let name = raw.as_str().unwrap_or("TCP");
    Protocol::parse(name).unwrap_or_else(|| panic!("no protocol {name}"))
}

fn number(raw: &Value) -> u16 {
    raw.as_u64()
        .and_then(|number| number.try_into().ok())
        .unwrap_or_else(|| panic!("not a port: {raw}"))
}

pub(crate) fn text(raw: &Value) -> &str {
    raw.as_str().unwrap_or_else(|| panic!("not text: {raw}"))
}

pub(crate) fn list(raw: &Value) -> impl Iterator<Item = &Value> {
    raw.as_array().into_iter().flatten()
}
