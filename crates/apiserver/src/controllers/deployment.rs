//! Deployment: revisions of a template, one `ReplicaSet` each, and the way from
//! one to the next.
//!
//! Follows the deployment controller of Kubernetes; what `kubectl rollout` reads
//! (annotations, conditions, counts) is the same.

mod revision;
mod rolling;
mod scale;
mod status;

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::{Plan, amount, claim, controller_reference, pods, replica_set};
use crate::kinds::{self, Kind};
use crate::validate::selector::selects;

fn kind() -> &'static Arc<Kind> {
    kinds::known("apps/v1", "Deployment")
}

/// Everything that decides about one deployment.
pub(crate) struct Observed<'a> {
    pub(crate) deployment: &'a Deployment,
    /// The sets that it controls, and those of its namespace that nobody does.
    pub(crate) sets: &'a [ReplicaSet],
    /// The pods of these sets.
    pub(crate) pods: &'a [Pod],
    /// The names of all sets of its namespace.
    pub(crate) names: &'a BTreeSet<String>,
    pub(crate) now: Timestamp,
}

/// One step's view: the deployment and its sets.
struct Step<'a> {
    deployment: &'a Deployment,
    spec: &'a DeploymentSpec,
    controller: OwnerReference,
    /// The set of the present template.
    new: Option<ReplicaSet>,
    /// The others, oldest first.
    old: Vec<ReplicaSet>,
    pods: &'a [Pod],
    names: &'a BTreeSet<String>,
    now: Timestamp,
}

/// The next step towards what the deployment says.
pub(crate) fn reconcile(observed: &Observed<'_>) -> Plan {
    let mut plan = Plan::default();
    let deployment = observed.deployment;
    let Some(spec) = &deployment.spec else {
        return plan;
    };
    let controller = controller_reference("apps/v1", "Deployment", &deployment.metadata);
    let none = Default::default();
    let lives = deployment.metadata.deletion_timestamp.is_none();
    let (mut sets, changed) = claim(
        &controller,
        lives,
        observed.sets,
        |set| &mut set.metadata,
        |metadata| selects(&spec.selector, metadata.labels.as_ref().unwrap_or(&none)),
    );
    for set in &changed {
        plan.update(replica_set::kind(), set);
    }
    if !plan.writes.is_empty() {
        return plan;
    }
    sets.sort_by_key(|set| (created(set), set.metadata.name.clone()));
    let same = |set: &ReplicaSet| revision::same_template(set, spec);
    let new = sets.iter().position(same).map(|index| sets.remove(index));
    let step = Step {
        deployment,
        spec,
        controller,
        new,
        old: sets,
        pods: observed.pods,
        names: observed.names,
        now: observed.now,
    };
    step.run(lives, &mut plan);
    plan
}

fn created(set: &ReplicaSet) -> Option<Timestamp> {
    set.metadata.creation_timestamp.as_ref().map(|time| time.0)
}

fn wanted(set: &ReplicaSet) -> i32 {
    set.spec
        .as_ref()
        .and_then(|spec| spec.replicas)
        .unwrap_or(0)
}

fn available(set: &ReplicaSet) -> i32 {
    set.status
        .as_ref()
        .and_then(|status| status.available_replicas)
        .unwrap_or(0)
}

impl Step<'_> {
    fn run(&self, lives: bool, plan: &mut Plan) {
        if !lives {
            self.report(plan);
            return;
        }
        let paused = self.spec.paused == Some(true);
        if paused || self.is_scaled() {
            // A paused deployment makes no revisions, but it can be scaled.
            if self.new.is_some() && self.number_revision(plan) {
                return;
            }
            self.scale_all(plan);
            if plan.writes.is_empty() && paused {
                self.clean_up(plan);
            }
            self.report(plan);
            return;
        }
        if self.is_recreated() {
            self.recreate(plan);
        } else if self.new.is_none() {
            self.make_revision(plan);
        } else if !self.number_revision(plan) {
            self.roll(plan);
        }
        if plan.writes.is_empty() && self.is_complete() {
            self.clean_up(plan);
        }
        self.report(plan);
    }

    fn replicas(&self) -> i32 {
        self.spec.replicas.unwrap_or(1)
    }

    fn is_recreated(&self) -> bool {
        let strategy = self.spec.strategy.as_ref();
        strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate")
    }

    fn all(&self) -> impl Iterator<Item = &ReplicaSet> {
        self.old.iter().chain(&self.new)
    }

    /// How many pods may be too many, and how many too few, while rolling.
    fn tolerances(&self) -> (i32, i32) {
        let rolling = self
            .spec
            .strategy
            .as_ref()
            .and_then(|s| s.rolling_update.as_ref());
        let Some(rolling) = rolling.filter(|_| !self.is_recreated()) else {
            return (0, 0);
        };
        let surge = amount(rolling.max_surge.as_ref(), self.replicas(), true);
        let unavailable = amount(rolling.max_unavailable.as_ref(), self.replicas(), false);
        match (surge, unavailable) {
            // Percentages of a small number: nothing would ever move.
            (0, 0) => (0, 1),
            (surge, unavailable) => (surge, unavailable.min(self.replicas())),
        }
    }

    /// All old pods go before the first new one comes.
    fn recreate(&self, plan: &mut Plan) {
        for set in self.old.iter().filter(|set| wanted(set) > 0) {
            self.resize(set, 0, plan);
        }
        if !plan.writes.is_empty() || self.old_pods_run() {
            return;
        }
        match &self.new {
            None => self.make_revision(plan),
            Some(_) if self.number_revision(plan) => {}
            Some(new) => self.resize(new, self.replicas(), plan),
        }
    }

    fn old_pods_run(&self) -> bool {
        let old: BTreeSet<&str> = self
            .old
            .iter()
            .filter_map(|set| set.metadata.uid.as_deref())
            .collect();
        self.pods.iter().any(|pod| {
            let is_old = super::controller_of(&pod.metadata).is_some_and(|uid| old.contains(uid));
            is_old && !matches!(pods::phase(pod), "Succeeded" | "Failed")
        })
    }
}
