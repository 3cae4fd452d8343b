//! What the slices of a service with a selector should hold.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, Service, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::pack::{Group, Member, Template};
use super::{HEADLESS, MANAGED_BY, SERVICE_NAME, SLICE_CONTROLLER, inherited, is_headless, pods};

/// One group for each address family and each set of port numbers: pods of one
/// service may resolve a named port differently. A family without any endpoint
/// has a group without members.
pub(super) fn desired(
    service: &Service,
    pods: &[Pod],
    zones: &BTreeMap<String, String>,
) -> Vec<Group> {
    let Some(spec) = &service.spec else {
        return Vec::new();
    };
    let mut groups: Vec<Group> = families(spec).into_iter().map(Group::empty).collect();
    for family in families(spec) {
        for pod in pods {
            let addresses = pods::addresses_of(pod, family == "IPv4");
            if addresses.is_empty() {
                continue;
            }
            let ports = ports(spec, pod);
            let member = Member {
                key: pod.metadata.uid.clone().unwrap_or_default(),
                endpoint: endpoint(service, spec, pod, addresses, zones),
            };
            match groups
                .iter_mut()
                .find(|g| g.address_type == family && g.ports == ports)
            {
                Some(group) => group.members.push(member),
                None => groups.push(Group {
                    address_type: family.to_owned(),
                    ports,
                    members: vec![member],
                }),
            }
        }
    }
    groups
}

/// The allocator settles `ipFamilies` of every service that it has seen.
pub(super) fn families(spec: &ServiceSpec) -> Vec<&str> {
    let settled: Vec<&str> = spec
        .ip_families
        .iter()
        .flatten()
        .map(String::as_str)
        .collect();
    if !settled.is_empty() {
        return settled;
    }
    match spec.cluster_ip.as_deref() {
        Some(address) if address.contains(':') => vec!["IPv6"],
        Some(address) if address.contains('.') => vec!["IPv4"],
        _ => vec!["IPv4", "IPv6"],
    }
}

fn ports(spec: &ServiceSpec, pod: &Pod) -> Vec<EndpointPort> {
    let ports = spec.ports.iter().flatten();
    ports
        .filter_map(|port| {
            Some(EndpointPort {
                port: Some(pods::target_port(pod, port)?),
                name: Some(port.name.clone().unwrap_or_default()),
                protocol: Some(pods::protocol(&port.protocol).to_owned()),
                app_protocol: port.app_protocol.clone(),
            })
        })
        .collect()
}

fn endpoint(
    service: &Service,
    spec: &ServiceSpec,
    pod: &Pod,
    addresses: Vec<String>,
    zones: &BTreeMap<String, String>,
) -> Endpoint {
    let (serving, terminating) = (pods::is_ready(pod), pods::is_terminating(pod));
    let publish_not_ready = spec.publish_not_ready_addresses == Some(true);
    let node_name = pods::node_name(pod);
    Endpoint {
        addresses,
        conditions: Some(EndpointConditions {
            // For consumers that know only this condition: never true while
            // terminating, unless the service wants every address.
            ready: Some(publish_not_ready || (serving && !terminating)),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: pods::hostname(pod, service),
        zone: node_name.as_ref().and_then(|node| zones.get(node)).cloned(),
        node_name,
        target_ref: Some(pods::reference(pod)),
        deprecated_topology: None,
        hints: None,
    }
}

pub(super) fn template(service: &Service) -> Template {
    let name = service.metadata.name.clone().unwrap_or_default();
    let mut labels = inherited(service.metadata.labels.as_ref());
    labels.insert(SERVICE_NAME.to_owned(), name.clone());
    labels.insert(MANAGED_BY.to_owned(), SLICE_CONTROLLER.to_owned());
    if service.spec.as_ref().is_none_or(is_headless) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    Template {
        namespace: service.metadata.namespace.clone().unwrap_or_default(),
        owner: OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Service".to_owned(),
            name: name.clone(),
            uid: service.metadata.uid.clone().unwrap_or_default(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        },
        service: name,
        labels,
        annotations: None,
    }
}
