//! What Podway costs, measured beside its peers: the suites of `podway bench`.
//!
//! Machines differ and are noisy, so what counts is what is quoted: ratios of
//! medians from runs that took turns ([`measure::take_turns`]), and counts. A
//! suite is a file here and a line in [`SUITES`], from which the command line
//! takes its names.

#![forbid(unsafe_code)]

pub mod measure;
mod pods;
mod policies;
mod report;
mod services;
mod switch;

pub use report::{Figure, Line, Report, Target};

/// One suite.
#[derive(Debug, Clone, Copy)]
pub struct Suite {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it measures, in a phrase.
    pub about: &'static str,
    run: fn(&mut Bench<'_>) -> anyhow::Result<()>,
}

/// Every suite, in the order in which they run.
pub const SUITES: &[Suite] = &[services::SUITE, policies::SUITE, pods::SUITE, switch::SUITE];

/// How much to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// A minute or less a suite: fewer repetitions and no size that takes long.
    Short,
    /// Everything that the documents quote.
    Full,
}

/// A run under way: how much is wanted, and where the lines go.
pub struct Bench<'a> {
    /// How much to measure.
    pub extent: Extent,
    suite: &'static str,
    lines: Vec<Line>,
    told: &'a mut dyn FnMut(&Line),
}

impl Bench<'_> {
    /// Adds a line, and tells it at once: a run takes minutes.
    pub fn add(&mut self, line: Line) {
        let line = line.of_suite(self.suite);
        (self.told)(&line);
        self.lines.push(line);
    }

    /// The number of repetitions: `full` of them, or a fifth, at least three.
    #[must_use]
    pub fn rounds(&self, full: usize) -> usize {
        match self.extent {
            Extent::Full => full,
            Extent::Short => (full / 5).max(3),
        }
    }
}

/// Runs suites one after another; each line is told as it is known.
///
/// # Errors
/// What a suite could not set up or do, with the suite's name: figures of a
/// broken set-up would be worth nothing.
pub fn run(
    suites: &[Suite],
    extent: Extent,
    told: &mut dyn FnMut(&Line),
) -> anyhow::Result<Report> {
    let mut lines = Vec::new();
    for suite in suites {
        let mut bench = Bench {
            extent,
            suite: suite.name,
            lines: Vec::new(),
            told: &mut *told,
        };
        (suite.run)(&mut bench)
            .map_err(|error| error.context(format!("suite `{}` failed", suite.name)))?;
        lines.append(&mut bench.lines);
    }
    Ok(Report { lines })
}
