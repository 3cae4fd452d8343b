//! ADD and DEL as a container runtime sees them, beside Debian's bridge and
//! host-local: from starting the program to its end.

mod node;

use std::cell::RefCell;

use crate::measure::{Samples, take_turns, time};
use crate::{Bench, Figure, Line, Target};
use node::{Node, Plugin, Pod};

/// The peer's name in the report.
const PEER: &str = "bridge+host-local";

/// How many pods start at once.
const CROWD: usize = 100;

/// What the issue asks for, as parts of the peer's time.
const ADD: Target = Target::RatioAtMost(0.4);
const DEL: Target = Target::RatioAtMost(0.3);
const PARALLEL: Target = Target::RatioAtMost(0.3);

pub(crate) fn run(bench: &mut Bench<'_>) -> anyhow::Result<()> {
    let node = Node::new()?;
    let plugins = [node.ours()?, node.debians()?];
    let [starts, pods, crowds] = [200, 250, 10].map(|full| bench.rounds(full));
    // Programs start in the namespace of the thread that starts them.
    let namespace = node.namespace();
    let start = namespace.run(|| start_alone(starts, &plugins))??;
    bench.add(start);
    let one_by_one = namespace.run(|| one_by_one(pods, &node, &plugins))??;
    one_by_one.into_iter().for_each(|line| bench.add(line));
    let at_once = namespace.run(|| at_once(crowds, &node, &plugins))??;
    at_once.into_iter().for_each(|line| bench.add(line));
    Ok(())
}

/// What of each call is the program's start.
fn start_alone(rounds: usize, plugins: &[Plugin; 2]) -> anyhow::Result<Line> {
    let version = |plugin: &Plugin| {
        let (taken, done) = time(|| plugin.version());
        done.map(|()| taken)
    };
    let [ours, peers] = plugins;
    let samples = take_turns(
        rounds,
        &mut [Box::new(|| version(ours)), Box::new(|| version(peers))],
    )?;
    let name = "VERSION: the program's start alone, p50";
    Ok(beside(name, &samples, 50))
}

fn one_by_one(rounds: usize, node: &Node, plugins: &[Plugin; 2]) -> anyhow::Result<Vec<Line>> {
    let Rounds { added, deleted, .. } = come_and_go(rounds, node, plugins, 1)?;
    let mut lines = Vec::new();
    for (verb, samples, target) in [("ADD", added, ADD), ("DEL", deleted, DEL)] {
        let name = |percent| format!("{verb} of a dual-stack pod, p{percent}");
        lines.push(beside(name(50), &samples, 50).target(target));
        lines.push(beside(name(99), &samples, 99));
    }
    Ok(lines)
}

fn at_once(rounds: usize, node: &Node, plugins: &[Plugin; 2]) -> anyhow::Result<Vec<Line>> {
    let Rounds {
        added,
        deleted,
        worked,
    } = come_and_go(rounds, node, plugins, CROWD)?;
    let name = |what| format!("{CROWD} x {what}, p50");
    Ok(vec![
        beside(name("ADD at once"), &added, 50).target(PARALLEL),
        // What a busy machine does not change.
        beside(name("ADD at once: processor time"), &worked, 50),
        beside(name("DEL at once"), &deleted, 50),
    ])
}

/// Of ours and the peer.
struct Rounds {
    added: Vec<Samples>,
    deleted: Vec<Samples>,
    /// The processor time of ADD.
    worked: Vec<Samples>,
}

/// The durations of ADD and of DEL for so many pods at once.
fn come_and_go(
    rounds: usize,
    node: &Node,
    plugins: &[Plugin; 2],
    pods: usize,
) -> anyhow::Result<Rounds> {
    let [deleted, worked] = [(), ()].map(|()| [RefCell::new(Vec::new()), RefCell::new(Vec::new())]);
    let round = |place: usize| {
        let plugin = &plugins[place];
        let pods: Vec<Pod> = (0..pods).map(|_| node.pod()).collect::<Result<_, _>>()?;
        let before = node::work_of_children()?;
        let (adding, done) = time(|| plugin.call("ADD", &pods));
        done?;
        let work = node::work_of_children()?.saturating_sub(before);
        worked[place].borrow_mut().push(work);
        let (deleting, done) = time(|| plugin.call("DEL", &pods));
        done?;
        deleted[place].borrow_mut().push(deleting);
        drop(pods);
        node.settle()?;
        Ok(adding)
    };
    let added = take_turns(rounds, &mut [Box::new(|| round(0)), Box::new(|| round(1))])?;
    let [deleted, worked] = [deleted, worked].map(|taken| {
        let samples = taken.map(|taken| Samples::new(taken.into_inner()));
        samples.into()
    });
    Ok(Rounds {
        added,
        deleted,
        worked,
    })
}

fn beside(name: impl Into<String>, samples: &[Samples], percent: usize) -> Line {
    let figure = |samples: &Samples| Figure::Time(samples.percentile(percent));
    Line::new(name, figure(&samples[0])).beside(PEER, figure(&samples[1]))
}
