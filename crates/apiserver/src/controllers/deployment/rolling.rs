//! The rolling update: more of the new, fewer of the old, never too few.

use super::{Step, available, wanted};
use crate::controllers::Plan;

impl Step<'_> {
    /// How large the present set may be now, that has `size` pods.
    pub(super) fn size_of_new(&self, size: i32) -> i32 {
        if self.is_recreated() {
            return self.replicas();
        }
        let most = self.replicas() + self.tolerances().0;
        let total: i32 = self.all().map(wanted).sum();
        let room = (most - total).max(0);
        size + room.min((self.replicas() - size).max(0))
    }

    /// One step: up first, and down only when there is nothing to do upwards.
    pub(super) fn roll(&self, plan: &mut Plan) {
        let Some(new) = &self.new else { return };
        let size = wanted(new);
        let next = match size > self.replicas() {
            true => self.replicas(),
            false => self.size_of_new(size),
        };
        self.resize(new, next, plan);
        if plan.writes.is_empty() {
            self.shrink_old(plan);
        }
    }

    fn shrink_old(&self, plan: &mut Plan) {
        let Some(new) = &self.new else { return };
        let least = self.replicas() - self.tolerances().1;
        let total: i32 = self.all().map(wanted).sum();
        let coming = wanted(new) - available(new);
        let may_go = total - least - coming;
        if may_go <= 0 || self.old.iter().all(|set| wanted(set) == 0) {
            return;
        }
        let mut sizes: Vec<i32> = self.old.iter().map(wanted).collect();
        // Pods that serve nobody go first.
        let mut left = may_go;
        for (set, size) in self.old.iter().zip(&mut sizes) {
            let broken = (*size - available(set)).clamp(0, left);
            *size -= broken;
            left -= broken;
        }
        let serving: i32 = self.all().map(available).sum();
        let mut left = (serving - least).max(0);
        for size in &mut sizes {
            let gone = (*size).min(left);
            *size -= gone;
            left -= gone;
        }
        for (set, size) in self.old.iter().zip(sizes) {
            if size != wanted(set) {
                self.resize(set, size, plan);
            }
        }
    }
}
