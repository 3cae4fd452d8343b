//! Pod.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Container, EmptyDirVolumeSource, EnvVar, HTTPGetAction, LifecycleHandler, Pod, PodIP, PodSpec,
    PodStatus, Probe, Toleration, Volume,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::{TCP, absent};

const GRACE_SECONDS: i64 = 30;
/// Mode of files from ConfigMaps, Secrets and the downward API.
const FILE_MODE: i32 = 0o644;
const TOKEN_SECONDS: i64 = 3600;

pub(crate) fn default(pod: &mut Pod) {
    if let Some(status) = &mut pod.status {
        default_addresses(status);
    }
    if let Some(spec) = &mut pod.spec {
        default_spec(spec);
    }
}

/// The specification of a pod, or of a template for pods.
pub(super) fn default_spec(spec: &mut PodSpec) {
    absent(&mut spec.restart_policy, "Always");
    absent(&mut spec.dns_policy, "ClusterFirst");
    absent(&mut spec.scheduler_name, "default-scheduler");
    spec.termination_grace_period_seconds
        .get_or_insert(GRACE_SECONDS);
    spec.enable_service_links.get_or_insert(true);
    spec.security_context.get_or_insert_default();
    spec.volumes.iter_mut().flatten().for_each(default_volume);
    let host_network = spec.host_network == Some(true);
    for container in containers(spec) {
        default_container(container, host_network);
    }
}

/// `podIP` is the first of `podIPs`; old clients know only the one, new ones
/// may give only the list.
fn default_addresses(status: &mut PodStatus) {
    match (&status.pod_ip, status.pod_ips.as_deref()) {
        (Some(one), None | Some([])) => {
            status.pod_ips = Some(vec![PodIP { ip: one.clone() }]);
        }
        (_, Some([first, ..])) => status.pod_ip = Some(first.ip.clone()),
        _ => {}
    }
}

fn containers(spec: &mut PodSpec) -> impl Iterator<Item = &mut Container> {
    spec.containers
        .iter_mut()
        .chain(spec.init_containers.iter_mut().flatten())
}

fn default_container(container: &mut Container, host_network: bool) {
    let latest = container.image.as_deref().is_none_or(is_latest);
    absent(
        &mut container.image_pull_policy,
        if latest { "Always" } else { "IfNotPresent" },
    );
    absent(
        &mut container.termination_message_path,
        "/dev/termination-log",
    );
    absent(&mut container.termination_message_policy, "File");
    for port in container.ports.iter_mut().flatten() {
        absent(&mut port.protocol, TCP);
        port.host_port.take_if(|port| *port == 0);
        if host_network {
            port.host_port.get_or_insert(port.container_port);
        }
    }
    container.env.iter_mut().flatten().for_each(default_env);
    let resources = container.resources.get_or_insert_default();
    if let Some(limits) = &resources.limits {
        let requests = resources.requests.get_or_insert_default();
        for (name, limit) in limits {
            requests
                .entry(name.clone())
                .or_insert_with(|| limit.clone());
        }
    }
    let probes = [
        &mut container.liveness_probe,
        &mut container.readiness_probe,
        &mut container.startup_probe,
    ];
    probes.into_iter().flatten().for_each(default_probe);
    if let Some(lifecycle) = &mut container.lifecycle {
        let handlers = [&mut lifecycle.post_start, &mut lifecycle.pre_stop];
        handlers.into_iter().flatten().for_each(default_handler);
    }
}

/// Whether an image names no version: then it may change under its name.
fn is_latest(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    let name = image.rsplit('/').next().unwrap_or(image);
    match name.split_once(':') {
        Some((_, tag)) => tag == "latest",
        None => true,
    }
}

fn default_env(env: &mut EnvVar) {
    if let Some(field) = env
        .value_from
        .as_mut()
        .and_then(|from| from.field_ref.as_mut())
    {
        absent(&mut field.api_version, "v1");
    }
}

