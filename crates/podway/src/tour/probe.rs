//! One line of the tour: a connection tried, and what `explain` says of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::thread::{self, JoinHandle};

use anyhow::Context;
use podway_model::IpFamily;
use podway_plan::explain::{Answer, EndpointAnswer, Explainer, Question, Verdict};

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
        Self {
            from: From::Pod(name),
            to,
            times: 1,
        }
    }

    pub(super) const fn client(to: Target) -> Self {
        Self {
            from: From::Client,
            to,
            times: 1,
        }
    }

    /// Tries it this often, to show who answers.
    pub(super) const fn times(mut self, times: usize) -> Self {
        self.times = times;
        self
    }
}

/// What came of a probe.
pub(super) struct Finding {
    title: String,
    families: Vec<FamilyFinding>,
}

/// What came of a probe in one family.
struct FamilyFinding {
    family: IpFamily,
    target: SocketAddr,
    expected: Answer,
    outcomes: Vec<Outcome>,
}

/// What came of one attempt: who answered, or the word for why nobody did.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Answer(String),
    Silence(String),
}

/// A probe of one family under way.
struct Running {
    family: IpFamily,
    target: SocketAddr,
    expected: Answer,
    attempts: Vec<JoinHandle<anyhow::Result<Outcome>>>,
}

/// Runs the probes at once and returns their findings in order.
pub(super) fn run(
    probes: &[Probe],
    stage: &Stage,
    explainer: &mut Explainer,
) -> anyhow::Result<Vec<Finding>> {
    let mut running = Vec::new();
    for probe in probes {
        let families = IpFamily::ALL.map(|family| start(probe, stage, explainer, family));
        running.push((probe, families));
    }
    let mut findings = Vec::new();
    for (probe, families) in running {
        let families = families.into_iter().map(|running| running?.finish());
        findings.push(Finding {
            title: format!("{} -> {}", name(probe.from), describe(probe.to)),
            families: families.collect::<anyhow::Result<_>>()?,
        });
    }
    Ok(findings)
}

fn start(
    probe: &Probe,
    stage: &Stage,
    explainer: &mut Explainer,
    family: IpFamily,
) -> anyhow::Result<Running> {
    let target = stage.address(probe.to, family)?;
    let expected = explainer.connect(&question(probe, stage, family, target)?)?;
    let commands: Vec<_> = (0..probe.times)
        .map(|_| command(probe.from, stage, target))
        .collect::<anyhow::Result<_>>()?;
    let attempts = commands
        .into_iter()
        .map(|command| thread::spawn(move || attempt(command)));
    Ok(Running {
        family,
        target,
        expected,
        attempts: attempts.collect(),
    })
}

impl Running {
    fn finish(self) -> anyhow::Result<FamilyFinding> {
        let outcomes = self.attempts.into_iter().map(|attempt| {
            let panicked = |_| Err(anyhow::anyhow!("the probe's thread panicked"));
            attempt.join().unwrap_or_else(panicked)
        });
        Ok(FamilyFinding {
            family: self.family,
            target: self.target,
            expected: self.expected,
            outcomes: outcomes.collect::<anyhow::Result<_>>()?,
        })
    }
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
    let words = [
        &program,
        "toolbox",
        "fetch",
        "--timeout",
        "800ms",
        &target.to_string(),
    ]
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
        self.families.iter().all(FamilyFinding::is_as_explained)
    }

    pub(super) fn text(&self, palette: Palette) -> String {
        let mut text = format!("    {}\n", self.title);
        for found in &self.families {
            let line = format!(
                "{}  {:28} {}",
                found.family,
                found.target.to_string(),
                found.seen()
            );
            let _ = writeln!(text, "      {} {line}", found.mark(palette));
        }
        if let Some(found) = self.families.first() {
            let _ = writeln!(text, "        {}", palette.dim(&rule(&found.expected)));
        }
        text
    }
}

impl FamilyFinding {
    fn is_as_explained(&self) -> bool {
        let expected = match self.expected.verdict {
            Verdict::Allow => None,
            Verdict::Reject => Some("REFUSED"),
            Verdict::Deny | Verdict::Drop | Verdict::Unrouted => Some("TIMEOUT"),
            // Some endpoints answer and some do not: both are as explained.
            Verdict::Mixed => return true,
        };
        self.outcomes
            .iter()
            .all(|outcome| match (outcome, expected) {
                (Outcome::Answer(_), None) => true,
                (Outcome::Silence(word), Some(expected)) => word == expected,
                _ => false,
            })
    }

    fn mark(&self, palette: Palette) -> String {
        match (self.is_as_explained(), self.expected.verdict.is_yes()) {
            (true, true) => palette.green("yes"),
            (true, false) => palette.cyan(" no"),
            (false, _) => palette.red("???"),
        }
    }

    /// Who answered how often, or why nobody did.
    fn seen(&self) -> String {
        if let [only] = self.outcomes.as_slice() {
            return match only {
                Outcome::Answer(line) => answered(line),
                Outcome::Silence(word) => silence(word),
            };
        }
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for outcome in &self.outcomes {
            let word = match outcome {
                Outcome::Answer(line) => line.split(' ').next().unwrap_or_default().to_owned(),
                Outcome::Silence(word) => silence(word),
            };
            *counts.entry(word).or_default() += 1;
        }
        let words = counts
            .into_iter()
            .map(|(word, count)| format!("{word} x{count}"));
        words.collect::<Vec<_>>().join(", ")
    }
}

/// Which rule decided, in short; `podway explain` has every step.
fn rule(answer: &Answer) -> String {
    let mut parts = Vec::new();
    if let Some(service) = &answer.service {
        let count = answer.endpoints.len();
        let source = if answer.masquerade {
            "source masqueraded"
        } else {
            "source kept"
        };
        parts.push(format!("service {service} has {count} endpoints, {source}"));
    }
    let policies: BTreeSet<String> = answer.endpoints.iter().map(judged).collect();
    parts.extend(policies);
    parts.join("; ")
}

/// What the policies say of one endpoint.
fn judged(endpoint: &EndpointAnswer) -> String {
    let sides = [("egress", &endpoint.egress), ("ingress", &endpoint.ingress)];
    let denied = sides.iter().find(|(_, side)| side.verdict == Verdict::Deny);
    if let Some((direction, side)) = denied {
        let policies = side.isolated_by.as_deref().unwrap_or_default().join(", ");
        return format!("denied: policy {policies} isolates {direction} and no rule of it matches");
    }
    let allowed = sides.iter().find_map(|(direction, side)| {
        let policy = side.policy.as_ref()?;
        let rule = side.rule.unwrap_or_default();
        Some(format!(
            "allowed by {direction} rule {rule} of policy {policy}"
        ))
    });
    allowed.unwrap_or_else(|| "no policy in the way".to_owned())
}

fn silence(word: &str) -> String {
    match word {
        "TIMEOUT" => "no answer: the packet was dropped".to_owned(),
        "REFUSED" => "refused".to_owned(),
        other => other.to_owned(),
    }
}

/// `HOSTNAME CLIENT:PORT` in words.
fn answered(line: &str) -> String {
    match line.split_once(' ') {
        Some((pod, client)) => {
            let client = client
                .parse()
                .map_or(client.to_owned(), |c: SocketAddr| c.ip().to_string());
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
    addresses
        .iter()
        .copied()
        .find(|address| IpFamily::of(address) == family)
}
