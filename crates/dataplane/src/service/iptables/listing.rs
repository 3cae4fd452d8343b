//! The chains that all services share: one rule for each frontend in them.

use std::collections::BTreeSet;
use std::sync::Arc;

use podway_kernel::iptables::{Rule, Script, Table};
use podway_model::IpFamily;
use podway_plan::service::HealthCheck;

use super::names;
use super::site::Site;

/// A chain with a rule for each frontend. The order of those rules does not
/// matter, for each matches a different destination; so one can be written
/// without the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Listing {
    /// nat: frontends of one address.
    Services,
    /// nat: node ports.
    NodePorts,
    /// filter: cluster IPs that nobody serves.
    Refusals,
    /// filter: other frontends that nobody serves.
    ExternalRefusals,
    /// filter: frontends with source ranges.
    Firewall,
    /// filter: health check node ports, which are accepted.
    HealthChecks,
}

/// A rule in a listing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) listing: Listing,
    /// Whether it comes after those that are not: a node port, which may match
    /// what a frontend of one address matches.
    pub(super) at_end: bool,
    pub(super) rule: Rule,
}

/// More rules to delete than this, and a listing is written anew: the programs
/// find the rule to delete by reading all of them, for each.
pub(super) const MOST_DELETIONS: usize = 64;

impl Entry {
    /// A health check node port, where its service has an address of the
    /// family.
    pub(super) fn health_check(family: IpFamily, port: u16, check: &HealthCheck) -> Option<Self> {
        let rule = Rule::new()
            .protocol("tcp")
            .comment(&format!("{} health check node port", check.service))
            .destination_port("tcp", port)
            .jump("ACCEPT");
        let entry = Self::new(Listing::HealthChecks, rule);
        check.local_endpoints.contains_key(&family).then_some(entry)
    }

    pub(super) const fn new(listing: Listing, rule: Rule) -> Self {
        Self {
            listing,
            at_end: false,
            rule,
        }
    }

    pub(super) const fn at_end(listing: Listing, rule: Rule) -> Self {
        Self {
            listing,
            at_end: true,
            rule,
        }
    }

    pub(super) fn write(self, script: &mut Script) {
        let (table, chain) = self.listing.place();
        match self.at_end {
            true => script.append(table, &chain, self.rule),
            false => script.insert(table, &chain, self.rule),
        }
    }

    pub(super) fn delete(self, script: &mut Script) {
        let (table, chain) = self.listing.place();
        script.delete(table, &chain, self.rule);
    }
}

impl Listing {
    pub(super) const ALL: [Self; 6] = [
        Self::Services,
        Self::NodePorts,
        Self::Refusals,
        Self::ExternalRefusals,
        Self::Firewall,
        Self::HealthChecks,
    ];

    /// Where it is.
    pub(super) fn place(self) -> (Table, Arc<str>) {
        let (table, chain) = match self {
            Self::Services => (Table::Nat, names::SERVICES),
            Self::NodePorts => (Table::Nat, names::NODE_PORTS),
            Self::Refusals => (Table::Filter, names::SERVICES),
            Self::ExternalRefusals => (Table::Filter, names::EXTERNAL_SERVICES),
            Self::Firewall => (Table::Filter, names::FIREWALL),
            Self::HealthChecks => (Table::Filter, names::NODE_PORTS),
        };
        (table, chain.into())
    }

    /// The rules that end it. A listing that has some has no entries at the
    /// end.
    pub(super) fn last(self, site: &Site) -> Vec<Rule> {
        match self {
            Self::Services => {
                let comment = "kubernetes service nodeports; \
                               NOTE: this must be the last rule in this chain";
                let begins = site.node_port_addresses(|rule| rule.comment(comment));
                let jumps = begins.into_iter();
                jumps.map(|rule| rule.jump(names::NODE_PORTS)).collect()
            }
            Self::NodePorts
            | Self::Refusals
            | Self::ExternalRefusals
            | Self::Firewall
            | Self::HealthChecks => Vec::new(),
        }
    }

    /// What has to be written for a listing to hold these entries, where it
    /// holds these rules; `None` where the chain is not there. Edits come one in
    /// a script each, so that they can be written in parts; a chain that has to
    /// be written anew is one script, so that no packet misses it.
    pub(super) fn mend(
        self,
        held: Option<&[Rule]>,
        entries: &BTreeSet<Entry>,
        site: &Site,
    ) -> Vec<Script> {
        let last = self.last(site);
        let mut scripts = Vec::new();
        let differences = match held {
            Some(held) => differences(held, entries, &last),
            None => {
                scripts.push(self.whole(&BTreeSet::new(), last.clone()));
                differences(&last, entries, &last)
            }
        };
        let Some((surplus, missing)) = differences else {
            return vec![self.whole(entries, last)];
        };
        let mut edit = |entry: Entry, edit: fn(Entry, &mut Script)| {
            let mut script = Script::new();
            edit(entry, &mut script);
            scripts.push(script);
        };
        for entry in missing {
            edit(entry, Entry::write);
        }
        for rule in surplus {
            edit(Entry::new(self, rule), Entry::delete);
        }
        scripts
    }

    fn whole(self, entries: &BTreeSet<Entry>, last: Vec<Rule>) -> Script {
        let (table, chain) = self.place();
        let mut script = Script::new();
        // Ordered: those at the end are at the end.
        let rules = entries.iter().map(|entry| entry.rule.clone());
        script.chain(table, &chain, rules.chain(last));
        script
    }
}

/// The rules that are too many and the entries that are not there; `None` where
/// edits do not help.
fn differences(
    held: &[Rule],
    entries: &BTreeSet<Entry>,
    last: &[Rule],
) -> Option<(Vec<Rule>, Vec<Entry>)> {
    let held = held.strip_suffix(last)?;
    let rules: BTreeSet<&Rule> = held.iter().collect();
    let missing: Vec<Entry> = entries
        .iter()
        .filter(|entry| !rules.contains(&entry.rule))
        .cloned()
        .collect();
    let wanted: BTreeSet<(&Rule, bool)> = entries
        .iter()
        .map(|entry| (&entry.rule, entry.at_end))
        .collect();
    let is_at_end = |rule: &&Rule| wanted.contains(&(*rule, true));
    let is_wanted = |rule: &&Rule| is_at_end(rule) || wanted.contains(&(*rule, false));
    let surplus: Vec<Rule> = held
        .iter()
        .filter(|rule| !is_wanted(rule))
        .cloned()
        .collect();
    let places = held.iter().filter(is_wanted).map(|rule| is_at_end(&rule));
    let is_simple = rules.len() == held.len() && places.is_sorted();
    (is_simple && surplus.len() <= MOST_DELETIONS).then_some((surplus, missing))
}
