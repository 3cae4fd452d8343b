use serde_json::{Value, json};

use super::*;
use crate::kubelet::record::Exit;
use crate::process::Process;

fn pod(spec: &Value) -> Pod {
    let pod = json!({"metadata": {"name": "p", "namespace": "x"}, "spec": spec});
    serde_json::from_value(pod).unwrap()
}

/// Containers as words: `a=running`, `a=exit3`, `a=signal9`.
fn record(words: &str) -> PodRecord {
    let containers = words.split_whitespace().map(|word| {
        let (name, state) = word.split_once('=').unwrap();
        let number = |prefix| Some(state.strip_prefix(prefix)?.parse().unwrap());
        let exit = number("exit")
            .map(Exit::Code)
            .or(number("signal").map(Exit::Signal));
        let ended = exit.map(|exit| Ended {
            exit,
            started: Timestamp::UNIX_EPOCH,
            finished: Timestamp::UNIX_EPOCH,
        });
        let record = ContainerRecord {
            run: 0,
            process: Process { pid: 1, started: 1 },
            started: Timestamp::UNIX_EPOCH,
            ended,
            before: None,
        };
        (name.to_owned(), record)
    });
    PodRecord {
        namespace: "x".to_owned(),
        name: "p".to_owned(),
        uid: "u".to_owned(),
        sandbox: None,
        addresses: vec!["10.244.1.2".parse().unwrap()],
        started: Timestamp::UNIX_EPOCH,
        containers: containers.collect(),
    }
}

/// Phase, condition Ready and each container's state.
fn summary(pod: &Pod, record: &PodRecord, probed: &[&str], waiting: &[&str]) -> String {
    let probed = probed.iter().map(|&name| (name.to_owned(), true)).collect();
    let waiting = waiting.iter().map(|&name| {
        let reason = "CrashLoopBackOff";
        (
            name.to_owned(),
            Waiting {
                reason,
                message: String::new(),
            },
        )
    });
    let status = pod_status(View {
        pod,
        record,
        probed: &probed,
        started: &BTreeSet::new(),
        waiting: &waiting.collect(),
        host: &[],
        now: Timestamp::UNIX_EPOCH,
    });
    let conditions = status.conditions.unwrap();
    let ready = conditions
        .iter()
        .find(|condition| condition.type_ == "Ready");
    let containers: Vec<String> = status
        .container_statuses
        .iter()
        .flatten()
        .map(word)
        .collect();
    let ready = &ready.unwrap().status;
    format!(
        "{} {ready}: {}",
        status.phase.unwrap(),
        containers.join(", ")
    )
}

fn word(status: &ContainerStatus) -> String {
    let state = status.state.clone().unwrap();
    let word = match (state.running, state.terminated, state.waiting) {
        (Some(_), None, None) => "running".to_owned(),
        (None, Some(terminated), None) => format!("exit {}", terminated.exit_code),
        (None, None, Some(waiting)) => waiting.reason.unwrap(),
        other => panic!("not exactly one state: {other:?}"),
    };
    let ready = if status.ready { " ready" } else { "" };
    format!("{word}{ready}")
}

/// Restart policy, containers, those whose probe succeeds, those that wait.
type Case = (
    &'static str,
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
    &'static str,
);

/// Pods with container a, and container b that has a readiness probe.
const CASES: &[Case] = &[
    (
        "Always",
        "",
        &[],
        &[],
        "Pending False: ContainerCreating, ContainerCreating",
    ),
    (
        "Always",
        "a=running",
        &[],
        &[],
        "Pending False: running ready, ContainerCreating",
    ),
    (
        "Always",
        "a=running b=running",
        &[],
        &[],
        "Running False: running ready, running",
    ),
    (
        "Always",
        "a=running b=running",
        &["b"],
        &[],
        "Running True: running ready, running ready",
    ),
    (
        "Always",
        "a=exit3 b=running",
        &["b"],
        &["a"],
        "Running False: CrashLoopBackOff, running ready",
    ),
    (
        "Never",
        "a=exit0 b=exit0",
        &["b"],
        &[],
        "Succeeded False: exit 0, exit 0",
    ),
    (
        "Never",
        "a=exit0 b=signal9",
        &[],
        &[],
        "Failed False: exit 0, exit 137",
    ),
    (
        "Never",
        "a=exit3 b=running",
        &["b"],
        &[],
        "Running False: exit 3, running ready",
    ),
    (
        "OnFailure",
        "a=exit0 b=exit1",
        &[],
        &["b"],
        "Running False: exit 0, CrashLoopBackOff",
    ),
    (
        "OnFailure",
        "a=exit0 b=exit0",
        &[],
        &[],
        "Succeeded False: exit 0, exit 0",
    ),
];

#[test]
fn a_pod_is_what_its_containers_are() {
    for (policy, containers, probed, waiting, expected) in CASES {
        let spec = json!({"restartPolicy": policy, "containers": [
            {"name": "a"},
            {"name": "b", "readinessProbe": {"tcpSocket": {"port": 80}}},
        ]});
        let found = summary(&pod(&spec), &record(containers), probed, waiting);
        assert_eq!(
            &found, expected,
            "{policy} {containers} probed {probed:?} waiting {waiting:?}"
        );
    }
}

#[test]
fn a_readiness_gate_and_conditions_of_others_are_respected() {
    let spec = json!({
        "containers": [{"name": "a"}],
        "readinessGates": [{"conditionType": "shop/open"}],
    });
    let record = record("a=running");
    let mut pod = pod(&spec);
    assert_eq!(
        summary(&pod, &record, &[], &[]),
        "Running False: running ready"
    );
    let gate = json!({"conditions": [{"type": "shop/open", "status": "True"}]});
    pod.status = serde_json::from_value(gate).unwrap();
    assert_eq!(
        summary(&pod, &record, &[], &[]),
        "Running True: running ready"
    );
}
