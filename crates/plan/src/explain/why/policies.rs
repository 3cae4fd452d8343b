//! What policies make of a packet, on its way out of the source and into each
//! place that it can go to.

use std::collections::BTreeSet;

use podway_model::ObjectName;

use super::{Teller, list, named};
use crate::explain::judge::{Judged, Place};
use crate::explain::party::Kind;
use crate::explain::path::Vantage;
use crate::policy::{Direction, Judgement};

impl Teller<'_> {
    /// What the source's policies make of it.
    pub(in crate::explain) fn leaves(&mut self, judged: &[Judged]) {
        if matches!(self.journey.from.kind, Kind::Pod(_)) {
            for group in groups(judged.iter(), |one| {
                (one.place == Place::Itself, &one.egress)
            }) {
                self.leaves_for(&group);
            }
        }
    }

    /// What the policies of each place that it still can reach make of it.
    pub(in crate::explain) fn arrives(&mut self, last: &Vantage, judged: &[Judged]) {
        let leaving = judged.iter().filter(|one| one.egress.is_allowed());
        for group in groups(leaving, |one| (kind(&one.place), &one.ingress)) {
            self.arrives_at(&group);
        }
        self.is_seen_elsewhere(last, judged);
    }

    fn leaves_for(&mut self, group: &[&Judged]) {
        let client = self.client();
        let to = places(group);
        if group[0].place == Place::Itself {
            self.say(format!(
                "{client} reaches itself within its own network: no policy sees it."
            ));
            return;
        }
        self.say(match &group[0].egress {
            Judgement::Open => format!("No policy isolates the egress of {client}."),
            Judgement::Allowed { policy, rule } => {
                let rule = self.rule(policy, Direction::Egress, *rule);
                format!("{rule} allows {client} to reach {to}.")
            }
            Judgement::Refused { policy, rule } => {
                let rule = self.rule(policy, Direction::Egress, *rule);
                format!("{rule} denies {client} to reach {to}: the packet is dropped.")
            }
            Judgement::Denied { isolated_by } => format!(
                "The egress of {client} is isolated by {}, and no rule allows {to}: denied, the \
                 packet is dropped.",
                policies(isolated_by),
            ),
        });
    }

    fn arrives_at(&mut self, group: &[&Judged]) {
        let client = self.client();
        let to = places(group);
        self.say(match (&group[0].place, &group[0].ingress) {
            (Place::Itself, _) => return,
            (Place::PodOfOwnNode(_), _) => {
                format!("{to} runs on {client}, and a pod's own node always reaches it.")
            }
            (Place::Node(node), _) => {
                format!("{to} is {node} itself: policies have no say in what reaches a node.")
            }
            (Place::Nobody(node), _) => format!(
                "{to} lies in the pod prefix of {node}, but no pod has it: the packet leads nowhere."
            ),
            (Place::Outside, _) => {
                format!("{to} is outside the cluster: no policy of ours guards it.")
            }
            (Place::Pod(_), Judgement::Open) => format!("No policy isolates the ingress of {to}."),
            (Place::Pod(_), Judgement::Allowed { policy, rule }) => {
                let rule = self.rule(policy, Direction::Ingress, *rule);
                format!("{rule} allows {client} to reach {to}.")
            }
            (Place::Pod(_), Judgement::Refused { policy, rule }) => {
                let rule = self.rule(policy, Direction::Ingress, *rule);
                format!("{rule} denies {client} to reach {to}: the packet is dropped.")
            }
            (Place::Pod(_), Judgement::Denied { isolated_by }) => format!(
                "The ingress of {to} is isolated by {}, and no rule allows {client}: denied, the \
                 packet is dropped.",
                policies(isolated_by),
            ),
        });
    }

    /// A rule, and where to find it: `Policy x/web (spec.egress[0])`. Those of the
    /// cluster have no namespace.
    fn rule(&self, policy: &ObjectName, direction: Direction, rule: usize) -> String {
        let place = format!("spec.{direction}[{rule}]");
        match self.explainer.state.cluster_policy(&policy.name) {
            Some(of_cluster) if policy.namespace.is_empty() => {
                let tier = of_cluster.tier;
                format!("ClusterNetworkPolicy {policy} (tier {tier}, {place})")
            }
            _ => format!("Policy {policy} ({place})"),
        }
    }

    /// Policies judge the client's own address. On another node they can only
    /// see what masquerading has left of it: that is worth a warning where a
    /// rule depends on it.
    fn is_seen_elsewhere(&mut self, last: &Vantage, judged: &[Judged]) {
        let state = &self.explainer.state;
        let elsewhere: BTreeSet<&ObjectName> = judged
            .iter()
            .filter(|one| one.target.masquerade)
            .filter(|one| matches!(one.ingress, Judgement::Allowed { .. }))
            .filter_map(|one| one.target.pod.as_ref())
            .filter(|pod| {
                let node = state.pod(pod).and_then(|pod| pod.node.as_ref());
                node != Some(&last.node)
            })
            .collect();
        if elsewhere.is_empty() {
            return;
        }
        let pods = list(&elsewhere.into_iter().collect::<Vec<_>>());
        let (node, source) = (named(&last.node), self.journey.source);
        self.say(format!(
            "Beware: {pods} is on another node, where the packet arrives with an address of {node} \
             and not with {source}; a rule there must allow that one too."
        ));
    }
}

/// Puts together what is judged alike, in the order in which it comes.
fn groups<'j, K: PartialEq>(
    judged: impl Iterator<Item = &'j Judged>,
    alike: impl Fn(&'j Judged) -> K,
) -> Vec<Vec<&'j Judged>> {
    let mut groups: Vec<Vec<&Judged>> = Vec::new();
    for one in judged {
        match groups
            .iter_mut()
            .find(|group| alike(group[0]) == alike(one))
        {
            Some(group) => group.push(one),
            None => groups.push(vec![one]),
        }
    }
    groups
}

/// Which sentence a place is told in: pods of one kind share theirs.
fn kind(place: &Place) -> (u8, Option<&str>) {
    match place {
        Place::Itself => (0, None),
        Place::PodOfOwnNode(_) => (1, None),
        Place::Pod(_) => (2, None),
        Place::Node(node) => (3, Some(node)),
        Place::Nobody(node) => (4, Some(node)),
        Place::Outside => (5, None),
    }
}

fn places(group: &[&Judged]) -> String {
    list(&group.iter().map(|one| one.text()).collect::<Vec<_>>())
}

fn policies(isolated_by: &BTreeSet<ObjectName>) -> String {
    let names: Vec<&ObjectName> = isolated_by.iter().collect();
    let word = if names.len() == 1 {
        "policy"
    } else {
        "policies"
    };
    format!("{word} {}", list(&names))
}
