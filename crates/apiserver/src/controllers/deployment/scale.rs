//! Changes of scale, in the middle of an update as well: every revision gets its
//! share.

use k8s_openapi::api::apps::v1::ReplicaSet;

use super::revision::{DESIRED, MAX, annotation};
use super::{Step, available, wanted};
use crate::controllers::{Plan, replica_set};

fn noted(set: &ReplicaSet, name: &str) -> Option<i32> {
    annotation(&set.metadata, name)?.parse().ok()
}

impl Step<'_> {
    /// Whether the deployment wants another number than when its sets were
    /// last resized.
    pub(super) fn is_scaled(&self) -> bool {
        self.all()
            .filter(|set| wanted(set) > 0)
            .any(|set| noted(set, DESIRED).is_some_and(|noted| noted != self.replicas()))
    }

    /// Sets a set's size, and notes what it is a part of.
    pub(super) fn resize(&self, set: &ReplicaSet, size: i32, plan: &mut Plan) {
        let mut next = set.clone();
        if let Some(spec) = &mut next.spec {
            spec.replicas = Some(size);
        }
        self.size_annotations(next.metadata.annotations.get_or_insert_default());
        if next != *set {
            plan.update(replica_set::kind(), &next);
        }
    }

    pub(super) fn scale_all(&self, plan: &mut Plan) {
        let active: Vec<&ReplicaSet> = self.all().filter(|set| wanted(set) > 0).collect();
        let latest = self.new.as_ref().or(self.old.last());
        match active.as_slice() {
            [] => {
                if let Some(set) = latest {
                    self.resize(set, self.replicas(), plan);
                }
            }
            [only] => self.resize(only, self.replicas(), plan),
            _ if self.is_saturated() => {
                for set in self.old.iter().filter(|set| wanted(set) > 0) {
                    self.resize(set, 0, plan);
                }
            }
            several if !self.is_recreated() => self.share(several, plan),
            _ => {}
        }
    }

    /// Whether the present set serves everything alone.
    fn is_saturated(&self) -> bool {
        self.new.as_ref().is_some_and(|new| {
            let all = self.replicas();
            wanted(new) == all && available(new) == all && noted(new, DESIRED) == Some(all)
        })
    }

    /// Adds (or takes) pods to each set in proportion to its size; what rounding
    /// leaves goes to the largest.
    fn share(&self, active: &[&ReplicaSet], plan: &mut Plan) {
        let most = match self.replicas() {
            0 => 0,
            replicas => replicas + self.tolerances().0,
        };
        let total: i32 = active.iter().map(|set| wanted(set)).sum();
        let missing = most - total;
        let mut sets = active.to_vec();
        // The newer first when adding, the older first when taking.
        sets.sort_by_key(|set| (wanted(set), super::created(set)));
        if missing > 0 {
            sets.reverse();
        } else {
            sets.sort_by_key(|set| std::cmp::Reverse(wanted(set)));
        }
        let mut given = 0;
        let mut sizes = Vec::new();
        for set in &sets {
            let share = match missing {
                0 => 0,
                1.. => self.share_of(set).min(missing - given).max(0),
                _ => self.share_of(set).max(missing - given).min(0),
            };
            given += share;
            sizes.push(wanted(set) + share);
        }
        if let Some(largest) = sizes.first_mut() {
            *largest = (*largest + missing - given).max(0);
        }
        for (set, size) in sets.iter().zip(sizes) {
            self.resize(set, size, plan);
        }
    }

    fn share_of(&self, set: &ReplicaSet) -> i32 {
        if self.replicas() == 0 {
            return -wanted(set);
        }
        let most = i64::from(self.replicas() + self.tolerances().0);
        let observed = self
            .deployment
            .status
            .as_ref()
            .and_then(|status| status.replicas);
        let before = noted(set, MAX).filter(|max| *max > 0).or(observed);
        let before = i64::from(before.unwrap_or(1).max(1));
        // Rounded to the nearest.
        let size = (i64::from(wanted(set)) * most * 2 + before) / (before * 2);
        i32::try_from(size).unwrap_or(i32::MAX) - wanted(set)
    }
}
