//! The rolling update: the pods of old revisions go, a few at a time.

use k8s_openapi::api::core::v1::Pod;

use super::{Step, hash_of};
use crate::controllers::{Plan, amount};

impl Step<'_> {
    pub(super) fn roll(&self, plan: &mut Plan) {
        let Some(rolling) = self.rolling() else {
            return;
        };
        let wanted = self.places.iter().filter(|place| place.wanted).count();
        let wanted = i32::try_from(wanted).unwrap_or(i32::MAX);
        let surge = amount(rolling.max_surge.as_ref(), wanted, true);
        if surge > 0 {
            self.surge(surge, plan);
        } else {
            let most = amount(rolling.max_unavailable.as_ref(), wanted, true);
            self.replace(most.max(1), plan);
        }
    }

    /// Old pods go, so that no more than `most` nodes are without a pod that
    /// serves. Those that serve nobody go first, and cost nothing.
    fn replace(&self, most: i32, plan: &mut Plan) {
        let mut missing = 0;
        let mut serving: Vec<&Pod> = Vec::new();
        for place in self.places.iter().filter(|place| place.wanted) {
            let serves = place.live().any(|pod| self.is_available(pod));
            missing += i32::from(!serves);
            let old = place.live().filter(|pod| hash_of(pod) != self.hash);
            for pod in old {
                match serves {
                    true => serving.push(pod),
                    false => self.remove(pod, plan),
                }
            }
        }
        let room = usize::try_from(most - missing).unwrap_or(0);
        serving
            .iter()
            .take(room)
            .for_each(|pod| self.remove(pod, plan));
    }

    /// New pods come beside the old ones, on no more than `most` nodes at once;
    /// an old one goes when its successor serves.
    fn surge(&self, most: i32, plan: &mut Plan) {
        let mut surging = 0;
        let mut waiting = Vec::new();
        for place in self.places.iter().filter(|place| place.wanted) {
            let new = place.live().find(|pod| hash_of(pod) == self.hash);
            let old = place.live().find(|pod| hash_of(pod) != self.hash);
            match (new, old) {
                (Some(new), Some(old)) if self.is_available(new) => self.remove(old, plan),
                (Some(_), Some(_)) => surging += 1,
                (None, Some(old)) if self.is_available(old) => waiting.push(place),
                (None, Some(_)) => self.make(place, plan),
                _ => {}
            }
        }
        let room = usize::try_from(most - surging).unwrap_or(0);
        waiting
            .iter()
            .take(room)
            .for_each(|place| self.make(place, plan));
    }
}
