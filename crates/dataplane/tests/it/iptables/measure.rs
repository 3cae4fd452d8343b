//! How long it takes at size. Not a test of anything: run it by itself, on a
//! quiet machine, with
//! `cargo test --release -p podway-dataplane --test it iptables::measure -- --ignored --nocapture`.

use std::fs;
use std::time::{Duration, Instant};

use podway_model::{Change, ClusterState, ObjectRef};
use podway_plan::service::ServicePlanner;
use podway_testkit::builders::{endpoint, name, state};

use super::clusters::{context, numbered, slice_of};
use super::kernel::{in_each_variant, real};
use super::sync;

const SERVICES: u32 = 10_000;
const ROUNDS: usize = 100;

#[test]
#[ignore = "measures for a minute, and says nothing about right and wrong"]
fn ten_thousand_services() {
    in_each_variant(|variant| {
        let mut cluster = state((0..SERVICES).flat_map(numbered));
        let mut planner = ServicePlanner::new(context());
        planner.plan_all(&cluster);
        let mut backend = real(variant);
        let measured = |what: &str, f: &mut dyn FnMut() -> String| {
            let (begin, cpu) = (Instant::now(), cpu_of_children());
            let report = f();
            let cpu = cpu_of_children() - cpu;
            let elapsed = begin.elapsed();
            println!("{variant} {what}: {elapsed:.2?}, programs' CPU {cpu:.2?}: {report}");
        };
        println!("{variant} resident before: {} kB", resident());
        measured("first sync", &mut || {
            sync(&mut backend, planner.table(), None).to_string()
        });
        println!("{variant} resident after: {} kB", resident());
        measured("restart", &mut || {
            sync(&mut real(variant), planner.table(), None).to_string()
        });
        println!("{variant} resident after: {} kB", resident());
        let mut change = |what: &str, make: &dyn Fn(usize) -> Change| {
            let rounds = 0..ROUNDS;
            let mut times: Vec<Duration> = rounds
                .map(|round| {
                    let begin = Instant::now();
                    let updates = cluster.apply(make(round));
                    let change = planner.update(&cluster, &updates);
                    sync(&mut backend, planner.table(), Some(&change));
                    begin.elapsed()
                })
                .collect();
            times.sort();
            let [median, worst] = [ROUNDS / 2, ROUNDS * 99 / 100].map(|place| times[place]);
            println!("{variant} {what}: p50 {median:.1?}, p99 {worst:.1?}");
        };
        change("one endpoint", &|round| {
            let pods = ["10.250.0.1", &format!("10.250.1.{}", round % 250)];
            Change::Upsert(slice_of(4711, &pods.map(|pod| endpoint(pod, "node2"))))
        });
        change("a service goes or comes", &|round| match round % 2 {
            0 => Change::Delete(ObjectRef::Service(name("ns/s4712"))),
            _ => Change::Upsert(numbered(4712)[0].clone()),
        });
        drop(std::mem::take(&mut cluster));
        measured("everything goes", &mut || {
            let empty = super::plan(&ClusterState::default(), &context());
            sync(&mut backend, &empty, None).to_string()
        });
    });
}

/// User and system time of programs that have ended.
fn cpu_of_children() -> Duration {
    const TICKS_A_SECOND: u64 = 100;
    let stat = fs::read_to_string("/proc/self/stat").expect("proc");
    let fields = stat.rsplit(") ").next().expect("fields").split(' ');
    let times = fields.skip(13).take(2);
    let ticks: u64 = times.map(|text| text.parse::<u64>().expect("ticks")).sum();
    Duration::from_millis(ticks * 1_000 / TICKS_A_SECOND)
}

fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("proc");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.and_then(|text| text.parse().ok()).expect("a size")
}
