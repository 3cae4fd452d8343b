//! What policies open and close: the difference between who reaches whom
//! without them and with them.

mod classes;
mod view;

use std::collections::{BTreeMap, BTreeSet};

use podway_model::{Change, ClusterState, IpFamily, Object};

use super::Explainer;
use crate::policy::{AllowedPorts, PolicyPlanner, PolicyTable};
use classes::{Class, classes};

pub use view::{Effect, EffectRow};

/// Which way the matrix changes, and by which ports.
type Difference = (bool, AllowedPorts);

impl Explainer {
    /// What these policies change, if they were in force: whether they are in the
    /// state or not, and whatever their mode. Other objects are passed over.
    #[must_use]
    pub fn effect(&self, policies: impl IntoIterator<Item = Object>) -> Effect {
        let policies: Vec<Object> = policies.into_iter().filter_map(enforced).collect();
        let mut state = self.state.clone();
        for policy in &policies {
            state.apply(Change::Delete(policy.reference()));
        }
        effect(state, policies)
    }

    /// What these policies would change if they were applied to the state now.
    #[must_use]
    pub fn effect_of_applying(&self, policies: impl IntoIterator<Item = Object>) -> Effect {
        let policies = policies.into_iter().filter_map(enforced).collect();
        effect(self.state.clone(), policies)
    }
}

/// A policy out of audit mode.
fn enforced(object: Object) -> Option<Object> {
    match object {
        Object::NetworkPolicy(mut policy) => {
            std::sync::Arc::make_mut(&mut policy).audit = false;
            Some(Object::NetworkPolicy(policy))
        }
        Object::ClusterNetworkPolicy(mut policy) => {
            std::sync::Arc::make_mut(&mut policy).audit = false;
            Some(Object::ClusterNetworkPolicy(policy))
        }
        _ => None,
    }
}

fn effect(mut state: ClusterState, policies: Vec<Object>) -> Effect {
    let mut planner = PolicyPlanner::plan(None, &state);
    let before = planner.table().clone();
    for policy in policies {
        let updates = state.apply(Change::Upsert(policy));
        planner.update(&state, &updates);
    }
    let mut effect = Effect::default();
    for family in IpFamily::ALL {
        let classes = classes(&state, [&before, planner.table()], family);
        let differences = differences(&classes, [&before, planner.table()]);
        effect.add(&state, family, &classes, differences);
    }
    effect
}

/// The pairs of classes (from, to) that differ, by how they do.
fn differences(
    classes: &[Class<'_>],
    tables: [&PolicyTable; 2],
) -> BTreeMap<Difference, BTreeSet<(usize, usize)>> {
    let changed: Vec<usize> = classes
        .iter()
        .enumerate()
        .filter(|(_, class)| class.is_changed())
        .map(|(index, _)| index)
        .collect();
    let pairs: BTreeSet<(usize, usize)> = changed
        .iter()
        .flat_map(|one| (0..classes.len()).flat_map(move |other| [(*one, other), (other, *one)]))
        .collect();
    let mut differences: BTreeMap<Difference, BTreeSet<(usize, usize)>> = BTreeMap::new();
    for (from, to) in pairs {
        let Some([before, after]) = reach(&classes[from], &classes[to], from == to, tables) else {
            continue;
        };
        for difference in [(true, after.minus(&before)), (false, before.minus(&after))] {
            if !difference.1.is_none() {
                differences
                    .entry(difference)
                    .or_default()
                    .insert((from, to));
            }
        }
    }
    differences
}

/// The ports that one class reaches another at, before and after; `None` where
/// there are no two to connect.
fn reach(
    from: &Class<'_>,
    to: &Class<'_>,
    is_same: bool,
    tables: [&PolicyTable; 2],
) -> Option<[AllowedPorts; 2]> {
    // A pod always reaches itself.
    let source = if is_same { from.another? } else { from.address };
    let at = |index: usize| {
        let table: &PolicyTable = tables[index];
        let allowed = |class: &Class<'_>, direction, peer| {
            let set = class.rules[index].and_then(|rules| rules.direction(direction));
            set.map_or_else(AllowedPorts::all, |set| {
                let group = table.peers.get(&peer).map(|group| &**group);
                set.allowed_ports(|one| one.peers.contain(peer, group))
            })
        };
        let egress = allowed(from, crate::policy::Direction::Egress, to.address);
        egress.and(&allowed(to, crate::policy::Direction::Ingress, source))
    };
    Some([at(0), at(1)])
}
