//! A pod of the corpora that serves, behind a Service of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use serde_json::{Value, json};

use super::corpus::PodInfo;
use super::world::split;
use crate::harness::eventually;
use crate::objects::{Objects, revision_of};

/// A label that no policy of the corpora asks for: the Service's own.
pub(crate) const SERVICE_LABEL: &str = "lab-pod";

/// Where a pod is reached.
#[derive(Debug, Clone, Default)]
pub(crate) struct Addresses {
    pub(crate) pod: Vec<IpAddr>,
    pub(crate) service: Vec<IpAddr>,
}

/// The ports that every pod has by name, whether its kernel serves them or not.
pub(crate) fn container_ports() -> Vec<Value> {
    let ports = ["tcp", "udp", "sctp"]
        .into_iter()
        .flat_map(|protocol| [80, 81].map(|port| (protocol, port)));
    let port = |(protocol, port): (&str, u16)| {
        let name = format!("serve-{port}-{protocol}");
        json!({"name": name, "containerPort": port, "protocol": protocol.to_uppercase()})
    };
    ports.map(port).collect()
}

fn service_name(pod: &str) -> String {
    format!("s-{pod}")
}

/// Makes a pod that serves ports 80 and 81, and its Service where there is none.
pub(crate) fn create(
    objects: &Objects,
    info: &PodInfo,
    labels: &BTreeMap<String, String>,
    node: &str,
    protocols: &[&str],
) {
    let serve = |protocol: &&str| [80, 81].map(|port| format!("--{protocol}={port}"));
    let arguments: Vec<String> = ["serve".to_owned()]
        .into_iter()
        .chain(protocols.iter().flat_map(serve))
        .collect();
    let pod = json!({
        "metadata": {"name": info.name, "labels": labels},
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "server",
                "image": "podway/toolbox",
                "args": arguments,
                "ports": container_ports(),
                "readinessProbe": {"tcpSocket": {"port": 80}},
            }],
        },
    });
    objects.create::<Pod>(&info.namespace, pod);
    let name = service_name(&info.name);
    if objects.find::<Service>(&info.namespace, &name).is_some() {
        return;
    }
    let port = |protocol: &&str| {
        [80, 81].map(|port| {
            let name = format!("{protocol}-{port}");
            json!({"name": name, "protocol": protocol.to_uppercase(), "port": port})
        })
    };
    let service = json!({
        "metadata": {"name": name},
        "spec": {
            "selector": {SERVICE_LABEL: labels[SERVICE_LABEL]},
            "ipFamilyPolicy": "RequireDualStack",
            "ports": protocols.iter().flat_map(port).collect::<Vec<_>>(),
        },
    });
    objects.create::<Service>(&info.namespace, service);
}

/// Waits until the pod serves and its Service has it as an endpoint; says since
/// which revision of EndpointSlices.
pub(crate) fn settle(objects: &Objects, name: &str) -> (Addresses, u64) {
    let (namespace, pod) = split(name);
    let pod_ips = eventually("a pod gets ready", || ready_at(objects, namespace, pod));
    let service = objects.find::<Service>(namespace, &service_name(pod));
    let spec = service.and_then(|service| service.spec);
    let cluster_ips = spec.and_then(|spec| spec.cluster_ips).unwrap_or_default();
    let of = format!("kubernetes.io/service-name={}", service_name(pod));
    let revision = eventually("the endpoints of a Service", || {
        let slices = objects.list::<EndpointSlice>(namespace, &of)?;
        let endpoints = slices.iter().flat_map(|slice| &slice.endpoints);
        let ready: BTreeSet<IpAddr> = endpoints
            .filter(|endpoint| is_ready(endpoint))
            .flat_map(|endpoint| &endpoint.addresses)
            .filter_map(|address| address.parse().ok())
            .collect();
        let is_complete = pod_ips.iter().all(|address| ready.contains(address));
        let revision = slices.iter().filter_map(revision_of).max();
        revision
            .filter(|_| is_complete)
            .ok_or_else(|| format!("{pod_ips:?} in {slices:?}"))
    });
    let addresses = Addresses {
        pod: pod_ips,
        service: cluster_ips
            .iter()
            .map(|ip| ip.parse().expect("an address"))
            .collect(),
    };
    (addresses, revision)
}

/// The addresses of a pod that is ready.
pub(crate) fn ready_at(
    objects: &Objects,
    namespace: &str,
    pod: &str,
) -> Result<Vec<IpAddr>, String> {
    let found = objects.find::<Pod>(namespace, pod).ok_or("no such pod")?;
    let status = found.status.unwrap_or_default();
    let mut conditions = status.conditions.iter().flatten();
    let is_ready = conditions.any(|c| c.type_ == "Ready" && c.status == "True");
    let ips = status.pod_ips.iter().flatten();
    let ips: Vec<IpAddr> = ips.filter_map(|ip| ip.ip.parse().ok()).collect();
    (is_ready && ips.len() == 2)
        .then_some(ips)
        .ok_or_else(|| format!("{namespace}/{pod}: {status:?}"))
}

fn is_ready(endpoint: &Endpoint) -> bool {
    let conditions = endpoint.conditions.as_ref();
    conditions.is_some_and(|conditions| conditions.ready == Some(true))
}
