//! Job: pods of a template until enough of them have succeeded.
//!
//! A finished pod is counted exactly once, although pods are deleted by others:
//! it carries a finalizer, its uid goes into the status first, then the finalizer
//! goes, then the uid becomes a number (as Kubernetes' job controller does it).

mod counts;
mod ending;
mod indexes;

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobSpec, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};

use super::{Plan, claim, controller_reference, pod_kind, pods};
use crate::kinds::{self, Kind};
use crate::validate::selector::selects;

/// Keeps a finished pod until it has been counted.
pub(crate) const TRACKING: &str = "batch.kubernetes.io/job-tracking";

/// One step's view.
struct Step<'a> {
    job: &'a Job,
    spec: &'a JobSpec,
    controller: OwnerReference,
    pods: Vec<Pod>,
    now: Timestamp,
}

pub(super) fn kind() -> &'static Arc<Kind> {
    kinds::known("batch/v1", "Job")
}

/// The next step towards what the job says. `candidates` are the pods that the
/// job controls, and those of its namespace that nobody does.
pub(crate) fn reconcile(job: &Job, candidates: &[Pod], now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let Some(spec) = &job.spec else { return plan };
    let Some(selector) = &spec.selector else {
        return plan;
    };
    let controller = controller_reference("batch/v1", "Job", &job.metadata);
    let none = Default::default();
    let lives = job.metadata.deletion_timestamp.is_none();
    let (pods, changed) = claim(
        &controller,
        lives,
        candidates,
        |pod| &mut pod.metadata,
        |metadata| selects(selector, metadata.labels.as_ref().unwrap_or(&none)),
    );
    for pod in &changed {
        plan.update(pod_kind(), pod);
    }
    if !plan.writes.is_empty() {
        return plan;
    }
    let step = Step {
        job,
        spec,
        controller,
        pods,
        now,
    };
    step.run(lives, &mut plan);
    plan
}

/// A pod without its finalizer, if it has it.
pub(crate) fn untracked(pod: &Pod) -> Option<Pod> {
    let finalizers = pod.metadata.finalizers.as_ref()?;
    finalizers.iter().any(|name| name == TRACKING).then(|| {
        let mut pod = pod.clone();
        let finalizers = pod.metadata.finalizers.get_or_insert_default();
        finalizers.retain(|name| name != TRACKING);
        pod
    })
}

/// Writes a pod that is counted no more.
pub(crate) fn release(pod: &Pod) -> Plan {
    let mut plan = Plan::default();
    plan.update(pod_kind(), pod);
    plan
}

impl Step<'_> {
    fn run(&self, lives: bool, plan: &mut Plan) {
        if !lives || self.is_finished() {
            // What ends now counts no more.
            for pod in self.pods.iter().filter_map(untracked) {
                plan.update(pod_kind(), &pod);
            }
            if lives {
                self.expire(plan);
            }
            return;
        }
        let mut status = self.counted(plan);
        status.start_time = self.start_time();
        self.decide(&mut status, plan);
        self.report(status, plan);
    }

    /// Starts or stops pods, unless the job is at its end.
    fn decide(&self, status: &mut JobStatus, plan: &mut Plan) {
        if let Some(failure) = self.failure(status, plan) {
            self.stop_all(plan);
            self.end(status, failure);
            return;
        }
        let wanted = match self.is_suspended() {
            true => 0,
            false => self.wanted(status),
        };
        let active = self.active().count();
        if active > wanted {
            let mut victims: Vec<&Pod> = self.active().collect();
            victims.sort_by_key(|pod| pods::worth(pod, self.now));
            for pod in victims.iter().take(active - wanted) {
                plan.delete(pod_kind(), &pod.metadata);
            }
        } else if active < wanted && !self.waits_after_failure(plan) {
            self.start(wanted - active, status, plan);
        }
        self.complete(status);
    }

    fn is_suspended(&self) -> bool {
        self.spec.suspend == Some(true)
    }

    fn active(&self) -> impl Iterator<Item = &Pod> {
        self.pods.iter().filter(|pod| pods::is_active(pod))
    }

    fn is_indexed(&self) -> bool {
        self.spec.completion_mode.as_deref() == Some("Indexed")
    }

    /// How many pods should run now.
    fn wanted(&self, status: &JobStatus) -> usize {
        let parallelism = self.spec.parallelism.unwrap_or(1);
        let succeeded = self.succeeded(status);
        let wanted = match self.spec.completions {
            Some(completions) => parallelism.min(completions - succeeded),
            // Any success: the others run to their end, nobody follows them.
            None if succeeded > 0 => {
                return self.active().count().min(count(parallelism));
            }
            None => parallelism,
        };
        count(wanted)
    }

    /// Starts pods; those of an indexed job have the indexes that are missing.
    fn start(&self, number: usize, status: &JobStatus, plan: &mut Plan) {
        let namespace = self.job.metadata.namespace.as_ref();
        let mut pod = pods::from_template(&self.spec.template, &self.controller, namespace);
        let finalizers = pod.metadata.finalizers.get_or_insert_default();
        finalizers.push(TRACKING.to_owned());
        if self.is_indexed() {
            for index in self.free_indexes(status).take(number) {
                plan.create(pod_kind(), &self.indexed(&pod, index));
            }
        } else {
            (0..number).for_each(|_| plan.create(pod_kind(), &pod));
        }
    }

    fn stop_all(&self, plan: &mut Plan) {
        for pod in self.active() {
            plan.delete(pod_kind(), &pod.metadata);
        }
    }

    fn start_time(&self) -> Option<Time> {
        let before = self.job.status.as_ref().and_then(|s| s.start_time.clone());
        match self.is_suspended() {
            true => None,
            false => before.or(Some(Time(self.now))),
        }
    }

    /// Writes the status if it has changed.
    fn report(&self, status: JobStatus, plan: &mut Plan) {
        if self.job.status.as_ref() == Some(&status) {
            return;
        }
        let mut job = self.job.clone();
        job.status = Some(status);
        plan.status(kind(), &job);
    }

    fn uids(list: Option<&Vec<String>>) -> BTreeSet<&str> {
        list.into_iter().flatten().map(String::as_str).collect()
    }
}

fn count(number: i32) -> usize {
    usize::try_from(number).unwrap_or(0)
}
