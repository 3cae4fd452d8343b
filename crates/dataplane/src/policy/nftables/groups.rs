use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use podway_plan::policy::{PeerGroup, PeerSelector};

use super::numbers::Numbers;

/// The number of a peer group on this node: 1 and up.
pub(super) type GroupId = u32;

/// The groups that peer addresses are in, with a number each.
#[derive(Debug, Clone, Default)]
pub(super) struct Groups {
    groups: BTreeMap<Arc<PeerGroup>, Group>,
    by_selector: BTreeMap<Arc<PeerSelector>, BTreeSet<GroupId>>,
    by_id: BTreeMap<GroupId, Arc<PeerGroup>>,
    numbers: Numbers,
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
            let known = groups.groups.contains_key(group);
            match held.get(address) {
                Some(_) if known => {
                    groups.join(group);
                }
                Some(id) if groups.numbers.adopt(*id) => groups.add(group, *id),
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
        if let Some(known) = self.groups.get_mut(group) {
            known.addresses += 1;
            return (known.id, false);
        }
        let id = self.numbers.take();
        self.add(group, id);
        (id, true)
    }

    fn add(&mut self, group: &Arc<PeerGroup>, id: GroupId) {
        for selector in &group.selectors {
            let ids = self.by_selector.entry(selector.clone()).or_default();
            ids.insert(id);
        }
        self.by_id.insert(id, group.clone());
        let entry = Group { id, addresses: 1 };
        self.groups.insert(group.clone(), entry);
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
        self.by_id.remove(&id);
        self.numbers.give_back(id);
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

    /// The groups that a selector means, by number.
    pub(super) fn meant_by(
        &self,
        selector: &Arc<PeerSelector>,
    ) -> impl Iterator<Item = (GroupId, &Arc<PeerGroup>)> {
        let ids = self.by_selector.get(selector).into_iter().flatten();
        ids.filter_map(|id| Some((*id, self.by_id.get(id)?)))
    }
}
