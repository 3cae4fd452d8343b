//! From a table, or from a change of it, to what has to be written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use podway_kernel::iptables::{Chains, Rule, Script, Table};
use podway_model::IpFamily;
use podway_plan::service::{Frontend, Pool, PoolId, Route, ServiceChange, ServiceTable};

use super::layout;
use super::ledger::{Ledger, Owner};
use super::listing::{Entry, Listing};
use super::names;
use super::site::Site;
use super::unit::Unit;

/// Sets of clients by name: which family, and for how long.
pub(super) type ClientSets = BTreeMap<Arc<str>, (IpFamily, Duration)>;

/// What has to be written.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) scripts: BTreeMap<IpFamily, Vec<Script>>,
    /// The sets that the new rules name.
    pub(super) wanted: ClientSets,
    /// Sets that no rule names any more.
    pub(super) obsolete: BTreeSet<Arc<str>>,
    /// How many rules of listings are deleted.
    pub(super) deletions: usize,
}

/// The units of a family in a table, one after the other: all of them at once
/// would be as large as the text of the rules.
pub(super) fn units<'a>(
    table: &'a ServiceTable,
    ledger: &'a Ledger,
    site: &'a Site,
) -> impl Iterator<Item = Unit> + 'a {
    let owners = ledger.owners().into_iter();
    owners
        .filter(|owner| owner.family == site.family)
        .map(|owner| {
            let route = |frontend: &Frontend| table.routes.get(frontend).map(|route| &**route);
            let pool = |id: &PoolId| table.pools.get(id).map(|pool| &**pool);
            ledger.unit(owner, site, route, pool)
        })
}

/// The rules of a family in shared chains that are no service port's.
pub(super) fn own_entries<'t>(
    table: &'t ServiceTable,
    site: &Site,
) -> impl Iterator<Item = Entry> + use<'t> {
    let family = site.family;
    let checks = table.health_checks.iter();
    checks.filter_map(move |(port, check)| Entry::health_check(family, *port, check))
}

/// Everything that a family should hold: what `iptables-save` would print for
/// our chains, and the jumps to them.
pub(super) fn whole(table: &ServiceTable, ledger: &Ledger, site: &Site) -> BTreeMap<Table, Chains> {
    let mut tables = BTreeMap::<Table, Chains>::new();
    let mut entries: BTreeSet<Entry> = own_entries(table, site).collect();
    for unit in units(table, ledger, site) {
        for ((table, chain), rules) in unit.chains {
            tables.entry(table).or_default().insert(chain, rules);
        }
        entries.extend(unit.entries);
    }
    for (table, chain, rules) in layout::chains(site, &table.service_prefixes) {
        tables.entry(table).or_default().insert(chain.into(), rules);
    }
    for listing in Listing::ALL {
        let (table, chain) = listing.place();
        let of_listing = entries.iter().filter(|entry| entry.listing == listing);
        let rules = of_listing.map(|entry| entry.rule.clone());
        let rules = rules.chain(listing.last(site)).collect();
        tables.entry(table).or_default().insert(chain, rules);
    }
    for (table, chains) in &mut tables {
        for chain in table.built_in() {
            chains.insert((*chain).into(), layout::jumps(*table, chain));
        }
    }
    tables
}

