use std::collections::BTreeSet;
use std::fmt;

use podway_model::{ClusterRule, Object, ObjectName, PolicyRule};
use serde::Serialize;

use super::party::{object_name, unknown_object};
use super::rule_view::{
    action_text, cluster_peer_text, cluster_port_text, peer_text, pods_meant, port_text,
    subject_text,
};
use super::{Effect, ExplainError, Explainer, RuleView};
use crate::policy::{Direction, namespace_labels};

/// A policy and what it comes to now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PolicyView {
    /// `namespace/name`, or the name of a ClusterNetworkPolicy.
    pub policy: String,
    /// `metadata.generation`.
    pub generation: u64,
    /// A ClusterNetworkPolicy's tier and priority: `admin 10`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    /// Whether it only reports what it would deny.
    pub audit: bool,
    /// Which pods, as a selector.
    pub selector: String,
    /// The pods that it selects now. Policies never apply to pods of the host's
    /// network or finished ones.
    pub selects: Vec<String>,
    /// What may reach them; `None` where it has no say.
    pub ingress: Option<Vec<RuleView>>,
    /// What they may reach; `None` where it has no say.
    pub egress: Option<Vec<RuleView>>,
    /// What it opens and closes; in audit mode, what it would.
    pub effect: Effect,
}

/// Rules of a direction that have not been looked up yet.
type Unresolved = Vec<(Option<String>, Vec<String>, Vec<String>)>;

impl Explainer {
    /// A policy, `NAMESPACE/NAME`, or a ClusterNetworkPolicy, `NAME`.
    ///
    /// # Errors
    ///
    /// There is no such policy.
    pub fn policy(&self, name: &str) -> Result<PolicyView, ExplainError> {
        match name.contains('/') {
            true => self.network_policy(name),
            false => self.cluster_policy(name),
        }
    }

    fn network_policy(&self, name: &str) -> Result<PolicyView, ExplainError> {
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
            let texts = |rule: &PolicyRule| {
                let peers = rule.peers.iter().map(|peer| peer_text(&policy.name, peer));
                let ports = rule.ports.iter().map(port_text);
                (None, peers.collect(), ports.collect())
            };
            let rules = rules.as_ref()?.iter().map(texts).collect();
            Some(self.rules(&policy.name, direction, rules, &selected))
        };
        Ok(PolicyView {
            policy: name.to_string(),
            generation: policy.generation,
            tier: None,
            audit: policy.audit,
            selector: policy.subjects.to_string(),
            ingress: rules(Direction::Ingress, &policy.ingress),
            egress: rules(Direction::Egress, &policy.egress),
            selects: selected.iter().map(ToString::to_string).collect(),
            effect: self.effect([Object::NetworkPolicy(policy.clone())]),
        })
    }

    fn cluster_policy(&self, name: &str) -> Result<PolicyView, ExplainError> {
        let policy = self.state.cluster_policy(name).ok_or_else(|| {
            let known = self.state.cluster_policies();
            let known = known.map(|policy| policy.name.to_string());
            unknown_object("ClusterNetworkPolicy", &ObjectName::new("", name), known)
        })?;
        let subject = &policy.subject;
        let pods = self.state.pods().filter(|pod| {
            let labels = namespace_labels(&self.state, &pod.name.namespace);
            pod.owns_addresses()
                && subject.namespaces.matches(&labels)
                && subject.pods.matches(&pod.labels)
        });
        let selected: Vec<&ObjectName> = pods.map(|pod| &pod.name).collect();
        let rules = |direction, rules: &[ClusterRule]| {
            let texts = |rule: &ClusterRule| {
                let action = action_text(rule.action).to_owned();
                let peers = rule.peers.iter().map(cluster_peer_text);
                let ports = rule.ports.iter().flatten().map(cluster_port_text);
                (Some(action), peers.collect(), ports.collect())
            };
            let rules: Unresolved = rules.iter().map(texts).collect();
            (!rules.is_empty())
                .then(|| self.rules(&policy.object_name(), direction, rules, &selected))
        };
        Ok(PolicyView {
            policy: policy.name.to_string(),
            generation: policy.generation,
            tier: Some(format!("{} {}", policy.tier, policy.priority)),
            audit: policy.audit,
            selector: subject_text(subject),
            ingress: rules(Direction::Ingress, &policy.ingress),
            egress: rules(Direction::Egress, &policy.egress),
            selects: selected.iter().map(ToString::to_string).collect(),
            effect: self.effect([Object::ClusterNetworkPolicy(policy.clone())]),
        })
    }

    fn rules(
        &self,
        policy: &ObjectName,
        direction: Direction,
        rules: Unresolved,
        selected: &[&ObjectName],
    ) -> Vec<RuleView> {
        let rules = rules.into_iter().enumerate();
        rules
            .map(|(index, (action, peers, ports))| RuleView {
                policy: policy.to_string(),
                rule: index,
                action,
                peers,
                pods: self.meant(policy, direction, index, selected),
                ports,
            })
            .collect()
    }

    /// The pods that a rule means now.
    fn meant(
        &self,
        policy: &ObjectName,
        direction: Direction,
        index: usize,
        selected: &[&ObjectName],
    ) -> Vec<String> {
        let rules = selected
            .iter()
            .filter_map(|pod| self.policies.pods.get(*pod));
        let sets = rules.flat_map(|rules| {
            let audited = rules.audited.get(direction);
            rules.direction(direction).into_iter().chain(audited)
        });
        let peers: BTreeSet<_> = sets.flat_map(|set| set.peers_of(policy, index)).collect();
        let pods: BTreeSet<ObjectName> = peers
            .into_iter()
            .flat_map(|peers| pods_meant(&self.state, peers))
            .collect();
        pods.iter().map(ToString::to_string).collect()
    }
}

impl fmt::Display for PolicyView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "policy {}, generation {}", self.policy, self.generation)?;
        if let Some(tier) = &self.tier {
            write!(f, ", tier {tier}")?;
        }
        if self.audit {
            write!(f, ", in audit mode: it denies nothing")?;
        }
        writeln!(f)?;
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
                    match self.tier {
                        Some(_) => writeln!(f, "\n{direction}: the first that matches decides")?,
                        None => writeln!(f, "\n{direction}: only this {what}")?,
                    }
                    for rule in rules {
                        writeln!(f, "  spec.{direction}[{}]  {rule}", rule.rule)?;
                    }
                }
            }
        }
        let would = if self.audit {
            "If it were enforced:"
        } else {
            "What it changes:"
        };
        write!(f, "\n{would}\n{}", self.effect)
    }
}
