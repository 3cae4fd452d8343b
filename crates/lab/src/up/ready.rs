//! Waiting until the nodes are ready.

use std::collections::BTreeSet;
use std::pin::pin;
use std::time::Duration;

use futures_util::{StreamExt, future};
use k8s_openapi::api::core::v1::Node;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client, ResourceExt};
use tokio::time::timeout;

use crate::descriptor;
use crate::paths::LabPaths;
use crate::roles::{self, Place};
use crate::step::{Outcome, Step};
use crate::{Error, LabName};

/// How long the nodes may take; a slow machine needs a few seconds.
const LIMIT: Duration = Duration::from_secs(60);

/// Waits until every one of the nodes has condition Ready.
///
/// # Errors
/// When a process of a node ends, or after a minute.
pub(crate) async fn wait(
    client: &Client,
    lab: &LabName,
    nodes: &[String],
    progress: &mut dyn FnMut(Step),
) -> Result<(), Error> {
    let mut missing: BTreeSet<String> = nodes.iter().cloned().collect();
    let places: Vec<Place<'_>> = nodes
        .iter()
        .flat_map(|node| roles::of_node(lab, node))
        .collect();
    let ended = future::select_all(places.iter().map(|place| Box::pin(ended(place))));
    let outcome = tokio::select! {
        outcome = timeout(LIMIT, all_ready(client, &mut missing, progress)) => outcome,
        (error, ..) = ended => return Err(error),
    };
    outcome.map_err(|_| Error::NotReady {
        seconds: LIMIT.as_secs(),
        nodes: missing.into_iter().collect::<Vec<_>>().join(", "),
        logs: LabPaths::new(lab).root().to_owned(),
    })
}

async fn all_ready(
    client: &Client,
    missing: &mut BTreeSet<String>,
    progress: &mut dyn FnMut(Step),
) {
    let api: Api<Node> = Api::all(client.clone());
    let nodes = watcher(api, watcher::Config::default())
        .default_backoff()
        .applied_objects();
    let mut nodes = pin!(nodes);
    while !missing.is_empty() {
        let Some(event) = nodes.next().await else {
            return;
        };
        match event {
            Ok(node) if is_ready(&node) => {
                let name = node.name_any();
                if missing.remove(&name) {
                    progress(Step::new(format!("node {name}"), Outcome::Ready));
                }
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(
                error = &error as &dyn std::error::Error,
                "nodes cannot be watched"
            ),
        }
    }
}

/// Condition Ready is True.
pub(crate) fn is_ready(node: &Node) -> bool {
    let conditions = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref());
    let conditions = conditions.unwrap_or_default();
    conditions
        .iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Waits for the end of a process that should not end.
async fn ended(place: &Place<'_>) -> Error {
    if let Some(process) = place.running()
        && let Err(error) = descriptor::end_of(process).await
    {
        return Error::io(format!("watch the {}", place.describe()))(error);
    }
    place.ended()
}
