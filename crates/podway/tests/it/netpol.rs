//! The corpora of cyclonus and of Kubernetes' end-to-end tests with real
//! packets: pods of a lab of two nodes, each connection tried to the pod's
//! address and to its Service's, in both families.
//!
//! Every cell is what the corpus says, or, where a block of addresses holds
//! other pods here than in the corpus' layout, what `decide` says. `decide` is
//! held against the corpus' own layouts by the tests of the planner.

mod conformance;
pub(crate) mod corpus;
mod in_force;
mod live;
mod matrix;
mod oracle;
mod pods;
mod world;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use podway_model::IpFamily;

use self::corpus::{Case, Corpus, Step, flow};
use self::matrix::{Matrix, Probers, keep_probers};
use self::oracle::{Addresses, Oracle};
use self::world::World;

/// A suite: the same cases on a layout of each family.
struct Suite {
    name: &'static str,
    files: [&'static str; 2],
    cases: usize,
}

const CYCLONUS: Suite = Suite {
    name: "cyclonus",
    files: ["cyclonus-flat24.json", "cyclonus-twonode-v6.json"],
    cases: 230,
};
const END_TO_END: Suite = Suite {
    name: "e2e",
    files: ["e2e-twonode-v4.json", "e2e-twonode-v6.json"],
    cases: 48,
};

/// The short form takes every end-to-end test, and of cyclonus' groups one case
/// in so many.
const SHORT: [(&str, usize); 3] = [
    ("peers-two", 30),
    ("ports-single", 14),
    ("upstream-e2e", 13),
];
const SHORT_OTHERS: usize = 7;

#[test]
fn cyclonus_and_end_to_end_with_packets() {
    let is_full = std::env::var_os("PODWAY_TEST_FULL").is_some();
    run("corpora", &["tcp", "udp"], &|case, seen| {
        is_full || is_short(case, seen)
    });
}

/// The cases whose policies or connections are of SCTP.
#[test]
#[ignore = "needs SCTP sockets, which the second kernel has: docs/testing.md says how to run it there"]
fn cases_of_sctp_with_packets() {
    run("sctp", &["tcp", "udp", "sctp"], &|case, _| {
        let policies = case.steps.iter().flat_map(|step| &step.policies);
        let named = policies
            .map(ToString::to_string)
            .any(|policy| policy.contains("SCTP"));
        let is_end_to_end = case.group.is_empty();
        named && (is_end_to_end || case.index.is_multiple_of(4))
    });
}

/// Runs the chosen cases of both suites.
fn run(lab: &'static str, protocols: &[&'static str], chosen: Choice<'_>) {
    let Some(folder) = corpus::folder() else {
        println!("NOT CHECKED: ../shared/corpora/netpol is absent; set PODWAY_CORPORA");
        return;
    };
    let mut run = Run::new(lab, protocols);
    for suite in [END_TO_END, CYCLONUS] {
        let begun = Instant::now();
        run.suite(&suite, &folder, chosen);
        println!("{}: {} in {:.1?}", suite.name, run.tally, begun.elapsed());
        assert!(run.tally.cases > 0, "no case of {}", suite.name);
    }
    assert!(
        run.wrong.is_empty(),
        "{} wrong steps:\n{}",
        run.wrong.len(),
        run.wrong.join("\n")
    );
}

/// Whether a case is run, knowing how many of each group came before it.
type Choice<'a> = &'a dyn Fn(&Case, &mut BTreeMap<String, usize>) -> bool;

/// What was done.
#[derive(Debug, Default)]
struct Tally {
    cases: usize,
    steps: usize,
    by_corpus: usize,
    by_decide: usize,
    repeated: usize,
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} cases, {} steps, {} connections ({} as the corpus says, {} as decide), {} tried again",
            self.cases,
            self.steps,
            self.by_corpus + self.by_decide,
            self.by_corpus,
            self.by_decide,
            self.repeated
        )
    }
}

