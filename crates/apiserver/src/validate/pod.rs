//! Pod.

mod container;
mod probe;
mod update;

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Pod, PodSpec};

use super::{FieldErrors, Path, address, metadata, names, port};
pub(crate) use update::validate_update;

pub(crate) fn validate(pod: &Pod, errors: &mut FieldErrors) {
    let path = Path::new("spec");
    match &pod.spec {
        Some(spec) => validate_spec(spec, &path, errors),
        None => errors.required(&path, ""),
    }
}

/// The specification of a pod, or of a template for pods.
pub(super) fn validate_spec(spec: &PodSpec, path: &Path, errors: &mut FieldErrors) {
    const RESTART: &[&str] = &["Always", "Never", "OnFailure"];
    const DNS: &[&str] = &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"];
    let volumes = validate_volumes(spec, &path.child("volumes"), errors);
    container::validate_all(spec, &volumes, path, errors);
    for (field, value, values) in [
        ("restartPolicy", &spec.restart_policy, RESTART),
        ("dnsPolicy", &spec.dns_policy, DNS),
    ] {
        match value.as_deref() {
            None | Some("") => errors.required(&path.child(field), ""),
            Some(value) => port::supported(value, &path.child(field), values, errors),
        }
    }
    validate_names(spec, path, errors);
    if let Some(seconds) = spec
        .termination_grace_period_seconds
        .filter(|seconds| *seconds < 0)
    {
        let path = path.child("terminationGracePeriodSeconds");
        errors.invalid(&path, seconds, "must be greater than or equal to 0");
    }
    if let Some(seconds) = spec.active_deadline_seconds
        && !(1..=i64::from(i32::MAX)).contains(&seconds)
    {
        let path = path.child("activeDeadlineSeconds");
        errors.invalid(
            &path,
            seconds,
            "must be between 1 and 2147483647, inclusive",
        );
    }
    for (index, alias) in spec.host_aliases.iter().flatten().enumerate() {
        let path = path.child("hostAliases").index(index);
        if address::parse(&alias.ip).is_none() {
            errors.invalid(
                &path.child("ip"),
                alias.ip.as_str(),
                address::NOT_AN_ADDRESS,
            );
        }
        for name in alias.hostnames.iter().flatten() {
            errors.invalid_each(&path.child("hostnames"), name, names::dns_subdomain(name));
        }
    }
}

fn validate_names(spec: &PodSpec, path: &Path, errors: &mut FieldErrors) {
    let rules: [(&str, &Option<String>, names::NameRule); 4] = [
        ("nodeName", &spec.node_name, names::dns_subdomain),
        (
            "serviceAccountName",
            &spec.service_account_name,
            names::dns_subdomain,
        ),
        ("hostname", &spec.hostname, names::dns_label),
        ("subdomain", &spec.subdomain, names::dns_label),
    ];
    for (field, name, rule) in rules {
        if let Some(name) = name {
            errors.invalid_each(&path.child(field), name, rule(name));
        }
    }
    if let Some(labels) = &spec.node_selector {
        metadata::validate_labels(labels, &path.child("nodeSelector"), errors);
    }
}

/// Returns the names of the volumes.
fn validate_volumes<'a>(
    spec: &'a PodSpec,
    path: &Path,
    errors: &mut FieldErrors,
) -> BTreeSet<&'a str> {
    let mut used = BTreeSet::new();
    for (index, volume) in spec.volumes.iter().flatten().enumerate() {
        let path = path.index(index).child("name");
        match volume.name.as_str() {
            "" => errors.required(&path, ""),
            name => {
                errors.invalid_each(&path, name, names::dns_label(name));
                if !used.insert(name) {
                    errors.duplicate(&path, name);
                }
            }
        }
    }
    used
}

/// Addresses: valid, at most one of each family.
pub(crate) fn validate_status(pod: &Pod, errors: &mut FieldErrors) {
    let path = Path::from("status.podIPs");
    let ips = pod
        .status
        .iter()
        .flat_map(|status| status.pod_ips.iter().flatten());
    let mut families = BTreeSet::new();
    for (index, ip) in ips.enumerate() {
        match address::parse(&ip.ip) {
            None => {
                let path = path.index(index);
                errors.invalid(&path, ip.ip.as_str(), address::NOT_AN_ADDRESS);
            }
            Some(address) if !families.insert(address.is_ipv4()) => {
                let detail = "may specify no more than one IP for each IP family";
                errors.invalid(&path, ip.ip.as_str(), detail);
            }
            Some(_) => {}
        }
    }
}
