//! Endpoints and EndpointSlices: the first few, and how many more.

use serde_json::{Value, json};

use super::{Layout, age_of, column, list, name, text};

/// A row stays a line.
const SHOWN: usize = 3;

pub(super) const ENDPOINTS: Layout = Layout {
    columns: &[column("Name"), column("Endpoints"), column("Age")],
    cells: |object, now| {
        let shown = first_few(&sockets(object), "<none>");
        vec![
            json!(name(object)),
            json!(shown),
            json!(age_of(object, now)),
        ]
    },
};

pub(super) const ENDPOINT_SLICE: Layout = Layout {
    columns: &[
        column("Name"),
        column("AddressType"),
        column("Ports"),
        column("Endpoints"),
        column("Age"),
    ],
    cells: |object, now| {
        let ports: Vec<String> = list(object, "/ports")
            .iter()
            .map(|port| {
                port["port"]
                    .as_i64()
                    .map_or("*".to_owned(), |port| port.to_string())
            })
            .collect();
        let addresses: Vec<String> = list(object, "/endpoints")
            .iter()
            .flat_map(|endpoint| list(endpoint, "/addresses"))
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect();
        vec![
            json!(name(object)),
            json!(text(object, "/addressType")),
            json!(first_few(&ports, "<unset>")),
            json!(first_few(&addresses, "<unset>")),
            json!(age_of(object, now)),
        ]
    },
};

/// `address:port` of everything that is ready, IPv6 in brackets.
fn sockets(object: &Value) -> Vec<String> {
    let mut sockets = Vec::new();
    for subset in list(object, "/subsets") {
        let addresses = list(subset, "/addresses")
            .iter()
            .map(|address| text(address, "/ip"));
        let addresses: Vec<&str> = addresses.collect();
        let ports = list(subset, "/ports");
        if ports.is_empty() {
            sockets.extend(addresses.iter().map(|&address| address.to_owned()));
        }
        for port in ports {
            let number = &port["port"];
            sockets.extend(addresses.iter().map(|address| match address.contains(':') {
                true => format!("[{address}]:{number}"),
                false => format!("{address}:{number}"),
            }));
        }
    }
    sockets
}

fn first_few(texts: &[String], none: &str) -> String {
    match texts.len() {
        0 => none.to_owned(),
        1..=SHOWN => texts.join(","),
        many => format!("{} + {} more...", texts[..SHOWN].join(","), many - SHOWN),
    }
}
