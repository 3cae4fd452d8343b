//! What is served at one moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Kind;

/// Kinds, in the order of discovery.
#[derive(Debug, Clone, Default)]
pub struct Kinds(Vec<Arc<Kind>>);

impl Kinds {
    /// The kind served at `/api/v1/.../plural` (empty group) or
    /// `/apis/group/version/.../plural`.
    #[must_use]
    pub fn by_resource(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Kind>> {
        self.0
            .iter()
            .find(|k| k.group == group && k.version == version && k.plural == plural)
    }

    /// The kind of an object's own `apiVersion` and `kind`.
    #[must_use]
    pub fn by_kind(&self, api_version: &str, kind: &str) -> Option<&Arc<Kind>> {
        self.0
            .iter()
            .find(|k| k.kind == kind && k.api_version() == api_version)
    }

    /// One of the kinds whose objects are stored under this name
    /// (`services`, `networkpolicies.networking.k8s.io`).
    #[must_use]
    pub fn by_store_name(&self, name: &str) -> Option<&Arc<Kind>> {
        self.0.iter().find(|kind| kind.qualified_plural() == name)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.0.iter()
    }

    /// The kinds of one version of a group.
    pub fn of<'k>(
        &'k self,
        group: &'k str,
        version: &'k str,
    ) -> impl Iterator<Item = &'k Arc<Kind>> {
        self.iter()
            .filter(move |kind| kind.group == group && kind.version == version)
    }

    /// Every group with its versions, the one that clients should prefer first.
    #[must_use]
    pub fn groups(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (group, version) in self.versions() {
            groups.entry(group).or_default().push(version);
        }
        for versions in groups.values_mut() {
            versions.sort_by_key(|version| std::cmp::Reverse(priority(version)));
        }
        groups
    }

    /// Every group and version that has kinds.
    #[must_use]
    pub fn versions(&self) -> BTreeSet<(&str, &str)> {
        self.iter()
            .map(|kind| (kind.group.as_str(), kind.version.as_str()))
            .collect()
    }
}

impl FromIterator<Arc<Kind>> for Kinds {
    fn from_iter<I: IntoIterator<Item = Arc<Kind>>>(kinds: I) -> Kinds {
        Kinds(kinds.into_iter().collect())
    }
}

/// Stable versions before beta before alpha, each with the larger number first;
/// then what is none of these.
fn priority(version: &str) -> (u8, u64, u64) {
    let parse = || {
        let rest = version.strip_prefix('v')?;
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let major = rest[..digits].parse().ok()?;
        let stage = &rest[digits..];
        if stage.is_empty() {
            return Some((3, major, 0));
        }
        let beta = stage.strip_prefix("beta").map(|minor| (2, minor));
        let alpha = stage.strip_prefix("alpha").map(|minor| (1, minor));
        let (rank, minor) = beta.or(alpha)?;
        Some((rank, major, minor.parse().ok()?))
    };
    parse().unwrap_or((0, 0, 0))
}

#[cfg(test)]
mod tests {
    use super::priority;

    #[test]
    fn stable_versions_are_preferred() {
        let mut versions = vec!["foo", "v1alpha2", "v1", "v1beta10", "v2", "v10", "v1beta2"];
        versions.sort_by_key(|version| std::cmp::Reverse(priority(version)));
        let wanted = ["v10", "v2", "v1", "v1beta10", "v1beta2", "v1alpha2", "foo"];
        assert_eq!(versions, wanted);
    }
}