fn default_probe(probe: &mut Probe) {
    for (field, value) in [
        (&mut probe.timeout_seconds, 1),
        (&mut probe.period_seconds, 10),
        (&mut probe.success_threshold, 1),
        (&mut probe.failure_threshold, 3),
    ] {
        field.take_if(|seconds| *seconds == 0);
        field.get_or_insert(value);
    }
    if let Some(get) = &mut probe.http_get {
        default_http_get(get);
    }
    if let Some(grpc) = &mut probe.grpc {
        absent(&mut grpc.service, "");
    }
}

fn default_handler(handler: &mut LifecycleHandler) {
    if let Some(get) = &mut handler.http_get {
        default_http_get(get);
    }
}

fn default_http_get(get: &mut HTTPGetAction) {
    absent(&mut get.path, "/");
    absent(&mut get.scheme, "HTTP");
}

fn default_volume(volume: &mut Volume) {
    let named_only = Volume {
        name: volume.name.clone(),
        ..Volume::default()
    };
    if *volume == named_only {
        volume.empty_dir = Some(EmptyDirVolumeSource::default());
    }
    if let Some(source) = &mut volume.config_map {
        source.default_mode.get_or_insert(FILE_MODE);
    }
    if let Some(source) = &mut volume.secret {
        source.default_mode.get_or_insert(FILE_MODE);
    }
    if let Some(source) = &mut volume.downward_api {
        source.default_mode.get_or_insert(FILE_MODE);
    }
    if let Some(source) = &mut volume.projected {
        source.default_mode.get_or_insert(FILE_MODE);
        let tokens = source.sources.iter_mut().flatten();
        for token in tokens.filter_map(|source| source.service_account_token.as_mut()) {
            token.expiration_seconds.get_or_insert(TOKEN_SECONDS);
        }
    }
}

/// A pod starts pending, whatever the client says of its status.
pub(crate) fn prepare_create(pod: &mut Pod) {
    pod.status = Some(PodStatus {
        phase: Some("Pending".to_owned()),
        qos_class: Some(quality_of_service(pod.spec.as_ref()).to_owned()),
        ..PodStatus::default()
    });
    if let Some(spec) = &mut pod.spec {
        outlast_outages(spec);
    }
}

/// A pod that does not say how long it stays on a node that is not ready stays
/// for five minutes (Kubernetes' admission plugin `DefaultTolerationSeconds`).
fn outlast_outages(spec: &mut PodSpec) {
    const SECONDS: i64 = 300;
    let tolerations = spec.tolerations.get_or_insert_default();
    for key in [
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    ] {
        let about = |text: &Option<String>, wanted: &str| {
            text.as_deref()
                .is_none_or(|text| text.is_empty() || text == wanted)
        };
        let said = tolerations
            .iter()
            .any(|other| about(&other.key, key) && about(&other.effect, "NoExecute"));
        if !said {
            tolerations.push(Toleration {
                key: Some(key.to_owned()),
                operator: Some("Exists".to_owned()),
                effect: Some("NoExecute".to_owned()),
                toleration_seconds: Some(SECONDS),
                value: None,
            });
        }
    }
}

/// Follows `ComputePodQOS`: guaranteed when every container limits processor and
/// memory to what it requests, best effort when none asks for anything.
fn quality_of_service(spec: Option<&PodSpec>) -> &'static str {
    const COMPUTE: [&str; 2] = ["cpu", "memory"];
    type Amounts = BTreeMap<String, Quantity>;
    let compute = |amounts: &Option<Amounts>| -> Amounts {
        let given = amounts.iter().flatten();
        given
            .filter(|(name, amount)| COMPUTE.contains(&name.as_str()) && amount.0 != "0")
            .map(|(name, amount)| (name.clone(), amount.clone()))
            .collect()
    };
    let (mut any, mut guaranteed) = (false, true);
    let all = spec.into_iter().flat_map(|spec| {
        spec.containers
            .iter()
            .chain(spec.init_containers.iter().flatten())
    });
    for container in all {
        let resources = container.resources.clone().unwrap_or_default();
        let (requests, limits) = (compute(&resources.requests), compute(&resources.limits));
        any |= !requests.is_empty() || !limits.is_empty();
        guaranteed &= limits.len() == COMPUTE.len() && requests == limits;
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}
