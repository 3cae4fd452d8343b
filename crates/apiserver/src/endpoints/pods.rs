//! What a pod says that decides whether and how it is an endpoint.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Container, ObjectReference, Pod, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use super::parse;

/// The pods that a selector picks and that have or had a chance to answer:
/// with an address, and not finished (the addresses of finished pods are given
/// to others). Sorted by name.
pub(super) fn selected(pods: &[&Value], selector: &BTreeMap<String, String>) -> Vec<Pod> {
    let is_selected = |pod: &Value| {
        selector.iter().all(|(key, value)| {
            let labels = pod.pointer("/metadata/labels");
            labels.and_then(|labels| labels.get(key)?.as_str()) == Some(value)
        })
    };
    let matching = pods.iter().filter(|pod| is_selected(pod));
    let mut pods: Vec<Pod> = matching
        .filter_map(|pod| parse::<Pod>(pod))
        .filter(|pod| !is_finished(pod) && !addresses(pod).is_empty())
        .collect();
    pods.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    pods
}

fn is_finished(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Every address of the pod, the first one first.
fn addresses(pod: &Pod) -> Vec<IpAddr> {
    let Some(status) = &pod.status else {
        return Vec::new();
    };
    let listed = status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str());
    let mut addresses: Vec<IpAddr> = listed.filter_map(|ip| ip.parse().ok()).collect();
    if addresses.is_empty() {
        addresses.extend(
            status
                .pod_ip
                .as_deref()
                .and_then(|ip| ip.parse::<IpAddr>().ok()),
        );
    }
    addresses
}

/// The addresses of one family.
pub(super) fn addresses_of(pod: &Pod, ipv4: bool) -> Vec<String> {
    let family = addresses(pod)
        .into_iter()
        .filter(|address| address.is_ipv4() == ipv4);
    family.map(|address| address.to_string()).collect()
}

/// The `Ready` condition.
pub(super) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|c| c.type_ == "Ready" && c.status == "True")
}

pub(super) fn is_terminating(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

pub(super) fn node_name(pod: &Pod) -> Option<String> {
    pod.spec.as_ref().and_then(|spec| spec.node_name.clone())
}

/// The host name under which the service's DNS name has a record of the pod.
pub(super) fn hostname(pod: &Pod, service: &Service) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let of_service = spec.subdomain.is_some() && spec.subdomain == service.metadata.name;
    spec.hostname.clone().filter(|_| of_service)
}

pub(super) fn reference(pod: &Pod) -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".to_owned()),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        ..ObjectReference::default()
    }
}

/// The number of a service's port on this pod. A name is that of a container
/// port with the same protocol, in containers first and then in sidecars;
/// `None` when the pod has no such port.
pub(super) fn target_port(pod: &Pod, port: &ServicePort) -> Option<i32> {
    let name = match &port.target_port {
        None => return Some(port.port),
        Some(IntOrString::Int(number)) => return Some(*number),
        Some(IntOrString::String(name)) => name.as_str(),
    };
    let spec = pod.spec.as_ref()?;
    let is_sidecar = |c: &&Container| c.restart_policy.as_deref() == Some("Always");
    let sidecars = spec.init_containers.iter().flatten().filter(is_sidecar);
    let mut ports = spec
        .containers
        .iter()
        .chain(sidecars)
        .flat_map(|c| c.ports.iter().flatten());
    ports
        .find(|p| {
            p.name.as_deref() == Some(name) && protocol(&p.protocol) == protocol(&port.protocol)
        })
        .map(|p| p.container_port)
}

/// Objects are stored with their defaults, but old ones may lack them.
pub(super) fn protocol(protocol: &Option<String>) -> &str {
    protocol.as_deref().unwrap_or("TCP")
}
