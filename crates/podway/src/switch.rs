//! `podway switch`: another way of doing what the nodes do, while they do it.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::{Pin, pin};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, bail};
use futures_util::{Stream, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Node};
use kube::api::{ListParams, Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use podway_agent::PROXY_MODE;
use podway_agent::status::{self, NodeStatus};
use serde_json::json;

use crate::cli::SwitchArgs;
use crate::cluster;
use crate::status::read;
use crate::terminal::Palette;

/// Node after node. Exit code 1 where one cannot: it goes on as it was, and so do
/// those after it.
pub(crate) fn run(args: &SwitchArgs) -> anyhow::Result<ExitCode> {
    cluster::block_on(switch(args))
}

async fn switch(args: &SwitchArgs) -> anyhow::Result<ExitCode> {
    let client = cluster::connect(&args.cluster).await?;
    let nodes = named(&client, &args.node).await?;
    let statuses = statuses(&client).await?;
    let silent: Vec<&str> = nodes
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| !statuses.contains_key(*name))
        .collect();
    if !silent.is_empty() {
        bail!(
            "no agent has reported on {}: is it running there? (podway status)",
            silent.join(", ")
        );
    }
    let palette = Palette::stdout();
    for (node, before) in nodes {
        let mode = &args.proxy_mode;
        let status = statuses.get(&node);
        let from = status.and_then(|status| status.services.as_ref());
        let Some(from) = from.map(|services| services.mode.clone()) else {
            println!("{node}: services are off there (`services.enabled`), nothing to switch");
            continue;
        };
        ask(&client, &node, Some(mode)).await?;
        if from == *mode {
            println!("{node}: serves in mode {mode} already");
            continue;
        }
        let begin = Instant::now();
        let reached = reached(&client, &node, mode).await?;
        match reached {
            Ok(leaving) => {
                let seconds = begin.elapsed().as_secs_f64();
                let done = palette.green(&format!("{node}: {from} -> {mode}"));
                println!("{done} in {seconds:.1} s{}", of_leaving(&leaving));
            }
            Err(problem) => {
                ask(&client, &node, before.as_deref()).await?;
                let failed = palette.red(&format!("{node}: still {from}"));
                println!("{failed}: {problem}");
                return Ok(ExitCode::from(1));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn of_leaving(leaving: &[String]) -> String {
    if leaving.is_empty() {
        return String::new();
    }
    let modes = leaving.join(", ");
    format!("; {modes} still has connections, and goes with the last of them")
}

/// The nodes that are meant, with what each is asked for now.
async fn named(
    client: &Client,
    wanted: &[String],
) -> anyhow::Result<Vec<(String, Option<String>)>> {
    let nodes: Api<Node> = Api::all(client.clone());
    let nodes = nodes.list(&ListParams::default()).await;
    let nodes = nodes.context("cannot list the nodes")?;
    let mut known = BTreeMap::new();
    for node in nodes {
        let before = node.annotations().get(PROXY_MODE).cloned();
        known.insert(node.name_any(), before);
    }
    let unknown: Vec<&str> = wanted
        .iter()
        .filter(|name| !known.contains_key(*name))
        .map(String::as_str)
        .collect();
    if !unknown.is_empty() {
        let known: Vec<String> = known.into_keys().collect();
        bail!(
            "--node {}: there is no such node (there are {})",
            unknown.join(", "),
            known.join(", ")
        );
    }
    let is_meant = |name: &String| wanted.is_empty() || wanted.contains(name);
    Ok(known
        .into_iter()
        .filter(|(name, _)| is_meant(name))
        .collect())
}

async fn statuses(client: &Client) -> anyhow::Result<BTreeMap<String, NodeStatus>> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), status::NAMESPACE);
    let params = ListParams::default().labels(status::NODE_LABEL);
    let maps = maps.list(&params).await;
    let maps = maps.context("cannot list the nodes' status")?;
    let statuses = maps.iter().map(|map| {
        let status = read(map)?;
        Ok((status.node.clone(), status))
    });
    statuses.collect()
}

/// Says on the Node which mode is wanted; `None`: the configuration's.
async fn ask(client: &Client, node: &str, mode: Option<&str>) -> anyhow::Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    let patch = json!({"metadata": {"annotations": {PROXY_MODE: mode}}});
    let patched = nodes
        .patch(node, &PatchParams::default(), &Patch::Merge(patch))
        .await;
    patched
        .map(drop)
        .with_context(|| format!("cannot annotate node {node}"))
}

/// Waits until a node says that it serves in the mode, and which ones it still
/// has connections of; or why it does not.
async fn reached(
    client: &Client,
    node: &str,
    mode: &str,
) -> anyhow::Result<Result<Vec<String>, String>> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), status::NAMESPACE);
    let config = watcher::Config::default().labels(&format!("{}={node}", status::NODE_LABEL));
    let mut reports = pin!(watcher(maps, config).default_backoff().applied_objects());
    loop {
        let report = next(&mut reports).await?;
        let Some(services) = &report.services else {
            continue;
        };
        if services.mode == mode {
            return Ok(Ok(services.leaving.clone()));
        }
        if services.wanted.as_deref() != Some(mode) {
            continue;
        }
        let problems = report.problems.iter();
        let problems: BTreeSet<&str> = problems
            .filter(|problem| problem.feature == "services")
            .map(|problem| problem.message.as_str())
            .collect();
        if !problems.is_empty() {
            let problems: Vec<&str> = problems.into_iter().collect();
            return Ok(Err(problems.join("; ")));
        }
    }
}

type Reports<'a, S> = Pin<&'a mut S>;

async fn next<S>(reports: &mut Reports<'_, S>) -> anyhow::Result<NodeStatus>
where
    S: Stream<Item = Result<ConfigMap, watcher::Error>>,
{
    let map = reports.try_next().await?;
    read(&map.context("the watch of the nodes' status ended")?)
}
