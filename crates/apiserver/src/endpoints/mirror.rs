//! What the slices of a service without a selector should hold: what its
//! author's Endpoints hold.

use k8s_openapi::api::core::v1::{EndpointAddress, Endpoints, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::pack::{Group, Member, Template};
use super::{
    HEADLESS, MANAGED_BY, MIRRORING_CONTROLLER, SERVICE_NAME, inherited, is_headless, label, pods,
};

/// Endpoints whose author manages the slices as well say so, and those that are
/// a lock for leader election are not endpoints at all.
pub(super) fn wanted(endpoints: &Endpoints) -> bool {
    const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
    const LOCK: &str = "control-plane.alpha.kubernetes.io/leader";
    label(endpoints.metadata.labels.as_ref(), SKIP) != Some("true")
        && label(endpoints.metadata.annotations.as_ref(), LOCK).is_none()
}

/// One group for each set of ports and address family.
pub(super) fn desired(endpoints: &Endpoints) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for subset in endpoints.subsets.iter().flatten() {
        let ports: Vec<EndpointPort> = subset.ports.iter().flatten().map(port).collect();
        let ready = subset
            .addresses
            .iter()
            .flatten()
            .map(|address| (address, true));
        let not_ready = subset
            .not_ready_addresses
            .iter()
            .flatten()
            .map(|address| (address, false));
        for (address, ready) in ready.chain(not_ready) {
            let address_type = if address.ip.contains(':') {
                "IPv6"
            } else {
                "IPv4"
            };
            let member = Member {
                key: address.ip.clone(),
                endpoint: endpoint(address, ready),
            };
            match groups
                .iter_mut()
                .find(|g| g.address_type == address_type && g.ports == ports)
            {
                Some(group) => group.members.push(member),
                None => groups.push(Group {
                    address_type: address_type.to_owned(),
                    ports: ports.clone(),
                    members: vec![member],
                }),
            }
        }
    }
    groups
}

fn port(port: &k8s_openapi::api::core::v1::EndpointPort) -> EndpointPort {
    EndpointPort {
        name: Some(port.name.clone().unwrap_or_default()),
        port: Some(port.port),
        protocol: Some(pods::protocol(&port.protocol).to_owned()),
        app_protocol: port.app_protocol.clone(),
    }
}

fn endpoint(address: &EndpointAddress, ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![address.ip.clone()],
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            ..EndpointConditions::default()
        }),
        hostname: address.hostname.clone(),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Endpoint::default()
    }
}

pub(super) fn template(service: &Service, endpoints: &Endpoints) -> Template {
    const NOT_MIRRORED: [&str; 2] = [
        "kubectl.kubernetes.io/last-applied-configuration",
        "endpoints.kubernetes.io/last-change-trigger-time",
    ];
    let name = service.metadata.name.clone().unwrap_or_default();
    let mut labels = inherited(endpoints.metadata.labels.as_ref());
    labels.insert(SERVICE_NAME.to_owned(), name.clone());
    labels.insert(MANAGED_BY.to_owned(), MIRRORING_CONTROLLER.to_owned());
    if service.spec.as_ref().is_none_or(is_headless) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    let mut annotations = endpoints.metadata.annotations.clone().unwrap_or_default();
    annotations.retain(|key, _| !NOT_MIRRORED.contains(&key.as_str()));
    Template {
        namespace: service.metadata.namespace.clone().unwrap_or_default(),
        owner: OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Endpoints".to_owned(),
            name: name.clone(),
            uid: endpoints.metadata.uid.clone().unwrap_or_default(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        },
        service: name,
        labels,
        annotations: Some(annotations),
    }
}
