//! What the controllers of a cluster add to objects, for states that come from
//! files in which they may not have run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use podway_model::{
    Change, ClusterState, EndpointSlice, IpFamily, Labels, Namespace, Object, ObjectName, Pod,
    Service, ServicePort, ServiceType, SliceEndpoint, SlicePort, TargetPort,
};

/// The label that the API server gives to every Namespace.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Adds what is missing.
pub(super) fn complete(state: &mut ClusterState) {
    let namespaces = state.namespaces().filter_map(named).map(Object::Namespace);
    let slices = state
        .services()
        .filter(|service| state.slices_of(&service.name).next().is_none())
        .flat_map(|service| derive_slices(state, service))
        .map(|slice| Object::EndpointSlice(Arc::new(slice)));
    for object in namespaces.chain(slices).collect::<Vec<_>>() {
        state.apply(Change::Upsert(object));
    }
}

fn named(namespace: &Arc<Namespace>) -> Option<Arc<Namespace>> {
    if namespace.labels.contains_key(NAME_LABEL) {
        return None;
    }
    let mut named = Namespace::clone(namespace);
    let name = named.name.to_string();
    named.labels.insert(NAME_LABEL.to_owned(), name);
    Some(Arc::new(named))
}

/// The slices that the EndpointSlice controller would write for a Service with
/// a selector: one for each family and set of target ports, since a named port
/// may have another number in each pod.
fn derive_slices(state: &ClusterState, service: &Service) -> Vec<EndpointSlice> {
    let Some(selector) = selector(service) else {
        return Vec::new();
    };
    let selected = |pod: &&Arc<Pod>| {
        let matches = |(key, value)| pod.labels.get(key) == Some(value);
        !pod.finished && selector.iter().all(matches)
    };
    let mut groups: BTreeMap<(IpFamily, Vec<u16>), Vec<SliceEndpoint>> = BTreeMap::new();
    for pod in state.pods_in(&service.name.namespace).filter(selected) {
        let numbers = service.ports.iter().map(|port| target(port, pod)).collect();
        let families: BTreeSet<IpFamily> = pod.addresses.iter().map(IpFamily::of).collect();
        for family in families {
            let endpoints = groups.entry((family, Vec::clone(&numbers))).or_default();
            endpoints.extend(endpoint(service, pod, family));
        }
    }
    let slices = groups.into_iter().enumerate();
    slices
        .map(|(index, ((family, numbers), endpoints))| EndpointSlice {
            name: ObjectName::new(
                service.name.namespace.clone(),
                format!("{}-derived-{index}", service.name.name),
            ),
            revision: 0,
            service: service.name.clone(),
            family,
            ports: slice_ports(service, &numbers),
            endpoints,
            weight: None,
            triggered: None,
        })
        .collect()
}

fn selector(service: &Service) -> Option<&Labels> {
    let derivable = service.service_type != ServiceType::ExternalName;
    let selector = service.selector.as_ref().filter(|_| derivable)?;
    (!selector.is_empty()).then_some(selector)
}

/// The port of a pod that a Service's port leads to; 0 where a name means none.
fn target(port: &ServicePort, pod: &Pod) -> u16 {
    match &port.target_port {
        TargetPort::Number(number) => *number,
        TargetPort::Name(name) => pod
            .ports
            .iter()
            .find(|own| own.name == *name && own.protocol == port.protocol)
            .map_or(0, |own| own.port),
    }
}

fn slice_ports(service: &Service, numbers: &[u16]) -> Vec<SlicePort> {
    let ports = service.ports.iter().zip(numbers);
    ports
        .filter(|(_, number)| **number != 0)
        .map(|(port, number)| SlicePort {
            name: port.name.clone(),
            protocol: port.protocol,
            port: *number,
        })
        .collect()
}

fn endpoint(service: &Service, pod: &Pod, family: IpFamily) -> Option<SliceEndpoint> {
    let of_family = |address: &&std::net::IpAddr| IpFamily::of(address) == family;
    Some(SliceEndpoint {
        address: *pod.addresses.iter().find(of_family)?,
        ready: service.publish_not_ready || (pod.ready && !pod.terminating),
        serving: pod.ready,
        terminating: pod.terminating,
        node: pod.node.clone(),
        pod: Some(pod.name.clone()),
        zone_hints: BTreeSet::new(),
        node_hints: BTreeSet::new(),
    })
}
