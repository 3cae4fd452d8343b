//! The corpus of the conformance tests of ClusterNetworkPolicy: states, and
//! connections with what must become of them. See `corpora.rs`.

use std::path::PathBuf;

use podway_model::{ClusterState, Protocol};
use podway_plan::policy::Connection;
use podway_testkit::builders::{IntoObject, name, state};
use serde_json::Value;

use super::kubernetes_json::{cluster_policy, list, namespace, node, pod, policy, text};

/// How many there are.
pub(crate) const POKES: usize = 301;

/// The policies of a test at some time, and what is tried then.
pub(crate) struct Snapshot {
    pub(crate) state: ClusterState,
    pub(crate) pokes: Vec<Poke>,
}

/// A connection, and what must become of it.
pub(crate) struct Poke {
    pub(crate) line: String,
    pub(crate) connection: Connection,
    pub(crate) allowed: bool,
}

/// Every one; none where the corpus is absent.
pub(crate) fn snapshots() -> Vec<Snapshot> {
    let Some(corpus) = read("cluster-network-policy.json") else {
        return Vec::new();
    };
    let tests = list(&corpus["tests"]).collect::<Vec<_>>();
    assert_eq!(tests.len(), 24, "tests");
    let mut snapshots = Vec::new();
    for test in tests {
        for (index, snapshot) in list(&test["snapshots"]).enumerate() {
            let state = snapshot_state(&corpus, snapshot);
            let pokes = list(&test["pokes"]).filter(|poke| poke["snapshot"] == index);
            let pokes = pokes
                .map(|poke| Poke {
                    line: format!("{}: {poke}", test["shortName"]),
                    connection: poked(&state, poke),
                    allowed: poke["allow"].as_bool().expect("a verdict"),
                })
                .collect();
            snapshots.push(Snapshot { state, pokes });
        }
    }
    snapshots
}

/// The corpus in a file, where it is present.
pub(crate) fn read(file: &str) -> Option<Value> {
    let folder = std::env::var_os("PODWAY_CORPORA").map_or_else(
        || PathBuf::from("/work/shared/corpora/netpol"),
        PathBuf::from,
    );
    let path = folder.join(file);
    if !path.exists() {
        eprintln!(
            "NOT CHECKED: {} is absent; set PODWAY_CORPORA",
            path.display()
        );
        return None;
    }
    let content = std::fs::read_to_string(&path).expect("the corpus is readable");
    Some(serde_json::from_str(&content).expect("the corpus is JSON"))
}

/// What a poke of the conformance tests opens: pods poke pods.
fn poked(state: &ClusterState, poke: &Value) -> Connection {
    let address = |raw: &Value| {
        let pod = state.pod(&name(text(raw))).expect("a pod");
        pod.addresses[0]
    };
    let port = poke["port"].as_u64().expect("a port");
    Connection {
        source: address(&poke["from"]),
        destination: address(&poke["to"]),
        protocol: Protocol::parse(&text(&poke["protocol"]).to_uppercase()).expect("a protocol"),
        port: port.try_into().expect("a port"),
        node: None,
        through_service: false,
    }
}

/// The fixture of the conformance tests with the policies of a snapshot.
fn snapshot_state(corpus: &Value, snapshot: &Value) -> ClusterState {
    let namespaces = snapshot["namespaces"].as_object().expect("namespaces");
    let namespaces = namespaces
        .iter()
        .map(|(name, labels)| namespace(name, labels).object());
    let nodes = corpus["nodes"].as_object().expect("nodes");
    let nodes = nodes.iter().map(|(name, raw)| node(name, raw).object());
    let pods = list(&corpus["pods"]).map(|raw| pod(raw).object());
    let cluster = list(&snapshot["clusterNetworkPolicies"]);
    let policies = list(&snapshot["networkPolicies"]).map(|raw| policy(raw).object());
    let objects = namespaces.chain(nodes).chain(pods).chain(policies);
    state(objects.chain(cluster.map(|raw| cluster_policy(raw).object())))
}
