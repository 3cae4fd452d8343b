use std::collections::{BTreeMap, BTreeSet};

use super::{Peer, PeerKey};

/// What differs from the table before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OverlayChange {
    /// This node's own ends differ: the devices have to be looked at.
    pub own: bool,
    /// The peers that differ, before and after; never both `None`, never equal.
    pub peers: BTreeMap<PeerKey, (Option<Peer>, Option<Peer>)>,
    /// Who is left out, or not any more, or for another reason. Nothing is
    /// programmed for it.
    pub refused: BTreeSet<PeerKey>,
}

impl OverlayChange {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.own && self.peers.is_empty()
    }

    /// Appends what came after it.
    pub fn then(&mut self, next: Self) {
        self.own |= next.own;
        self.refused.extend(next.refused);
        for (key, (before, after)) in next.peers {
            self.note(key, before, after);
        }
        self.settle();
    }

    /// Notes that a peer became another. What it was at first stays.
    pub(super) fn note(&mut self, key: PeerKey, before: Option<Peer>, after: Option<Peer>) {
        self.peers.entry(key).or_insert((before, None)).1 = after;
    }

    /// Forgets peers that became what they were.
    pub(super) fn settle(&mut self) {
        self.peers.retain(|_, (before, after)| before != after);
    }
}
