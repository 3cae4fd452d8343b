//! The rules of what makes pods, and of what is stored for them.

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet};
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};

use crate::defaults::{secret, workload as defaults};
use crate::kinds::Rules;
use crate::validate::{self, FieldErrors, workload};

impl Rules for Deployment {
    const GENERATION: bool = true;

    fn default(&mut self) {
        defaults::deployment(self);
    }

    fn prepare_create(&mut self) {
        self.status = Some(Default::default());
    }

    fn validate(&self, errors: &mut FieldErrors) {
        workload::deployment(self, errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        workload::deployment_update(self, old, errors);
    }
}

impl Rules for ReplicaSet {
    const GENERATION: bool = true;

    fn default(&mut self) {
        defaults::replica_set(self);
    }

    fn prepare_create(&mut self) {
        self.status = Some(Default::default());
    }

    fn validate(&self, errors: &mut FieldErrors) {
        workload::replica_set(self, errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        workload::replica_set_update(self, old, errors);
    }
}

impl Rules for DaemonSet {
    const GENERATION: bool = true;

    fn default(&mut self) {
        defaults::daemon_set(self);
    }

    fn prepare_create(&mut self) {
        self.status = Some(Default::default());
    }

    fn validate(&self, errors: &mut FieldErrors) {
        workload::daemon_set(self, errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        workload::daemon_set_update(self, old, errors);
    }
}

impl Rules for ControllerRevision {
    fn validate(&self, errors: &mut FieldErrors) {
        workload::controller_revision(self, errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        workload::controller_revision_update(self, old, errors);
    }
}

impl Rules for Job {
    const GENERATION: bool = true;

    fn default(&mut self) {
        defaults::job(self);
    }

    fn prepare_create(&mut self) {
        defaults::new_job(self);
    }

    fn validate(&self, errors: &mut FieldErrors) {
        workload::job(self, errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        workload::job_update(self, old, errors);
    }
}

impl Rules for Scale {
    fn validate(&self, errors: &mut FieldErrors) {
        workload::scale(self, errors);
    }
}

impl Rules for Secret {
    fn default(&mut self) {
        secret::secret(self);
    }

    fn validate(&self, errors: &mut FieldErrors) {
        validate::secret::validate(self, errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        validate::secret::validate_update(self, old, errors);
    }
}

impl Rules for ServiceAccount {
    /// The metadata is what counts.
    fn validate(&self, _errors: &mut FieldErrors) {}
}

impl Rules for Lease {
    fn validate(&self, errors: &mut FieldErrors) {
        validate::lease::validate(self, errors);
    }
}

impl Rules for Ingress {
    const GENERATION: bool = true;

    fn prepare_create(&mut self) {
        self.status = None;
    }

    fn validate(&self, errors: &mut FieldErrors) {
        validate::ingress::ingress(self, errors);
    }
}

impl Rules for IngressClass {
    const GENERATION: bool = true;

    fn validate(&self, errors: &mut FieldErrors) {
        validate::ingress::class(self, errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        validate::ingress::class_update(self, old, errors);
    }
}
