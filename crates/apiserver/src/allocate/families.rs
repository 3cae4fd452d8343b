//! `ipFamilies` and `ipFamilyPolicy`: what was given, inferred from what was
//! given, or the cluster's default.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::ServiceSpec;

use crate::defaults::service::{list, needs_cluster_ip};
use crate::validate::{FieldErrors, Path};

const SINGLE: &str = "SingleStack";
const REQUIRE: &str = "RequireDualStack";

/// Settles both fields. `available` are the families of the service prefixes,
/// the default first. Addresses have been validated.
pub(super) fn settle(
    spec: &mut ServiceSpec,
    old: Option<&ServiceSpec>,
    available: &[&str],
    errors: &mut FieldErrors,
) {
    if !needs_cluster_ip(spec) || old.is_some_and(|old| unchanged_preference(spec, old)) {
        return;
    }
    infer_from_addresses(spec);
    // Nobody but its own author gives a headless service without a selector
    // endpoints: they may have any family, whatever the cluster has.
    let anything = list(&spec.cluster_ips)
        .first()
        .is_some_and(|ip| ip == "None")
        && spec
            .selector
            .as_ref()
            .is_none_or(std::collections::BTreeMap::is_empty);
    if spec.ip_family_policy.is_none() {
        let dual = list(&spec.ip_families).len() == 2
            || list(&spec.cluster_ips).len() == 2
            || (anything && list(&spec.ip_families).is_empty());
        spec.ip_family_policy = Some(if dual { REQUIRE } else { SINGLE }.to_owned());
    }
    let single = spec.ip_family_policy.as_deref() == Some(SINGLE);
    if single {
        refuse_two(spec, errors);
    }
    let families = spec.ip_families.get_or_insert_default();
    if !anything {
        refuse_unavailable(
            spec.ip_family_policy.as_deref(),
            families,
            available,
            errors,
        );
    }
    if families.is_empty() {
        families.extend(available.first().map(|family| (*family).to_owned()));
    }
    if !single && families.len() == 1 {
        let other = if families[0] == "IPv4" {
            "IPv6"
        } else {
            "IPv4"
        };
        if anything || available.contains(&other) {
            families.push(other.to_owned());
        }
    }
}

/// A service that prefers two stacks keeps what it has when the cluster gains
/// or loses one.
fn unchanged_preference(spec: &ServiceSpec, old: &ServiceSpec) -> bool {
    needs_cluster_ip(old)
        && spec.ip_family_policy.as_deref() == Some("PreferDualStack")
        && spec.ip_family_policy == old.ip_family_policy
        && !list(&spec.ip_families).is_empty()
        && spec.ip_families == old.ip_families
        && spec.cluster_ips == old.cluster_ips
}

fn infer_from_addresses(spec: &mut ServiceSpec) {
    for (index, text) in list(&spec.cluster_ips).to_vec().iter().enumerate() {
        let Ok(address) = text.parse::<IpAddr>() else {
            return;
        };
        let families = spec.ip_families.get_or_insert_default();
        if index >= families.len() {
            families.push(if address.is_ipv4() { "IPv4" } else { "IPv6" }.to_owned());
        }
    }
}

fn refuse_two(spec: &ServiceSpec, errors: &mut FieldErrors) {
    for (two, what) in [
        (list(&spec.cluster_ips).len() > 1, "cluster IPs"),
        (list(&spec.ip_families).len() > 1, "IP families"),
    ] {
        if two {
            let detail = format!(
                "must be RequireDualStack or PreferDualStack when multiple {what} are specified"
            );
            errors.invalid(&Path::from("spec.ipFamilyPolicy"), SINGLE, &detail);
        }
    }
}

fn refuse_unavailable(
    policy: Option<&str>,
    families: &[String],
    available: &[&str],
    errors: &mut FieldErrors,
) {
    if policy == Some(REQUIRE) && available.len() < 2 {
        let detail = "this cluster is not configured for dual-stack services";
        errors.invalid(&Path::from("spec.ipFamilyPolicy"), REQUIRE, detail);
        return;
    }
    for (index, family) in families.iter().enumerate() {
        if !available.contains(&family.as_str()) {
            let path = Path::from("spec.ipFamilies").index(index);
            errors.invalid(&path, family.as_str(), "not configured on this cluster");
        }
    }
}
