use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use k8s_openapi::api::discovery::v1 as api;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use podway_model::{
    EndpointSlice, IpFamily, Object, ObjectName, ObjectRef, SliceEndpoint, SlicePort,
};

use super::address::parse_address;
use super::{Faults, Readable, Reading, has_label, name_of, revision_of};

/// Slices of headless Services carry it: no proxy serves them (kube-proxy
/// `server.go`).
const HEADLESS: &str = "service.kubernetes.io/headless";

/// When the object changed that the endpoints controller wrote the slice for
/// (RFC 3339 with nanoseconds).
const LAST_CHANGE_TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// The Service a slice belongs to.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

impl Readable for api::EndpointSlice {
    fn reference(&self) -> ObjectRef {
        ObjectRef::EndpointSlice(name_of(&self.metadata))
    }

    fn read(&self) -> Reading {
        let mut faults = Faults::of(self.reference());
        let slice = if has_label(&self.metadata, HEADLESS) {
            None
        } else {
            read_slice(self, &mut faults)
        };
        faults.reading(slice.map(|slice| Object::EndpointSlice(Arc::new(slice))))
    }
}

fn read_slice(raw: &api::EndpointSlice, faults: &mut Faults) -> Option<EndpointSlice> {
    let name = name_of(&raw.metadata);
    let service = raw.metadata.labels.as_ref()?.get(SERVICE_NAME)?.as_str();
    let family = match raw.address_type.as_str() {
        "IPv4" => IpFamily::V4,
        "IPv6" => IpFamily::V6,
        // Names, not addresses: nothing a node could send packets to.
        "FQDN" => return None,
        other => {
            faults.add(
                "addressType",
                format!("{other:?} is not an address type: expected IPv4, IPv6 or FQDN"),
            );
            return None;
        }
    };
    let endpoints = raw.endpoints.iter().enumerate();
    Some(EndpointSlice {
        service: ObjectName::new(name.namespace.clone(), service),
        revision: revision_of(&raw.metadata),
        family,
        ports: ports(raw, faults),
        weight: faults.weight(&raw.metadata),
        triggered: triggered(&raw.metadata),
        endpoints: endpoints
            .filter_map(|(i, endpoint)| {
                let address = address(i, endpoint, family, faults)?;
                Some(read_endpoint(endpoint, address, &name))
            })
            .collect(),
        name,
    })
}

/// What cannot be read is no fault: only a metric is made of it.
fn triggered(metadata: &ObjectMeta) -> Option<SystemTime> {
    let text = metadata
        .annotations
        .as_ref()?
        .get(LAST_CHANGE_TRIGGER_TIME)?;
    Some(text.parse::<Timestamp>().ok()?.into())
}

/// A port without a number means "every port" to some consumers and nothing to
/// a proxy. The API server gives a port without a name the empty name.
fn ports(raw: &api::EndpointSlice, faults: &mut Faults) -> Vec<SlicePort> {
    let mut ports = Vec::new();
    for (i, port) in raw.ports.iter().flatten().enumerate() {
        let Some(number) = port.port.filter(|number| *number != 0) else {
            continue;
        };
        let number = faults.port(&format!("ports[{i}].port"), number);
        let protocol = faults.protocol(&format!("ports[{i}].protocol"), port.protocol.as_deref());
        if let (Some(port_number), Some(protocol)) = (number, protocol) {
            ports.push(SlicePort {
                name: port.name.as_deref().unwrap_or_default().into(),
                protocol,
                port: port_number,
            });
        }
    }
    ports
}

/// Only the first address is ever used (KEP-752).
fn address(i: usize, raw: &api::Endpoint, family: IpFamily, faults: &mut Faults) -> Option<IpAddr> {
    let field = format!("endpoints[{i}].addresses[0]");
    let Some(text) = raw.addresses.first() else {
        faults.add(format!("endpoints[{i}].addresses"), "no address");
        return None;
    };
    let address = faults.keep(&field, parse_address(text))?;
    if IpFamily::of(&address) != family {
        faults.add(field, format!("{address} is not an {family} address"));
        return None;
    }
    Some(address)
}

fn read_endpoint(raw: &api::Endpoint, address: IpAddr, slice: &ObjectName) -> SliceEndpoint {
    let conditions = raw.conditions.clone().unwrap_or_default();
    let hints = raw.hints.clone().unwrap_or_default();
    let pod = raw.target_ref.as_ref();
    SliceEndpoint {
        address,
        ready: conditions.ready.unwrap_or(true),
        serving: conditions.serving.unwrap_or(true),
        terminating: conditions.terminating.unwrap_or(false),
        node: raw.node_name.as_deref().map(Into::into),
        pod: pod
            .filter(|target| target.kind.as_deref() == Some("Pod"))
            .and_then(|target| {
                let namespace = target.namespace.as_deref().unwrap_or(&slice.namespace);
                Some(ObjectName::new(namespace, target.name.as_deref()?))
            }),
        zone_hints: hints
            .for_zones
            .into_iter()
            .flatten()
            .map(|zone| zone.name)
            .collect(),
        node_hints: hints
            .for_nodes
            .into_iter()
            .flatten()
            .map(|node| node.name)
            .collect(),
    }
}
