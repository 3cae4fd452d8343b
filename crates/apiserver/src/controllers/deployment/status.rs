//! What a deployment reports: counts, and whether it gets on.

use jiff::SignedDuration;
use k8s_openapi::api::apps::v1::{DeploymentCondition, DeploymentStatus, ReplicaSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Step, available, kind, wanted};
use crate::controllers::{Plan, conditions, since};

const AVAILABLE: &str = "Available";
const PROGRESSING: &str = "Progressing";
const DONE: &str = "NewReplicaSetAvailable";
const TOO_LATE: &str = "ProgressDeadlineExceeded";

impl Step<'_> {
    /// Writes the status if it has changed.
    pub(super) fn report(&self, plan: &mut Plan) {
        let status = self.status(plan);
        if self.deployment.status.as_ref() == Some(&status) {
            return;
        }
        let mut deployment = self.deployment.clone();
        deployment.status = Some(status);
        plan.status(kind(), &deployment);
    }

    fn counts(&self) -> DeploymentStatus {
        let observed = |set: &ReplicaSet| set.status.clone().unwrap_or_default();
        let serving: i32 = self.all().map(available).sum();
        let total: i32 = self.all().map(wanted).sum();
        let some = |number: i32| (number > 0).then_some(number);
        let ready = self
            .all()
            .map(|set| observed(set).ready_replicas.unwrap_or(0))
            .sum();
        DeploymentStatus {
            observed_generation: self.deployment.metadata.generation,
            replicas: some(self.all().map(|set| observed(set).replicas).sum()),
            updated_replicas: some(self.new.as_ref().map_or(0, |new| observed(new).replicas)),
            ready_replicas: some(ready),
            available_replicas: some(serving),
            unavailable_replicas: some(total - serving),
            ..DeploymentStatus::default()
        }
    }

    /// Whether everything is of the present revision, and serves.
    pub(super) fn is_complete(&self) -> bool {
        self.is_complete_with(&self.counts())
    }

    fn is_complete_with(&self, counts: &DeploymentStatus) -> bool {
        let all = |count: Option<i32>| count.unwrap_or(0) == self.replicas();
        all(counts.updated_replicas) && all(counts.replicas) && all(counts.available_replicas)
    }

    fn status(&self, plan: &mut Plan) -> DeploymentStatus {
        let mut status = self.counts();
        let before = self.deployment.status.clone().unwrap_or_default();
        status.collision_count = before.collision_count;
        let mut list = before.conditions.clone().unwrap_or_default();
        let least = self.replicas() - self.tolerances().1;
        let serves = status.available_replicas.unwrap_or(0) >= least;
        let (reason, text) = match serves {
            true => (
                "MinimumReplicasAvailable",
                "Deployment has minimum availability.",
            ),
            false => (
                "MinimumReplicasUnavailable",
                "Deployment does not have minimum availability.",
            ),
        };
        let word = if serves { "True" } else { "False" };
        conditions::set(
            &mut list,
            self.condition(AVAILABLE, word, reason, text),
            self.now,
        );
        if let Some(progress) = self.progress(&before, &status, plan) {
            let moved = progress.reason.as_deref() == Some("ReplicaSetUpdated");
            conditions::set(&mut list, progress, self.now);
            // Every bit of progress starts the deadline anew.
            let current = list
                .iter_mut()
                .find(|condition| condition.type_ == PROGRESSING);
            if let Some(current) = current.filter(|_| moved) {
                current.last_update_time = Some(Time(self.now));
            }
        }
        status.conditions = Some(list);
        status
    }

    fn condition(&self, name: &str, word: &str, reason: &str, text: &str) -> DeploymentCondition {
        DeploymentCondition {
            type_: name.to_owned(),
            status: word.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(text.to_owned()),
            last_update_time: Some(Time(self.now)),
            last_transition_time: None,
        }
    }

    /// The Progressing condition, if there is something to say.
    fn progress(
        &self,
        before: &DeploymentStatus,
        now: &DeploymentStatus,
        plan: &mut Plan,
    ) -> Option<DeploymentCondition> {
        let current = conditions::find(before.conditions.as_ref(), PROGRESSING);
        let reason = current.and_then(|condition| condition.reason.as_deref());
        if self.spec.paused == Some(true) {
            let late = reason == Some(TOO_LATE);
            let text = "Deployment is paused";
            return (!late)
                .then(|| self.condition(PROGRESSING, "Unknown", "DeploymentPaused", text));
        }
        if reason == Some("DeploymentPaused") {
            let text = "Deployment is resumed";
            return Some(self.condition(PROGRESSING, "Unknown", "DeploymentResumed", text));
        }
        let deadline = self
            .spec
            .progress_deadline_seconds
            .filter(|s| *s != i32::MAX)?;
        let set = self.new.as_ref().and_then(|new| new.metadata.name.clone());
        let set = set.unwrap_or_default();
        let say =
            |word, reason, text: String| Some(self.condition(PROGRESSING, word, reason, &text));
        if self.is_complete_with(now) {
            let text = format!("ReplicaSet {set:?} has successfully progressed.");
            return say("True", DONE, text);
        }
        // A finished rollout that loses pods later does not start again.
        if reason == Some(DONE) && now.replicas == now.updated_replicas {
            return None;
        }
        if current.is_none() || reason == Some(DONE) {
            let text = format!("Created new replica set {set:?}");
            self.look_again(deadline, self.started().unwrap_or(self.now), plan);
            return self
                .new
                .as_ref()
                .and_then(|_| say("True", "NewReplicaSetCreated", text));
        }
        if has_progressed(before, now) {
            self.look_again(deadline, self.now, plan);
            return say(
                "True",
                "ReplicaSetUpdated",
                format!("ReplicaSet {set:?} is progressing."),
            );
        }
        let last = current.and_then(|condition| condition.last_update_time.as_ref());
        let last = last.map(|time| time.0);
        let limit = SignedDuration::from_secs(i64::from(deadline));
        if reason == Some(TOO_LATE) || since(last, self.now) > limit {
            let text = format!("ReplicaSet {set:?} has timed out progressing.");
            return say("False", TOO_LATE, text);
        }
        self.look_again(deadline, last.unwrap_or(self.now), plan);
        None
    }

    fn look_again(&self, deadline: i32, start: jiff::Timestamp, plan: &mut Plan) {
        let limit = SignedDuration::from_secs(i64::from(deadline) + 1);
        let left = limit.saturating_sub(self.now.duration_since(start));
        plan.look_again(left.max(SignedDuration::from_secs(1)));
    }
}

fn has_progressed(before: &DeploymentStatus, now: &DeploymentStatus) -> bool {
    let number = |count: Option<i32>| count.unwrap_or(0);
    let old = |status: &DeploymentStatus| number(status.replicas) - number(status.updated_replicas);
    number(now.updated_replicas) > number(before.updated_replicas)
        || old(now) < old(before)
        || number(now.ready_replicas) > number(before.ready_replicas)
        || number(now.available_replicas) > number(before.available_replicas)
}