struct Run {
    world: World,
    probers: Probers,
    protocols: Vec<&'static str>,
    tally: Tally,
    wrong: Vec<String>,
}

impl Run {
    fn new(lab: &'static str, protocols: &[&'static str]) -> Self {
        Self {
            world: World::new(lab, protocols),
            probers: Probers::new(),
            protocols: protocols.to_vec(),
            tally: Tally::default(),
            wrong: Vec::new(),
        }
    }

    fn suite(&mut self, suite: &Suite, folder: &Path, chosen: Choice<'_>) {
        self.tally = Tally::default();
        let [v4, v6] = suite
            .files
            .map(|file| Corpus::read(&folder.join(file)).cases);
        assert_eq!(
            (v4.len(), v6.len()),
            (suite.cases, suite.cases),
            "cases of {}",
            suite.name
        );
        let mut seen = BTreeMap::new();
        for (case4, case6) in v4.iter().zip(&v6) {
            if !chosen(case4, &mut seen) {
                continue;
            }
            self.tally.cases += 1;
            for (index, (step4, step6)) in case4.steps.iter().zip(&case6.steps).enumerate() {
                let place = format!(
                    "{} case {} step {index}: {}",
                    suite.name, case4.index, case4.description
                );
                self.step(&place, step4, [step4, step6]);
                // Blocks differ by layout: those of the other one as well.
                if step4.policies != step6.policies {
                    self.step(&format!("{place} (blocks of IPv6)"), step6, [step4, step6]);
                }
            }
        }
    }

    /// Puts the policies of a layout in force and tries everything.
    fn step(&mut self, place: &str, applied: &Step, layouts: [&Step; 2]) {
        self.tally.steps += 1;
        let new = self.world.stage(&applied.namespaces, &applied.pod_info);
        let at: Addresses = self
            .world
            .addresses
            .iter()
            .map(|(name, at)| (name.clone(), at.pod.clone()))
            .collect();
        let (policies, same_blocks) = applied.policies_at(&at);
        self.world.enforce(&policies);
        let name = self.world.name().clone();
        keep_probers(&mut self.probers, &name, &self.world, &|pod| {
            new.contains(pod)
        });

        let mut matrix = Matrix::default();
        let oracle = Oracle::new(applied, &policies, at);
        for flow_text in applied.expected.keys() {
            let (protocol, port) = flow(flow_text);
            for family in IpFamily::ALL
                .into_iter()
                .filter(|_| self.protocols.contains(&protocol.name()))
            {
                let own = layouts
                    .into_iter()
                    .find(|step| step.family() == family)
                    .expect("both layouts");
                let by_corpus =
                    own.policies == applied.policies && (same_blocks || applied.family() != family);
                let says = |from, to| by_corpus.then(|| own.allows(flow_text, from, to));
                let expected = oracle.table(place, (family, protocol, port), &says);
                let judged = if by_corpus {
                    &mut self.tally.by_corpus
                } else {
                    &mut self.tally.by_decide
                };
                *judged += expected.len();
                matrix.expected.extend(expected);
            }
        }
        matrix.probe(&applied.pods, &self.world, &mut self.probers);
        self.tally.repeated += matrix.repeated;
        if let Some(difference) = matrix.difference(&applied.pods) {
            let policies: Vec<String> = policies.iter().map(ToString::to_string).collect();
            let said = format!("{place}\n{}\n{difference}", policies.join("\n"));
            println!("WRONG {said}");
            self.wrong.push(said);
        }
    }
}

/// Whether the short form takes a case of the corpus.
fn is_short(case: &Case, seen: &mut BTreeMap<String, usize>) -> bool {
    if case.group.is_empty() {
        return true;
    }
    let every = SHORT.into_iter().find(|(group, _)| *group == case.group);
    let every = every.map_or(SHORT_OTHERS, |(_, every)| every);
    let number = seen.entry(case.group.clone()).or_default();
    *number += 1;
    (*number - 1).is_multiple_of(every)
}
