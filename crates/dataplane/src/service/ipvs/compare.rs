//! What has to be written for a family's rules to be as they should, whatever
//! they are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use podway_kernel::iptables::{self, Rule, Script, Table};

use super::layout::{self, Chains};
use super::names::{CHAINS, MARK_MASQ};
use super::site::Site;

/// Rules by table.
pub(super) type Held = BTreeMap<Table, iptables::Chains>;

/// Chains first, then the jumps to them, and what is not wanted last. What
/// others put into built-in chains stays.
pub(super) fn mend(held: &Held, wanted: &Chains, site: Option<&Site>) -> Vec<Script> {
    let mut chains = Script::new();
    for ((table, chain), rules) in wanted {
        let now = held.get(table).and_then(|held| held.get(chain));
        if now != Some(rules) {
            chains.chain(*table, chain, rules.iter().cloned());
        }
    }
    let mut jumps = Script::new();
    for table in Table::ALL {
        for chain in table.built_in() {
            let wanted = site.map_or_else(Vec::new, |site| layout::jumps(table, chain, site));
            mend_jumps(held, table, chain, &wanted, &mut jumps);
        }
    }
    let scripts = [chains, jumps, remove_others(held, wanted)];
    let scripts = scripts.into_iter();
    scripts.filter(|script| !script.is_empty()).collect()
}

fn mend_jumps(held: &Held, table: Table, chain: &str, wanted: &[Rule], script: &mut Script) {
    let rules = held.get(&table).and_then(|held| held.get(chain));
    let rules = rules.map_or(&[][..], Vec::as_slice);
    let ours: Vec<&Rule> = rules.iter().filter(|rule| leads_to_ours(rule)).collect();
    if ours.iter().copied().eq(wanted) {
        return;
    }
    let chain: Arc<str> = chain.into();
    for rule in ours {
        script.delete(table, &chain, rule.clone());
    }
    for rule in wanted.iter().rev() {
        script.insert(table, &chain, rule.clone());
    }
}

/// Chains of this mode that are not wanted. One that a rule of somebody else
/// leads to cannot be removed.
fn remove_others(held: &Held, wanted: &Chains) -> Script {
    let mut script = Script::new();
    for (table, chains) in held {
        let foreign = chains.iter().filter(|(name, _)| !is_ours(name));
        let foreign = foreign.filter(|(name, _)| !table.built_in().contains(&&***name));
        let in_use: BTreeSet<String> = foreign
            .flat_map(|(_, rules)| rules)
            .filter_map(Rule::target)
            .collect();
        for name in chains.keys().filter(|name| is_ours(name)) {
            let is_wanted = wanted.contains_key(&(*table, name.clone()));
            if !is_wanted && !in_use.contains(&**name) {
                script.remove(*table, name);
            }
        }
    }
    script
}

/// Whether a rule of a built-in chain is ours. CNI plugins, too, mark packets by
/// jumping to KUBE-MARK-MASQ.
fn leads_to_ours(rule: &Rule) -> bool {
    let target = rule.target();
    target.is_some_and(|target| is_ours(&target) && target != MARK_MASQ)
}

fn is_ours(chain: &str) -> bool {
    CHAINS.contains(&chain)
}
