//! Service.

mod cluster_ips;
mod status;
mod update;

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use serde_json::json;

use super::{FieldErrors, Path, address, metadata, names, port};
use crate::defaults::service::{
    externally_accessible, is, list, needs_cluster_ip, needs_health_check_port,
};
pub(crate) use status::validate_status;
pub(crate) use update::validate_update;

const KUBELET_PORT: i32 = 10250;
const LOAD_BALANCER_ONLY: &str = "may only be used when `type` is 'LoadBalancer'";

pub(crate) fn validate(service: &Service, errors: &mut FieldErrors) {
    let path = Path::new("spec");
    let Some(spec) = &service.spec else {
        errors.required(&path, "");
        return;
    };
    validate_type(spec, &path, errors);
    validate_ports(spec, &path.child("ports"), errors);
    if let Some(selector) = &spec.selector {
        metadata::validate_labels(selector, &path.child("selector"), errors);
    }
    validate_affinity(spec, &path, errors);
    cluster_ips::validate(spec, &path, errors);
    validate_external_ips(spec, &path.child("externalIPs"), errors);
    validate_load_balancer(spec, &path, errors);
    validate_policies(spec, &path, errors);
}

pub(super) fn is_headless(spec: &ServiceSpec) -> bool {
    list(&spec.cluster_ips)
        .first()
        .is_some_and(|ip| ip == "None")
}

fn validate_type(spec: &ServiceSpec, path: &Path, errors: &mut FieldErrors) {
    const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
    match spec.type_.as_deref() {
        None | Some("") => errors.required(&path.child("type"), ""),
        Some("ExternalName") => validate_external_name(spec, path, errors),
        Some(kind @ ("LoadBalancer" | "NodePort")) if is_headless(spec) => {
            let detail = format!("may not be set to 'None' for {kind} services");
            errors.invalid(&path.child("clusterIPs").index(0), "None", &detail);
        }
        Some(kind) => port::supported(kind, &path.child("type"), TYPES, errors),
    }
}

fn validate_external_name(spec: &ServiceSpec, path: &Path, errors: &mut FieldErrors) {
    const NOT_HERE: &str = "may not be set for ExternalName services";
    for (field, set) in [
        ("clusterIPs", !list(&spec.cluster_ips).is_empty()),
        ("ipFamilies", !list(&spec.ip_families).is_empty()),
        ("ipFamilyPolicy", spec.ip_family_policy.is_some()),
    ] {
        if set {
            errors.forbidden(&path.child(field), NOT_HERE);
        }
    }
    let path = path.child("externalName");
    let name = spec.external_name.as_deref().unwrap_or_default();
    match name.strip_suffix('.').unwrap_or(name) {
        "" => errors.required(&path, ""),
        name => errors.invalid_each(&path, name, names::dns_subdomain(name)),
    }
}

fn validate_ports(spec: &ServiceSpec, path: &Path, errors: &mut FieldErrors) {
    let ports = list(&spec.ports);
    if ports.is_empty() && !is_headless(spec) && !is(spec, "ExternalName") {
        errors.required(path, "");
    }
    let (mut used, mut used_names) = (BTreeSet::new(), BTreeSet::new());
    let mut node_ports = BTreeSet::new();
    for (index, given) in ports.iter().enumerate() {
        let path = path.index(index);
        validate_port(given, ports.len() > 1, &path, errors);
        let name = given.name.as_deref().unwrap_or_default();
        if !name.is_empty() && !used_names.insert(name) {
            errors.duplicate(&path.child("name"), name);
        }
        let protocol = given.protocol.as_deref().unwrap_or_default();
        if !used.insert((protocol, given.port)) {
            errors.duplicate(&path, json!({"protocol": protocol, "port": given.port}));
        }
        validate_node_port(spec, given, &path, errors);
        let node_port = given.node_port.unwrap_or(0);
        if node_port != 0 && !node_ports.insert((protocol, node_port)) {
            errors.duplicate(&path.child("nodePort"), node_port);
        }
        if is(spec, "LoadBalancer") && given.port == KUBELET_PORT {
            let detail = "may not expose port 10250 externally since it is used by kubelet";
            errors.invalid(&path.child("port"), given.port, detail);
        }
    }
}

fn validate_port(given: &ServicePort, require_name: bool, path: &Path, errors: &mut FieldErrors) {
    match given.name.as_deref() {
        None | Some("") if require_name => errors.required(&path.child("name"), ""),
        None | Some("") => {}
        Some(name) => errors.invalid_each(&path.child("name"), name, names::dns_label(name)),
    }
    port::number(given.port, &path.child("port"), errors);
    port::protocol(given.protocol.as_deref(), &path.child("protocol"), errors);
    if let Some(target) = &given.target_port {
        port::number_or_name(target, &path.child("targetPort"), errors);
    }
    port::app_protocol(
        given.app_protocol.as_deref(),
        &path.child("appProtocol"),
        errors,
    );
}

