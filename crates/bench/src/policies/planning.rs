//! What deciding costs: all nodes' pods planned by one planner.

use std::time::Duration;

use anyhow::Context as _;
use podway_model::{Change, ClusterState, Object, ObjectRef};
use podway_plan::policy::PolicyPlanner;

use super::cluster::{self, Size};
use crate::measure::{Samples, time};
use crate::{Bench, Figure, Line, Target};

/// 10,000 pods and 1,000 policies.
const SIZE: Size = Size {
    namespaces: 100,
    applications: 10,
    local: 100,
    remote: 0,
};
const FIRST: Target = Target::AtMost(Figure::Time(Duration::from_secs(1)));
const CHANGE: Target = Target::AtMost(Figure::Time(Duration::from_millis(5)));

pub(super) fn measure(bench: &mut Bench<'_>) -> anyhow::Result<()> {
    let before = resident()?;
    let mut state = SIZE.state();
    let known = resident()?;
    let mut planner = PolicyPlanner::plan(None, &state);
    let planned = resident()?;
    let first = (0..bench.rounds(15)).map(|_| time(|| PolicyPlanner::plan(None, &state)).0);
    let first = Samples::new(first.collect());
    let of = "10000 pods x 1000 policies";
    bench.add(Line::new(format!("plan {of}, p50"), Figure::Time(first.median())).target(FIRST));

    let rounds = u32::try_from(bench.rounds(2_000))?;
    for (what, change) in CHANGES {
        let changes = (0..rounds).map(|round| follow(&mut state, &mut planner, change(round)));
        let changes = Samples::new(changes.collect());
        let line = |percent| {
            let figure = Figure::Time(changes.percentile(percent));
            Line::new(format!("re-plan {what} of {of}, p{percent}"), figure)
        };
        bench.add(line(50));
        bench.add(line(99).target(CHANGE));
    }
    let bytes = |from: u64, to: u64| Figure::Bytes(to.saturating_sub(from));
    bench.add(Line::new("memory of their objects", bytes(before, known)));
    bench.add(Line::new("memory of their plan", bytes(known, planned)));
    Ok(())
}

type Made = fn(u32) -> Change;

/// Visits namespaces far from each other; every change differs from the one
/// before at its place.
const CHANGES: [(&str, Made); 3] = [
    ("a policy", |round| {
        let port = cluster::PORT + u16::from((round / 1_000).is_multiple_of(2));
        let policy = SIZE.policy(round * 37 % 100, round / 100 % 10, port);
        Change::Upsert(Object::NetworkPolicy(policy.into()))
    }),
    ("a pod's label", |round| {
        let mut pod = SIZE.pod(round * 37 % 100, round % 89);
        pod.labels
            .insert("app".to_owned(), format!("app{}", round / 7 % 10));
        cluster::upsert(pod)
    }),
    ("a pod that comes and goes", |round| {
        let pod = SIZE.newcomer(round / 2);
        if round.is_multiple_of(2) {
            cluster::upsert(pod)
        } else {
            Change::Delete(ObjectRef::Pod(pod.name))
        }
    }),
];

fn follow(state: &mut ClusterState, planner: &mut PolicyPlanner, change: Change) -> Duration {
    let (taken, change) = time(|| {
        let updates = state.apply(change);
        planner.update(state, &updates)
    });
    drop(change);
    taken
}

/// Bytes of this process that are in memory.
fn resident() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("read /proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kilobytes.context("/proc/self/status has no VmRSS")? * 1024)
}
