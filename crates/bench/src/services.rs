//! Services: planning, programming, connecting.

mod agent;
mod api;
mod cluster;
mod node;
mod paths;
mod programming;
#[cfg(test)]
mod tests;

use std::time::Duration;

use podway_dataplane::service::{BackendSpec, iptables, nftables, userspace};
use podway_model::{Change, ClusterState, Object};
use podway_plan::service::ServicePlanner;

use self::agent::Agent;
use self::paths::{Paths, Serve};
use self::programming::{Served, first_sync};
use crate::measure::{Samples, take_turns, time};
use crate::{Bench, Extent, Figure, Line, Suite, Target};

pub(crate) const SUITE: Suite = Suite {
    name: "services",
    about: "planning and programming services, connections through them",
    run,
};

/// kube-proxy 1.36 on such a machine, 10,000 services with 2 endpoints each: the
/// first sync, a later change, and memory in bytes.
struct Peer {
    mode: &'static str,
    first: Duration,
    change: Duration,
    memory: u64,
}

const PEERS: [Peer; 2] = [
    Peer {
        mode: "nftables",
        first: Duration::from_millis(14_300),
        change: Duration::from_millis(3_600),
        memory: 262_000_000,
    },
    Peer {
        mode: "iptables",
        first: Duration::from_secs(31),
        change: Duration::from_secs(1),
        memory: 206_000_000,
    },
];

fn run(bench: &mut Bench<'_>) -> anyhow::Result<()> {
    planning(bench, 1_000);
    planning(bench, 10_000);
    if bench.extent == Extent::Full {
        planning(bench, 100_000);
    }
    programming(bench)?;
    growth(bench)?;
    agents(bench)?;
    connections(bench)?;
    throughput(bench)
}

/// First syncs, each to a kernel that holds nothing.
fn programming(bench: &mut Bench<'_>) -> anyhow::Result<()> {
    let small = cluster::state(10_000);
    let limits = [
        (&nftables::SPEC, 300),
        (&iptables::SPEC, 3_000),
        (&userspace::SPEC, 300),
    ];
    let mut turns = limits.map(|(spec, _)| -> crate::measure::Contestant<'_> {
        Box::new(|| first_sync(spec, &small))
    });
    let samples = take_turns(bench.rounds(10), &mut turns)?;
    drop(turns);
    for ((spec, limit), samples) in limits.iter().zip(&samples) {
        let name = format!("{}: first sync of 10,000 services x 2", spec.name);
        let line = Line::new(name, Figure::Time(samples.median()));
        let line = match PEERS.iter().find(|peer| peer.mode == spec.name) {
            Some(peer) => line.beside("kube-proxy", Figure::Time(peer.first)),
            None => line,
        };
        let limit = Figure::Time(Duration::from_millis(*limit));
        bench.add(line.target(Target::AtMost(limit)));
    }
    let large = cluster::state(100_000);
    let rounds = 0..bench.rounds(5);
    let samples = rounds.map(|_| first_sync(&nftables::SPEC, &large));
    let samples = Samples::new(samples.collect::<Result<_, _>>()?);
    let line = Line::new(
        "nftables: first sync of 100,000 services x 2",
        Figure::Time(samples.median()),
    );
    bench.add(line.target(Target::AtMost(Figure::Time(Duration::from_secs(3)))));
    Ok(())
}

