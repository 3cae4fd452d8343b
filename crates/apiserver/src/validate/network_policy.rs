//! `NetworkPolicy`.

use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{FieldErrors, Path, address, port, selector};

pub(crate) fn validate(policy: &NetworkPolicy, errors: &mut FieldErrors) {
    let Some(spec) = &policy.spec else { return };
    let path = Path::new("spec");
    if let Some(pods) = &spec.pod_selector {
        selector::label_selector(pods, &path.child("podSelector"), errors);
    }
    for (index, rule) in spec.ingress.iter().flatten().enumerate() {
        let path = path.child("ingress").index(index);
        validate_rule(
            rule.ports.as_deref(),
            rule.from.as_deref(),
            "from",
            &path,
            errors,
        );
    }
    for (index, rule) in spec.egress.iter().flatten().enumerate() {
        let path = path.child("egress").index(index);
        validate_rule(
            rule.ports.as_deref(),
            rule.to.as_deref(),
            "to",
            &path,
            errors,
        );
    }
    let types = spec.policy_types.as_deref().unwrap_or_default();
    let path = path.child("policyTypes");
    if types.len() > 2 {
        errors.invalid(
            &path,
            types.to_vec(),
            "may not specify more than two policyTypes",
        );
        return;
    }
    for (index, policy_type) in types.iter().enumerate() {
        port::supported(
            policy_type,
            &path.index(index),
            &["Egress", "Ingress"],
            errors,
        );
    }
}

fn validate_rule(
    ports: Option<&[NetworkPolicyPort]>,
    peers: Option<&[NetworkPolicyPeer]>,
    peers_field: &str,
    path: &Path,
    errors: &mut FieldErrors,
) {
    for (index, given) in ports.unwrap_or_default().iter().enumerate() {
        validate_port(given, &path.child("ports").index(index), errors);
    }
    for (index, peer) in peers.unwrap_or_default().iter().enumerate() {
        validate_peer(peer, &path.child(peers_field).index(index), errors);
    }
}

fn validate_port(given: &NetworkPolicyPort, path: &Path, errors: &mut FieldErrors) {
    port::protocol(given.protocol.as_deref(), &path.child("protocol"), errors);
    if let Some(single) = &given.port {
        port::number_or_name(single, &path.child("port"), errors);
    }
    let Some(end) = given.end_port else { return };
    let path = path.child("endPort");
    match &given.port {
        None => {
            errors.invalid(
                &path,
                end,
                "may not be specified when `port` is not specified",
            );
        }
        Some(IntOrString::String(_)) => {
            errors.invalid(
                &path,
                end,
                "may not be specified when `port` is non-numeric",
            );
        }
        Some(IntOrString::Int(start)) => {
            if end < *start {
                errors.invalid(&path, end, "must be greater than or equal to `port`");
            }
            port::number(end, &path, errors);
        }
    }
}

fn validate_peer(peer: &NetworkPolicyPeer, path: &Path, errors: &mut FieldErrors) {
    if let Some(pods) = &peer.pod_selector {
        selector::label_selector(pods, &path.child("podSelector"), errors);
    }
    if let Some(namespaces) = &peer.namespace_selector {
        selector::label_selector(namespaces, &path.child("namespaceSelector"), errors);
    }
    if let Some(block) = &peer.ip_block {
        validate_block(block, &path.child("ipBlock"), errors);
    }
    let selects = peer.pod_selector.is_some() || peer.namespace_selector.is_some();
    match (selects, peer.ip_block.is_some()) {
        (false, false) => errors.required(path, "must specify a peer"),
        (true, true) => errors.forbidden(path, "may not specify both ipBlock and another peer"),
        _ => {}
    }
}

/// Bits after the length of a prefix may be set; they are masked where the
/// policy is compiled.
fn validate_block(block: &IPBlock, path: &Path, errors: &mut FieldErrors) {
    if block.cidr.is_empty() {
        errors.required(&path.child("cidr"), "");
        return;
    }
    let Some(outer) = address::parse_prefix(&block.cidr) else {
        errors.invalid(
            &path.child("cidr"),
            block.cidr.as_str(),
            address::NOT_A_PREFIX,
        );
        return;
    };
    for (index, text) in block.except.iter().flatten().enumerate() {
        let path = path.child("except").index(index);
        match address::parse_prefix(text) {
            None => errors.invalid(&path, text.as_str(), address::NOT_A_PREFIX),
            Some(inner) => {
                let strict = outer.trunc().contains(&inner.trunc())
                    && inner.prefix_len() > outer.prefix_len();
                if !strict {
                    errors.invalid(&path, text.as_str(), "must be a strict subset of `cidr`");
                }
            }
        }
    }
}
