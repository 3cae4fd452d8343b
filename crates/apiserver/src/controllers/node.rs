//! Nodes that fall silent: their condition and their taints.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::Plan;
use crate::kinds::{self, Kind};

pub(super) const NOT_READY: &str = "node.kubernetes.io/not-ready";
pub(super) const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const EFFECTS: [&str; 2] = ["NoSchedule", "NoExecute"];

fn kind() -> &'static Arc<Kind> {
    kinds::known("v1", "Node")
}

/// The next step: the node's condition, then its taints. `silent`: its kubelet
/// has said nothing for longer than it promised.
pub(crate) fn reconcile(node: &Node, silent: bool, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    // A node that has never said anything is not held against it.
    let Some(ready) = ready(node) else {
        return plan;
    };
    if silent && ready.status != "Unknown" {
        plan.status(kind(), &unknown(node, ready, now));
    } else if let Some(node) = tainted(node, &ready.status, now) {
        plan.update(kind(), &node);
    }
    plan
}

/// The condition that says whether the node's kubelet runs pods.
pub(super) fn ready(node: &Node) -> Option<&NodeCondition> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    conditions
        .iter()
        .find(|condition| condition.type_ == "Ready")
}

/// The node, of which nothing is known.
fn unknown(node: &Node, ready: &NodeCondition, now: Timestamp) -> Node {
    let condition = NodeCondition {
        type_: "Ready".to_owned(),
        status: "Unknown".to_owned(),
        reason: Some("NodeStatusUnknown".to_owned()),
        message: Some("Kubelet stopped posting node status.".to_owned()),
        last_heartbeat_time: ready.last_heartbeat_time.clone(),
        last_transition_time: Some(Time(now)),
    };
    let mut node = node.clone();
    let status = node.status.get_or_insert_default();
    let list = status.conditions.get_or_insert_default();
    list.retain(|other| other.type_ != "Ready");
    list.push(condition);
    node
}

/// The node with the taints of its condition; `None` if it has them.
fn tainted(node: &Node, ready: &str, now: Timestamp) -> Option<Node> {
    let key = match ready {
        "True" => None,
        "False" => Some(NOT_READY),
        _ => Some(UNREACHABLE),
    };
    let mut next = node.clone();
    let spec = next.spec.get_or_insert_default();
    let taints = spec.taints.get_or_insert_default();
    let before = taints.len();
    taints.retain(|taint| {
        let ours = [NOT_READY, UNREACHABLE].contains(&taint.key.as_str());
        !ours || Some(taint.key.as_str()) == key
    });
    let mut changed = taints.len() != before;
    for effect in EFFECTS.into_iter().filter(|_| key.is_some()) {
        let key = key.unwrap_or_default();
        if taints
            .iter()
            .any(|taint| taint.key == key && taint.effect == effect)
        {
            continue;
        }
        taints.push(Taint {
            key: key.to_owned(),
            effect: effect.to_owned(),
            // Only this effect has a time that counts.
            time_added: (effect == "NoExecute").then_some(Time(now)),
            value: None,
        });
        changed = true;
    }
    spec.taints.take_if(|taints| taints.is_empty());
    changed.then_some(next)
}
