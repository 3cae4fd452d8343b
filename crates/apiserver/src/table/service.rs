//! Services and network policies.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Layout, age_of, column, joined_or, labels, list, name, or_none, text, wide};

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
        let selector = selector(object.pointer("/spec/podSelector"));
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
            let ingress = list(object, "/status/loadBalancer/ingress")
                .iter()
                .map(|ingress| {
                    let ip = text(ingress, "/ip");
                    if ip.is_empty() {
                        text(ingress, "/hostname")
                    } else {
                        ip
                    }
                });
            joined_or(ingress.chain(given), "<pending>")
        }
        _ => joined_or(given, "<none>"),
    }
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

/// A label selector in the syntax of `kubectl -l`.
fn selector(value: Option<&Value>) -> String {
    let Some(value) = value else {
        return "<none>".to_owned();
    };
    let mut terms = Vec::new();
    let equal = labels(value.get("matchLabels"));
    if equal != "<none>" {
        terms.push(equal);
    }
    terms.extend(list(value, "/matchExpressions").iter().map(|expression| {
        let key = text(expression, "/key");
        let values = joined_or(
            list(expression, "/values").iter().filter_map(Value::as_str),
            "",
        );
        match text(expression, "/operator") {
            "Exists" => key.to_owned(),
            "DoesNotExist" => format!("!{key}"),
            "NotIn" => format!("{key} notin ({values})"),
            _ => format!("{key} in ({values})"),
        }
    }));
    joined_or(terms.iter().map(String::as_str), "<none>")
}
