//! Service.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{
    LoadBalancerStatus, Service, ServicePort, ServiceSpec, ServiceStatus,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{TCP, absent};

/// `sessionAffinity: ClientIP` without a time: three hours.
const AFFINITY_SECONDS: i32 = 10_800;

pub(crate) fn default(service: &mut Service) {
    let spec = service.spec.get_or_insert_default();
    absent(&mut spec.type_, "ClusterIP");
    default_affinity(spec);
    for port in spec.ports.iter_mut().flatten() {
        default_port(port);
    }
    if externally_accessible(spec) {
        absent(&mut spec.external_traffic_policy, "Cluster");
    }
    if needs_cluster_ip(spec) {
        absent(&mut spec.internal_traffic_policy, "Cluster");
    }
    if is(spec, "LoadBalancer") {
        spec.allocate_load_balancer_node_ports.get_or_insert(true);
        let ingress = service
            .status
            .iter_mut()
            .flat_map(|s| s.load_balancer.iter_mut());
        for entry in ingress.flat_map(|balancer| balancer.ingress.iter_mut().flatten()) {
            if entry.ip.is_some() {
                absent(&mut entry.ip_mode, "VIP");
            }
        }
    }
}

fn default_affinity(spec: &mut ServiceSpec) {
    absent(&mut spec.session_affinity, "None");
    match spec.session_affinity.as_deref() {
        Some("None") => spec.session_affinity_config = None,
        Some("ClientIP") => {
            let config = spec.session_affinity_config.get_or_insert_default();
            let client_ip = config.client_ip.get_or_insert_default();
            client_ip.timeout_seconds.get_or_insert(AFFINITY_SECONDS);
        }
        _ => {}
    }
}

fn default_port(port: &mut ServicePort) {
    absent(&mut port.protocol, TCP);
    port.node_port.take_if(|port| *port == 0);
    let absent = match &port.target_port {
        None | Some(IntOrString::Int(0)) => true,
        Some(IntOrString::String(name)) => name.is_empty(),
        Some(IntOrString::Int(_)) => false,
    };
    if absent {
        port.target_port = Some(IntOrString::Int(port.port));
    }
}

/// Only `/status` writes the status; a service always has one.
pub(crate) fn prepare_create(service: &mut Service) {
    service.status = Some(ServiceStatus {
        conditions: None,
        load_balancer: Some(LoadBalancerStatus::default()),
    });
    let spec = service.spec.get_or_insert_default();
    if let (Some(one), true) = (&spec.cluster_ip, list(&spec.cluster_ips).is_empty()) {
        spec.cluster_ips = Some(vec![one.clone()]);
    }
}

/// What an update carries over: allocated values that it leaves out (a replaced
/// manifest does not name its cluster IP), and what its new type cannot have is
/// dropped when it was not asked for.
pub(crate) fn prepare_update(service: &mut Service, old: &Service) {
    let fallback = ServiceSpec::default();
    let old = old.spec.as_ref().unwrap_or(&fallback);
    let spec = service.spec.get_or_insert_default();
    follow_single_cluster_ip(spec, old);
    keep_allocated(spec, old);
    drop_type_dependent(spec, old);
    trim_to_single_stack(spec, old);
    // Addresses of a load balancer that there is not any more would stay in
    // force on every node.
    if !is(spec, "LoadBalancer")
        && let Some(status) = &mut service.status
    {
        status.load_balancer = Some(LoadBalancerStatus::default());
    }
}

/// `clusterIP` and `clusterIPs[0]` are one field of two ages: when only one of
/// them was changed, the other follows.
fn follow_single_cluster_ip(spec: &mut ServiceSpec, old: &ServiceSpec) {
    let same_ip = spec.cluster_ip == old.cluster_ip;
    let same_ips = list(&spec.cluster_ips) == list(&old.cluster_ips);
    if same_ip {
        if list(&spec.cluster_ips).is_empty() {
            spec.cluster_ips.clone_from(&old.cluster_ips);
        }
    } else if same_ips {
        spec.cluster_ips = spec.cluster_ip.clone().map(|ip| vec![ip]);
    }
}

fn keep_allocated(spec: &mut ServiceSpec, old: &ServiceSpec) {
    if needs_cluster_ip(old) && needs_cluster_ip(spec) {
        if spec.cluster_ip.is_none() {
            spec.cluster_ip.clone_from(&old.cluster_ip);
        }
        if list(&spec.cluster_ips).is_empty() && spec.cluster_ip == old.cluster_ip {
            spec.cluster_ips.clone_from(&old.cluster_ips);
        }
        if list(&spec.ip_families).is_empty() {
            spec.ip_families.clone_from(&old.ip_families);
        }
        if spec.ip_family_policy.is_none() {
            spec.ip_family_policy.clone_from(&old.ip_family_policy);
        }
    }
    if needs_node_port(old) && needs_node_port(spec) {
        keep_node_ports(spec, old);
    }
    if needs_health_check_port(old) && needs_health_check_port(spec) && health_check_port(spec) == 0
    {
        spec.health_check_node_port = old.health_check_node_port;
    }
}

