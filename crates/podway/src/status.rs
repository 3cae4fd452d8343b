//! `podway status`: what each node says it has programmed, held against what
//! the cluster holds.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::process::ExitCode;

use anyhow::Context;
use futures_util::TryStreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Node};
use kube::api::ListParams;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use podway_agent::status::{self, NodeStatus};
use podway_model::{ClusterState, Object, ObjectKind};
use serde::Serialize;

use crate::cli::{ClusterArgs, Output};
use crate::cluster;
use crate::terminal::{Palette, columns};

/// What is known of the cluster's nodes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    /// The highest revision of an object that nodes plan from.
    revision: u64,
    nodes: Vec<Entry>,
    /// The policies that some node does not have in force yet.
    behind: Vec<Behind>,
}

/// A policy that is not in force everywhere.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Behind {
    /// As `NetworkPolicy shop/web`.
    policy: String,
    generation: u64,
    /// The nodes that enforce policies and do not have this one in force.
    nodes: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    node: String,
    /// Whether the node has everything up to the report's revision in force.
    current: bool,
    /// `None` where no agent has ever reported.
    status: Option<NodeStatus>,
}

pub(crate) fn run(cluster: &ClusterArgs, output: Output) -> anyhow::Result<ExitCode> {
    let report = cluster::block_on(collect(cluster))?;
    match output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&report)?),
        Output::Text => print(&report),
    }
    let well = report.nodes.iter().all(Entry::is_well);
    Ok(if well {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

/// Waits until every node says that it has in force what the cluster holds now.
///
/// Nodes say so in ConfigMaps, so those are what is watched.
pub(crate) async fn wait_until_in_force(args: &ClusterArgs) -> anyhow::Result<()> {
    let state = cluster::state(args).await?;
    let client = cluster::connect(args).await?;
    let nodes: Api<Node> = Api::all(client.clone());
    let nodes = nodes
        .list(&ListParams::default())
        .await
        .context("cannot list the nodes")?;
    let mut waiting: BTreeSet<String> = nodes.iter().map(ResourceExt::name_any).collect();
    let maps: Api<ConfigMap> = Api::namespaced(client, status::NAMESPACE);
    let config = watcher::Config::default().labels(status::NODE_LABEL);
    let mut reports = pin!(watcher(maps, config).default_backoff().applied_objects());
    while !waiting.is_empty() {
        let map = reports
            .try_next()
            .await?
            .context("the watch of the nodes' status ended")?;
        let report = read(&map)?;
        if is_current(&report, &state) {
            waiting.remove(&report.node);
        }
    }
    Ok(())
}

async fn collect(args: &ClusterArgs) -> anyhow::Result<Report> {
    let state = cluster::state(args).await?;
    let statuses = statuses(args).await?;
    let entry = |(node, status): (String, Option<NodeStatus>)| Entry {
        node,
        current: status.as_ref().is_some_and(|s| is_current(s, &state)),
        status,
    };
    let nodes: Vec<Entry> = statuses.into_iter().map(entry).collect();
    Ok(Report {
        revision: state.revision(),
        behind: behind(&state, &nodes),
        nodes,
    })
}

fn behind(state: &ClusterState, nodes: &[Entry]) -> Vec<Behind> {
    let network = state.policies().cloned().map(|policy| {
        let generation = policy.generation;
        (Object::NetworkPolicy(policy), generation)
    });
    let cluster = state.cluster_policies().cloned().map(|policy| {
        let generation = policy.generation;
        (Object::ClusterNetworkPolicy(policy), generation)
    });
    let policies = network.chain(cluster).map(|(policy, generation)| {
        let lacks = |entry: &&Entry| {
            let enforcing = entry.status.iter().find(|status| status.policies.is_some());
            enforcing.is_some_and(|s| !s.has_in_force(policy.kind(), policy.revision()))
        };
        let nodes = nodes.iter().filter(lacks);
        Behind {
            policy: policy.reference().to_string(),
            generation,
            nodes: nodes.map(|entry| entry.node.clone()).collect(),
        }
    });
    policies.filter(|policy| !policy.nodes.is_empty()).collect()
}

/// What each node of the cluster has reported.
pub(crate) async fn statuses(
    args: &ClusterArgs,
) -> anyhow::Result<BTreeMap<String, Option<NodeStatus>>> {
    let client = cluster::connect(args).await?;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), status::NAMESPACE);
    let params = ListParams::default().labels(status::NODE_LABEL);
    let maps = maps
        .list(&params)
        .await
        .context("cannot list the nodes' status")?;
    let nodes: Api<Node> = Api::all(client);
    let nodes = nodes
        .list(&ListParams::default())
        .await
        .context("cannot list the nodes")?;
    let mut statuses: BTreeMap<_, _> = nodes.iter().map(|n| (n.name_any(), None)).collect();
    for map in maps {
        let node = map.labels().get(status::NODE_LABEL);
        // What a Node left behind when it was deleted is nobody's status.
        if let Some(status) = node.and_then(|node| statuses.get_mut(node)) {
            *status = Some(read(&map)?);
        }
    }
    Ok(statuses)
}

