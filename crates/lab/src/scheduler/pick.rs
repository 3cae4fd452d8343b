//! The decision. Pure: a wish, nodes and their pods in, a node or the reason
//! why there is none out.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, PodSpec, Taint};
use podway_apiserver::controllers::nodes::{selects, tolerates, untolerated};

type Labels = BTreeMap<String, String>;

/// A pod that needs a node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish<'a> {
    pub(super) namespace: &'a str,
    pub(super) labels: Option<&'a Labels>,
    pub(super) spec: &'a PodSpec,
}

/// A node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate<'a> {
    pub(super) name: &'a str,
    pub(super) node: &'a Node,
    /// Condition Ready is True.
    pub(super) ready: bool,
    /// `spec.unschedulable`.
    pub(super) cordoned: bool,
}

/// A pod that is on a node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Occupant<'a> {
    pub(super) node: &'a str,
    pub(super) namespace: &'a str,
    pub(super) labels: Option<&'a Labels>,
}

/// The node with the fewest pods like the wish (same namespace and labels), of
/// those the one with the fewest pods, of those the first by name.
///
/// # Errors
/// With a sentence in the words of Kubernetes' scheduler.
pub(super) fn pick<'a>(
    wish: &Wish<'_>,
    candidates: &[Candidate<'a>],
    occupants: &[Occupant<'_>],
) -> Result<&'a str, String> {
    let crowd = |node: &str| {
        let here = || occupants.iter().filter(|occupant| occupant.node == node);
        let alike = here().filter(|occupant| {
            occupant.namespace == wish.namespace && occupant.labels == wish.labels
        });
        (alike.count(), here().count())
    };
    let (usable, unusable): (Vec<&Candidate<'a>>, Vec<_>) = candidates
        .iter()
        .partition(|candidate| obstacle(wish, candidate).is_none());
    let best = usable
        .into_iter()
        .min_by_key(|candidate| (crowd(candidate.name), candidate.name));
    best.map(|candidate| candidate.name).ok_or_else(|| {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for reason in unusable
            .iter()
            .filter_map(|candidate| obstacle(wish, candidate))
        {
            *counts.entry(reason).or_default() += 1;
        }
        let reasons: Vec<String> = counts
            .iter()
            .map(|(reason, count)| format!("{count} node(s) {reason}"))
            .collect();
        if reasons.is_empty() {
            return "no nodes available to schedule pods".to_owned();
        }
        let all = candidates.len();
        format!("0/{all} nodes are available: {}.", reasons.join(", "))
    })
}

/// Why the node cannot have the pod.
fn obstacle(wish: &Wish<'_>, candidate: &Candidate<'_>) -> Option<&'static str> {
    let tolerations = wish.spec.tolerations.as_deref().unwrap_or_default();
    let cordon = Taint {
        key: "node.kubernetes.io/unschedulable".to_owned(),
        effect: "NoSchedule".to_owned(),
        ..Taint::default()
    };
    let stays_away = !tolerations
        .iter()
        .any(|toleration| tolerates(toleration, &cordon));
    let effects = ["NoSchedule", "NoExecute"];
    if !candidate.ready {
        Some("were not ready")
    } else if candidate.cordoned && stays_away {
        Some("were unschedulable")
    } else if !selects(wish.spec, candidate.node) {
        Some("didn't match Pod's node affinity/selector")
    } else if untolerated(tolerations, candidate.node, &effects)
        .next()
        .is_some()
    {
        Some("had untolerated taints")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::*;

    fn labels(text: &str) -> Labels {
        text.split_terminator(',')
            .map(|pair| pair.split_once('=').unwrap())
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    /// A node of `name:labels:flags` (r ready, c cordoned, t tainted).
    fn node(text: &str) -> (Node, String) {
        let fields: Vec<&str> = text.split(':').collect();
        let flags = fields.get(2).copied().unwrap_or("").to_owned();
        let taint = Taint {
            key: "t".to_owned(),
            effect: "NoSchedule".to_owned(),
            ..Taint::default()
        };
        let mut node = Node {
            metadata: ObjectMeta {
                name: Some(fields[0].to_owned()),
                labels: Some(labels(fields[1])),
                ..ObjectMeta::default()
            },
            ..Node::default()
        };
        let spec = node.spec.get_or_insert_default();
        spec.taints = flags.contains('t').then(|| vec![taint]);
        (node, flags)
    }

    /// Pods `node:labels`.
    fn picked(selector: &str, nodes: &[&str], pods: &[&str]) -> Result<String, String> {
        let nodes: Vec<_> = nodes.iter().map(|text| node(text)).collect();
        let pods: Vec<(&str, Labels)> = pods
            .iter()
            .map(|text| text.split_once(':').unwrap())
            .map(|(node, text)| (node, labels(text)))
            .collect();
        let candidates: Vec<_> = nodes
            .iter()
            .map(|(node, flags)| Candidate {
                name: node.metadata.name.as_deref().unwrap(),
                node,
                ready: flags.contains('r'),
                cordoned: flags.contains('c'),
            })
            .collect();
        let occupants: Vec<_> = pods
            .iter()
            .map(|(node, labels)| Occupant {
                node,
                namespace: "x",
                labels: Some(labels),
            })
            .collect();
        let own = labels("app=web");
        let spec = PodSpec {
            node_selector: Some(labels(selector)),
            ..PodSpec::default()
        };
        let wish = Wish {
            namespace: "x",
            labels: Some(&own),
            spec: &spec,
        };
        pick(&wish, &candidates, &occupants).map(str::to_owned)
    }

    #[test]
    fn pods_spread_by_kind_then_by_number_then_by_name() {
        let nodes = ["n1::r", "n2::r", "n3:disk=ssd:r"];
        for (selector, nodes, pods, expected) in [
            ("", &nodes[..], &[][..], Ok("n1")),
            ("", &nodes, &["n1:app=web"], Ok("n2")),
            (
                "",
                &nodes,
                &["n1:app=web", "n2:app=web", "n3:app=web", "n3:app=web"],
                Ok("n1"),
            ),
            (
                "",
                &nodes,
                &["n1:app=db", "n2:app=db", "n2:app=db", "n3:app=web"],
                Ok("n1"),
            ),
            ("disk=ssd", &nodes, &["n3:app=web"], Ok("n3")),
            (
                "disk=hdd",
                &nodes,
                &[],
                Err(
                    "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector.",
                ),
            ),
            (
                "",
                &["n1::", "n2::rc"],
                &[],
                Err(
                    "0/2 nodes are available: 1 node(s) were not ready, 1 node(s) were unschedulable.",
                ),
            ),
            (
                "",
                &["n1::rt"],
                &[],
                Err("0/1 nodes are available: 1 node(s) had untolerated taints."),
            ),
            ("", &[], &[], Err("no nodes available to schedule pods")),
        ] {
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(
                picked(selector, nodes, pods),
                expected,
                "{selector:?} {nodes:?} {pods:?}"
            );
        }
    }
}
