//! What has to be written for a family to hold what it should, whatever it
//! holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use podway_kernel::iptables::{Chains, Rule, Script, Table};
use podway_plan::service::ServiceTable;

use super::layout;
use super::listing::{Entry, Listing};
use super::names::{is_entrance, is_ours, removal_rank};
use super::render::{may_be_emptied, own_entries};
use super::site::Site;
use super::unit::Unit;

/// A comparison on its way. What was asked for has been taken out of `held`.
#[derive(Debug)]
pub(super) struct Comparison {
    held: BTreeMap<Table, Chains>,
    scripts: Vec<Script>,
    entries: BTreeSet<Entry>,
}

impl Comparison {
    /// With what tables hold.
    pub(super) const fn with(held: BTreeMap<Table, Chains>) -> Self {
        Self {
            held,
            scripts: Vec::new(),
            entries: BTreeSet::new(),
        }
    }

    /// A service port is wanted.
    pub(super) fn want(&mut self, unit: Unit) {
        let mut script = Script::new();
        for ((table, chain), rules) in unit.chains {
            if self.take(table, &chain).as_ref() != Some(&rules) {
                script.chain(table, &chain, rules);
            }
        }
        self.put(script);
        self.entries.extend(unit.entries);
    }

    /// All service ports have been named: what has to be written, in order. A
    /// rule comes after the chain that it leads to, a jump from a built-in chain
    /// after everything behind it, and what is removed last.
    pub(super) fn finish(mut self, table: &ServiceTable, site: &Site) -> Vec<Script> {
        self.entries.extend(own_entries(table, site));
        let mut fixed = Script::new();
        for (table, chain, rules) in layout::chains(site, &table.service_prefixes) {
            let chain = chain.into();
            if self.take(table, &chain).as_ref() != Some(&rules) {
                fixed.chain(table, &chain, rules);
            }
        }
        let units = std::mem::take(&mut self.scripts);
        self.put(fixed);
        self.scripts.extend(units);
        // A node port's listing is led to by that of all services.
        let mut listings = Listing::ALL;
        listings.sort_by_key(|listing| *listing != Listing::NodePorts);
        for listing in listings {
            let (table, chain) = listing.place();
            let held = self.take(table, &chain);
            let entries = self.entries.iter();
            let of_listing = entries.filter(|entry| entry.listing == listing).cloned();
            let scripts = listing.mend(held.as_deref(), &of_listing.collect(), site);
            self.scripts.extend(scripts);
        }
        self.jumps(layout::jumps);
        self.remove_the_rest();
        self.scripts
    }

    /// Nothing is wanted: what removes everything of ours.
    pub(super) fn finish_empty(mut self) -> Vec<Script> {
        self.jumps(|_, _| Vec::new());
        self.remove_the_rest();
        self.scripts
    }

    fn take(&mut self, table: Table, chain: &Arc<str>) -> Option<Vec<Rule>> {
        self.held.get_mut(&table)?.remove(chain)
    }

    fn put(&mut self, script: Script) {
        if !script.is_empty() {
            self.scripts.push(script);
        }
    }

    /// Ours of the rules in built-in chains, in the order in which they should
    /// be. Where rules of others stand between them is left as it is.
    fn jumps(&mut self, wanted: impl Fn(Table, &str) -> Vec<Rule>) {
        let mut script = Script::new();
        for table in Table::ALL {
            for chain in table.built_in() {
                let wanted = wanted(table, chain);
                let held = self.held.get(&table).and_then(|held| held.get(*chain));
                let held = held.map_or(&[][..], Vec::as_slice);
                let ours: Vec<&Rule> = held.iter().filter(|rule| is_jump(rule)).collect();
                if ours.iter().copied().eq(&wanted) {
                    continue;
                }
                let chain = (*chain).into();
                for rule in ours {
                    script.delete(table, &chain, rule.clone());
                }
                for rule in wanted.into_iter().rev() {
                    script.insert(table, &chain, rule);
                }
            }
        }
        self.put(script);
    }

    /// Chains of ours that nobody asked for. One that a rule of somebody else
    /// leads to cannot be removed: it is emptied, so that it does nothing.
    fn remove_the_rest(&mut self) {
        let mut rest = Vec::new();
        for (table, chains) in &self.held {
            let foreign = chains.iter().filter(|(chain, _)| !is_ours(chain));
            let is_built_in = |chain: &str| table.built_in().contains(&chain);
            let in_use: BTreeSet<String> = foreign
                .flat_map(|(chain, rules)| rules.iter().map(move |rule| (chain, rule)))
                // Our own jumps have just been removed.
                .filter(|(chain, rule)| !(is_built_in(chain) && is_jump(rule)))
                .filter_map(|(_, rule)| rule.target())
                .collect();
            for (chain, rules) in chains.iter().filter(|(chain, _)| is_ours(chain)) {
                let mut script = Script::new();
                if !in_use.contains(&**chain) {
                    script.remove(*table, chain);
                } else if may_be_emptied(chain) && !rules.is_empty() {
                    script.chain(*table, chain, []);
                }
                if !script.is_empty() {
                    rest.push((removal_rank(chain), script));
                }
            }
        }
        rest.sort_by_key(|(rank, _)| *rank);
        self.scripts
            .extend(rest.into_iter().map(|(_, script)| script));
    }
}

fn is_jump(rule: &Rule) -> bool {
    rule.target().is_some_and(|target| is_entrance(&target))
}
