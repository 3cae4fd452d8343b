use serde_json::{Value, json};

use super::*;
use crate::kubelet::record::Exit;
use crate::process::Process;

const RUNNING: Option<Exit> = None;

fn pod(spec: &Value) -> Pod {
    serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "x"}, "spec": spec}))
        .unwrap()
}

fn record(containers: &[(&str, Option<Exit>)]) -> PodRecord {
    let containers = containers.iter().map(|&(name, exit)| {
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

/// Phase, condition Ready, and each container's state as a word.
fn summary(
    pod: &Pod,
    record: &PodRecord,
    probed: &[(&str, bool)],
    waiting: &[&str],
) -> (String, String, Vec<String>) {
    let probed = probed
        .iter()
        .map(|&(name, ready)| (name.to_owned(), ready))
        .collect();
    let waiting = waiting.iter().map(|&name| {
        let waiting = Waiting {
            reason: "CrashLoopBackOff",
            message: String::new(),
        };
        (name.to_owned(), waiting)
    });
    let status = pod_status(View {
        pod,
        record,
        probed: &probed,
        waiting: &waiting.collect(),
        host: &[],
        now: Timestamp::UNIX_EPOCH,
    });
    let ready = status
        .conditions
        .unwrap()
        .into_iter()
        .find(|condition| condition.type_ == "Ready");
    let words = status
        .container_statuses
        .unwrap()
        .into_iter()
        .map(|status| {
            let state = status.state.unwrap();
            let word = match (state.running, state.terminated, state.waiting) {
                (Some(_), None, None) => "running".to_owned(),
                (None, Some(terminated), None) => format!("exit {}", terminated.exit_code),
                (None, None, Some(waiting)) => waiting.reason.unwrap(),
                other => panic!("several states at once: {other:?}"),
            };
            let ready = if status.ready { " ready" } else { "" };
            format!("{word}{ready}")
        });
    (
        status.phase.unwrap(),
        ready.unwrap().status,
        words.collect(),
    )
}

#[test]
fn a_pod_is_what_its_containers_are() {
    let two = |policy: &str| {
        json!({"restartPolicy": policy, "containers": [
            {"name": "a"},
            {"name": "b", "readinessProbe": {"tcpSocket": {"port": 80}}},
        ]})
    };
    let (ok, bad, killed) = (
        Some(Exit::Code(0)),
        Some(Exit::Code(3)),
        Some(Exit::Signal(9)),
    );
    let both: fn(_, _) -> [(&'static str, Option<Exit>); 2] = |a, b| [("a", a), ("b", b)];
    let creating = "ContainerCreating";
    for (policy, containers, probed, waiting, expected) in [
        (
            "Always",
            &[][..],
            &[][..],
            &[][..],
            ("Pending", "False", [creating, creating]),
        ),
        (
            "Always",
            &[("a", RUNNING)],
            &[],
            &[],
            ("Pending", "False", ["running ready", creating]),
        ),
        (
            "Always",
            &both(RUNNING, RUNNING),
            &[],
            &[],
            ("Running", "False", ["running ready", "running"]),
        ),
        (
            "Always",
            &both(RUNNING, RUNNING),
            &[("b", true)],
            &[],
            ("Running", "True", ["running ready", "running ready"]),
        ),
        (
            "Always",
            &both(bad, RUNNING),
            &[("b", true)],
            &["a"],
            ("Running", "False", ["CrashLoopBackOff", "running ready"]),
        ),
        (
            "Never",
            &both(ok, ok),
            &[("b", true)],
            &[],
            ("Succeeded", "False", ["exit 0", "exit 0"]),
        ),
        (
            "Never",
            &both(ok, killed),
            &[],
            &[],
            ("Failed", "False", ["exit 0", "exit 137"]),
        ),
        (
            "Never",
            &both(bad, RUNNING),
            &[("b", true)],
            &[],
            ("Running", "False", ["exit 3", "running ready"]),
        ),
        (
            "OnFailure",
            &both(ok, bad),
            &[],
            &["b"],
            ("Running", "False", ["exit 0", "CrashLoopBackOff"]),
        ),
        (
            "OnFailure",
            &both(ok, ok),
            &[],
            &[],
            ("Succeeded", "False", ["exit 0", "exit 0"]),
        ),
    ] {
        let (phase, ready, words) = expected;
        let expected = (
            phase.to_owned(),
            ready.to_owned(),
            words.map(str::to_owned).to_vec(),
        );
        let found = summary(&pod(&two(policy)), &record(containers), probed, waiting);
        assert_eq!(
            found, expected,
            "{policy} {containers:?} probed {probed:?} waiting {waiting:?}"
        );
    }
}

#[test]
fn a_readiness_gate_and_conditions_of_others_are_respected() {
    let spec =
        json!({"containers": [{"name": "a"}], "readinessGates": [{"conditionType": "shop/open"}]});
    let record = record(&[("a", RUNNING)]);
    let mut pod = pod(&spec);
    assert_eq!(summary(&pod, &record, &[], &[]).1, "False");
    let gate = json!({"conditions": [{"type": "shop/open", "status": "True"}]});
    pod.status = serde_json::from_value(gate).unwrap();
    assert_eq!(summary(&pod, &record, &[], &[]).1, "True");
}
