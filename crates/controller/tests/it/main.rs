//! Replicas of the controller against an API server of the test's own.
#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

mod addresses;
mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, Node};
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use podway_controller::Settings;
use podway_plan::node_prefixes::NodeRange;
use serde_json::json;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use server::Server;

/// How long a condition may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A replica; gone with the value.
struct Replica {
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

fn replica_settings(server: &Server, identity: &str, ranges: &[(&str, u8)]) -> Settings {
    let range =
        |(prefix, length): &(&str, u8)| NodeRange::new(prefix.parse().unwrap(), *length).unwrap();
    Settings {
        kubeconfig: Some(server.kubeconfig()),
        identity: identity.to_owned(),
        lease_namespace: "kube-system".into(),
        lease_name: "podway-controller".into(),
        lease_duration: Duration::from_secs(1),
        node_ranges: ranges.iter().map(range).collect(),
        addresses: None,
    }
}

impl Replica {
    fn start(server: &Server, identity: &str, ranges: &[(&str, u8)]) -> Self {
        Self::with(replica_settings(server, identity, ranges))
    }

    fn with(settings: Settings) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let stop = async { drop(stopped.await) };
            podway_controller::run(settings, stop).await.unwrap();
        });
        Self {
            stop: Some(stop),
            task,
        }
    }

    /// As SIGTERM does it.
    async fn stop(mut self) {
        drop(self.stop.take());
        (&mut self.task).await.unwrap();
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn create(nodes: &Api<Node>, name: &str, prefixes: &[&str]) {
    let mut node = json!({ "metadata": { "name": name } });
    if !prefixes.is_empty() {
        node["spec"] = json!({ "podCIDR": prefixes[0], "podCIDRs": prefixes });
    }
    let node = serde_json::from_value(node).unwrap();
    nodes.create(&PostParams::default(), &node).await.unwrap();
}

async fn prefixes(nodes: &Api<Node>, name: &str) -> Vec<String> {
    let spec = nodes.get(name).await.unwrap().spec.unwrap_or_default();
    assert_eq!(
        spec.pod_cidr.as_ref(),
        spec.pod_cidrs.iter().flatten().next()
    );
    spec.pod_cidrs.unwrap_or_default()
}

/// The prefixes of a node once it has some.
async fn given(nodes: &Api<Node>, name: &str) -> Vec<String> {
    let given = async {
        loop {
            let prefixes = prefixes(nodes, name).await;
            if !prefixes.is_empty() {
                return prefixes;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, given)
        .await
        .unwrap_or_else(|_| panic!("{name} got nothing"))
}

async fn warned(server: &Server, node: &str, reason: &str) -> String {
    let events: Api<Event> = Api::namespaced(server.client().await, "default");
    let warned = async {
        loop {
            let all = events.list(&ListParams::default()).await.unwrap();
            let found = all.items.into_iter().find(|event| {
                let about = event.involved_object.name.as_deref() == Some(node);
                about && event.reason.as_deref() == Some(reason)
            });
            if let Some(event) = found {
                return event.message.unwrap();
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, warned)
        .await
        .unwrap_or_else(|_| panic!("no {reason} about {node}"))
}

const DUAL: [(&str, u8); 2] = [("10.244.0.0/16", 24), ("fd00:10:244::/48", 64)];

#[tokio::test(flavor = "multi_thread")]
async fn nodes_without_prefixes_get_one_of_each_family() {
    let server = Server::start().await;
    let nodes: Api<Node> = Api::all(server.client().await);
    create(&nodes, "has", &["10.244.0.0/24", "fd00:10:244::/64"]).await;
    create(&nodes, "old", &[]).await;
    let replica = Replica::start(&server, "a", &DUAL);
    assert_eq!(
        given(&nodes, "old").await,
        ["10.244.1.0/24", "fd00:10:244:1::/64"]
    );
    create(&nodes, "new", &[]).await;
    assert_eq!(
        given(&nodes, "new").await,
        ["10.244.2.0/24", "fd00:10:244:2::/64"]
    );
    assert_eq!(
        given(&nodes, "has").await,
        ["10.244.0.0/24", "fd00:10:244::/64"]
    );
    // A node that comes again under its name is another one.
    nodes.delete("new", &DeleteParams::default()).await.unwrap();
    create(&nodes, "new", &[]).await;
    assert_eq!(
        given(&nodes, "new").await,
        ["10.244.3.0/24", "fd00:10:244:3::/64"]
    );
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_replica_works_and_the_next_takes_over() {
    let server = Server::start().await;
    let nodes: Api<Node> = Api::all(server.client().await);
    let mut replicas: BTreeMap<&str, Replica> = ["a", "b", "c"]
        .map(|identity| (identity, Replica::start(&server, identity, &DUAL)))
        .into();
    let leases: Api<Lease> = Api::namespaced(server.client().await, "kube-system");
    let mut seen = BTreeSet::new();
    for round in 0..3 {
        // Many at once: two that worked together would give one twice.
        for number in 0..20 {
            create(&nodes, &format!("n{round}-{number}"), &[]).await;
        }
        for number in 0..20 {
            let given = given(&nodes, &format!("n{round}-{number}")).await;
            assert!(seen.insert(given.clone()), "{given:?} twice");
        }
        let lease = leases.get("podway-controller").await.unwrap();
        let holder = lease.spec.and_then(|spec| spec.holder_identity).unwrap();
        let elected = replicas.remove(holder.as_str()).unwrap();
        // The first one resigns, the second is killed.
        if round == 0 {
            elected.stop().await;
        }
    }
    assert_eq!(seen.len(), 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_is_an_event() {
    let server = Server::start().await;
    let nodes: Api<Node> = Api::all(server.client().await);
    create(&nodes, "a", &["10.244.0.0/25"]).await;
    create(&nodes, "b", &["10.244.0.0/24"]).await;
    let _replica = Replica::start(&server, "a", &[("10.244.0.0/23", 24)]);
    let said = warned(&server, "b", "PodCIDRConflict").await;
    let words = "podCIDR 10.244.0.0/24 of node b overlaps 10.244.0.0/25 of node a";
    assert!(said.starts_with(words), "{said}");
    create(&nodes, "c", &[]).await;
    assert_eq!(given(&nodes, "c").await, ["10.244.1.0/24"]);
    create(&nodes, "d", &[]).await;
    let said = warned(&server, "d", "CIDRNotAvailable").await;
    assert!(said.contains("10.244.0.0/23: all 2 are taken"), "{said}");
    assert_eq!(prefixes(&nodes, "d").await, Vec::<String>::new());
    // Room again.
    nodes.delete("c", &DeleteParams::default()).await.unwrap();
    assert_eq!(given(&nodes, "d").await, ["10.244.1.0/24"]);
}
