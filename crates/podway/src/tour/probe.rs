//! One line of the tour: a connection tried, and what `explain` says of it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::thread;

use anyhow::Context;
use podway_model::IpFamily;
use podway_plan::explain::{Answer, Explainer, Question, Verdict};

use super::stage::Stage;
use crate::terminal::Palette;

/// A connection to try in both families.
#[derive(Debug, Clone)]
pub(super) struct Probe {
    from: From,
    to: Target,
    times: usize,
}

#[derive(Debug, Clone, Copy)]
enum From {
    Pod(&'static str),
    Client,
}

/// What to connect to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target {
    /// A pod's own address.
    Pod(&'static str),
    /// The Service's cluster IP.
    ClusterIp,
    /// The Service's node port on a node.
    NodePort(&'static str),
}

impl Probe {
    pub(super) const fn pod(name: &'static str, to: Target) -> Self {
        Self { from: From::Pod(name), to, times: 1 }
    }

    pub(super) const fn client(to: Target) -> Self {
        Self { from: From::Client, to, times: 1 }
    }

    /// Tries it this often, to show who answers.
    pub(super) const fn times(mut self, times: usize) -> Self {
        self.times = times;
        self
    }
}

/// What came of a probe in one family.
pub(super) struct Finding {
    label: String,
    expected: Answer,
    outcomes: Vec<Outcome>,
}

/// What came of one attempt: who answered, or the word for why nobody did.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Answer(String),
    Silence(String),
}

/// Runs the probes at once and returns their findings in order.
pub(super) fn run(
    probes: &[Probe],
    stage: &Stage,
    explainer: &mut Explainer,
) -> anyhow::Result<Vec<Finding>> {
    let mut running = Vec::new();
    for probe in probes {
        for family in IpFamily::ALL {
            let target = stage.address(probe.to, family)?;
            let expected = explainer.connect(&question(probe, stage, family, target)?)?;
            let label = format!("{family} {} -> {} {target}", name(probe.from), describe(probe.to));
            let attempts: Vec<_> = (0..probe.times)
                .map(|_| command(probe.from, stage, target))
                .collect::<anyhow::Result<_>>()?;
            let attempts = attempts.into_iter().map(|c| thread::spawn(move || attempt(c)));
            running.push((label, expected, attempts.collect::<Vec<_>>()));
        }
    }
    let join = |(label, expected, attempts): (String, Answer, Vec<thread::JoinHandle<_>>)| {
        let outcomes = attempts.into_iter().map(|attempt| {
            attempt.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the probe's thread panicked")))
        });
        Ok(Finding { label, expected, outcomes: outcomes.collect::<anyhow::Result<_>>()? })
    };
    running.into_iter().map(join).collect()
}

fn question(
    probe: &Probe,
    stage: &Stage,
    family: IpFamily,
    target: SocketAddr,
) -> anyhow::Result<Question> {
    let from = match probe.from {
        From::Pod(pod) => format!("shop/{pod}"),
        From::Client => stage.client(family)?.to_string(),
    };
    let node = match probe.to {
        Target::NodePort(node) => Some(node.to_owned()),
        Target::Pod(_) | Target::ClusterIp => None,
    };
    Ok(Question {
        from,
        to: target.ip().to_string(),
        port: target.port(),
        protocol: podway_model::Protocol::Tcp,
        node,
    })
}

fn command(from: From, stage: &Stage, target: SocketAddr) -> anyhow::Result<Command> {
    let program = stage.program();
    let words = [&program, "toolbox", "fetch", "--timeout", "800ms", &target.to_string()]
        .map(std::ffi::OsString::from);
    Ok(match from {
        From::Pod(pod) => podway_lab::exec(stage.lab(), "shop", pod, None, &words)?,
        From::Client => podway_lab::client(stage.lab(), &words)?,
    })
}

fn attempt(mut command: Command) -> anyhow::Result<Outcome> {
    let output = command.output().context("cannot run a probe")?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok(if output.status.success() {
        Outcome::Answer(text)
    } else {
        Outcome::Silence(text)
    })
}

impl Finding {
    pub(super) fn is_as_explained(&self) -> bool {
        let expected = match self.expected.verdict {
            Verdict::Allow => None,
            Verdict::Reject => Some("REFUSED"),
            Verdict::Deny | Verdict::Drop | Verdict::Unrouted => Some("TIMEOUT"),
            // Some endpoints answer and some do not: both are as explained.
            Verdict::Mixed => return true,
        };
        self.outcomes.iter().all(|outcome| match (outcome, expected) {
            (Outcome::Answer(_), None) => true,
            (Outcome::Silence(word), Some(expected)) => word == expected,
            _ => false,
        })
    }

    pub(super) fn text(&self, palette: Palette) -> String {
        let mark = match (self.is_as_explained(), self.expected.verdict.is_yes()) {
            (true, true) => palette.green("+"),
            (true, false) => palette.cyan("-"),
            (false, _) => palette.red("!"),
        };
        let mut text = format!("  {mark} {}  {}\n", self.label, self.seen());
        let _ = writeln!(text, "      {}", palette.dim(&self.rule()));
        text
    }

    /// Who answered how often, or why nobody did.
    fn seen(&self) -> String {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for outcome in &self.outcomes {
            let word = match outcome {
                Outcome::Answer(line) if self.outcomes.len() > 1 => {
                    line.split(' ').next().unwrap_or_default().to_owned()
                }
                Outcome::Answer(line) => answered(line),
                Outcome::Silence(word) => word.to_lowercase(),
            };
            *counts.entry(word).or_default() += 1;
        }
        let words = counts.into_iter().map(|(word, count)| {
            if self.outcomes.len() > 1 { format!("{word} x{count}") } else { word }
        });
        words.collect::<Vec<_>>().join(", ")
    }

    /// The rule that decided: the explanation's last step.
    fn rule(&self) -> String {
        let why = self.expected.why.join(" ");
        format!("{}: {why}", self.expected.verdict)
    }
}

/// `HOSTNAME CLIENT:PORT` in words.
fn answered(line: &str) -> String {
    match line.split_once(' ') {
        Some((pod, client)) => {
            let client = client.parse().map_or(client.to_owned(), |c: SocketAddr| c.ip().to_string());
            format!("{pod} answered and saw {client}")
        }
        None => line.to_owned(),
    }
}

const fn name(from: From) -> &'static str {
    match from {
        From::Pod(pod) => pod,
        From::Client => "client outside",
    }
}

fn describe(to: Target) -> String {
    match to {
        Target::Pod(pod) => pod.to_owned(),
        Target::ClusterIp => "service web".to_owned(),
        Target::NodePort(node) => node.to_owned(),
    }
}

/// The address of a family among several.
pub(super) fn of_family(addresses: &[IpAddr], family: IpFamily) -> Option<IpAddr> {
    addresses.iter().copied().find(|address| IpFamily::of(address) == family)
}
