use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::chain::Chain;
use super::dump::{ChainDump, TableDump};
use super::rule::Rule;
use super::ruleset::Ruleset;
use super::set::{Element, Set};
use super::transaction::{Operation, Transaction};

/// What must be written for the kernel to hold exactly this ruleset: nothing
/// where it does already.
///
/// A set or base chain of another shape cannot be changed in place, so then the
/// table is replaced as a whole, in the same transaction: no packet sees it
/// missing, but dynamic elements start anew.
#[must_use]
pub fn reconcile(wanted: &Ruleset, held: Option<&TableDump>) -> Transaction {
    let mut transaction = Transaction::new(wanted.table.clone());
    match held {
        Some(held) if is_compatible(wanted, held) => amend(wanted, held, &mut transaction),
        Some(_) => {
            transaction.push(Operation::DeleteTable);
            build(wanted, &mut transaction);
        }
        None => build(wanted, &mut transaction),
    }
    transaction
}

fn is_compatible(wanted: &Ruleset, held: &TableDump) -> bool {
    let sets = wanted.sets.iter().all(|(set, _)| {
        held.sets
            .get(&*set.name)
            .is_none_or(|held| held.shape == set.shape())
    });
    let chains = wanted.chains.iter().all(|(chain, _)| {
        held.chains
            .get(&*chain.name)
            .is_none_or(|held| held.base == chain.base)
    });
    sets && chains
}

fn build(wanted: &Ruleset, transaction: &mut Transaction) {
    transaction.push(Operation::AddTable);
    for (set, _) in &wanted.sets {
        transaction.push(Operation::AddSet(set.clone()));
    }
    for (chain, _) in &wanted.chains {
        transaction.push(Operation::AddChain(chain.clone()));
    }
    for (chain, rules) in &wanted.chains {
        append(transaction, chain, rules);
    }
    for (set, elements) in &wanted.sets {
        transaction.add(set, elements.clone());
    }
}

/// New things first, then what refers to them; obsolete things last, when
/// nothing refers to them any more.
fn amend(wanted: &Ruleset, held: &TableDump, transaction: &mut Transaction) {
    for (set, _) in &wanted.sets {
        if !held.sets.contains_key(&*set.name) {
            transaction.push(Operation::AddSet(set.clone()));
        }
    }
    for (chain, _) in &wanted.chains {
        if !held.chains.contains_key(&*chain.name) {
            transaction.push(Operation::AddChain(chain.clone()));
        }
    }
    for (chain, rules) in &wanted.chains {
        let old = held.chains.get(&*chain.name);
        if old.is_some_and(|old| !are_rules(rules, old)) {
            transaction.push(Operation::FlushChain(chain.name.clone()));
            append(transaction, chain, rules);
        } else if old.is_none() {
            append(transaction, chain, rules);
        }
    }
    for (set, elements) in &wanted.sets {
        let old = held.sets.get(&*set.name);
        if set.flags.dynamic && old.is_some() {
            continue;
        }
        amend_elements(
            set,
            elements,
            old.map_or(&[], |old| &old.elements),
            transaction,
        );
    }
    remove_obsolete(wanted, held, transaction);
}

fn remove_obsolete(wanted: &Ruleset, held: &TableDump, transaction: &mut Transaction) {
    let sets: BTreeSet<&str> = wanted.sets.iter().map(|(set, _)| &*set.name).collect();
    let chains: BTreeSet<&str> = wanted
        .chains
        .iter()
        .map(|(chain, _)| &*chain.name)
        .collect();
    let obsolete: Vec<Arc<str>> = held
        .chains
        .keys()
        .filter(|name| !chains.contains(name.as_str()))
        .map(|name| Arc::from(name.as_str()))
        .collect();
    for name in &obsolete {
        transaction.push(Operation::FlushChain(name.clone()));
    }
    for name in held.sets.keys() {
        if !sets.contains(name.as_str()) {
            transaction.push(Operation::DeleteSet(name.as_str().into()));
        }
    }
    for name in obsolete {
        transaction.push(Operation::DeleteChain(name));
    }
}

fn append(transaction: &mut Transaction, chain: &Chain, rules: &[Rule]) {
    for rule in rules {
        transaction.push(Operation::AddRule {
            chain: chain.name.clone(),
            rule: rule.clone(),
        });
    }
}

fn are_rules(wanted: &[Rule], held: &ChainDump) -> bool {
    wanted.len() == held.rules.len()
        && wanted.iter().zip(&held.rules).all(|(rule, held)| {
            rule.comment.as_deref().unwrap_or_default() == held.comment
                && rule.expressions().are(&held.expressions)
        })
}

fn amend_elements(
    set: &Arc<Set>,
    wanted: &[Element],
    held: &[Element],
    transaction: &mut Transaction,
) {
    type Key<'a> = (&'a [u8], Option<&'a [u8]>);
    fn key(element: &Element) -> Key<'_> {
        (&element.key, element.key_end.as_deref())
    }
    let old: HashMap<Key<'_>, &Element> = held.iter().map(|e| (key(e), e)).collect();
    let wanted_keys: HashSet<Key<'_>> = wanted.iter().map(key).collect();
    let mut delete: Vec<Element> = held
        .iter()
        .filter(|element| !wanted_keys.contains(&key(element)))
        .cloned()
        .collect();
    let mut add = Vec::new();
    for element in wanted {
        match old.get(&key(element)) {
            Some(held) if is_same(element, held) => {}
            Some(held) => {
                delete.push((*held).clone());
                add.push(element.clone());
            }
            None => add.push(element.clone()),
        }
    }
    transaction.delete(set, delete);
    transaction.add(set, add);
}

/// The timeout is not compared: the kernel reports what the set's own is as
/// none.
fn is_same(wanted: &Element, held: &Element) -> bool {
    wanted.data == held.data && wanted.comment == held.comment
}
