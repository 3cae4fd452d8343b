//! From the table, or from a change of it, to rules. Pure.

use std::collections::{BTreeMap, BTreeSet};

use podway_kernel::nft::{Chain, Element, Operation, Ruleset, Transaction};
use podway_plan::service::{Frontend, Pool, PoolId, Route, ServiceChange, ServiceTable};

use super::elements;
use super::flavour::Flavour;
use super::ledger::{ChainRules, Ledger, route_element};
use super::skeleton::{self, SetId, Sets};
use crate::names::SERVICE_TABLE;
use crate::service::ServiceSettings;
use crate::service::parts::Scope;

/// Everything that the kernel should hold, and who shares what of it.
pub(super) fn whole(
    table: &ServiceTable,
    settings: &ServiceSettings,
    sets: &Sets,
) -> (Ruleset, Ledger) {
    let pool = |id: &PoolId| table.pools.get(id).map(|pool| &**pool);
    let mut ledger = Ledger::new(settings.pod_interfaces.clone());
    let mut chains = skeleton::chains();
    let mut elements: BTreeMap<SetId, Vec<Element>> = BTreeMap::new();
    let mut put = |(set, element): (SetId, Element)| {
        elements.entry(set).or_default().push(element);
    };
    // In the order of flavours, so that classes do not depend on services.
    let mut flavours: Vec<Flavour> = table
        .routes
        .iter()
        .map(|(frontend, route)| Flavour::of(Scope::of(frontend), route, pool))
        .collect();
    let by_frontend = flavours.clone();
    flavours.sort_unstable();
    for flavour in flavours {
        chains.extend(ledger.acquire(flavour).1);
    }
    for ((frontend, route), flavour) in table.routes.iter().zip(by_frontend) {
        let class = ledger.class(&flavour).unwrap_or_default();
        elements::of_route(frontend, route, class, pool)
            .into_iter()
            .for_each(&mut put);
        ledger.enlist(*frontend, route);
    }
    ledger.route_elements().for_each(&mut put);
    for pool in table.pools.values() {
        let addresses = ledger.count_hairpins(pool);
        addresses
            .into_iter()
            .map(elements::of_hairpin)
            .for_each(&mut put);
    }
    let cluster_ips = table.cluster_ips.iter().copied();
    cluster_ips.map(elements::of_cluster_ip).for_each(&mut put);
    let prefixes = table.service_prefixes.iter().copied();
    prefixes.map(elements::of_service_prefix).for_each(&mut put);
    skeleton::settings_elements(settings)
        .into_iter()
        .for_each(put);

    let ruleset = Ruleset {
        table: SERVICE_TABLE.into(),
        sets: sets
            .iter()
            .map(|(id, set)| (set.clone(), elements.remove(&id).unwrap_or_default()))
            .collect(),
        chains,
    };
    (ruleset, ledger)
}

/// What has to be written for a change. The ledger becomes that of the table,
/// which is the one after the change.
pub(super) fn change(
    table: &ServiceTable,
    change: &ServiceChange,
    sets: &Sets,
    ledger: &mut Ledger,
) -> Transaction {
    let mut draft = Draft::default();
    let mut affected: BTreeSet<Frontend> = change.routes.keys().copied().collect();
    for id in change.pools.keys() {
        affected.extend(ledger.users(id));
    }
    for frontend in affected {
        draft.frontend(table, change, ledger, &frontend);
    }
    for delta in change.pools.values() {
        // First the new, so that an address that stays is never gone.
        let new = delta.after.as_ref().map(|pool| ledger.count_hairpins(pool));
        let gone = delta
            .before
            .as_ref()
            .map(|pool| ledger.discount_hairpins(pool));
        draft.add(new.into_iter().flatten().map(elements::of_hairpin));
        draft.delete(gone.into_iter().flatten().map(elements::of_hairpin));
    }
    let cluster_ips = change.cluster_ips.iter();
    draft.exchange(cluster_ips.map(|(ip, is)| (elements::of_cluster_ip(*ip), *is)));
    let prefixes = change.service_prefixes.iter();
    draft.exchange(prefixes.map(|(prefix, is)| (elements::of_service_prefix(*prefix), *is)));
    draft.transaction(sets)
}

