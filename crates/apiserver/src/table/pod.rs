//! Pods: one word for the state of all containers.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Layout, age_of, column, list, name, or_none, since, text, wide};

pub(super) const POD: Layout = Layout {
    columns: &[
        column("Name"),
        column("Ready"),
        column("Status"),
        column("Restarts"),
        column("Age"),
        wide("IP"),
        wide("Node"),
        wide("Nominated Node"),
        wide("Readiness Gates"),
    ],
    cells,
};

fn cells(pod: &Value, now: Timestamp) -> Vec<Value> {
    let total = list(pod, "/spec/containers").len();
    let ready = statuses(pod)
        .iter()
        .filter(|status| is_running_and_ready(status))
        .count();
    let address = match list(pod, "/status/podIPs") {
        [first, ..] => text(first, "/ip"),
        [] => text(pod, "/status/podIP"),
    };
    vec![
        json!(name(pod)),
        json!(format!("{ready}/{total}")),
        json!(state(pod)),
        json!(restarts(pod, now)),
        json!(age_of(pod, now)),
        json!(or_none(address)),
        json!(or_none(text(pod, "/spec/nodeName"))),
        json!(or_none(text(pod, "/status/nominatedNodeName"))),
        json!(readiness_gates(pod)),
    ]
}

fn statuses(pod: &Value) -> &[Value] {
    list(pod, "/status/containerStatuses")
}

fn is_running_and_ready(status: &Value) -> bool {
    status["ready"] == json!(true) && status.pointer("/state/running").is_some()
}

/// What kubectl shows as STATUS: the reason that explains best why the pod is
/// not simply running.
fn state(pod: &Value) -> String {
    let phase = text(pod, "/status/phase");
    let own_reason = text(pod, "/status/reason");
    if !text(pod, "/metadata/deletionTimestamp").is_empty() {
        return match (own_reason, phase) {
            ("NodeLost", _) => "Unknown".to_owned(),
            (_, "Succeeded" | "Failed") => phase.to_owned(),
            _ => "Terminating".to_owned(),
        };
    }
    if let Some(reason) = initializing(pod) {
        return reason;
    }
    let mut state = if own_reason.is_empty() {
        phase
    } else {
        own_reason
    }
    .to_owned();
    let mut any_running = false;
    // The first container that has something to say wins: hence backwards.
    for status in statuses(pod).iter().rev() {
        match stopped_reason(status) {
            Some(reason) => state = reason,
            None => any_running |= is_running_and_ready(status),
        }
    }
    if state == "Completed" && any_running {
        let ready = if has_condition(pod, "Ready") {
            "Running"
        } else {
            "NotReady"
        };
        return ready.to_owned();
    }
    state
}

/// Why a container does not run; `None` if it runs or nothing is known.
fn stopped_reason(status: &Value) -> Option<String> {
    let waiting = text(status, "/state/waiting/reason");
    if !waiting.is_empty() {
        return Some(waiting.to_owned());
    }
    let terminated = status.pointer("/state/terminated")?;
    let number = |field: &str| terminated.get(field).and_then(Value::as_i64).unwrap_or(0);
    Some(match (text(terminated, "/reason"), number("signal")) {
        ("", 0) => format!("ExitCode:{}", number("exitCode")),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    })
}

/// `Init:1/3`, or what is wrong with the init container whose turn it is.
fn initializing(pod: &Value) -> Option<String> {
    let statuses = list(pod, "/status/initContainerStatuses");
    let total = list(pod, "/spec/initContainers").len();
    let done = |status: &Value| {
        status.pointer("/state/terminated/exitCode") == Some(&json!(0))
            || status["started"] == json!(true)
    };
    let (index, current) = statuses
        .iter()
        .enumerate()
        .find(|(_, status)| !done(status))?;
    Some(match stopped_reason(current) {
        Some(reason) if reason != "PodInitializing" => format!("Init:{reason}"),
        _ => format!("Init:{index}/{total}"),
    })
}

fn has_condition(pod: &Value, wanted: &str) -> bool {
    list(pod, "/status/conditions")
        .iter()
        .any(|condition| text(condition, "/type") == wanted && text(condition, "/status") == "True")
}

/// `3 (5m ago)`.
fn restarts(pod: &Value, now: Timestamp) -> String {
    let count = |status: &Value| status["restartCount"].as_i64().unwrap_or(0);
    let total: i64 = statuses(pod).iter().map(count).sum();
    let last = statuses(pod)
        .iter()
        .map(|status| text(status, "/lastState/terminated/finishedAt"))
        .max()
        .unwrap_or_default();
    match (total, last) {
        (0, _) | (_, "") => total.to_string(),
        (total, last) => format!("{total} ({} ago)", since(last, now)),
    }
}

fn readiness_gates(pod: &Value) -> String {
    let gates = list(pod, "/spec/readinessGates");
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let open = gates
        .iter()
        .filter(|gate| has_condition(pod, text(gate, "/conditionType")));
    format!("{}/{}", open.count(), gates.len())
}
