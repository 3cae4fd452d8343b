use std::collections::{BTreeMap, BTreeSet};

use podway_model::{Labels, Operator, Selector};

/// Finds the selectors that may match some labels without asking each of them.
///
/// A selector is filed under one label that it cannot match without; one that
/// names no such label (empty, `NotIn`, `Exists`, `DoesNotExist`) is a candidate
/// for everything.
#[derive(Debug, Clone)]
pub(super) struct SelectorIndex<T> {
    by_label: BTreeMap<String, BTreeMap<String, BTreeSet<T>>>,
    unfiled: BTreeSet<T>,
}

impl<T> Default for SelectorIndex<T> {
    fn default() -> Self {
        Self {
            by_label: BTreeMap::new(),
            unfiled: BTreeSet::new(),
        }
    }
}

impl<T: Clone + Ord> SelectorIndex<T> {
    /// Files an item under its selector.
    pub(super) fn insert(&mut self, selector: &Selector, item: &T) {
        let Some((key, values)) = anchor(selector) else {
            self.unfiled.insert(item.clone());
            return;
        };
        let by_value = self.by_label.entry(key.to_owned()).or_default();
        for value in values {
            by_value
                .entry(value.to_owned())
                .or_default()
                .insert(item.clone());
        }
    }

    /// Takes an item out again; the selector is the one that it was filed under.
    pub(super) fn remove(&mut self, selector: &Selector, item: &T) {
        let Some((key, values)) = anchor(selector) else {
            self.unfiled.remove(item);
            return;
        };
        let Some(by_value) = self.by_label.get_mut(key) else {
            return;
        };
        for value in values {
            if let Some(items) = by_value.get_mut(value) {
                items.remove(item);
                if items.is_empty() {
                    by_value.remove(value);
                }
            }
        }
        if by_value.is_empty() {
            self.by_label.remove(key);
        }
    }

    /// The items whose selectors may match: every match is among them, each once.
    pub(super) fn candidates(&self, labels: &Labels) -> impl Iterator<Item = &T> {
        let filed = labels
            .iter()
            .filter_map(|(key, value)| self.by_label.get(key)?.get(value))
            .flatten();
        self.unfiled.iter().chain(filed)
    }

    /// Whether nothing is filed.
    pub(super) fn is_empty(&self) -> bool {
        self.by_label.is_empty() && self.unfiled.is_empty()
    }
}

/// A label, with its possible values, that whatever matches the selector has.
fn anchor(selector: &Selector) -> Option<(&str, Vec<&str>)> {
    if let Some((key, value)) = selector.labels.first_key_value() {
        return Some((key, vec![value]));
    }
    selector
        .requirements
        .iter()
        .find_map(|r| match &r.operator {
            Operator::In(values) => {
                Some((r.key.as_str(), values.iter().map(String::as_str).collect()))
            }
            _ => None,
        })
}
