//! Who should reach whom, who does, and both as tables.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use podway_lab::LabName;
use podway_model::{IpFamily, Protocol};

use super::world::{World, split};
use crate::prober::{Prober, Target};

/// How long something that policies deny is waited for. What they allow by
/// mistake takes a millisecond.
pub(crate) const DENIED: Duration = Duration::from_millis(500);
/// How long something that they allow is waited for: a packet may be lost on a
/// busy machine, and TCP sends it again after a second.
pub(crate) const ALLOWED: Duration = Duration::from_secs(3);
/// How often something that is allowed is tried.
pub(crate) const TRIES: usize = 4;

/// By which address a pod is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum By {
    PodIp,
    ClusterIp,
}

/// A cell of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Cell {
    pub(crate) family: IpFamily,
    pub(crate) by: By,
    pub(crate) protocol: Protocol,
    pub(crate) port: u16,
    pub(crate) from: usize,
    pub(crate) to: usize,
}

/// Cells with what they should be, and what they were otherwise.
#[derive(Default)]
pub(crate) struct Matrix {
    pub(crate) expected: BTreeMap<Cell, bool>,
    wrong: BTreeMap<Cell, String>,
    pub(crate) repeated: usize,
}

/// Probers in the pods.
pub(crate) type Probers = HashMap<String, Prober>;

/// One for each pod; those of pods that are new or gone are replaced.
pub(crate) fn keep_probers(
    probers: &mut Probers,
    lab: &LabName,
    world: &World,
    new: &dyn Fn(&str) -> bool,
) {
    probers.retain(|name, _| world.addresses.contains_key(name) && !new(name));
    for name in world.addresses.keys() {
        let (namespace, pod) = split(name);
        probers
            .entry(name.clone())
            .or_insert_with(|| Prober::start(lab, namespace, pod));
    }
}

impl Matrix {
    /// Tries every cell, all at once.
    pub(crate) fn probe(&mut self, pods: &[String], world: &World, probers: &mut Probers) {
        let cells: Vec<Cell> = self.expected.keys().copied().collect();
        self.wrong = self.try_cells(&cells, pods, world, probers);
        for _ in 1..TRIES {
            // What is denied and gets through is wrong at once.
            let again: Vec<Cell> = self
                .wrong
                .keys()
                .copied()
                .filter(|cell| self.expected[cell])
                .collect();
            if again.is_empty() {
                break;
            }
            self.repeated += again.len();
            let still = self.try_cells(&again, pods, world, probers);
            self.wrong
                .retain(|cell, _| !self.expected[cell] || still.contains_key(cell));
        }
    }

    fn try_cells(
        &self,
        cells: &[Cell],
        pods: &[String],
        world: &World,
        probers: &mut Probers,
    ) -> BTreeMap<Cell, String> {
        let mut by_source: HashMap<usize, Vec<Cell>> = HashMap::new();
        for cell in cells {
            by_source.entry(cell.from).or_default().push(*cell);
        }
        let mut work = Vec::new();
        for (name, prober) in probers.iter_mut() {
            let index = pods.iter().position(|pod| pod == name);
            if let Some(cells) = index.and_then(|index| by_source.remove(&index)) {
                work.push((prober, cells));
            }
        }
        assert!(by_source.is_empty(), "pods without a prober: {by_source:?}");
        let found = thread::scope(|scope| {
            let threads: Vec<_> = work
                .into_iter()
                .map(|(prober, cells)| scope.spawn(|| self.try_from(prober, cells, pods, world)))
                .collect();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().expect("a prober"))
                .collect::<Vec<_>>()
        });
        found.into_iter().collect()
    }

    fn try_from(
        &self,
        prober: &mut Prober,
        cells: Vec<Cell>,
        pods: &[String],
        world: &World,
    ) -> Vec<(Cell, String)> {
        let targets: HashMap<Cell, Target> = cells
            .into_iter()
            .map(|cell| (cell, target(cell, pods, world)))
            .collect();
        let limits: Vec<_> = targets
            .iter()
            .map(|(cell, target)| (*target, if self.expected[cell] { ALLOWED } else { DENIED }))
            .collect();
        let outcomes = prober.ask(&limits);
        let wrong = targets.into_iter().filter_map(|(cell, target)| {
            // Denied is dropped: a refusal would tell that somebody is there.
            let right = if self.expected[&cell] {
                "OK"
            } else {
                "TIMEOUT"
            };
            let outcome = &outcomes[&target];
            (outcome != right).then(|| (cell, outcome.clone()))
        });
        wrong.collect()
    }

    /// Both tables where they differ, `None` where they do not.
    pub(crate) fn difference(&self, pods: &[String]) -> Option<String> {
        if self.wrong.is_empty() {
            return None;
        }
        let mut said = format!(
            "{} of {} connections wrong (. OK, X TIMEOUT, R REFUSED, ? OTHER)\n",
            self.wrong.len(),
            self.expected.len()
        );
        let table = |cell: &Cell| (cell.family, cell.by, cell.protocol, cell.port);
        let mut tables: Vec<_> = self.wrong.keys().map(table).collect();
        tables.dedup();
        for wanted in tables {
            let (family, by, protocol, port) = wanted;
            writeln!(
                said,
                "  {family:?} by {by:?}, {protocol}/{port}: expected, seen"
            )
            .expect("a String");
            for (from, pod) in pods.iter().enumerate() {
                let mut columns = [String::new(), String::new()];
                for to in 0..pods.len() {
                    let cell = Cell {
                        family,
                        by,
                        protocol,
                        port,
                        from,
                        to,
                    };
                    let expected = self
                        .expected
                        .get(&cell)
                        .map_or(' ', |allowed| if *allowed { '.' } else { 'X' });
                    let seen = self
                        .wrong
                        .get(&cell)
                        .map_or(expected, |word| match word.as_str() {
                            "OK" => '.',
                            "TIMEOUT" => 'X',
                            "REFUSED" => 'R',
                            _ => '?',
                        });
                    columns[0].push(expected);
                    columns[1].push(seen);
                }
                writeln!(said, "    {pod:>6}  {}  {}", columns[0], columns[1]).expect("a String");
            }
        }
        Some(said)
    }
}

fn target(cell: Cell, pods: &[String], world: &World) -> Target {
    let addresses = &world.addresses[&pods[cell.to]];
    let ips = match cell.by {
        By::PodIp => &addresses.pod,
        By::ClusterIp => &addresses.service,
    };
    let ip = ips.iter().find(|ip| IpFamily::of(ip) == cell.family);
    let ip = ip.unwrap_or_else(|| panic!("{} has {addresses:?}", pods[cell.to]));
    Target {
        protocol: cell.protocol,
        address: SocketAddr::new(*ip, cell.port),
    }
}
