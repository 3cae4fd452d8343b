use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use k8s_openapi::api::core::v1 as api;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use podway_model::{
    Labels, LoadBalancerAddress, Object, ObjectRef, Service, ServicePort, ServiceType, TargetPort,
    TrafficPolicy,
};

use super::address::{parse_address, parse_prefix};
use super::{Faults, Readable, Reading, has_label, name_of, revision_of};

/// Whoever sets this label serves the Service: we do not, whatever its value
/// (kube-proxy `server.go`, KEP-2447).
const SERVICE_PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";

/// `sessionAffinityConfig.clientIP.timeoutSeconds` where it is unset.
const DEFAULT_AFFINITY_SECONDS: u32 = 10_800;

impl Readable for api::Service {
    fn reference(&self) -> ObjectRef {
        ObjectRef::Service(name_of(&self.metadata))
    }

    fn read(&self) -> Reading {
        let mut faults = Faults::of(self.reference());
        if has_label(&self.metadata, SERVICE_PROXY_NAME) {
            return faults.reading(None);
        }
        let service = read_service(self, &mut faults);
        faults.reading(service.map(|service| Object::Service(Arc::new(service))))
    }
}

fn read_service(raw: &api::Service, faults: &mut Faults) -> Option<Service> {
    let metadata = &raw.metadata;
    let default = api::ServiceSpec::default();
    let spec = raw.spec.as_ref().unwrap_or(&default);
    let service_type = service_type(spec, faults)?;
    let labels = metadata.labels.clone().unwrap_or_default();
    let is_balanced = service_type == ServiceType::LoadBalancer;
    Some(Service {
        name: name_of(metadata),
        revision: revision_of(metadata),
        labels: if is_balanced { labels } else { Labels::new() },
        created: metadata
            .creation_timestamp
            .as_ref()
            .map_or(0, |time| time.0.as_second()),
        service_type,
        cluster_ips: cluster_ips(spec, faults),
        external_ips: addresses("spec.externalIPs", spec.external_ips.as_ref(), faults),
        load_balancer: load_balancer(raw, faults),
        source_ranges: source_ranges(spec, faults)?,
        ports: ports(spec, faults),
        selector: spec.selector.clone().filter(|labels| !labels.is_empty()),
        affinity_seconds: affinity_seconds(spec, faults),
        internal_policy: traffic_policy(
            "spec.internalTrafficPolicy",
            spec.internal_traffic_policy.as_deref(),
            faults,
        )?,
        external_policy: traffic_policy(
            "spec.externalTrafficPolicy",
            spec.external_traffic_policy.as_deref(),
            faults,
        )?,
        health_check_node_port: optional_port(
            "spec.healthCheckNodePort",
            spec.health_check_node_port,
            faults,
        ),
        publish_not_ready: spec.publish_not_ready_addresses.unwrap_or(false),
    })
}

fn service_type(spec: &api::ServiceSpec, faults: &mut Faults) -> Option<ServiceType> {
    match spec.type_.as_deref().unwrap_or("ClusterIP") {
        "ClusterIP" => Some(ServiceType::ClusterIp),
        "NodePort" => Some(ServiceType::NodePort),
        "LoadBalancer" => Some(ServiceType::LoadBalancer),
        "ExternalName" => Some(ServiceType::ExternalName),
        other => {
            faults.add(
                "spec.type",
                format!(
                    "{other:?} is not a type: expected ClusterIP, NodePort, LoadBalancer or ExternalName"
                ),
            );
            None
        }
    }
}

/// `clusterIPs`, or `clusterIP` in objects from before dual stack. `None` and the
/// empty string are no address: headless, or not allocated yet.
fn cluster_ips(spec: &api::ServiceSpec, faults: &mut Faults) -> Vec<IpAddr> {
    let listed = spec.cluster_ips.as_deref().unwrap_or_default();
    let (field, texts): (_, Vec<&String>) = if listed.is_empty() {
        ("spec.clusterIP", spec.cluster_ip.iter().collect())
    } else {
        ("spec.clusterIPs", listed.iter().collect())
    };
    texts
        .into_iter()
        .filter(|text| !text.is_empty() && *text != "None")
        .filter_map(|text| faults.keep(field, parse_address(text)))
        .collect()
}

fn addresses(field: &str, texts: Option<&Vec<String>>, faults: &mut Faults) -> Vec<IpAddr> {
    texts
        .into_iter()
        .flatten()
        .enumerate()
        .filter_map(|(i, text)| faults.keep(&format!("{field}[{i}]"), parse_address(text)))
        .collect()
}

