use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use podway_model::{ObjectName, Pod, Protocol};

use super::compile::Destination;
use super::port_numbers::PortNumbers;
use super::selecting::Selecting;
use super::{Direction, RuleSet};

/// The rule sets in use: one allocation for pods that have the same policies.
#[derive(Debug, Clone, Default)]
pub(super) struct RuleSets {
    planned: BTreeMap<Key, Arc<RuleSet>>,
    keys_of_policy: BTreeMap<ObjectName, BTreeSet<Key>>,
    /// By address of the allocation, which the planner's table keeps alive for
    /// as long as it is counted here.
    uses: BTreeMap<usize, Use>,
}

/// What a rule set follows from, apart from the contents of the policies.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    direction: Direction,
    policies: Vec<ObjectName>,
    /// The subject's container ports that a named ingress port means.
    ports: BTreeSet<(String, Protocol, u16)>,
}

#[derive(Debug, Clone, Default)]
struct Use {
    pods: usize,
    key: Option<Key>,
}

impl RuleSets {
    /// The rule set of a pod from policies that select it; `None` where they say
    /// nothing in the direction. What is planned is to be adopted.
    pub(super) fn plan(
        &mut self,
        pod: &Pod,
        policies: &Selecting<'_>,
        direction: Direction,
        numbers: &PortNumbers,
    ) -> Option<Arc<RuleSet>> {
        let policies = policies.in_direction(direction);
        if policies.is_empty() {
            return None;
        }
        let key = Key {
            direction,
            policies: policies.names(),
            ports: match direction {
                Direction::Ingress => policies.own_ports(&pod.ports),
                Direction::Egress => BTreeSet::new(),
            },
        };
        if let Some(set) = self.planned.get(&key) {
            return Some(set.clone());
        }
        let destination = match direction {
            Direction::Ingress => Destination::Subject(&pod.ports),
            Direction::Egress => Destination::Peers(numbers),
        };
        let set = Arc::new(policies.rule_set(direction, destination)?);
        for policy in &key.policies {
            let keys = self.keys_of_policy.entry(policy.clone()).or_default();
            keys.insert(key.clone());
        }
        let of_set = self.uses.entry(identity(&set)).or_default();
        of_set.key = Some(key.clone());
        self.planned.insert(key, set.clone());
        Some(set)
    }

    /// One more pod has the rule set. Whether it is the first.
    pub(super) fn adopt(&mut self, set: &Arc<RuleSet>) -> bool {
        let of_set = self.uses.entry(identity(set)).or_default();
        of_set.pods += 1;
        of_set.pods == 1
    }

    /// One pod fewer has the rule set. Whether it was the last.
    pub(super) fn release(&mut self, set: &Arc<RuleSet>) -> bool {
        let Some(of_set) = self.uses.get_mut(&identity(set)) else {
            return false;
        };
        of_set.pods -= 1;
        if of_set.pods > 0 {
            return false;
        }
        let key = self
            .uses
            .remove(&identity(set))
            .and_then(|of_set| of_set.key);
        if let Some(key) = key
            && self.planned.get(&key).is_some_and(|p| Arc::ptr_eq(p, set))
        {
            self.forget_key(&key);
        }
        true
    }

    /// A policy changed: what was planned from it is planned anew for the next
    /// pod that asks.
    pub(super) fn forget(&mut self, policy: &ObjectName) {
        for key in self.keys_of_policy.remove(policy).unwrap_or_default() {
            self.forget_key(&key);
        }
    }

    fn forget_key(&mut self, key: &Key) {
        self.planned.remove(key);
        for policy in &key.policies {
            if let Some(keys) = self.keys_of_policy.get_mut(policy) {
                keys.remove(key);
                if keys.is_empty() {
                    self.keys_of_policy.remove(policy);
                }
            }
        }
    }
}

fn identity(set: &Arc<RuleSet>) -> usize {
    Arc::as_ptr(set) as usize
}
