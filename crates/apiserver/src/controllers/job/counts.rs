//! Counting finished pods, each exactly once.

use std::collections::BTreeSet;

use k8s_openapi::api::batch::v1::{JobStatus, UncountedTerminatedPods};
use k8s_openapi::api::core::v1::Pod;

use super::{Step, TRACKING, untracked};
use crate::controllers::{Plan, pod_kind, pods};

fn is_tracked(pod: &Pod) -> bool {
    let finalizers = pod.metadata.finalizers.as_ref();
    finalizers.is_some_and(|list| list.iter().any(|name| name == TRACKING))
}

/// Whether a pod has come to an end, and whether well. One that is deleted
/// before it finished has failed.
fn outcome(pod: &Pod) -> Option<bool> {
    match pods::phase(pod) {
        "Succeeded" => Some(true),
        "Failed" => Some(false),
        _ => pods::is_terminating(pod).then_some(false),
    }
}

impl Step<'_> {
    /// The next status as far as it is counts; takes the finalizer from pods that
    /// are in the status.
    pub(super) fn counted(&self, plan: &mut Plan) -> JobStatus {
        let mut status = self.job.status.clone().unwrap_or_default();
        let uncounted = status.uncounted_terminated_pods.take().unwrap_or_default();
        let noted: [BTreeSet<&str>; 2] = [
            Self::uids(uncounted.succeeded.as_ref()),
            Self::uids(uncounted.failed.as_ref()),
        ];
        let held: BTreeSet<&str> = self
            .pods
            .iter()
            .filter(|pod| is_tracked(pod))
            .filter_map(|pod| pod.metadata.uid.as_deref())
            .collect();
        for pod in &self.pods {
            let uid = pod.metadata.uid.as_deref().unwrap_or_default();
            if let Some(free) = untracked(pod).filter(|_| noted.iter().any(|n| n.contains(uid))) {
                plan.update(pod_kind(), &free);
            }
        }
        let mut next = UncountedTerminatedPods::default();
        for (well, noted, total, list) in [
            (true, &noted[0], &mut status.succeeded, &mut next.succeeded),
            (false, &noted[1], &mut status.failed, &mut next.failed),
        ] {
            let done = noted.iter().filter(|uid| !held.contains(*uid)).count();
            let sum = total.unwrap_or(0) + i32::try_from(done).unwrap_or(i32::MAX);
            *total = (sum > 0).then_some(sum);
            let mut uids: Vec<String> = noted
                .iter()
                .filter(|uid| held.contains(*uid))
                .map(|uid| (*uid).to_owned())
                .collect();
            let fresh = self.fresh(well).filter(|uid| !noted.contains(uid));
            uids.extend(fresh.map(str::to_owned));
            *list = (!uids.is_empty()).then_some(uids);
        }
        self.note_indexes(&mut status);
        status.uncounted_terminated_pods = Some(next);
        let number = |count: usize| Some(i32::try_from(count).unwrap_or(i32::MAX));
        status.active = number(self.active().count()).filter(|&count| count > 0);
        status.ready = number(self.active().filter(|pod| pods::is_ready(pod)).count());
        let ending = self.pods.iter().filter(|pod| {
            pods::is_terminating(pod) && !matches!(pods::phase(pod), "Succeeded" | "Failed")
        });
        status.terminating = number(ending.count());
        status
    }

    /// Tracked pods that have ended so.
    fn fresh(&self, well: bool) -> impl Iterator<Item = &str> {
        let ended = self
            .pods
            .iter()
            .filter(move |pod| is_tracked(pod) && outcome(pod) == Some(well));
        ended.filter_map(|pod| pod.metadata.uid.as_deref())
    }

    /// All successes, those included that are not numbers yet.
    pub(super) fn succeeded(&self, status: &JobStatus) -> i32 {
        if self.is_indexed() {
            let done = super::indexes::parse(status.completed_indexes.as_deref());
            return i32::try_from(done.len()).unwrap_or(i32::MAX);
        }
        let uncounted = status.uncounted_terminated_pods.as_ref();
        let waiting = uncounted
            .and_then(|u| u.succeeded.as_ref())
            .map_or(0, Vec::len);
        status.succeeded.unwrap_or(0) + i32::try_from(waiting).unwrap_or(i32::MAX)
    }

    pub(super) fn failed(status: &JobStatus) -> i32 {
        let uncounted = status.uncounted_terminated_pods.as_ref();
        let waiting = uncounted
            .and_then(|u| u.failed.as_ref())
            .map_or(0, Vec::len);
        status.failed.unwrap_or(0) + i32::try_from(waiting).unwrap_or(i32::MAX)
    }
}
