//! `clusterIP`, `clusterIPs`, `ipFamilies` and `ipFamilyPolicy`: each alone and
//! with the others. What the cluster has of them is the allocator's business.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::ServiceSpec;

use super::{FieldErrors, Path, address, is, is_headless, list, port};

pub(super) fn validate(spec: &ServiceSpec, path: &Path, errors: &mut FieldErrors) {
    if is(spec, "ExternalName") {
        return;
    }
    validate_families(spec, path, errors);
    let (ips, path) = (list(&spec.cluster_ips), path.child("clusterIPs"));
    match (spec.cluster_ip.as_deref().unwrap_or_default(), ips.first()) {
        ("", Some(_)) => {
            let detail = "must be empty when `clusterIP` is not specified";
            errors.invalid(&path, ips.to_vec(), detail);
        }
        (single, Some(first)) if single != first => {
            errors.invalid(&path, ips.to_vec(), "first value must match `clusterIP`");
        }
        _ => {}
    }
    if ips.len() > 2 {
        errors.invalid(&path, ips.to_vec(), "may only hold up to 2 values");
    }
    if let Some(addresses) = parse(ips, &path, errors) {
        validate_pair(spec, &addresses, &path, errors);
    }
}

fn validate_families(spec: &ServiceSpec, path: &Path, errors: &mut FieldErrors) {
    const POLICIES: &[&str] = &["PreferDualStack", "RequireDualStack", "SingleStack"];
    if let Some(policy) = &spec.ip_family_policy {
        port::supported(policy, &path.child("ipFamilyPolicy"), POLICIES, errors);
    }
    let (families, path) = (list(&spec.ip_families), path.child("ipFamilies"));
    for (index, family) in families.iter().enumerate() {
        port::supported(family, &path.index(index), &["IPv4", "IPv6"], errors);
        if families[..index].contains(family) {
            errors.duplicate(&path.index(index), family.as_str());
        }
    }
}

/// The addresses; none for a headless service. `None` when one is wrong, which
/// would make what else there is to say misleading.
fn parse(ips: &[String], path: &Path, errors: &mut FieldErrors) -> Option<Vec<IpAddr>> {
    let mut addresses = Vec::new();
    let mut sound = true;
    for (index, text) in ips.iter().enumerate() {
        if index == 0 && text == "None" {
            if ips.len() > 1 {
                sound = false;
                errors.invalid(
                    path,
                    ips.to_vec(),
                    "'None' must be the first and only value",
                );
            }
            continue;
        }
        match address::parse(text) {
            Some(address) => addresses.push(address),
            None => {
                sound = false;
                errors.invalid(&path.index(index), text.as_str(), address::NOT_AN_ADDRESS);
            }
        }
    }
    sound.then_some(addresses)
}

fn validate_pair(spec: &ServiceSpec, addresses: &[IpAddr], path: &Path, errors: &mut FieldErrors) {
    if let [first, second] = addresses
        && first.is_ipv4() == second.is_ipv4()
    {
        let detail = "may specify no more than one IP for each IP family";
        errors.invalid(path, list(&spec.cluster_ips).to_vec(), detail);
    }
    if is_headless(spec) {
        return;
    }
    for (index, (address, family)) in addresses.iter().zip(list(&spec.ip_families)).enumerate() {
        if matches!(family.as_str(), "IPv4" | "IPv6") && (family == "IPv4") != address.is_ipv4() {
            let detail =
                format!("expected an {family} value as indicated by `ipFamilies[{index}]`");
            errors.invalid(&path.index(index), address.to_string(), &detail);
        }
    }
}
