//! The Endpoints object of a service with a selector.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Pod, Service, ServiceSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::{
    ENDPOINTS_CONTROLLER, ENDPOINTS_MANAGED_BY, HEADLESS, Write, encode, endpoints_kind, inherited,
    is_headless, label, parse, pods, slices,
};

/// The most addresses that one Endpoints object holds; consumers of more use
/// slices.
const ADDRESSES_MAX: usize = 1000;
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";

/// The write that is missing, if any. An Endpoints object that is there is
/// taken over.
pub(super) fn write(service: &Service, pods: &[Pod], stored: Option<&Value>) -> Option<Write> {
    let stored: Option<Endpoints> = stored.and_then(parse);
    let mut endpoints = stored.clone().unwrap_or_else(|| Endpoints {
        metadata: ObjectMeta {
            name: service.metadata.name.clone(),
            namespace: service.metadata.namespace.clone(),
            ..ObjectMeta::default()
        },
        subsets: None,
    });
    let mut subsets = subsets(service, pods);
    let truncated = truncate(&mut subsets);
    endpoints.subsets = (!subsets.is_empty()).then_some(subsets);
    let mut labels = inherited(service.metadata.labels.as_ref());
    labels.insert(
        ENDPOINTS_MANAGED_BY.to_owned(),
        ENDPOINTS_CONTROLLER.to_owned(),
    );
    if service.spec.as_ref().is_none_or(is_headless) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    endpoints.metadata.labels = Some(labels);
    mark_over_capacity(&mut endpoints.metadata, truncated);
    match stored {
        Some(stored) if stored == endpoints => None,
        Some(_) => Some(Write::Update(endpoints_kind(), encode(&endpoints))),
        None => Some(Write::Create(endpoints_kind(), encode(&endpoints))),
    }
}

/// Only what [`write`] made goes with the service.
pub(super) fn delete(stored: Option<&Value>) -> Option<Write> {
    let stored: Endpoints = stored.and_then(parse)?;
    let managed_by = label(stored.metadata.labels.as_ref(), ENDPOINTS_MANAGED_BY);
    let name = stored.metadata.name.clone()?;
    (managed_by == Some(ENDPOINTS_CONTROLLER)).then(|| Write::Delete(endpoints_kind(), name))
}

/// One subset for each set of port numbers; addresses of the service's first
/// family only, since the object cannot tell families apart.
fn subsets(service: &Service, pods: &[Pod]) -> Vec<EndpointSubset> {
    let Some(spec) = &service.spec else {
        return Vec::new();
    };
    let ipv4 = slices::families(spec).first() == Some(&"IPv4");
    let publish_not_ready = spec.publish_not_ready_addresses == Some(true);
    let mut subsets: Vec<EndpointSubset> = Vec::new();
    for pod in pods
        .iter()
        .filter(|pod| publish_not_ready || !pods::is_terminating(pod))
    {
        let Some(ip) = pods::addresses_of(pod, ipv4).into_iter().next() else {
            continue;
        };
        let ports = ports(spec, pod);
        if ports.is_empty() && spec.ports.as_ref().is_some_and(|ports| !ports.is_empty()) {
            continue;
        }
        let ports = (!ports.is_empty()).then_some(ports);
        let index = subsets
            .iter()
            .position(|subset| subset.ports == ports)
            .unwrap_or_else(|| {
                subsets.push(EndpointSubset {
                    ports,
                    ..EndpointSubset::default()
                });
                subsets.len() - 1
            });
        let subset = &mut subsets[index];
        let list = if publish_not_ready || pods::is_ready(pod) {
            &mut subset.addresses
        } else {
            &mut subset.not_ready_addresses
        };
        list.get_or_insert_default().push(EndpointAddress {
            ip,
            hostname: pods::hostname(pod, service),
            node_name: pods::node_name(pod),
            target_ref: Some(pods::reference(pod)),
        });
    }
    subsets
}

fn ports(spec: &ServiceSpec, pod: &Pod) -> Vec<EndpointPort> {
    let ports = spec.ports.iter().flatten();
    ports
        .filter_map(|port| {
            Some(EndpointPort {
                port: pods::target_port(pod, port)?,
                name: port.name.clone(),
                protocol: Some(pods::protocol(&port.protocol).to_owned()),
                app_protocol: port.app_protocol.clone(),
            })
        })
        .collect()
}

/// Cuts to the limit, ready addresses first; whether anything was cut.
fn truncate(subsets: &mut Vec<EndpointSubset>) -> bool {
    let mut room = ADDRESSES_MAX;
    let mut cut = |list: &mut Option<Vec<EndpointAddress>>| {
        let Some(addresses) = list else { return false };
        let before = addresses.len();
        addresses.truncate(room);
        room -= addresses.len();
        let cut = addresses.len() < before;
        list.take_if(|addresses| addresses.is_empty());
        cut
    };
    let mut any = false;
    for subset in subsets.iter_mut() {
        any |= cut(&mut subset.addresses);
    }
    for subset in subsets.iter_mut() {
        any |= cut(&mut subset.not_ready_addresses);
    }
    subsets.retain(|subset| subset.addresses.is_some() || subset.not_ready_addresses.is_some());
    any
}

fn mark_over_capacity(metadata: &mut ObjectMeta, truncated: bool) {
    let annotations: &mut BTreeMap<String, String> = metadata.annotations.get_or_insert_default();
    if truncated {
        annotations.insert(OVER_CAPACITY.to_owned(), "truncated".to_owned());
    } else {
        annotations.remove(OVER_CAPACITY);
    }
    metadata
        .annotations
        .take_if(|annotations| annotations.is_empty());
}
