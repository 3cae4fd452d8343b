//! Switching proxy modes under load: what is lost, and for how long connections
//! stand still.

mod load;
mod site;

use std::time::{Duration, Instant};

use anyhow::Context;
use podway_dataplane::service::{
    BACKENDS, BackendSpec, ServiceBackend as _, ServiceSettings, Succession,
};
use podway_plan::service::ServicePlanner;

use self::load::{Arrivals, Held};
use self::site::Site;
use crate::{Bench, Extent, Figure, Line, Suite, Target};

pub(crate) const SUITE: Suite = Suite {
    name: "switch",
    about: "from each proxy mode to each other, with connections held and new ones arriving",
    run,
};

/// New connections a second.
const RATE: u32 = 1_000;
/// How long before and after a switch there is load.
const AROUND: Duration = Duration::from_millis(1_500);

fn run(bench: &mut Bench<'_>) -> anyhow::Result<()> {
    let (held, services) = match bench.extent {
        Extent::Short => (100, 100),
        Extent::Full => (1_000, 1_000),
    };
    let modes = possible()?;
    for from in &modes {
        for to in modes.iter().filter(|to| to.name != from.name) {
            let found = switch(from, to, held, services)
                .with_context(|| format!("from {} to {}", from.name, to.name))?;
            tell(bench, &format!("{} to {}", from.name, to.name), &found);
        }
    }
    Ok(())
}

/// The modes that this kernel can do.
fn possible() -> anyhow::Result<Vec<&'static BackendSpec>> {
    let site = Site::new()?;
    let is_possible = |spec: &&BackendSpec| {
        let probed = site.node.run(|| (spec.probe)().is_ok());
        probed.unwrap_or(false)
    };
    Ok(BACKENDS.iter().filter(is_possible).collect())
}

/// What a switch did.
struct Found {
    held: usize,
    lost: usize,
    longest_pause: Duration,
    arrived: u64,
    failed: u64,
    /// Until the next mode served and was compared.
    taken: Duration,
}

fn switch(
    from: &'static BackendSpec,
    to: &'static BackendSpec,
    held: usize,
    services: u16,
) -> anyhow::Result<Found> {
    let site = Site::new()?;
    let mut planner = ServicePlanner::new(site::context());
    planner.plan_all(&site::state(services));
    let table = planner.table();
    let settings = ServiceSettings {
        pod_prefixes: planner.context().pod_prefixes.clone(),
        ..ServiceSettings::default()
    };
    let mut succession = site.node.run(|| Succession::open(from, settings))??;
    site.node.run(|| succession.sync(table, None))??;
    let held = Held::open(&site, held)?;
    let arrivals = Arrivals::begin(&site, RATE)?;
    std::thread::sleep(AROUND);
    held.forget_pauses();
    let begin = Instant::now();
    succession.want(to);
    site.node.run(|| succession.sync(table, None))??;
    let taken = begin.elapsed();
    std::thread::sleep(AROUND);
    let (arrived, failed) = arrivals.end();
    let (held, lost, longest_pause) = held.end();
    Ok(Found {
        held,
        lost,
        longest_pause,
        arrived,
        failed,
        taken,
    })
}

fn tell(bench: &mut Bench<'_>, what: &str, found: &Found) {
    let count = |count: u64| Figure::Count(count);
    let none = Target::AtMost(Figure::Count(0));
    let held = found.held;
    let lost = Line::new(
        format!("{what}: lost of {held} connections and flows held"),
        count(found.lost as u64),
    );
    bench.add(lost.target(none));
    let failed = Line::new(
        format!("{what}: failed of {} new connections", found.arrived),
        count(found.failed),
    );
    bench.add(failed.target(none));
    bench.add(Line::new(
        format!("{what}: longest pause of one held"),
        Figure::Time(found.longest_pause),
    ));
    bench.add(Line::new(
        format!("{what}: until it served and was compared"),
        Figure::Time(found.taken),
    ));
}
