//! What has to go and what has to come, by key.

use std::collections::BTreeMap;

/// The values whose key the other map does not have.
pub(super) fn missing<'a, K: Ord, V>(
    these: &'a BTreeMap<K, V>,
    other: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = &'a V> {
    these
        .iter()
        .filter(|(key, _)| !other.contains_key(key))
        .map(|(_, value)| value)
}

/// The values that the other map does not have, or has otherwise.
pub(super) fn different<'a, K: Ord, V: PartialEq>(
    these: &'a BTreeMap<K, V>,
    other: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = &'a V> {
    these
        .iter()
        .filter(|(key, value)| other.get(key) != Some(value))
        .map(|(_, value)| value)
}
