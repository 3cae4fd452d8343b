use std::collections::BTreeMap;

use super::table::{OverlayTable, Peer, PeerKey};

/// What differs between two tables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OverlayChange {
    /// This node's own ends differ: the devices have to be looked at.
    pub own: bool,
    /// The peers that differ, before and after; never both `None`, never equal.
    pub peers: BTreeMap<PeerKey, (Option<Peer>, Option<Peer>)>,
}

impl OverlayChange {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.own && self.peers.is_empty()
    }
}

/// What has to be done to get from one table to the other. Refused nodes are
/// no difference: nothing is programmed for them.
#[must_use]
pub fn diff(before: &OverlayTable, after: &OverlayTable) -> OverlayChange {
    let mut peers = BTreeMap::new();
    for (key, old) in &before.peers {
        let new = after.peers.get(key);
        if new != Some(old) {
            peers.insert(key.clone(), (Some(old.clone()), new.cloned()));
        }
    }
    for (key, new) in &after.peers {
        if !before.peers.contains_key(key) {
            peers.insert(key.clone(), (None, Some(new.clone())));
        }
    }
    OverlayChange {
        own: before.own != after.own,
        peers,
    }
}
