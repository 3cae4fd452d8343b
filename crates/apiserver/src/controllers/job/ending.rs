//! When a job is complete or has failed, and what becomes of it then.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{JobCondition, JobStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Step, kind};
use crate::controllers::{Plan, conditions, pods, since};

/// Why a job has failed: reason and message.
pub(super) type Failure = (&'static str, &'static str);

/// After a failed pod: 10 s doubled with each up to ten minutes.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_secs(10);
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_secs(600);

impl Step<'_> {
    pub(super) fn is_finished(&self) -> bool {
        let status = self.job.status.as_ref();
        let list = status.and_then(|status| status.conditions.as_ref());
        conditions::holds(list, "Complete") || conditions::holds(list, "Failed")
    }

    /// Why the job has failed, if it has.
    pub(super) fn failure(&self, status: &JobStatus, plan: &mut Plan) -> Option<Failure> {
        let limit = self.spec.backoff_limit.unwrap_or(6);
        let restarts: i32 = self
            .active()
            .flat_map(|pod| {
                pod.status
                    .iter()
                    .flat_map(|s| s.container_statuses.iter().flatten())
            })
            .map(|status| status.restart_count)
            .sum();
        let restarted = restarts > 0 && restarts >= limit.max(1);
        if Self::failed(status) > limit || restarted {
            return Some((
                "BackoffLimitExceeded",
                "Job has reached the specified backoff limit",
            ));
        }
        let deadline = self
            .spec
            .active_deadline_seconds
            .filter(|_| !self.is_suspended())?;
        let start = status.start_time.as_ref().map(|time| time.0);
        let left = SignedDuration::from_secs(deadline) - since(start, self.now);
        if !left.is_positive() {
            return Some((
                "DeadlineExceeded",
                "Job was active longer than specified deadline",
            ));
        }
        plan.look_again(left);
        None
    }

    /// Whether the pause after the last failure lasts.
    pub(super) fn waits_after_failure(&self, plan: &mut Plan) -> bool {
        let failed = self.pods.iter().filter(|pod| pods::phase(pod) == "Failed");
        let ends: Vec<Timestamp> = failed.filter_map(pods::ended).collect();
        let Some(last) = ends.iter().max() else {
            return false;
        };
        let doublings = u32::try_from(ends.len() - 1).unwrap_or(u32::MAX).min(10);
        let pause = FIRST_PAUSE
            .saturating_mul(1 << doublings)
            .min(LONGEST_PAUSE);
        let left = pause - self.now.duration_since(*last);
        if left.is_positive() {
            plan.look_again(left);
        }
        left.is_positive()
    }

    /// Marks the job complete once enough pods have succeeded and none is active.
    pub(super) fn complete(&self, status: &mut JobStatus) {
        let succeeded = self.succeeded(status);
        let enough = match self.spec.completions {
            Some(completions) => succeeded >= completions,
            None => succeeded > 0,
        };
        let enough = enough && self.active().next().is_none();
        // Numbers first: whoever waits for the condition reads them.
        if enough && !has_uncounted(status) && !self.is_suspended() {
            status.completion_time = Some(Time(self.now));
            status.ready = Some(0);
            let text = "Reached expected number of succeeded pods";
            self.conclude(status, "SuccessCriteriaMet", "CompletionsReached", text);
            self.conclude(status, "Complete", "CompletionsReached", text);
        }
    }

    pub(super) fn end(&self, status: &mut JobStatus, (reason, text): Failure) {
        self.conclude(status, "FailureTarget", reason, text);
        // Failed is said once every pod has been counted.
        if self.active().next().is_none() && !has_uncounted(status) {
            self.conclude(status, "Failed", reason, text);
        }
    }

    fn conclude(&self, status: &mut JobStatus, name: &str, reason: &str, text: &str) {
        let condition = JobCondition {
            type_: name.to_owned(),
            status: "True".to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(text.to_owned()),
            last_probe_time: Some(Time(self.now)),
            last_transition_time: None,
        };
        let list = status.conditions.get_or_insert_default();
        conditions::set(list, condition, self.now);
    }

    /// Deletes a finished job when its time has come.
    pub(super) fn expire(&self, plan: &mut Plan) {
        let Some(seconds) = self.spec.ttl_seconds_after_finished else {
            return;
        };
        let status = self.job.status.as_ref();
        let list = status.and_then(|status| status.conditions.as_ref());
        let end = ["Complete", "Failed"]
            .into_iter()
            .filter_map(|name| conditions::find(list, name)?.last_transition_time.as_ref())
            .map(|time| time.0);
        let left = SignedDuration::from_secs(i64::from(seconds)) - since(end.max(), self.now);
        match left.is_positive() {
            true => plan.look_again(left),
            false => plan.delete(kind(), &self.job.metadata),
        }
    }
}

fn has_uncounted(status: &JobStatus) -> bool {
    let uncounted = status.uncounted_terminated_pods.as_ref();
    uncounted.is_some_and(|u| {
        let waiting = |list: &Option<Vec<String>>| list.as_ref().map_or(0, Vec::len);
        waiting(&u.succeeded) + waiting(&u.failed) > 0
    })
}