fn load_balancer(raw: &api::Service, faults: &mut Faults) -> Vec<LoadBalancerAddress> {
    let ingress = raw
        .status
        .as_ref()
        .and_then(|status| status.load_balancer.as_ref()?.ingress.as_ref());
    let mut addresses = Vec::new();
    for (i, entry) in ingress.into_iter().flatten().enumerate() {
        let Some(text) = entry.ip.as_deref().filter(|ip| !ip.is_empty()) else {
            continue;
        };
        let field = format!("status.loadBalancer.ingress[{i}].ip");
        if let Some(address) = faults.keep(&field, parse_address(text)) {
            let is_vip = entry.ip_mode.as_deref().is_none_or(|mode| mode == "VIP");
            addresses.push(LoadBalancerAddress { address, is_vip });
        }
    }
    addresses
}

/// A range that cannot be read makes the whole Service unusable: without it the
/// list could become empty, which means "everybody".
fn source_ranges(spec: &api::ServiceSpec, faults: &mut Faults) -> Option<Vec<IpNet>> {
    let texts = spec.load_balancer_source_ranges.iter().flatten();
    let ranges: Vec<Option<IpNet>> = texts
        .enumerate()
        .map(|(i, text)| {
            let field = format!("spec.loadBalancerSourceRanges[{i}]");
            faults.keep(&field, parse_prefix(text))
        })
        .collect();
    ranges.into_iter().collect()
}

fn ports(spec: &api::ServiceSpec, faults: &mut Faults) -> Vec<ServicePort> {
    spec.ports
        .iter()
        .flatten()
        .enumerate()
        .filter_map(|(i, raw)| port(&format!("spec.ports[{i}]"), raw, faults))
        .collect()
}

fn port(field: &str, raw: &api::ServicePort, faults: &mut Faults) -> Option<ServicePort> {
    let port = faults.port(&format!("{field}.port"), raw.port);
    let protocol = faults.protocol(&format!("{field}.protocol"), raw.protocol.as_deref());
    let target_port = match &raw.target_port {
        None | Some(IntOrString::Int(0)) => port.map(TargetPort::Number),
        Some(IntOrString::Int(number)) => faults
            .port(&format!("{field}.targetPort"), *number)
            .map(TargetPort::Number),
        Some(IntOrString::String(name)) => Some(TargetPort::Name(name.clone())),
    };
    let node_port = optional_port(&format!("{field}.nodePort"), raw.node_port, faults);
    Some(ServicePort {
        name: raw.name.as_deref().unwrap_or_default().into(),
        protocol: protocol?,
        port: port?,
        target_port: target_port?,
        node_port,
    })
}

/// A port that is 0 or absent where there is none.
fn optional_port(field: &str, number: Option<i32>, faults: &mut Faults) -> Option<u16> {
    let number = number.filter(|number| *number != 0)?;
    faults.port(field, number)
}

fn affinity_seconds(spec: &api::ServiceSpec, faults: &mut Faults) -> Option<u32> {
    match spec.session_affinity.as_deref().unwrap_or("None") {
        "None" => return None,
        "ClientIP" => {}
        other => {
            let reason = format!("{other:?} is not an affinity: expected None or ClientIP");
            faults.add("spec.sessionAffinity", reason);
            return None;
        }
    }
    let client_ip = spec.session_affinity_config.as_ref();
    let Some(seconds) = client_ip.and_then(|config| config.client_ip.as_ref()?.timeout_seconds)
    else {
        return Some(DEFAULT_AFFINITY_SECONDS);
    };
    let in_range = u32::try_from(seconds)
        .ok()
        .filter(|s| (1..=86_400).contains(s));
    if in_range.is_none() {
        faults.add(
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
            format!("{seconds} is out of range: expected 1-86400"),
        );
    }
    Some(in_range.unwrap_or(DEFAULT_AFFINITY_SECONDS))
}

fn traffic_policy(field: &str, text: Option<&str>, faults: &mut Faults) -> Option<TrafficPolicy> {
    match text.unwrap_or("Cluster") {
        "Cluster" | "" => Some(TrafficPolicy::Cluster),
        "Local" => Some(TrafficPolicy::Local),
        other => {
            faults.add(
                field,
                format!("{other:?} is not a policy: expected Cluster or Local"),
            );
            None
        }
    }
}
