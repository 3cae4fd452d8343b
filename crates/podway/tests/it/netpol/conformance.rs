//! The conformance tests of ClusterNetworkPolicy with packets: what is allowed
//! answers, what is denied is dropped, in both families.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Pod};
use podway_model::Protocol;
use serde::Deserialize;
use serde_json::{Value, json};

use super::corpus;
use super::matrix::{ALLOWED, DENIED, TRIES};
use super::pods::ready_at;
use super::world::World;
use crate::harness::eventually;
use crate::prober::{Prober, Target};

#[derive(Deserialize)]
struct Corpus {
    pods: Vec<Fixture>,
    tests: Vec<Test>,
}

/// A pod of the fixture.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fixture {
    namespace: String,
    name: String,
    node: String,
    host_network: bool,
    ip: IpAddr,
    labels: BTreeMap<String, String>,
    ports: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Test {
    short_name: String,
    pokes: Vec<Poke>,
    snapshots: Vec<Snapshot>,
}

/// A connection, and what should come of it while a snapshot is in force.
#[derive(Debug, Deserialize)]
struct Poke {
    from: String,
    to: String,
    protocol: String,
    port: u16,
    allow: bool,
    snapshot: usize,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Snapshot {
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
    cluster_network_policies: Option<Vec<Value>>,
    network_policies: Option<Vec<Value>>,
}

#[test]
fn cluster_network_policies_with_packets() {
    let Some(folder) = corpus::folder() else {
        println!("NOT CHECKED: ../shared/corpora/netpol is absent; set PODWAY_CORPORA");
        return;
    };
    let text = std::fs::read_to_string(folder.join("cluster-network-policy.json"));
    let corpus: Corpus = serde_json::from_str(&text.expect("readable")).expect("the corpus");
    assert_eq!(corpus.tests.len(), 24, "tests");
    let mut stage = Stage::new(&corpus);
    let mut wrong = Vec::new();
    let (mut poked, mut left_out) = (0, 0);
    for test in &corpus.tests {
        for (index, snapshot) in test.snapshots.iter().enumerate() {
            stage.set(snapshot);
            let of_snapshot = test.pokes.iter().filter(|poke| poke.snapshot == index);
            // This kernel has no SCTP sockets.
            let (pokes, others): (Vec<_>, Vec<_>) =
                of_snapshot.partition(|poke| poke.protocol != "sctp");
            poked += pokes.len();
            left_out += others.len();
            let found = stage.poke(&pokes);
            wrong.extend(
                found
                    .into_iter()
                    .map(|found| format!("{}, {index}: {found}", test.short_name)),
            );
        }
    }
    println!("24 tests, {poked} pokes in both families, {left_out} of SCTP left out");
    assert_eq!(poked + left_out, 301, "pokes");
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// A lab with the fixture's pods.
struct Stage {
    world: World,
    addresses: HashMap<String, Vec<IpAddr>>,
    /// From the corpus' addresses of pods to those of the lab.
    moved: Vec<(String, Vec<String>)>,
    probers: HashMap<String, Prober>,
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
}

impl Stage {
    fn new(corpus: &Corpus) -> Self {
        let world = World::new("conformance", &[]);
        let names: BTreeSet<&str> = corpus
            .pods
            .iter()
            .map(|pod| pod.namespace.as_str())
            .collect();
        for name in names {
            world
                .objects()
                .create::<Namespace>("", json!({"metadata": {"name": name}}));
        }
        for pod in &corpus.pods {
            world.objects().create::<Pod>(&pod.namespace, manifest(pod));
        }
        let (mut addresses, mut moved, mut probers) = (HashMap::new(), Vec::new(), HashMap::new());
        for pod in &corpus.pods {
            let ips = eventually("a pod gets ready", || {
                ready_at(world.objects(), &pod.namespace, &pod.name)
            });
            let full = |ip: &IpAddr| format!("{ip}/{}", if ip.is_ipv4() { 32 } else { 128 });
            moved.push((full(&pod.ip), ips.iter().map(full).collect()));
            let name = format!("{}/{}", pod.namespace, pod.name);
            probers.insert(
                name.clone(),
                Prober::start(world.name(), &pod.namespace, &pod.name),
            );
            addresses.insert(name, ips);
        }
        Self {
            world,
            addresses,
            moved,
            probers,
            namespaces: BTreeMap::new(),
        }
    }

    /// Puts a snapshot in force.
    fn set(&mut self, snapshot: &Snapshot) {
        let objects = self.world.objects();
        let before = std::mem::replace(&mut self.namespaces, snapshot.namespaces.clone());
        for (name, labels) in &snapshot.namespaces {
            let mut patch = json!(labels);
            for key in before.get(name).into_iter().flat_map(BTreeMap::keys) {
                if !labels.contains_key(key) {
                    patch[key] = Value::Null;
                }
            }
            objects.patch::<Namespace>("", name, &json!({"metadata": {"labels": patch}}));
        }
        self.world.wait_for::<Namespace>("", "default", "Namespace");
        let wanted = snapshot.cluster_network_policies.iter().flatten();
        let revision =
            objects.only_cluster_policies(wanted.map(|policy| self.here(policy)).collect());
        self.world.wait("ClusterNetworkPolicy", revision);
        let policies: Vec<Value> = snapshot
            .network_policies
            .iter()
            .flatten()
            .cloned()
            .collect();
        self.world.enforce(&policies);
    }

    /// A policy with the lab's addresses for the corpus' own.
    fn here(&self, policy: &Value) -> Value {
        let mut policy = policy.clone();
        policy.as_object_mut().expect("an object").remove("status");
        for side in ["ingress", "egress"] {
            for peer in peers(&mut policy, side) {
                let Some(networks) = peer.get_mut("networks").and_then(Value::as_array_mut) else {
                    continue;
                };
                let moved = networks.iter().flat_map(|network| {
                    let text = network.as_str().expect("a prefix").to_owned();
                    let found = self.moved.iter().find(|(there, _)| *there == text);
                    found.map_or_else(|| vec![text.clone()], |(_, here)| here.clone())
                });
                *networks = moved.map(Value::from).collect();
            }
        }
        policy
    }

    /// Tries every poke in both families; says what went wrong.
    fn poke(&mut self, pokes: &[&Poke]) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut by_source: HashMap<&str, Vec<(Target, &Poke)>> = HashMap::new();
        for poke in pokes {
            let protocol = Protocol::parse(&poke.protocol).expect("a protocol");
            let targets = self.addresses[&poke.to].iter().map(|ip| Target {
                protocol,
                address: SocketAddr::new(*ip, poke.port),
            });
            by_source
                .entry(&poke.from)
                .or_default()
                .extend(targets.map(|target| (target, *poke)));
        }
        for (from, mut asked) in by_source {
            let prober = self.probers.get_mut(from).expect("a prober in every pod");
            for _ in 0..TRIES {
                let limit = |poke: &Poke| if poke.allow { ALLOWED } else { DENIED };
                let targets: Vec<(Target, Duration)> = asked
                    .iter()
                    .map(|(target, poke)| (*target, limit(poke)))
                    .collect();
                let outcomes = prober.ask(&targets);
                let right = |poke: &Poke| if poke.allow { "OK" } else { "TIMEOUT" };
                asked.retain(|(target, poke)| outcomes[target] != right(poke));
                let at_once = asked.iter().filter(|(_, poke)| !poke.allow);
                wrong.extend(
                    at_once.map(|(target, poke)| {
                        format!("{target} was {}: {poke:?}", outcomes[target])
                    }),
                );
                asked.retain(|(_, poke)| poke.allow);
                if asked.is_empty() {
                    break;
                }
            }
            wrong.extend(
                asked
                    .iter()
                    .map(|(target, poke)| format!("{target} was not OK: {poke:?}")),
            );
        }
        wrong
    }
}

fn peers<'a>(policy: &'a mut Value, side: &str) -> Vec<&'a mut Value> {
    let key = if side == "ingress" { "from" } else { "to" };
    let rules = policy["spec"].get_mut(side).and_then(Value::as_array_mut);
    rules
        .into_iter()
        .flatten()
        .filter_map(|rule| rule.get_mut(key)?.as_array_mut())
        .flatten()
        .collect()
}

/// A server of the fixture. Those of the nodes' network have ports of their own.
fn manifest(pod: &Fixture) -> Value {
    let tcp = if pod.host_network {
        [34345, 34346]
    } else {
        [80, 8080]
    };
    let udp = if pod.host_network {
        [34347, 34349]
    } else {
        [53, 5353]
    };
    let arguments = ["serve".to_owned()]
        .into_iter()
        .chain(tcp.map(|port| format!("--tcp={port}")))
        .chain(udp.map(|port| format!("--udp={port}")));
    let ports: Vec<Value> = pod
        .ports
        .iter()
        .map(|port| json!({"name": port["name"], "containerPort": port["port"], "protocol": port["protocol"]}))
        .collect();
    json!({
        "metadata": {"name": pod.name, "labels": pod.labels},
        "spec": {
            "nodeName": if pod.node == "n1" { "node1" } else { "node2" },
            "hostNetwork": pod.host_network,
            "containers": [{
                "name": "server",
                "image": "podway/toolbox",
                "args": arguments.collect::<Vec<_>>(),
                "ports": ports,
                "readinessProbe": {"tcpSocket": {"port": tcp[0]}},
            }],
        },
    })
}