/// What a change asks for. The ledger becomes that of the table, which is the
/// one after the change.
pub(super) fn change(
    table: &ServiceTable,
    change: &ServiceChange,
    sites: &[Site],
    ledger: &mut Ledger,
) -> Draft {
    let mut owners = BTreeSet::new();
    for (frontend, delta) in &change.routes {
        let routes = delta.before.iter().chain(&delta.after);
        owners.extend(routes.map(|route| Owner::of_route(frontend, route)));
    }
    owners.extend(change.pools.keys().map(Owner::of_pool));

    let route_after = |frontend: &Frontend| table.routes.get(frontend).map(|route| &**route);
    let pool_after = |id: &PoolId| table.pools.get(id).map(|pool| &**pool);
    let route_before = |frontend: &Frontend| -> Option<&Route> {
        let delta = change.routes.get(frontend);
        delta.map_or_else(|| route_after(frontend), |delta| delta.before.as_deref())
    };
    let pool_before = |id: &PoolId| -> Option<&Pool> {
        let delta = change.pools.get(id);
        delta.map_or_else(|| pool_after(id), |delta| delta.before.as_deref())
    };
    let sited = |owner: &Owner| sites.iter().find(|site| site.family == owner.family);
    let of = |ledger: &Ledger, before: bool| -> Vec<Unit> {
        let unit = |owner| match (sited(owner), before) {
            (Some(site), true) => ledger.unit(owner, site, route_before, pool_before),
            (Some(site), false) => ledger.unit(owner, site, route_after, pool_after),
            (None, _) => Unit::default(),
        };
        owners.iter().map(unit).collect()
    };
    let before = of(ledger, true);
    ledger.apply(change);
    let after = of(ledger, false);
    let mut draft = Draft::default();
    for ((owner, before), after) in owners.iter().zip(before).zip(after) {
        draft.exchange(owner.family, &before, after);
    }
    for site in sites {
        draft.exchange(
            site.family,
            &without_owner(change, site, false, &table.service_prefixes),
            without_owner(change, site, true, &table.service_prefixes),
        );
    }
    draft
}

/// What a change touches that is no service port's, before or after it.
fn without_owner(
    change: &ServiceChange,
    site: &Site,
    after: bool,
    service_prefixes: &BTreeSet<IpNet>,
) -> Unit {
    let mut unit = Unit::default();
    for (port, delta) in &change.health_checks {
        let check = if after { &delta.after } else { &delta.before };
        let entry = check.as_ref();
        let entry = entry.and_then(|check| Entry::health_check(site.family, *port, check));
        unit.entries.extend(entry);
    }
    let mut prefixes = change.service_prefixes.keys();
    if prefixes.any(|prefix| IpFamily::of(&prefix.addr()) == site.family) {
        // Before, it held something else: what does not matter.
        let rules = match after {
            true => layout::cluster_ips(site, service_prefixes),
            false => Vec::new(),
        };
        let chain = (Table::Filter, names::CLUSTER_IPS.into());
        unit.chains.insert(chain, rules);
    }
    unit
}

impl Draft {
    /// One unit becomes another: chains that differ are written whole, of the
    /// shared chains only the rules that differ.
    fn exchange(&mut self, family: IpFamily, before: &Unit, after: Unit) {
        let mut script = Script::new();
        for (place, rules) in &after.chains {
            if before.chains.get(place) != Some(rules) {
                script.chain(place.0, &place.1, rules.iter().cloned());
            }
        }
        for (table, chain) in before.chains.keys() {
            if !after.chains.contains_key(&(*table, chain.clone())) {
                script.remove(*table, chain);
            }
        }
        let lost: Vec<Entry> = before.entries.difference(&after.entries).cloned().collect();
        for entry in after.entries.difference(&before.entries) {
            entry.clone().write(&mut script);
        }
        self.deletions += lost.len();
        for entry in lost {
            entry.delete(&mut script);
        }
        if !script.is_empty() {
            self.scripts.entry(family).or_default().push(script);
        }
        let gone = before.clients.keys();
        let gone = gone.filter(|name| !after.clients.contains_key(*name));
        self.obsolete.extend(gone.cloned());
        let wanted = after.clients.into_iter();
        self.wanted
            .extend(wanted.map(|(name, time)| (name, (family, time))));
    }
}

/// Whether a chain that nobody asks for may be emptied while rules of others
/// lead to it.
pub(super) fn may_be_emptied(chain: &str) -> bool {
    chain != names::MARK_MASQ
}

/// The rules of a table as text, for people.
pub(super) fn text(tables: &BTreeMap<Table, Chains>) -> String {
    let mut text = String::new();
    for (table, chains) in tables {
        text.push_str(&format!("*{table}\n"));
        for chain in chains.keys() {
            text.push_str(&format!(":{chain} - [0:0]\n"));
        }
        for (chain, rules) in chains {
            let line = |rule: &Rule| format!("-A {chain} {rule}").trim_end().to_owned() + "\n";
            text.extend(rules.iter().map(line));
        }
        text.push_str("COMMIT\n");
    }
    text
}