/// A transaction in the making.
#[derive(Default)]
struct Draft {
    new_chains: Vec<ChainRules>,
    old_chains: Vec<Chain>,
    elements: BTreeMap<SetId, Exchange>,
}

#[derive(Default)]
struct Exchange {
    delete: BTreeSet<Element>,
    add: BTreeSet<Element>,
}

impl Draft {
    fn add(&mut self, elements: impl IntoIterator<Item = (SetId, Element)>) {
        for (set, element) in elements {
            let exchange = self.elements.entry(set).or_default();
            if !exchange.delete.remove(&element) {
                exchange.add.insert(element);
            }
        }
    }

    fn delete(&mut self, elements: impl IntoIterator<Item = (SetId, Element)>) {
        for (set, element) in elements {
            let exchange = self.elements.entry(set).or_default();
            if !exchange.add.remove(&element) {
                exchange.delete.insert(element);
            }
        }
    }

    /// Elements that are to be there, and elements that are not.
    fn exchange(&mut self, elements: impl Iterator<Item = ((SetId, Element), bool)>) {
        for (element, is_present) in elements {
            if is_present {
                self.add([element]);
            } else {
                self.delete([element]);
            }
        }
    }

    fn frontend(
        &mut self,
        table: &ServiceTable,
        change: &ServiceChange,
        ledger: &mut Ledger,
        frontend: &Frontend,
    ) {
        let after = |id: &PoolId| table.pools.get(id).map(|pool| &**pool);
        let before = |id: &PoolId| -> Option<&Pool> {
            change
                .pools
                .get(id)
                .map_or_else(|| after(id), |delta| delta.before.as_deref())
        };
        let current = table.routes.get(frontend).map(|route| &**route);
        let previous: Option<&Route> = change
            .routes
            .get(frontend)
            .map_or(current, |delta| delta.before.as_deref());
        let scope = Scope::of(frontend);
        if let Some(route) = current {
            let flavour = Flavour::of(scope, route, after);
            let (class, chains) = ledger.acquire(flavour);
            if !chains.is_empty() {
                self.new_chains.extend(chains);
                self.add([route_element(&flavour, class)]);
            }
            self.add(elements::of_route(frontend, route, class, after));
        }
        if let Some(route) = previous {
            let flavour = Flavour::of(scope, route, before);
            let class = ledger.class(&flavour).unwrap_or_default();
            self.delete(elements::of_route(frontend, route, class, before));
            if let Some((element, chains)) = ledger.release(&flavour) {
                self.delete([element]);
                self.old_chains.extend(chains);
            }
        }
        if let Some(route) = previous {
            ledger.strike(frontend, route);
        }
        if let Some(route) = current {
            ledger.enlist(*frontend, route);
        }
    }

    /// Chains, then what leads to them; what is obsolete last. A chain that one
    /// frontend left and another entered is neither new nor old.
    fn transaction(self, sets: &Sets) -> Transaction {
        let mut transaction = Transaction::new(SERVICE_TABLE);
        let new: BTreeSet<&Chain> = self.new_chains.iter().map(|(chain, _)| chain).collect();
        let both: BTreeSet<Chain> = self
            .old_chains
            .iter()
            .filter(|chain| new.contains(chain))
            .cloned()
            .collect();
        let created = || {
            self.new_chains
                .iter()
                .filter(|(chain, _)| !both.contains(chain))
        };
        for (chain, _) in created() {
            transaction.push(Operation::AddChain(chain.clone()));
        }
        for (chain, rules) in created() {
            for rule in rules {
                transaction.push(Operation::AddRule {
                    chain: chain.name.clone(),
                    rule: rule.clone(),
                });
            }
        }
        for (id, exchange) in &self.elements {
            transaction.delete(sets.of(*id), exchange.delete.iter().cloned().collect());
        }
        for (id, exchange) in &self.elements {
            transaction.add(sets.of(*id), exchange.add.iter().cloned().collect());
        }
        for chain in self.old_chains {
            if !both.contains(&chain) {
                transaction.push(Operation::DeleteChain(chain.name));
            }
        }
        transaction
    }
}