/// Whether a node has everything in force that what it does follows from. A
/// node that serves Services alone knows nothing of policies.
fn is_current(status: &NodeStatus, state: &ClusterState) -> bool {
    let services = [ObjectKind::Service, ObjectKind::EndpointSlice];
    let policies = [
        ObjectKind::Namespace,
        ObjectKind::Pod,
        ObjectKind::NetworkPolicy,
        ObjectKind::ClusterNetworkPolicy,
    ];
    let of_services = status.services.iter().flat_map(|_| services);
    let of_policies = status.policies.iter().flat_map(|_| policies);
    let of_overlay = status.overlay.iter().map(|_| ObjectKind::Node);
    let mut kinds = of_services.chain(of_policies).chain(of_overlay);
    status.synced && kinds.all(|kind| status.has_in_force(kind, state.revision_of(kind)))
}

pub(crate) fn read(map: &ConfigMap) -> anyhow::Result<NodeStatus> {
    let text = map
        .data
        .as_ref()
        .and_then(|data| data.get(status::DATA_KEY));
    let text =
        text.with_context(|| format!("ConfigMap {} has no {}", map.name_any(), status::DATA_KEY))?;
    serde_json::from_str(text).with_context(|| {
        format!(
            "ConfigMap {}: {} is not understood",
            map.name_any(),
            status::DATA_KEY
        )
    })
}

impl Entry {
    fn is_well(&self) -> bool {
        let quiet = |s: &NodeStatus| s.problems.is_empty() && s.fault_count == 0;
        self.current && self.status.as_ref().is_some_and(quiet)
    }

    fn state(&self, revision: u64) -> String {
        match &self.status {
            None => "no agent has reported".to_owned(),
            Some(status) if !status.synced => "starting".to_owned(),
            Some(status) if !status.problems.is_empty() => "failing".to_owned(),
            Some(status) if !self.current => {
                format!("behind: has {} of {revision}", status.revision)
            }
            Some(status) if status.fault_count > 0 => "in force, with objects left out".to_owned(),
            Some(_) => "in force".to_owned(),
        }
    }
}

fn print(report: &Report) {
    let palette = Palette::stdout();
    println!("cluster revision {}", report.revision);
    let header = [
        "NODE",
        "STATE",
        "REVISION",
        "SERVICES",
        "ENDPOINTS",
        "POLICIES",
        "OVERLAY",
        "PEERS",
        "WRITES",
    ];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    rows.extend(report.nodes.iter().map(|entry| row(entry, report.revision)));
    print!("{}", columns(&rows));
    for policy in &report.behind {
        let (nodes, generation) = (policy.nodes.join(", "), policy.generation);
        let mark = palette.red("!");
        println!(
            "{mark} {}: generation {generation} is not in force on {nodes}",
            policy.policy
        );
    }
    for entry in &report.nodes {
        let Some(status) = &entry.status else {
            println!(
                "{} {}: start `podway agent` there",
                palette.red("!"),
                entry.node
            );
            continue;
        };
        for problem in &status.problems {
            println!(
                "{} {} {}: {}",
                palette.red("!"),
                entry.node,
                problem.feature,
                problem.message
            );
        }
        for fault in &status.faults {
            println!(
                "{} {} {}: {}: {}",
                palette.red("!"),
                entry.node,
                fault.object,
                fault.field,
                fault.message
            );
        }
    }
}

fn row(entry: &Entry, revision: u64) -> Vec<String> {
    let none = || "-".to_owned();
    let mut cells = vec![entry.node.clone(), entry.state(revision)];
    let Some(status) = &entry.status else {
        cells.extend(std::iter::repeat_with(none).take(7));
        return cells;
    };
    cells.push(status.revision.to_string());
    let services = status.services.as_ref();
    cells.push(services.map_or_else(none, |s| format!("{} ({})", s.services, s.mode)));
    cells.push(services.map_or_else(none, |s| s.endpoints.to_string()));
    let policies = status.policies.as_ref();
    cells.push(policies.map_or_else(none, |p| {
        let denied = match p.denied {
            0 => String::new(),
            packets => format!(", {packets} denied"),
        };
        let audited = match p.would_deny {
            0 => String::new(),
            connections => format!(", {connections} audited"),
        };
        format!("{} on {} pods{denied}{audited}", p.policies, p.pods)
    }));
    let overlay = status.overlay.as_ref();
    cells.push(overlay.map_or_else(none, |o| o.backend.clone()));
    cells.push(overlay.map_or_else(none, |o| o.peers.to_string()));
    cells.push(status.writes.transactions.to_string());
    cells
}
