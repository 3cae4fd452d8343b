//! The steps of an answer as sentences.

mod policies;
mod services;

use std::collections::BTreeSet;
use std::fmt::Display;

use podway_model::{IpFamily, ObjectName};

use super::party::{Kind, Party};
use super::path::{Journey, NoRoute, Vantage};
use super::{Explainer, Question};

/// How many names a sentence lists.
const LISTED: usize = 3;

/// Tells an answer's steps in the order that a packet meets them.
pub(super) struct Teller<'a> {
    explainer: &'a Explainer,
    journey: &'a Journey<'a>,
    steps: Vec<String>,
}

impl<'a> Teller<'a> {
    pub(super) const fn new(explainer: &'a Explainer, journey: &'a Journey<'a>) -> Self {
        Self {
            explainer,
            journey,
            steps: Vec::new(),
        }
    }

    pub(super) fn told(self) -> Vec<String> {
        self.steps
    }

    fn say(&mut self, step: impl Into<String>) {
        self.steps.push(step.into());
    }

    /// Who connects, and which node meets the packet first.
    pub(super) fn sets_out(&mut self, first: &Vantage) {
        let source = self.journey.source;
        let to = self.journey.destination_text();
        let node = named(&first.node);
        self.say(match &self.journey.from.kind {
            Kind::Pod(pod) => {
                format!(
                    "{} ({source}) connects to {to}; {node} meets the packet first.",
                    pod.name
                )
            }
            Kind::Node(_) => match ObjectName::parse(&self.journey.question.from) {
                Some(pod) => format!(
                    "{pod} uses the network of {node} ({source}), and so it is {node} that connects \
                     to {to}."
                ),
                None => format!("{node} itself ({source}) connects to {to}."),
            },
            Kind::Service | Kind::Address => {
                let assumed = match first.assumed {
                    true => ", the first of the nodes, since none is named",
                    false => "",
                };
                format!(
                    "{source} is outside the cluster; its packet to {to} enters at {node}{assumed}."
                )
            }
        });
    }

    /// Who connects, as later sentences call it.
    fn client(&self) -> String {
        match &self.journey.from.kind {
            Kind::Pod(pod) => pod.name.to_string(),
            Kind::Node(node) => node.to_string(),
            Kind::Service | Kind::Address => self.journey.source.to_string(),
        }
    }
}

/// Why two parties cannot meet at all.
pub(super) fn no_route(question: &Question, from: &Party, to: &Party, reason: NoRoute) -> String {
    match reason {
        NoRoute::SourceWithoutAddress => without_address(&question.from, from),
        NoRoute::DestinationWithoutAddress => without_address(&question.to, to),
        NoRoute::NoCommonFamily => format!(
            "{} has {} addresses only and {} has {} addresses only: they cannot meet.",
            question.from,
            families(from),
            question.to,
            families(to),
        ),
    }
}

fn without_address(name: &str, party: &Party) -> String {
    match &party.kind {
        Kind::Pod(pod) if pod.finished => {
            format!("{name} has finished: the addresses in its status are no longer its own.")
        }
        Kind::Pod(_) => format!("{name} has no address yet."),
        Kind::Node(node) => format!("{node} has no address in the status of its Node object."),
        Kind::Service | Kind::Address => format!(
            "{name} has no cluster IP; clients of such a Service connect to what DNS tells them."
        ),
    }
}

fn families(party: &Party) -> String {
    let families: BTreeSet<IpFamily> = party.addresses.iter().map(IpFamily::of).collect();
    list(&families.into_iter().collect::<Vec<_>>())
}

fn named(node: &str) -> &str {
    if node.is_empty() { "its node" } else { node }
}

/// `a`, `a and b`, `a, b and c`, `a, b, c and 4 more`.
fn list<T: Display>(items: &[T]) -> String {
    let shown: Vec<String> = items.iter().take(LISTED).map(T::to_string).collect();
    match (&shown[..], items.len().saturating_sub(LISTED)) {
        ([], _) => "nothing".to_owned(),
        ([one], 0) => one.clone(),
        ([first @ .., last], 0) => format!("{} and {last}", first.join(", ")),
        (shown, more) => format!("{} and {more} more", shown.join(", ")),
    }
}
