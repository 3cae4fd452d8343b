use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use podway_model::{ObjectName, Pod, Tier};
use serde::Serialize;

use super::party::{find_pod, object_name};
use super::{ExplainError, Explainer, RuleView};
use crate::policy::Direction;

/// A pod, and what services and policies make of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PodView {
    /// `namespace/name`.
    pub pod: String,
    /// Its node.
    pub node: Option<String>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// What a reader would stumble over: that it uses the host's network, say.
    pub notes: Vec<String>,
    /// The Services whose slices name it.
    pub services: Vec<String>,
    /// What may reach it; `None` is everything.
    pub ingress: Option<IsolationView>,
    /// What it may reach; `None` is everything.
    pub egress: Option<IsolationView>,
}

/// A direction of a pod in which policies have a say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IsolationView {
    /// The NetworkPolicies that isolate it.
    pub isolated_by: Vec<String>,
    /// The rules in the order in which they are asked: those of tier Admin, what
    /// the NetworkPolicies allow between them, those of tier Baseline.
    pub rules: Vec<RuleView>,
}

impl Explainer {
    /// A pod, `NAMESPACE/NAME`.
    ///
    /// # Errors
    ///
    /// There is no such pod.
    pub fn pod(&self, name: &str) -> Result<PodView, ExplainError> {
        let pod = find_pod(&self.state, &object_name(name)?)?;
        Ok(PodView {
            pod: pod.name.to_string(),
            node: pod.node.as_deref().map(str::to_owned),
            addresses: pod.addresses.clone(),
            notes: notes(pod).into_iter().map(str::to_owned).collect(),
            services: self
                .services_with(&pod.name)
                .iter()
                .map(ToString::to_string)
                .collect(),
            ingress: self.isolation(&pod.name, Direction::Ingress),
            egress: self.isolation(&pod.name, Direction::Egress),
        })
    }

    fn services_with(&self, pod: &ObjectName) -> BTreeSet<ObjectName> {
        let names = |slice: &podway_model::EndpointSlice| {
            slice.endpoints.iter().any(|e| e.pod.as_ref() == Some(pod))
        };
        let slices = self.state.slices().filter(|slice| names(slice));
        slices.map(|slice| slice.service.clone()).collect()
    }

    fn isolation(&self, pod: &ObjectName, direction: Direction) -> Option<IsolationView> {
        let set = self.policies.pods.get(pod)?.direction(direction)?;
        let tier = |tier| {
            let rules = set.tier(tier).iter();
            rules.map(|rule| RuleView::of_tier(&self.state, rule))
        };
        let allows = set.allows.iter();
        let allows = allows.map(|allow| RuleView::of_allow(&self.state, allow));
        Some(IsolationView {
            isolated_by: set.isolated_by.iter().map(ToString::to_string).collect(),
            rules: tier(Tier::Admin)
                .chain(allows)
                .chain(tier(Tier::Baseline))
                .collect(),
        })
    }
}

fn notes(pod: &Pod) -> Vec<&'static str> {
    let mut notes = Vec::new();
    if pod.host_network {
        notes.push("It uses its node's network: policies do not apply to it.");
    }
    if pod.finished {
        notes.push("It has finished: its addresses are no longer its own.");
    } else if pod.addresses.is_empty() {
        notes.push("It has no address yet.");
    } else if pod.terminating {
        notes.push("It is terminating: services use it only where no other endpoint is ready.");
    } else if !pod.ready {
        notes.push("It is not ready: services do not use it.");
    }
    notes
}

impl fmt::Display for PodView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = self.node.as_deref().unwrap_or("no node yet");
        writeln!(f, "pod {} on {node}", self.pod)?;
        let addresses: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        if !addresses.is_empty() {
            writeln!(f, "  addresses  {}", addresses.join(", "))?;
        }
        for note in &self.notes {
            writeln!(f, "  {note}")?;
        }
        if !self.services.is_empty() {
            writeln!(f, "  serves     {}", self.services.join(", "))?;
        }
        let directions = [
            (Direction::Ingress, &self.ingress, "may reach it"),
            (Direction::Egress, &self.egress, "it may reach"),
        ];
        for (direction, isolation, what) in directions {
            let Some(isolation) = isolation else {
                writeln!(f, "\n{direction}: open, no policy isolates it")?;
                continue;
            };
            match &isolation.isolated_by[..] {
                [] => writeln!(f, "\n{direction}: open but for these rules")?,
                policies => writeln!(f, "\n{direction}: isolated by {}", policies.join(", "))?,
            }
            if isolation.rules.is_empty() {
                writeln!(f, "  nothing {what}")?;
            }
            for rule in &isolation.rules {
                writeln!(
                    f,
                    "  {} spec.{direction}[{}]  {rule}",
                    rule.policy, rule.rule
                )?;
            }
        }
        Ok(())
    }
}
