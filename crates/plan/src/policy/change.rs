use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use podway_model::ObjectName;

use super::{PeerGroup, PodRules};

/// What a step of planning changed in the table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyChange {
    /// The pods whose rules changed.
    pub pods: BTreeMap<ObjectName, Changed<PodRules>>,
    /// The pod addresses that are meant by other selectors than before.
    pub peers: BTreeMap<IpAddr, Changed<PeerGroup>>,
}

/// A value before and after; never both `None`, never equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed<T> {
    /// Before.
    pub before: Option<Arc<T>>,
    /// After.
    pub after: Option<Arc<T>>,
}

impl PolicyChange {
    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pods.is_empty() && self.peers.is_empty()
    }
}
