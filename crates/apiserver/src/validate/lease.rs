//! Lease.

use k8s_openapi::api::coordination::v1::Lease;

use super::{FieldErrors, Path};

pub(crate) fn validate(lease: &Lease, errors: &mut FieldErrors) {
    let path = Path::new("spec");
    let Some(spec) = &lease.spec else { return };
    if let Some(seconds) = spec.lease_duration_seconds.filter(|seconds| *seconds <= 0) {
        errors.invalid(
            &path.child("leaseDurationSeconds"),
            seconds,
            "must be greater than 0",
        );
    }
    if let Some(count) = spec.lease_transitions.filter(|count| *count < 0) {
        let detail = "must be greater than or equal to 0";
        errors.invalid(&path.child("leaseTransitions"), count, detail);
    }
    if spec.holder_identity.as_deref() == Some("") {
        errors.invalid(&path.child("holderIdentity"), "", "must not be empty");
    }
}
