use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1 as api;
use podway_model::{ContainerPort, Object, ObjectRef, Pod};

use super::address::parse_address;
use super::{Faults, Readable, Reading, name_of, revision_of};

impl Readable for api::Pod {
    fn reference(&self) -> ObjectRef {
        ObjectRef::Pod(name_of(&self.metadata))
    }

    fn read(&self) -> Reading {
        let mut faults = Faults::of(self.reference());
        let pod = read_pod(self, &mut faults);
        faults.reading(Some(Object::Pod(Arc::new(pod))))
    }
}

fn read_pod(raw: &api::Pod, faults: &mut Faults) -> Pod {
    let metadata = &raw.metadata;
    let spec = raw.spec.as_ref();
    let status = raw.status.as_ref();
    let phase = status.and_then(|status| status.phase.as_deref());
    Pod {
        name: name_of(metadata),
        uid: metadata.uid.as_deref().unwrap_or_default().into(),
        revision: revision_of(metadata),
        labels: metadata.labels.clone().unwrap_or_default(),
        node: spec
            .and_then(|spec| spec.node_name.as_deref())
            .filter(|node| !node.is_empty())
            .map(Into::into),
        host_network: spec.and_then(|spec| spec.host_network).unwrap_or(false),
        finished: matches!(phase, Some("Succeeded" | "Failed")),
        ready: status.is_some_and(is_ready),
        terminating: metadata.deletion_timestamp.is_some(),
        addresses: status.map_or_else(Vec::new, |status| addresses(status, faults)),
        ports: spec.map_or_else(Vec::new, |spec| ports(spec, faults)),
        weight: faults.weight(metadata),
    }
}

fn is_ready(status: &api::PodStatus) -> bool {
    status
        .conditions
        .iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// `podIPs`, or `podIP` in objects from before dual stack.
fn addresses(status: &api::PodStatus, faults: &mut Faults) -> Vec<IpAddr> {
    let listed = status.pod_ips.as_deref().unwrap_or_default();
    let (field, texts): (_, Vec<&str>) = if listed.is_empty() {
        (
            "status.podIP",
            status.pod_ip.as_deref().into_iter().collect(),
        )
    } else {
        (
            "status.podIPs",
            listed.iter().map(|ip| ip.ip.as_str()).collect(),
        )
    };
    texts
        .into_iter()
        .filter(|text| !text.is_empty())
        .filter_map(|text| faults.keep(field, parse_address(text)))
        .collect()
}

/// Init containers that restart run beside the others and serve like them
/// (KEP-753); other init containers are over before the pod is ready.
fn ports(spec: &api::PodSpec, faults: &mut Faults) -> Vec<ContainerPort> {
    let containers = spec.containers.iter().enumerate();
    let containers = containers.map(|(i, c)| (format!("spec.containers[{i}]"), c));
    let sidecars = spec.init_containers.iter().flatten().enumerate();
    let sidecars = sidecars
        .filter(|(_, c)| c.restart_policy.as_deref() == Some("Always"))
        .map(|(i, c)| (format!("spec.initContainers[{i}]"), c));
    let mut ports = Vec::new();
    for (field, container) in containers.chain(sidecars) {
        for (i, port) in container.ports.iter().flatten().enumerate() {
            let field = format!("{field}.ports[{i}]");
            let number = faults.port(&format!("{field}.containerPort"), port.container_port);
            let protocol = faults.protocol(&format!("{field}.protocol"), port.protocol.as_deref());
            if let (Some(number), Some(protocol)) = (number, protocol) {
                ports.push(ContainerPort {
                    name: port.name.clone().unwrap_or_default(),
                    protocol,
                    port: number,
                });
            }
        }
    }
    ports
}
