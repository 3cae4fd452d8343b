//! Node.

use k8s_openapi::api::core::v1::{Node, NodeSpec};

use super::{FieldErrors, Path, address, names, port};

pub(crate) fn validate(node: &Node, errors: &mut FieldErrors) {
    if let Some(spec) = &node.spec {
        validate_prefixes(spec, errors);
        validate_taints(spec, errors);
    }
    validate_addresses(node, errors);
}

/// Valid, and at most one of each family.
fn validate_prefixes(spec: &NodeSpec, errors: &mut FieldErrors) {
    let path = Path::from("spec.podCIDRs");
    let prefixes = spec.pod_cidrs.as_deref().unwrap_or_default();
    let mut families = Vec::new();
    for (index, text) in prefixes.iter().enumerate() {
        match address::parse_prefix(text) {
            Some(prefix) => families.push(prefix.addr().is_ipv4()),
            None => errors.invalid(&path.index(index), text.as_str(), address::NOT_A_PREFIX),
        }
    }
    let twice = families.iter().filter(|v4| **v4).count() > 1
        || families.iter().filter(|v4| !**v4).count() > 1;
    if twice {
        errors.invalid(
            &path,
            prefixes.to_vec(),
            "may specify no more than one CIDR for each IP family",
        );
    }
    let single = spec.pod_cidr.as_deref();
    if single.is_some() && single != prefixes.first().map(String::as_str) {
        errors.invalid(
            &Path::from("spec.podCIDR"),
            single.unwrap_or_default(),
            "must be the first of `podCIDRs`",
        );
    }
}

fn validate_taints(spec: &NodeSpec, errors: &mut FieldErrors) {
    const EFFECTS: &[&str] = &["NoExecute", "NoSchedule", "PreferNoSchedule"];
    let path = Path::from("spec.taints");
    let taints = spec.taints.as_deref().unwrap_or_default();
    for (index, taint) in taints.iter().enumerate() {
        let at = path.index(index);
        errors.invalid_each(
            &at.child("key"),
            &taint.key,
            names::qualified_name(&taint.key),
        );
        let value = taint.value.as_deref().unwrap_or_default();
        errors.invalid_each(&at.child("value"), value, names::label_value(value));
        port::supported(&taint.effect, &at.child("effect"), EFFECTS, errors);
        let same = |other: &&k8s_openapi::api::core::v1::Taint| {
            other.key == taint.key && other.effect == taint.effect
        };
        if taints[..index].iter().any(|other| same(&other)) {
            errors.duplicate(&at, format!("{}:{}", taint.key, taint.effect));
        }
    }
}

fn validate_addresses(node: &Node, errors: &mut FieldErrors) {
    let addresses = node
        .status
        .as_ref()
        .and_then(|status| status.addresses.as_deref());
    let addresses = addresses.unwrap_or_default();
    for (index, address) in addresses.iter().enumerate() {
        if addresses[..index].contains(address) {
            let path = Path::from("status.addresses").index(index);
            errors.duplicate(&path, format!("{} {}", address.type_, address.address));
        }
    }
}

/// A node's identity is fixed once set; what may change is where pods may go.
pub(crate) fn validate_update(new: &Node, old: &Node, errors: &mut FieldErrors) {
    let spec = |node: &Node| node.spec.clone().unwrap_or_default();
    let (new, old) = (spec(new), spec(old));
    let had_prefixes = old
        .pod_cidrs
        .as_ref()
        .is_some_and(|prefixes| !prefixes.is_empty());
    if had_prefixes && new.pod_cidrs != old.pod_cidrs {
        errors.forbidden(
            &Path::from("spec.podCIDRs"),
            "node updates may not change podCIDR except from \"\" to valid",
        );
    }
    if old.provider_id.is_some() && new.provider_id != old.provider_id {
        errors.forbidden(
            &Path::from("spec.providerID"),
            "node updates may not change providerID except from \"\" to valid",
        );
    }
    if new.external_id != old.external_id || new.config_source != old.config_source {
        errors.forbidden(
            &Path::new("spec"),
            "node updates may only change labels, taints, or capacity",
        );
    }
}
