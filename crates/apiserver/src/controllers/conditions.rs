//! `status.conditions` of workloads.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DeploymentCondition;
use k8s_openapi::api::batch::v1::JobCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// What is the same in the conditions of all kinds.
pub(super) trait Condition {
    fn name(&self) -> &str;
    fn status(&self) -> &str;
    fn reason(&self) -> Option<&str>;
    fn transition(&mut self) -> &mut Option<Time>;
}

impl Condition for DeploymentCondition {
    fn name(&self) -> &str {
        &self.type_
    }

    fn status(&self) -> &str {
        &self.status
    }

    fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    fn transition(&mut self) -> &mut Option<Time> {
        &mut self.last_transition_time
    }
}

impl Condition for JobCondition {
    fn name(&self) -> &str {
        &self.type_
    }

    fn status(&self) -> &str {
        &self.status
    }

    fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    fn transition(&mut self) -> &mut Option<Time> {
        &mut self.last_transition_time
    }
}

/// The condition of that name.
pub(super) fn find<'c, C: Condition>(conditions: Option<&'c Vec<C>>, name: &str) -> Option<&'c C> {
    conditions?
        .iter()
        .find(|condition| condition.name() == name)
}

/// Whether the condition of that name is true.
pub(super) fn holds<C: Condition>(conditions: Option<&Vec<C>>, name: &str) -> bool {
    find(conditions, name).is_some_and(|condition| condition.status() == "True")
}

/// Sets a condition. One that says the same as before stays as it is; the time
/// of its last transition changes with its status only.
pub(super) fn set<C: Condition>(conditions: &mut Vec<C>, mut new: C, now: Timestamp) {
    let old = conditions.iter_mut().find(|old| old.name() == new.name());
    match old {
        Some(old) if old.status() == new.status() && old.reason() == new.reason() => {}
        Some(old) => {
            *new.transition() = match old.status() == new.status() {
                true => old.transition().clone(),
                false => Some(Time(now)),
            };
            *old = new;
        }
        None => {
            *new.transition() = Some(Time(now));
            conditions.push(new);
        }
    }
}
