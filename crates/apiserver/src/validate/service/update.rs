//! What a change of a service may not touch: addresses that clients know.

use k8s_openapi::api::core::v1::{Service, ServiceSpec};

use super::{FieldErrors, Path, is, is_headless, list};

pub(crate) fn validate_update(new: &Service, old: &Service, errors: &mut FieldErrors) {
    let (Some(new), Some(old)) = (&new.spec, &old.spec) else {
        return;
    };
    validate_class(new, old, errors);
    if is(new, "ExternalName") || is(old, "ExternalName") {
        return;
    }
    let path = Path::new("spec");
    if !(is_headless(new) && is_headless(old)) {
        let lists = (list(&new.cluster_ips), list(&old.cluster_ips));
        validate_list(lists, new, &path.child("clusterIPs"), "clusterIP", errors);
    }
    // Nobody has addresses of a headless service without a selector.
    let selects = |spec: &ServiceSpec| spec.selector.as_ref().is_some_and(|s| !s.is_empty());
    if !is_headless(new) || selects(new) {
        let lists = (list(&new.ip_families), list(&old.ip_families));
        validate_list(lists, new, &path.child("ipFamilies"), "ipFamily", errors);
    }
}

/// The first entry stays for ever; a second may come, and may go when the
/// service says that it wants one stack.
fn validate_list(
    (new, old): (&[String], &[String]),
    spec: &ServiceSpec,
    path: &Path,
    what: &str,
    errors: &mut FieldErrors,
) {
    const FIXED: &str = "may not change once set";
    if new.is_empty() && !old.is_empty() {
        let detail = format!("primary {what} can not be unset");
        errors.invalid(&path.index(0), new.to_vec(), &detail);
        return;
    }
    for (index, (new_entry, old_entry)) in new.iter().zip(old).enumerate() {
        if new_entry != old_entry {
            errors.invalid(&path.index(index), new.to_vec(), FIXED);
        }
    }
    if new.len() < old.len() && spec.ip_family_policy.as_deref() != Some("SingleStack") {
        let detail = format!(
            "`ipFamilyPolicy` must be set to 'SingleStack' when releasing the secondary {what}"
        );
        errors.invalid(&path.index(0), new.to_vec(), &detail);
    }
}

/// Another class is another implementation, which would not know that the
/// address is already given.
fn validate_class(new: &ServiceSpec, old: &ServiceSpec, errors: &mut FieldErrors) {
    let both = is(new, "LoadBalancer") && is(old, "LoadBalancer");
    if both && new.load_balancer_class != old.load_balancer_class {
        errors.invalid(
            &Path::from("spec.loadBalancerClass"),
            new.load_balancer_class.clone(),
            "may not change once set",
        );
    }
}
