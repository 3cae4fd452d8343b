//! What is served at one moment.

use std::collections::BTreeSet;
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
