//! Ordered maps and sets that mostly hold one thing.
//!
//! The standard library's allocate room for eleven with the first. A cluster
//! has a hundred thousand of them with one or two inside: of a service's
//! frontends, its pools, its slices.

use std::slice;

/// A map in the order of its keys, in no more memory than it needs. Adding to a
/// large one moves what comes after: collect those.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SortedMap<K, V>(Vec<(K, V)>);

/// A set in order, in no more memory than it needs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SortedSet<T>(SortedMap<T, ()>);

/// Up to here room is made for one more at a time.
const FEW: usize = 8;

/// The entries of a map, in order.
pub type Entries<'a, K, V> = std::iter::Map<slice::Iter<'a, (K, V)>, fn(&(K, V)) -> (&K, &V)>;

/// The members of a set, in order.
pub type Members<'a, T> = std::iter::Map<slice::Iter<'a, (T, ())>, fn(&(T, ())) -> &T>;

impl<K, V> Default for SortedMap<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Default for SortedSet<T> {
    fn default() -> Self {
        Self(SortedMap::default())
    }
}

impl<K: Ord, V> SortedMap<K, V> {
    fn place(&self, key: &K) -> Result<usize, usize> {
        self.0.binary_search_by(|(held, _)| held.cmp(key))
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&V> {
        self.get_key_value(key).map(|(_, value)| value)
    }

    /// A key as it is held, with its value.
    #[must_use]
    pub fn get_key_value(&self, key: &K) -> Option<(&K, &V)> {
        let (key, value) = &self.0[self.place(key).ok()?];
        Some((key, value))
    }

    /// Whether there is a value of this key.
    #[must_use]
    pub fn contains_key(&self, key: &K) -> bool {
        self.place(key).is_ok()
    }

    /// Puts a value in; the one that it takes the place of comes back.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.place(&key) {
            Ok(place) => Some(std::mem::replace(&mut self.0[place].1, value)),
            Err(place) => {
                if self.0.len() < FEW {
                    self.0.reserve_exact(1);
                }
                self.0.insert(place, (key, value));
                None
            }
        }
    }

    /// Takes a value out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let place = self.place(key).ok()?;
        Some(self.0.remove(place).1)
    }
}

impl<K, V> SortedMap<K, V> {
    /// How many entries there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The entries, in order.
    pub fn iter(&self) -> Entries<'_, K, V> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    /// The keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.0.iter().map(|(key, _)| key)
    }

    /// The values, in the order of their keys.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.0.iter().map(|(_, value)| value)
    }
}

impl<K: Ord, V> FromIterator<(K, V)> for SortedMap<K, V> {
    /// Of several values of one key the last.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut entries: Vec<(K, V)> = entries.into_iter().collect();
        entries.sort_by(|(one, _), (other, _)| one.cmp(other));
        entries.dedup_by(|later, kept| {
            let is_same = later.0 == kept.0;
            if is_same {
                std::mem::swap(later, kept);
            }
            is_same
        });
        entries.shrink_to_fit();
        Self(entries)
    }
}

impl<'a, K, V> IntoIterator for &'a SortedMap<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Entries<'a, K, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T: Ord> SortedSet<T> {
    /// Whether it is a member.
    #[must_use]
    pub fn contains(&self, member: &T) -> bool {
        self.0.contains_key(member)
    }

    /// Adds a member; whether it was none before.
    pub fn insert(&mut self, member: T) -> bool {
        self.0.insert(member, ()).is_none()
    }

    /// Takes a member out; whether it was one.
    pub fn remove(&mut self, member: &T) -> bool {
        self.0.remove(member).is_some()
    }
}

impl<T> SortedSet<T> {
    /// How many members there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first member.
    #[must_use]
    pub fn first(&self) -> Option<&T> {
        self.iter().next()
    }

    /// The members, in order.
    pub fn iter(&self) -> Members<'_, T> {
        self.0.0.iter().map(|(member, ())| member)
    }
}

impl<T: Ord> FromIterator<T> for SortedSet<T> {
    fn from_iter<I: IntoIterator<Item = T>>(members: I) -> Self {
        Self(members.into_iter().map(|member| (member, ())).collect())
    }
}

impl<'a, T> IntoIterator for &'a SortedSet<T> {
    type Item = &'a T;
    type IntoIter = Members<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    /// As the standard library's do, whatever is done to them.
    #[test]
    fn they_hold_what_ordered_maps_and_sets_hold() {
        let mut map = SortedMap::default();
        let (mut known, mut seed) = (BTreeMap::new(), 7_u32);
        for _ in 0..2_000 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let (key, value) = (seed >> 27, seed >> 8);
            if value % 3 == 0 {
                assert_eq!(map.remove(&key), known.remove(&key));
            } else {
                assert_eq!(map.insert(key, value), known.insert(key, value));
            }
            assert_eq!(map.get(&key), known.get(&key));
            assert!(map.iter().eq(known.iter()) && map.len() == known.len());
        }
        let pairs = [(3, 'a'), (1, 'b'), (3, 'c'), (3, 'd'), (2, 'e')];
        let collected: SortedMap<i32, char> = pairs.into_iter().collect();
        let expected: BTreeMap<i32, char> = pairs.into_iter().collect();
        assert!(collected.iter().eq(expected.iter()), "{collected:?}");
        let members = [5, 1, 5, 3];
        let set: SortedSet<i32> = members.into_iter().collect();
        assert!(set.iter().eq(&BTreeSet::from(members)));
        assert_eq!(set.first(), Some(&1));
    }
}
