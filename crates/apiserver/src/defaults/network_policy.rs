//! NetworkPolicy.

use k8s_openapi::api::networking::v1::NetworkPolicy;

use super::{TCP, absent};

/// A policy without `policyTypes` isolates ingress, and egress as well when it
/// has an egress rule; an empty list of egress rules does not count.
pub(crate) fn network_policy(policy: &mut NetworkPolicy) {
    let spec = policy.spec.get_or_insert_default();
    spec.pod_selector.get_or_insert_default();
    if spec.policy_types.as_ref().is_none_or(Vec::is_empty) {
        let mut types = vec!["Ingress".to_owned()];
        if spec.egress.as_ref().is_some_and(|rules| !rules.is_empty()) {
            types.push("Egress".to_owned());
        }
        spec.policy_types = Some(types);
    }
    let ingress = spec
        .ingress
        .iter_mut()
        .flatten()
        .flat_map(|rule| rule.ports.iter_mut());
    let egress = spec
        .egress
        .iter_mut()
        .flatten()
        .flat_map(|rule| rule.ports.iter_mut());
    for port in ingress.chain(egress).flatten() {
        absent(&mut port.protocol, TCP);
    }
}
