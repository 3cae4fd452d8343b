//! Deployments, replica sets, daemon sets and jobs.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Layout, age_of, column, labels, list, name, number, selector_of, since, text, wide};

const TEMPLATE: &str = "/spec/template/spec/containers";

/// The wide columns of everything that makes pods.
fn pods(object: &Value) -> [Value; 3] {
    let containers = list(object, TEMPLATE);
    let joined = |field: &str| {
        let texts = containers.iter().map(|container| text(container, field));
        json!(Vec::from_iter(texts).join(","))
    };
    [
        joined("/name"),
        joined("/image"),
        json!(selector_of(object, "/spec/selector")),
    ]
}

fn count(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

pub(super) const DEPLOYMENT: Layout = Layout {
    columns: &[
        column("Name"),
        column("Ready"),
        number("Up-to-date"),
        number("Available"),
        column("Age"),
        wide("Containers"),
        wide("Images"),
        wide("Selector"),
    ],
    cells: |object, now| {
        let (ready, wanted) = (
            count(object, "/status/readyReplicas"),
            count(object, "/spec/replicas"),
        );
        let mut cells = vec![
            json!(name(object)),
            json!(format!("{ready}/{wanted}")),
            json!(count(object, "/status/updatedReplicas")),
            json!(count(object, "/status/availableReplicas")),
            json!(age_of(object, now)),
        ];
        cells.extend(pods(object));
        cells
    },
};

pub(super) const REPLICA_SET: Layout = Layout {
    columns: &[
        column("Name"),
        number("Desired"),
        number("Current"),
        number("Ready"),
        column("Age"),
        wide("Containers"),
        wide("Images"),
        wide("Selector"),
    ],
    cells: |object, now| {
        let mut cells = vec![
            json!(name(object)),
            json!(count(object, "/spec/replicas")),
            json!(count(object, "/status/replicas")),
            json!(count(object, "/status/readyReplicas")),
            json!(age_of(object, now)),
        ];
        cells.extend(pods(object));
        cells
    },
};

pub(super) const DAEMON_SET: Layout = Layout {
    columns: &[
        column("Name"),
        number("Desired"),
        number("Current"),
        number("Ready"),
        number("Up-to-date"),
        number("Available"),
        column("Node Selector"),
        column("Age"),
        wide("Containers"),
        wide("Images"),
        wide("Selector"),
    ],
    cells: |object, now| {
        let mut cells = vec![json!(name(object))];
        cells.extend(
            [
                "/status/desiredNumberScheduled",
                "/status/currentNumberScheduled",
                "/status/numberReady",
                "/status/updatedNumberScheduled",
                "/status/numberAvailable",
            ]
            .map(|pointer| json!(count(object, pointer))),
        );
        cells.push(json!(labels(
            object.pointer("/spec/template/spec/nodeSelector")
        )));
        cells.push(json!(age_of(object, now)));
        cells.extend(pods(object));
        cells
    },
};

pub(super) const CONTROLLER_REVISION: Layout = Layout {
    columns: &[
        column("Name"),
        column("Controller"),
        number("Revision"),
        column("Age"),
    ],
    cells: |object, now| {
        let owners = list(object, "/metadata/ownerReferences").iter();
        let controller = owners
            .filter(|owner| owner["controller"] == json!(true))
            .map(controller)
            .next();
        vec![
            json!(name(object)),
            json!(controller.unwrap_or_else(|| "<none>".to_owned())),
            json!(count(object, "/revision")),
            json!(age_of(object, now)),
        ]
    },
};

/// `daemonset.apps/web`.
fn controller(owner: &Value) -> String {
    let group = text(owner, "/apiVersion").split_once('/');
    let group = group.map_or(String::new(), |(group, _)| format!(".{group}"));
    let kind = text(owner, "/kind").to_ascii_lowercase();
    format!("{kind}{group}/{}", text(owner, "/name"))
}

pub(super) const JOB: Layout = Layout {
    columns: &[
        column("Name"),
        column("Status"),
        column("Completions"),
        column("Duration"),
        column("Age"),
        wide("Containers"),
        wide("Images"),
        wide("Selector"),
    ],
    cells: |object, now| {
        let mut cells = vec![
            json!(name(object)),
            json!(job_status(object)),
            json!(completions(object)),
            json!(duration(object, now)),
            json!(age_of(object, now)),
        ];
        cells.extend(pods(object));
        cells
    },
};

fn job_status(job: &Value) -> &'static str {
    let has = |wanted: &str| {
        list(job, "/status/conditions").iter().any(|condition| {
            text(condition, "/type") == wanted && text(condition, "/status") == "True"
        })
    };
    let known = [
        ("Complete", "Complete"),
        ("Failed", "Failed"),
        ("Suspended", "Suspended"),
        ("FailureTarget", "FailureTarget"),
        ("SuccessCriteriaMet", "SuccessCriteriaMet"),
    ];
    let found = known.iter().find(|(condition, _)| has(condition));
    match found {
        Some((_, status)) => status,
        None if !text(job, "/metadata/deletionTimestamp").is_empty() => "Terminating",
        None => "Running",
    }
}

fn completions(job: &Value) -> String {
    let done = count(job, "/status/succeeded");
    let wanted = job.pointer("/spec/completions").and_then(Value::as_i64);
    match (wanted, count(job, "/spec/parallelism")) {
        (Some(wanted), _) => format!("{done}/{wanted}"),
        (None, parallelism @ 2..) => format!("{done}/1 of {parallelism}"),
        (None, _) => format!("{done}/1"),
    }
}

/// From the start to the end, or until now.
fn duration(job: &Value, now: Timestamp) -> String {
    let start = text(job, "/status/startTime");
    let end = text(job, "/status/completionTime").parse().unwrap_or(now);
    match start {
        "" => String::new(),
        start => since(start, end),
    }
}
