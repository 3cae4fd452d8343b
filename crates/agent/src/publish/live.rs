//! Events that say when a policy is in force on every node, which the API itself
//! cannot say. Of all nodes one does so for a policy, the same whoever works it
//! out: it reads what the others publish until none is behind.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ListParams;
use kube::{Api, Client};
use podway_model::{ClusterState, Object, ObjectKind, ObjectRef};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::{Bulletin, News, PACE, Severity};
use crate::feature::chain;
use crate::status::{DATA_KEY, NAMESPACE, NODE_LABEL, NodeStatus};

/// After this, nodes that are behind are named instead of waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many of them are named.
const MOST_NAMED: usize = 5;

/// A policy that has changed, and that this node is to see through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Live {
    object: ObjectRef,
    kind: ObjectKind,
    generation: u64,
    revision: u64,
}

impl Live {
    /// Where the object is a policy, and it is this node that is to see it
    /// through.
    pub(crate) fn of(state: &ClusterState, node: &str, object: &Object) -> Option<Self> {
        let generation = match object {
            Object::NetworkPolicy(policy) => policy.generation,
            Object::ClusterNetworkPolicy(policy) => policy.generation,
            _ => return None,
        };
        let live = Self {
            object: object.reference(),
            kind: object.kind(),
            generation,
            revision: object.revision(),
        };
        let lowest = state.nodes().map(|node| &*node.name).min_by_key(|node| {
            let mut hasher = DefaultHasher::new();
            (&live.object, node).hash(&mut hasher);
            hasher.finish()
        });
        (lowest == Some(node)).then_some(live)
    }

    /// What there is to say once it is in force everywhere, or has not been for
    /// long; `None` until then. Nodes without a status have no agent.
    fn outcome(&self, statuses: &[NodeStatus], waited: Duration) -> Option<News> {
        let generation = self.generation;
        let enforcing = || statuses.iter().filter(|status| status.policies.is_some());
        let news = |severity, reason, message| News::Occurrence {
            object: self.object.clone(),
            severity,
            reason,
            message,
        };
        let is_behind = |status: &&NodeStatus| !status.has_in_force(self.kind, self.revision);
        let behind: Vec<&str> = enforcing()
            .filter(is_behind)
            .map(|status| status.node.as_str())
            .collect();
        if behind.is_empty() {
            let nodes = enforcing().count();
            let message = format!("generation {generation} is in force on all {nodes} nodes");
            return Some(news(Severity::Normal, "InForce", message));
        }
        let named = behind.iter().take(MOST_NAMED).copied().collect::<Vec<_>>();
        let more = match behind.len().saturating_sub(MOST_NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let message = format!(
            "generation {generation} is not in force on {}{more}: see `podway status`",
            named.join(", ")
        );
        (waited >= PATIENCE).then(|| news(Severity::Warning, "NotInForce", message))
    }
}

/// Sees policies through until the sync thread is gone.
pub(super) async fn see_through(
    client: Client,
    bulletin: Bulletin,
    mut changed: mpsc::Receiver<Live>,
) {
    let mut waiting: BTreeMap<ObjectRef, (Live, Instant)> = BTreeMap::new();
    loop {
        if waiting.is_empty() {
            let Some(live) = changed.recv().await else {
                return;
            };
            waiting.insert(live.object.clone(), (live, Instant::now()));
        }
        sleep(PACE).await;
        while let Ok(live) = changed.try_recv() {
            waiting.insert(live.object.clone(), (live, Instant::now()));
        }
        match statuses(&client).await {
            Ok(statuses) => tell(&bulletin, &mut waiting, &statuses),
            Err(error) => {
                let error = chain(&error);
                tracing::debug!(error, "the nodes' status cannot be listed");
                sleep(PACE).await;
            }
        }
    }
}

async fn statuses(client: &Client) -> kube::Result<Vec<NodeStatus>> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let maps = maps.list(&ListParams::default().labels(NODE_LABEL)).await?;
    let read = |map: ConfigMap| serde_json::from_str(map.data?.get(DATA_KEY)?).ok();
    Ok(maps.into_iter().filter_map(read).collect())
}

fn tell(
    bulletin: &Bulletin,
    waiting: &mut BTreeMap<ObjectRef, (Live, Instant)>,
    statuses: &[NodeStatus],
) {
    waiting.retain(|_, (live, since)| {
        let outcome = live.outcome(statuses, since.elapsed());
        let is_open = outcome.is_none();
        outcome.into_iter().for_each(|news| bulletin.tell(news));
        is_open
    });
}

#[cfg(test)]
mod tests {
    use podway_testkit::builders::{IntoObject, node, policy, state};

    use super::*;
    use crate::status::PoliciesStatus;

    fn changed() -> Live {
        let policy = podway_model::NetworkPolicy {
            generation: 3,
            revision: 10,
            ..policy("x/p")
        };
        Live {
            object: ObjectRef::NetworkPolicy(policy.name),
            kind: ObjectKind::NetworkPolicy,
            generation: policy.generation,
            revision: policy.revision,
        }
    }

    fn status(node: &str, revision: u64) -> NodeStatus {
        NodeStatus {
            node: node.to_owned(),
            synced: true,
            revisions: [
                ("NetworkPolicy".to_owned(), revision),
                ("Pod".to_owned(), 99),
            ]
            .into(),
            policies: Some(PoliciesStatus::default()),
            ..NodeStatus::default()
        }
    }

    #[test]
    fn a_policy_is_in_force_when_no_node_is_behind() {
        let said = |statuses: &[NodeStatus], waited| match changed().outcome(statuses, waited)? {
            News::Occurrence {
                severity, message, ..
            } => Some((severity, message)),
            News::Fault(fault) => panic!("{fault}"),
        };
        let here = [status("n1", 10), status("n2", 12)];
        let message = "generation 3 is in force on all 2 nodes".to_owned();
        assert_eq!(
            said(&here, Duration::ZERO),
            Some((Severity::Normal, message))
        );
        let other = NodeStatus::default();
        let behind = [status("n1", 10), status("n2", 9), other];
        assert_eq!(said(&behind, Duration::ZERO), None);
        let message = "generation 3 is not in force on n2: see `podway status`".to_owned();
        assert_eq!(said(&behind, PATIENCE), Some((Severity::Warning, message)));
        let many: Vec<NodeStatus> = (0..7).map(|n| status(&n.to_string(), 0)).collect();
        let (_, message) = said(&many, PATIENCE).expect("words");
        assert!(message.contains("0, 1, 2, 3, 4 and 2 more:"), "{message}");
    }

    #[test]
    fn one_node_sees_a_policy_through() {
        let nodes = ["n1", "n2", "n3"];
        let state = state(nodes.map(|name| node(name, &[], &[]).object()));
        let mut seen = Vec::new();
        for name in ["x/a", "x/b", "x/c", "x/d", "x/e", "x/f", "x/g", "x/h"] {
            let policy = policy(name).object();
            let of = |node: &&&str| Live::of(&state, node, &policy).is_some();
            let witnesses: Vec<&&str> = nodes.iter().filter(of).collect();
            assert_eq!(witnesses.len(), 1, "{name}");
            seen.push(*witnesses[0]);
        }
        seen.sort_unstable();
        seen.dedup();
        assert!(seen.len() > 1, "always {seen:?}");
        assert_eq!(Live::of(&state, "n1", &node("n1", &[], &[]).object()), None);
    }
}
