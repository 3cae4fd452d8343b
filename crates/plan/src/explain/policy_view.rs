use std::collections::BTreeSet;
use std::fmt;

use podway_model::{NetworkPolicy, ObjectName, PolicyRule};
use serde::Serialize;

use super::party::{object_name, unknown_object};
use super::rule_view::{peer_text, pods_meant, port_text};
use super::{ExplainError, Explainer, RuleView};
use crate::policy::Direction;

/// A policy and what it comes to now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PolicyView {
    /// `namespace/name`.
    pub policy: String,
    /// `metadata.generation`.
    pub generation: u64,
    /// Which pods of the namespace, as a selector.
    pub selector: String,
    /// The pods that it selects now. Policies never apply to pods of the host's
    /// network or finished ones.
    pub selects: Vec<String>,
    /// What may reach them; `None` where it does not isolate that.
    pub ingress: Option<Vec<RuleView>>,
    /// What they may reach; `None` where it does not isolate that.
    pub egress: Option<Vec<RuleView>>,
}

impl Explainer {
    /// A policy, `NAMESPACE/NAME`.
    ///
    /// # Errors
    ///
    /// There is no such policy.
    pub fn policy(&self, name: &str) -> Result<PolicyView, ExplainError> {
        let name = object_name(name)?;
        let policy = self.state.policy(&name).ok_or_else(|| {
            let known = self.state.policies().map(|policy| policy.name.to_string());
            unknown_object("policy", &name, known)
        })?;
        let pods = self.state.pods_in(&name.namespace);
        let selected: Vec<&ObjectName> = pods
            .filter(|pod| pod.owns_addresses() && policy.subjects.matches(&pod.labels))
            .map(|pod| &pod.name)
            .collect();
        let rules = |direction, rules: &Option<Vec<PolicyRule>>| {
            let rules = rules.as_ref()?.iter().enumerate();
            let view = |(index, rule)| self.rule(policy, direction, index, rule, &selected);
            Some(rules.map(view).collect())
        };
        Ok(PolicyView {
            policy: name.to_string(),
            generation: policy.generation,
            selector: policy.subjects.to_string(),
            ingress: rules(Direction::Ingress, &policy.ingress),
            egress: rules(Direction::Egress, &policy.egress),
            selects: selected.iter().map(ToString::to_string).collect(),
        })
    }

    fn rule(
        &self,
        policy: &NetworkPolicy,
        direction: Direction,
        index: usize,
        rule: &PolicyRule,
        selected: &[&ObjectName],
    ) -> RuleView {
        let rules = selected
            .iter()
            .filter_map(|pod| self.policies.pods.get(*pod));
        let allows = rules
            .filter_map(|rules| rules.direction(direction))
            .flat_map(|set| &set.allows)
            .filter(|allow| allow.policy == policy.name && allow.rule == index);
        let peers: BTreeSet<_> = allows.map(|allow| &allow.matches.peers).collect();
        let pods: BTreeSet<ObjectName> = peers
            .into_iter()
            .flat_map(|peers| pods_meant(&self.state, peers))
            .collect();
        RuleView {
            policy: policy.name.to_string(),
            rule: index,
            action: None,
            peers: rule
                .peers
                .iter()
                .map(|peer| peer_text(&policy.name, peer))
                .collect(),
            pods: pods.iter().map(ToString::to_string).collect(),
            ports: rule.ports.iter().map(port_text).collect(),
        }
    }
}

impl fmt::Display for PolicyView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "policy {}, generation {}", self.policy, self.generation)?;
        writeln!(f, "  selects {}", self.selector)?;
        match &self.selects[..] {
            [] => writeln!(f, "  which is no pod now")?,
            pods => writeln!(f, "  which is now {}", pods.join(", "))?,
        }
        let directions = [
            (Direction::Ingress, &self.ingress, "may reach them"),
            (Direction::Egress, &self.egress, "they may reach"),
        ];
        for (direction, rules, what) in directions {
            match rules.as_deref() {
                None => writeln!(f, "\n{direction}: left alone")?,
                Some([]) => writeln!(f, "\n{direction}: nothing {what}")?,
                Some(rules) => {
                    writeln!(f, "\n{direction}: only this {what}")?;
                    for rule in rules {
                        writeln!(f, "  spec.{direction}[{}]  {rule}", rule.rule)?;
                    }
                }
            }
        }
        Ok(())
    }
}