/// One change among few services and among many, in turns.
fn growth(bench: &mut Bench<'_>) -> anyhow::Result<()> {
    let mut few = Served::new(&nftables::SPEC, 1_000)?;
    let mut many = Served::new(&nftables::SPEC, 100_000)?;
    let mut turns: [crate::measure::Contestant<'_>; 2] =
        [Box::new(|| few.change()), Box::new(|| many.change())];
    let samples = take_turns(bench.rounds(5_000), &mut turns)?;
    for (percent, what) in [(50, "p50"), (99, "p99")] {
        let [few, many] = [0, 1].map(|who: usize| Figure::Time(samples[who].percentile(percent)));
        let name = format!("nftables: one change of 100,000 services, {what}");
        let line = Line::new(name, many).beside("at 1,000", few);
        bench.add(match percent {
            50 => line.target(Target::RatioAtMost(1.5)),
            _ => line,
        });
    }
    Ok(())
}

/// What an agent takes, and how soon the kernel holds what it was told.
fn agents(bench: &mut Bench<'_>) -> anyhow::Result<()> {
    agent(bench, &nftables::SPEC, 10_000, 1_000, [Some(60), Some(2)])?;
    agent(bench, &iptables::SPEC, 10_000, 200, [None, Some(150)])?;
    agent(bench, &nftables::SPEC, 100_000, 500, [Some(400), Some(2)])
}

/// Limits in megabytes and milliseconds.
fn agent(
    bench: &mut Bench<'_>,
    spec: &BackendSpec,
    services: u32,
    changes: usize,
    [megabytes, milliseconds]: [Option<u64>; 2],
) -> anyhow::Result<()> {
    let mode = spec.name;
    let mut agent = Agent::start(mode, services)?;
    let peer = PEERS
        .iter()
        .find(|peer| peer.mode == mode && services == 10_000);
    let memory = agent.memory()?;
    let changes = (0..bench.rounds(changes)).map(|_| agent.change());
    let changes = Samples::new(changes.collect::<Result<_, _>>()?);
    for (bytes, what) in [(memory.now, "memory"), (memory.most, "peak memory")] {
        let mut line = Line::new(
            format!("{mode}: agent's {what}, {services} services"),
            Figure::Bytes(bytes),
        );
        if let Some(peer) = peer {
            line = line.beside("kube-proxy", Figure::Bytes(peer.memory));
        }
        if let Some(limit) = megabytes {
            line = line.target(Target::AtMost(Figure::Bytes(limit * 1_000_000)));
        }
        bench.add(line);
    }
    for percent in [50, 99] {
        let name = format!("{mode}: event to kernel, {services} services, p{percent}");
        let mut line = Line::new(name, Figure::Time(changes.percentile(percent)));
        if let Some(peer) = peer {
            line = line.beside("kube-proxy", Figure::Time(peer.change));
        }
        if let Some(limit) = milliseconds.filter(|_| percent == 99) {
            line = line.target(Target::AtMost(Figure::Time(Duration::from_millis(limit))));
        }
        bench.add(line);
    }
    Ok(())
}

/// Handshakes through a cluster IP beside handshakes with a pod, among more and
/// more services.
fn connections(bench: &mut Bench<'_>) -> anyhow::Result<()> {
    const BATCH: usize = 100;
    let sizes = [1, 1_000, 10_000, 30_000];
    let paths = sizes.map(|size| Paths::new(&nftables::SPEC, size, Serve::Accept));
    let mut paths: Vec<Paths> = paths.into_iter().collect::<Result<_, _>>()?;
    let mut taken = sizes.map(|_| [Vec::new(), Vec::new()]);
    for round in 0..bench.rounds(60) {
        for turn in 0..sizes.len() {
            let who = (round + turn) % sizes.len();
            let times = paths[who].connect(BATCH)?;
            for (all, times) in taken[who].iter_mut().zip(times) {
                all.extend(times);
            }
        }
    }
    let medians = taken.map(|ways| ways.map(|times| Samples::new(times).median()));
    for (size, [direct, through]) in sizes.iter().zip(medians) {
        let name = format!("nftables: connect by cluster IP, {size} services, p50");
        let line = Line::new(name, Figure::Time(through)).beside("pod", Figure::Time(direct));
        bench.add(line.target(Target::RatioAtMost(1.2)));
    }
    let [[_, one], .., [_, most]] = medians;
    let line = Line::new(
        "nftables: connect, 30,000 services beside 1",
        Figure::Time(most),
    );
    let line = line.beside("one", Figure::Time(one));
    bench.add(line.target(Target::RatioAtMost(1.03)));
    Ok(())
}

/// One connection's bytes through the proxy and past it, in turns.
fn throughput(bench: &mut Bench<'_>) -> anyhow::Result<()> {
    let mut paths = Paths::new(&userspace::SPEC, 1_000, Serve::Read)?;
    let rounds = 0..bench.rounds(15);
    let rates = rounds.map(|_| paths.send(Duration::from_millis(500)));
    let rates: Vec<[f64; 2]> = rates.collect::<Result<_, _>>()?;
    let median = |who: usize| {
        let mut rates: Vec<f64> = rates.iter().map(|rates| rates[who]).collect();
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    };
    let line = Line::new(
        "userspace: bytes of one connection",
        Figure::Rate(median(1)),
    );
    let line = line.beside("straight", Figure::Rate(median(0)));
    bench.add(line.target(Target::RatioAtLeast(0.5)));
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
