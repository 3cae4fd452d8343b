use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use podway_plan::policy::{PeerGroup, PeerSelector};

/// The number of a peer group on this node: 1 and up. 0 is no group.
pub(super) type GroupId = u32;

/// No higher number is taken over from the kernel: somebody else may have
/// written it, and numbers go on from the highest.
const HIGHEST_ADOPTED: GroupId = 1 << 24;

/// The groups that peer addresses are in, with a number each. Numbers of groups
/// that are gone are used again, the lowest first.
#[derive(Debug, Clone, Default)]
pub(super) struct Groups {
    groups: BTreeMap<Arc<PeerGroup>, Group>,
    by_selector: BTreeMap<Arc<PeerSelector>, BTreeSet<GroupId>>,
    taken: BTreeSet<GroupId>,
    /// Numbers that groups gave back.
    free: BTreeSet<GroupId>,
}

#[derive(Debug, Clone, Copy)]
struct Group {
    id: GroupId,
    addresses: usize,
}

impl Groups {
    /// Groups whose addresses get the numbers that they had, where no two
    /// groups claim one: so a restart finds nothing to write.
    pub(super) fn adopt<'a>(
        peers: impl IntoIterator<Item = (&'a IpAddr, &'a Arc<PeerGroup>)>,
        held: &BTreeMap<IpAddr, GroupId>,
    ) -> Self {
        let mut groups = Self::default();
        let mut without = Vec::new();
        for (address, group) in peers {
            match held.get(address) {
                Some(id) if groups.can_adopt(*id) || groups.groups.contains_key(group) => {
                    groups.join_as(group, Some(*id));
                }
                _ => without.push(group),
            }
        }
        for group in without {
            groups.join(group);
        }
        groups
    }

    /// One more address is in a group. The group's number, and whether it is new.
    pub(super) fn join(&mut self, group: &Arc<PeerGroup>) -> (GroupId, bool) {
        self.join_as(group, None)
    }

    fn join_as(&mut self, group: &Arc<PeerGroup>, id: Option<GroupId>) -> (GroupId, bool) {
        if let Some(known) = self.groups.get_mut(group) {
            known.addresses += 1;
            return (known.id, false);
        }
        let id = id.unwrap_or_else(|| self.lowest_free());
        self.free.remove(&id);
        self.taken.insert(id);
        for selector in &group.selectors {
            let ids = self.by_selector.entry(selector.clone()).or_default();
            ids.insert(id);
        }
        let entry = Group { id, addresses: 1 };
        self.groups.insert(group.clone(), entry);
        (id, true)
    }

    /// One address fewer is in a group. The group's number, and whether it is
    /// gone.
    pub(super) fn leave(&mut self, group: &Arc<PeerGroup>) -> Option<(GroupId, bool)> {
        let known = self.groups.get_mut(group)?;
        let id = known.id;
        known.addresses -= 1;
        if known.addresses > 0 {
            return Some((id, false));
        }
        self.groups.remove(group);
        self.taken.remove(&id);
        self.free.insert(id);
        for selector in &group.selectors {
            if let Some(ids) = self.by_selector.get_mut(selector) {
                ids.remove(&id);
                if ids.is_empty() {
                    self.by_selector.remove(selector);
                }
            }
        }
        Some((id, true))
    }

    /// The number of a group that some address is in.
    pub(super) fn id(&self, group: &Arc<PeerGroup>) -> Option<GroupId> {
        self.groups.get(group).map(|group| group.id)
    }

    /// The groups that a selector means.
    pub(super) fn meant_by(&self, selector: &Arc<PeerSelector>) -> impl Iterator<Item = GroupId> {
        self.by_selector
            .get(selector)
            .into_iter()
            .flatten()
            .copied()
    }

    fn can_adopt(&self, id: GroupId) -> bool {
        (1..=HIGHEST_ADOPTED).contains(&id) && !self.taken.contains(&id)
    }

    fn lowest_free(&self) -> GroupId {
        let above = self.taken.last().map_or(1, |last| last + 1);
        self.free.first().copied().unwrap_or(above)
    }
}