/// By port name, unless another port of the service now uses the number.
fn keep_node_ports(spec: &mut ServiceSpec, old: &ServiceSpec) {
    let ports = |spec: &ServiceSpec| -> BTreeSet<i32> {
        spec.ports
            .iter()
            .flatten()
            .filter_map(|p| p.node_port)
            .collect()
    };
    let mut used: BTreeSet<i32> = ports(old).intersection(&ports(spec)).copied().collect();
    let by_name: BTreeMap<Option<&str>, i32> = old
        .ports
        .iter()
        .flatten()
        .filter_map(|port| Some((port.name.as_deref(), port.node_port?)))
        .collect();
    for port in spec
        .ports
        .iter_mut()
        .flatten()
        .filter(|p| p.node_port.is_none())
    {
        let kept = by_name.get(&port.name.as_deref()).copied();
        port.node_port = kept.filter(|number| used.insert(*number));
    }
}

fn drop_type_dependent(spec: &mut ServiceSpec, old: &ServiceSpec) {
    if needs_cluster_ip(old) && !needs_cluster_ip(spec) {
        drop_unchanged(&mut spec.cluster_ip, &old.cluster_ip);
        drop_unchanged(&mut spec.cluster_ips, &old.cluster_ips);
        drop_unchanged(&mut spec.ip_families, &old.ip_families);
        drop_unchanged(&mut spec.ip_family_policy, &old.ip_family_policy);
        drop_unchanged(
            &mut spec.internal_traffic_policy,
            &old.internal_traffic_policy,
        );
    }
    if needs_node_port(old) && !needs_node_port(spec) {
        let numbers = |spec: &ServiceSpec| -> Vec<Option<i32>> {
            spec.ports
                .iter()
                .flatten()
                .map(|port| port.node_port)
                .collect()
        };
        if numbers(spec) == numbers(old) {
            spec.ports
                .iter_mut()
                .flatten()
                .for_each(|port| port.node_port = None);
        }
    }
    if needs_health_check_port(old) && !needs_health_check_port(spec) {
        drop_unchanged(
            &mut spec.health_check_node_port,
            &old.health_check_node_port,
        );
    }
    if is(old, "LoadBalancer") && !is(spec, "LoadBalancer") {
        drop_unchanged(
            &mut spec.allocate_load_balancer_node_ports,
            &old.allocate_load_balancer_node_ports,
        );
        drop_unchanged(&mut spec.load_balancer_class, &old.load_balancer_class);
    }
    if externally_accessible(old) && !externally_accessible(spec) {
        drop_unchanged(
            &mut spec.external_traffic_policy,
            &old.external_traffic_policy,
        );
    }
}

fn drop_unchanged<T: PartialEq>(field: &mut Option<T>, old: &Option<T>) {
    if field == old {
        *field = None;
    }
}

/// Asking for one stack is enough to lose the second address and family.
fn trim_to_single_stack(spec: &mut ServiceSpec, old: &ServiceSpec) {
    let was_dual = old
        .ip_family_policy
        .as_deref()
        .is_some_and(|policy| policy != "SingleStack");
    if !was_dual || spec.ip_family_policy.as_deref() != Some("SingleStack") {
        return;
    }
    if spec.cluster_ips == old.cluster_ips {
        spec.cluster_ips.iter_mut().for_each(|ips| ips.truncate(1));
    }
    if spec.ip_families == old.ip_families {
        spec.ip_families
            .iter_mut()
            .for_each(|families| families.truncate(1));
    }
}

/// A list field without its option.
pub(crate) fn list<T>(field: &Option<Vec<T>>) -> &[T] {
    field.as_deref().unwrap_or_default()
}

pub(crate) fn is(spec: &ServiceSpec, service_type: &str) -> bool {
    spec.type_.as_deref() == Some(service_type)
}

/// `ClusterIP`, `NodePort` and `LoadBalancer`; `None` as an address included.
pub(crate) fn needs_cluster_ip(spec: &ServiceSpec) -> bool {
    is(spec, "ClusterIP") || is(spec, "NodePort") || is(spec, "LoadBalancer")
}

/// Whether node ports are given out without being asked for.
pub(crate) fn needs_node_port(spec: &ServiceSpec) -> bool {
    let load_balancer =
        is(spec, "LoadBalancer") && spec.allocate_load_balancer_node_ports != Some(false);
    is(spec, "NodePort") || load_balancer
}

/// Load balancers that need to know which node has endpoints.
pub(crate) fn needs_health_check_port(spec: &ServiceSpec) -> bool {
    is(spec, "LoadBalancer") && spec.external_traffic_policy.as_deref() == Some("Local")
}

fn health_check_port(spec: &ServiceSpec) -> i32 {
    spec.health_check_node_port.unwrap_or(0)
}

/// Whether clients outside the cluster have a frontend.
pub(crate) fn externally_accessible(spec: &ServiceSpec) -> bool {
    is(spec, "NodePort")
        || is(spec, "LoadBalancer")
        || (is(spec, "ClusterIP") && !list(&spec.external_ips).is_empty())
}
