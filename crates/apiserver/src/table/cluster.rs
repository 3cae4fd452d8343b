//! Namespaces, nodes, and what is only stored: config maps, secrets, accounts,
//! leases, definitions.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Layout, age_of, column, joined_or, list, name, number, or_else, or_none, text, wide};

pub(super) const NAMESPACE: Layout = Layout {
    columns: &[column("Name"), column("Status"), column("Age")],
    cells: |object, now| {
        vec![
            json!(name(object)),
            json!(text(object, "/status/phase")),
            json!(age_of(object, now)),
        ]
    },
};

pub(super) const CONFIG_MAP: Layout = Layout {
    columns: &[column("Name"), number("Data"), column("Age")],
    cells: |object, now| {
        let count = |field| {
            object
                .get(field)
                .and_then(Value::as_object)
                .map_or(0, serde_json::Map::len)
        };
        let entries = count("data") + count("binaryData");
        vec![
            json!(name(object)),
            json!(entries),
            json!(age_of(object, now)),
        ]
    },
};

pub(super) const SECRET: Layout = Layout {
    columns: &[
        column("Name"),
        column("Type"),
        number("Data"),
        column("Age"),
    ],
    cells: |object, now| {
        let data = object.get("data").and_then(Value::as_object);
        vec![
            json!(name(object)),
            json!(text(object, "/type")),
            json!(data.map_or(0, serde_json::Map::len)),
            json!(age_of(object, now)),
        ]
    },
};

pub(super) const SERVICE_ACCOUNT: Layout = Layout {
    columns: &[column("Name"), number("Secrets"), column("Age")],
    cells: |object, now| {
        vec![
            json!(name(object)),
            json!(list(object, "/secrets").len()),
            json!(age_of(object, now)),
        ]
    },
};

pub(super) const LEASE: Layout = Layout {
    columns: &[column("Name"), column("Holder"), column("Age")],
    cells: |object, now| {
        vec![
            json!(name(object)),
            json!(text(object, "/spec/holderIdentity")),
            json!(age_of(object, now)),
        ]
    },
};

pub(super) const DEFINITION: Layout = Layout {
    columns: &[column("Name"), column("Created At")],
    cells: |object, _| {
        vec![
            json!(name(object)),
            json!(text(object, "/metadata/creationTimestamp")),
        ]
    },
};

pub(super) const NODE: Layout = Layout {
    columns: &[
        column("Name"),
        column("Status"),
        column("Roles"),
        column("Age"),
        column("Version"),
        wide("Internal-IP"),
        wide("External-IP"),
        wide("OS-Image"),
        wide("Kernel-Version"),
        wide("Container-Runtime"),
    ],
    cells: node,
};

const ROLE_LABEL: &str = "node-role.kubernetes.io/";

fn node(object: &Value, now: Timestamp) -> Vec<Value> {
    let address = |wanted: &str| {
        let addresses = list(object, "/status/addresses").iter();
        let mut found = addresses.filter(|address| text(address, "/type") == wanted);
        or_none(found.next().map_or("", |address| text(address, "/address"))).to_owned()
    };
    let info = |field: &str| text(object, &format!("/status/nodeInfo/{field}")).to_owned();
    vec![
        json!(name(object)),
        json!(node_status(object)),
        json!(roles(object)),
        json!(age_of(object, now)),
        json!(info("kubeletVersion")),
        json!(address("InternalIP")),
        json!(address("ExternalIP")),
        json!(or_else(&info("osImage"), "<unknown>")),
        json!(or_else(&info("kernelVersion"), "<unknown>")),
        json!(or_else(&info("containerRuntimeVersion"), "<unknown>")),
    ]
}

fn node_status(object: &Value) -> String {
    let ready = list(object, "/status/conditions")
        .iter()
        .find(|condition| text(condition, "/type") == "Ready")
        .map(|condition| text(condition, "/status"));
    let mut status = match ready {
        Some("True") => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
        None => "Unknown".to_owned(),
    };
    if object.pointer("/spec/unschedulable") == Some(&Value::Bool(true)) {
        status.push_str(",SchedulingDisabled");
    }
    status
}

fn roles(object: &Value) -> String {
    let labels = object
        .pointer("/metadata/labels")
        .and_then(Value::as_object);
    let roles = labels.into_iter().flatten().filter_map(|(key, value)| {
        let role = key.strip_prefix(ROLE_LABEL).filter(|role| !role.is_empty());
        // The older spelling of the same.
        role.or_else(|| {
            (key == "kubernetes.io/role")
                .then(|| value.as_str())
                .flatten()
        })
    });
    joined_or(roles, "<none>")
}
