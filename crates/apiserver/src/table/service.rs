//! Services, network policies and ingresses.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Layout, age_of, column, joined_or, labels, list, name, or_else, or_none, selector_of, text,
    wide,
};

pub(super) const SERVICE: Layout = Layout {
    columns: &[
        column("Name"),
        column("Type"),
        column("Cluster-IP"),
        column("External-IP"),
        column("Port(s)"),
        column("Age"),
        wide("Selector"),
    ],
    cells: service,
};

pub(super) const NETWORK_POLICY: Layout = Layout {
    columns: &[column("Name"), column("Pod-Selector"), column("Age")],
    cells: |object, now| {
        let selector = selector_of(object, "/spec/podSelector");
        vec![
            json!(name(object)),
            json!(selector),
            json!(age_of(object, now)),
        ]
    },
};

fn service(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        json!(name(object)),
        json!(text(object, "/spec/type")),
        json!(or_none(text(object, "/spec/clusterIP"))),
        json!(external(object)),
        json!(ports(object)),
        json!(age_of(object, now)),
        json!(labels(object.pointer("/spec/selector"))),
    ]
}

fn external(object: &Value) -> String {
    let given = list(object, "/spec/externalIPs")
        .iter()
        .filter_map(Value::as_str);
    match text(object, "/spec/type") {
        "ExternalName" => text(object, "/spec/externalName").to_owned(),
        "LoadBalancer" => {
            let addresses = load_balancer(object).into_iter();
            joined_or(addresses.chain(given), "<pending>")
        }
        _ => joined_or(given, "<none>"),
    }
}

/// The addresses or names under which the world reaches it.
fn load_balancer(object: &Value) -> Vec<&str> {
    list(object, "/status/loadBalancer/ingress")
        .iter()
        .map(|ingress| or_else(text(ingress, "/ip"), text(ingress, "/hostname")))
        .collect()
}

fn ports(object: &Value) -> String {
    let ports: Vec<String> = list(object, "/spec/ports")
        .iter()
        .map(|port| {
            let protocol = text(port, "/protocol");
            match port["nodePort"].as_i64().unwrap_or(0) {
                0 => format!("{}/{protocol}", port["port"]),
                node_port => format!("{}:{node_port}/{protocol}", port["port"]),
            }
        })
        .collect();
    joined_or(ports.iter().map(String::as_str), "<none>")
}

pub(super) const INGRESS: Layout = Layout {
    columns: &[
        column("Name"),
        column("Class"),
        column("Hosts"),
        column("Address"),
        column("Ports"),
        column("Age"),
    ],
    cells: |object, now| {
        vec![
            json!(name(object)),
            json!(or_none(text(object, "/spec/ingressClassName"))),
            json!(hosts(object)),
            json!(load_balancer(object).join(",")),
            json!(if list(object, "/spec/tls").is_empty() {
                "80"
            } else {
                "80, 443"
            }),
            json!(age_of(object, now)),
        ]
    },
};

/// The first three hosts, and how many more.
fn hosts(ingress: &Value) -> String {
    const SHOWN: usize = 3;
    let hosts: Vec<&str> = list(ingress, "/spec/rules")
        .iter()
        .map(|rule| text(rule, "/host"))
        .filter(|host| !host.is_empty())
        .collect();
    match hosts.len() {
        0 => "*".to_owned(),
        1..=SHOWN => hosts.join(","),
        many => format!("{} + {} more...", hosts[..SHOWN].join(","), many - SHOWN),
    }
}

pub(super) const INGRESS_CLASS: Layout = Layout {
    columns: &[
        column("Name"),
        column("Controller"),
        column("Parameters"),
        column("Age"),
    ],
    cells: |object, now| {
        let part = |field: &str| text(object, &format!("/spec/parameters/{field}"));
        let parameters = match (part("kind"), part("apiGroup")) {
            ("", _) => "<none>".to_owned(),
            (kind, "") => format!("{kind}/{}", part("name")),
            (kind, group) => format!("{kind}.{group}/{}", part("name")),
        };
        vec![
            json!(name(object)),
            json!(text(object, "/spec/controller")),
            json!(parameters),
            json!(age_of(object, now)),
        ]
    },
};
