//! Services: planning, programming, connecting.

mod cluster;

use std::time::Duration;

use podway_model::{Change, ClusterState, Object};
use podway_plan::service::ServicePlanner;

use crate::measure::{Samples, time};
use crate::{Bench, Figure, Line, Suite};

pub(crate) const SUITE: Suite = Suite {
    name: "services",
    about: "planning and programming services, connections through them",
    run,
};

fn run(bench: &mut Bench<'_>) -> anyhow::Result<()> {
    planning(bench, 1_000);
    planning(bench, 10_000);
    if bench.extent == crate::Extent::Full {
        planning(bench, 100_000);
    }
    Ok(())
}

/// All services planned at once, then one changed EndpointSlice after another.
fn planning(bench: &mut Bench<'_>, services: u32) {
    let mut state = cluster::state(services);
    let first = (0..bench.rounds(10)).map(|_| {
        let mut planner = ServicePlanner::new(cluster::node());
        time(|| planner.plan_all(&state)).0
    });
    let first = Samples::new(first.collect());
    let name = format!("plan {services} services x 2 endpoints");
    bench.add(Line::new(name, Figure::Time(first.median())));

    let mut planner = ServicePlanner::new(cluster::node());
    planner.plan_all(&state);
    let changes = (0..1_000).map(|round| one_change(&mut state, &mut planner, services, round));
    let changes = Samples::new(changes.collect());
    let name = |what: &str| format!("re-plan one slice of {services} services, {what}");
    bench.add(Line::new(name("p50"), Figure::Time(changes.median())));
    let p99 = changes.percentile(99);
    bench.add(Line::new(name("p99"), Figure::Time(p99)));
}

fn one_change(
    state: &mut ClusterState,
    planner: &mut ServicePlanner,
    services: u32,
    round: u32,
) -> Duration {
    // A stride that is prime to the sizes visits services far from each other.
    let service = (round * 7_919) % services;
    let slice = cluster::slice(service, 1 + round % 2);
    let (taken, change) = time(|| {
        let updates = state.apply(Change::Upsert(Object::EndpointSlice(slice.into())));
        planner.update(state, &updates)
    });
    drop(change);
    taken
}