/// The range is the allocator's business.
fn validate_node_port(
    spec: &ServiceSpec,
    given: &ServicePort,
    path: &Path,
    errors: &mut FieldErrors,
) {
    let set = given.node_port.is_some_and(|number| number != 0);
    if set && (is(spec, "ClusterIP") || is(spec, "ExternalName")) {
        let kind = spec.type_.as_deref().unwrap_or_default();
        let detail = format!("may not be used when `type` is '{kind}'");
        errors.forbidden(&path.child("nodePort"), &detail);
    }
}

fn validate_affinity(spec: &ServiceSpec, path: &Path, errors: &mut FieldErrors) {
    const SECONDS_MAX: i32 = 86_400;
    let config = path.child("sessionAffinityConfig");
    match spec.session_affinity.as_deref() {
        None | Some("") => errors.required(&path.child("sessionAffinity"), ""),
        Some("None") => {
            if spec.session_affinity_config.is_some() {
                errors.forbidden(&config, "must not be set when session affinity is None");
            }
        }
        Some("ClientIP") => {
            let client_ip = spec
                .session_affinity_config
                .as_ref()
                .and_then(|c| c.client_ip.as_ref());
            match client_ip.and_then(|client_ip| client_ip.timeout_seconds) {
                None => errors.required(&config, "when session affinity type is ClientIP"),
                Some(seconds) if !(1..=SECONDS_MAX).contains(&seconds) => {
                    let detail = format!("must be greater than 0 and less than {SECONDS_MAX}");
                    let path = config.child("clientIP").child("timeoutSeconds");
                    errors.invalid(&path, seconds, &detail);
                }
                Some(_) => {}
            }
        }
        Some(other) => {
            errors.not_supported(&path.child("sessionAffinity"), other, &["ClientIP", "None"]);
        }
    }
}

fn validate_external_ips(spec: &ServiceSpec, path: &Path, errors: &mut FieldErrors) {
    for (index, text) in list(&spec.external_ips).iter().enumerate() {
        let path = path.index(index);
        match address::parse(text) {
            None => errors.invalid(&path, text.as_str(), address::NOT_AN_ADDRESS),
            Some(ip) => {
                for detail in address::special(ip) {
                    errors.invalid(&path, text.as_str(), detail);
                }
            }
        }
    }
}

fn validate_load_balancer(spec: &ServiceSpec, path: &Path, errors: &mut FieldErrors) {
    let ranges = path.child("loadBalancerSourceRanges");
    for (index, text) in list(&spec.load_balancer_source_ranges).iter().enumerate() {
        if address::parse_prefix(text.trim()).is_none() {
            errors.invalid(&ranges.index(index), text.as_str(), address::NOT_A_PREFIX);
        }
    }
    if let Some(class) = &spec.load_balancer_class {
        let details = names::qualified_name(class);
        errors.invalid_each(&path.child("loadBalancerClass"), class, details);
    }
    if is(spec, "LoadBalancer") {
        return;
    }
    for (field, set) in [
        (
            "loadBalancerSourceRanges",
            !list(&spec.load_balancer_source_ranges).is_empty(),
        ),
        ("loadBalancerClass", spec.load_balancer_class.is_some()),
        (
            "allocateLoadBalancerNodePorts",
            spec.allocate_load_balancer_node_ports.is_some(),
        ),
    ] {
        if set {
            errors.forbidden(&path.child(field), LOAD_BALANCER_ONLY);
        }
    }
}

fn validate_policies(spec: &ServiceSpec, path: &Path, errors: &mut FieldErrors) {
    const POLICIES: &[&str] = &["Cluster", "Local"];
    const DISTRIBUTIONS: &[&str] = &["PreferClose", "PreferSameNode", "PreferSameZone"];
    let external = path.child("externalTrafficPolicy");
    match spec.external_traffic_policy.as_deref() {
        Some(policy) if externally_accessible(spec) => {
            port::supported(policy, &external, POLICIES, errors);
        }
        None if externally_accessible(spec) => errors.required(&external, ""),
        Some(policy) => {
            let detail = "may only be set for externally-accessible services";
            errors.invalid(&external, policy, detail);
        }
        None => {}
    }
    let internal = path.child("internalTrafficPolicy");
    match spec.internal_traffic_policy.as_deref() {
        Some(policy) => port::supported(policy, &internal, POLICIES, errors),
        None if needs_cluster_ip(spec) => errors.required(&internal, ""),
        None => {}
    }
    let health_check = path.child("healthCheckNodePort");
    match spec.health_check_node_port {
        None | Some(0) => {}
        Some(number) if needs_health_check_port(spec) => {
            port::number(number, &health_check, errors);
        }
        Some(number) => {
            let detail = "may only be set when `type` is 'LoadBalancer' and \
                          `externalTrafficPolicy` is 'Local'";
            errors.invalid(&health_check, number, detail);
        }
    }
    if let Some(distribution) = &spec.traffic_distribution {
        let path = path.child("trafficDistribution");
        port::supported(distribution, &path, DISTRIBUTIONS, errors);
    }
}
