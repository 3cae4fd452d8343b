//! A pod's status as the API shows it. Pure: what the worker knows in,
//! `status` out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated,
    ContainerStateWaiting, ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::kubelet::record::{ContainerRecord, Ended, PodRecord};

/// What a status is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) record: &'a PodRecord,
    /// The last answer of each container's readiness probe.
    pub(crate) probed: &'a BTreeMap<String, bool>,
    /// Containers whose startup probe has succeeded.
    pub(crate) started: &'a BTreeSet<String>,
    /// Why containers that do not run are not started now.
    pub(crate) waiting: &'a BTreeMap<String, Waiting>,
    /// The node's addresses.
    pub(crate) host: &'a [IpAddr],
    pub(crate) now: Timestamp,
}

/// Why a container is not started now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// What a container is to its pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Runs to its end before the next one starts.
    Init,
    /// Started in its turn among those, and runs beside the others.
    Sidecar,
    Main,
}

/// All containers of a pod, in the order in which they are started.
pub(crate) fn all(pod: &Pod) -> impl Iterator<Item = (&Container, Role)> {
    let spec = pod.spec.iter();
    let init = spec.flat_map(|spec| spec.init_containers.iter().flatten());
    let init = init.map(|container| match container.restart_policy.as_deref() {
        Some("Always") => (container, Role::Sidecar),
        _ => (container, Role::Init),
    });
    init.chain(
        containers(pod)
            .iter()
            .map(|container| (container, Role::Main)),
    )
}

/// Whether a container that ended is started again.
pub(crate) fn restarts(pod: &Pod, name: &str, ended: &Ended) -> bool {
    let role = all(pod).find(|(container, _)| container.name == name);
    let role = role.map_or(Role::Main, |(_, role)| role);
    if role == Role::Sidecar {
        return true;
    }
    if role == Role::Init && ended.exit.code() == 0 {
        return false;
    }
    let policy = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.restart_policy.as_deref());
    match policy {
        Some("Never") => false,
        Some("OnFailure") => ended.exit.code() != 0,
        _ => true,
    }
}

/// Whether the API has the pod as ready.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_deref());
    conditions
        .unwrap_or_default()
        .iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// The pod's containers; a pod without a specification has none.
pub(crate) fn containers(pod: &Pod) -> &[Container] {
    pod.spec.as_ref().map_or(&[], |spec| &spec.containers)
}

/// Whether the pod's work has ended for good, or cannot begin: then the phase is
/// final.
pub(crate) fn is_finished(pod: &Pod, record: &PodRecord) -> bool {
    let ended = |container: &Container| {
        let name = &container.name;
        let ended = record
            .containers
            .get(name)
            .and_then(|record| record.ended.as_ref());
        ended.filter(|ended| !restarts(pod, name, ended))
    };
    let containers = containers(pod);
    let init_failed = all(pod)
        .filter(|(_, role)| *role == Role::Init)
        .filter_map(|(container, _)| ended(container))
        .any(|ended| ended.exit.code() != 0);
    let all_ended = containers
        .iter()
        .all(|container| ended(container).is_some());
    init_failed || !containers.is_empty() && all_ended
}

/// Whether every container that runs to its end before the others has done so.
fn is_initialized(view: View<'_>) -> bool {
    let mut init = all(view.pod).filter(|(_, role)| *role != Role::Main);
    init.all(|(container, role)| {
        let record = view.record.containers.get(&container.name);
        match role {
            Role::Init => record
                .and_then(|record| record.ended.as_ref())
                .is_some_and(|ended| ended.exit.code() == 0),
            // One that has ended has been there: only its beginning is waited for.
            _ => record.is_some_and(|record| record.ended.is_some() || is_started(view, container)),
        }
    })
}

/// Whether a container runs and its startup probe, if any, has succeeded.
fn is_started(view: View<'_>, container: &Container) -> bool {
    let record = view.record.containers.get(&container.name);
    let running = record.is_some_and(|record| record.ended.is_none());
    running && (container.startup_probe.is_none() || view.started.contains(&container.name))
}

/// The status of the pod.
pub(crate) fn pod_status(view: View<'_>) -> PodStatus {
    let of = |wanted: fn(Role) -> bool| -> Vec<ContainerStatus> {
        let chosen = all(view.pod).filter(|(_, role)| wanted(*role));
        chosen
            .map(|(container, role)| container_status(view, container, role))
            .collect()
    };
    let statuses = of(|role| role == Role::Main);
    let init = of(|role| role != Role::Main);
    let lasting = of(|role| role != Role::Init);
    let spec = view.pod.spec.as_ref();
    let text = |address: &IpAddr| address.to_string();
    let addresses = &view.record.addresses;
    PodStatus {
        phase: Some(phase(view).to_owned()),
        conditions: Some(conditions(view, &lasting)),
        init_container_statuses: Some(init).filter(|init| !init.is_empty()),
        container_statuses: Some(statuses),
        host_ip: view.host.first().map(text),
        host_ips: Some(
            view.host
                .iter()
                .map(|address| HostIP { ip: text(address) })
                .collect(),
        ),
        pod_ip: addresses.first().map(text),
        pod_ips: Some(
            addresses
                .iter()
                .map(|address| PodIP { ip: text(address) })
                .collect(),
        ),
        qos_class: spec.map(|_| "BestEffort".to_owned()),
        start_time: Some(Time(view.record.started)),
        ..PodStatus::default()
    }
}

fn phase(view: View<'_>) -> &'static str {
    let records = &view.record.containers;
    if is_finished(view.pod, view.record) {
        let failed = all(view.pod)
            .filter(|(_, role)| *role != Role::Sidecar)
            .filter_map(|(container, _)| records.get(&container.name)?.ended.as_ref())
            .any(|ended| ended.exit.code() != 0);
        return if failed { "Failed" } else { "Succeeded" };
    }
    // Running means that every container has been started.
    if containers(view.pod)
        .iter()
        .all(|container| records.contains_key(&container.name))
    {
        "Running"
    } else {
        "Pending"
    }
}

fn container_status(view: View<'_>, container: &Container, role: Role) -> ContainerStatus {
    let record = view.record.containers.get(&container.name);
    let waiting = view.waiting.get(&container.name);
    let started = is_started(view, container);
    let probed = view.probed.get(&container.name).copied();
    let done = record.and_then(|record| record.ended.as_ref());
    let ready = match role {
        Role::Init => done.is_some_and(|ended| ended.exit.code() == 0),
        _ => started && probed.unwrap_or(container.readiness_probe.is_none()),
    };
    // A container that ended and will be started again waits; how it ended is
    // then its last state.
    let last = record.and_then(|record| match (&record.ended, waiting) {
        (Some(ended), Some(_)) => Some(ended),
        _ => record.before.as_ref(),
    });
    let image = container.image.clone().unwrap_or_default();
    ContainerStatus {
        name: container.name.clone(),
        ready,
        started: Some(started),
        restart_count: record.map_or(0, |record| i32::try_from(record.run).unwrap_or(i32::MAX)),
        container_id: record
            .map(|record| format!("podway://{}-{}", record.process.pid, record.process.started)),
        image_id: image.clone(),
        image,
        state: Some(state(record, waiting, is_held_back(view, role))),
        last_state: last.map(|ended| ContainerState {
            terminated: Some(terminated(ended)),
            ..ContainerState::default()
        }),
        ..ContainerStatus::default()
    }
}

/// Whether a container waits for those before it.
fn is_held_back(view: View<'_>, role: Role) -> bool {
    role == Role::Main && !is_initialized(view)
}

fn state(
    record: Option<&ContainerRecord>,
    waiting: Option<&Waiting>,
    held_back: bool,
) -> ContainerState {
    let usual = match held_back {
        true => "PodInitializing",
        false => "ContainerCreating",
    };
    let mut state = ContainerState::default();
    match (record, waiting) {
        (
            Some(ContainerRecord {
                ended: None,
                started,
                ..
            }),
            _,
        ) => {
            state.running = Some(ContainerStateRunning {
                started_at: Some(Time(*started)),
            });
        }
        (
            Some(ContainerRecord {
                ended: Some(ended), ..
            }),
            None,
        ) => {
            state.terminated = Some(terminated(ended));
        }
        (_, waiting) => {
            state.waiting = Some(ContainerStateWaiting {
                reason: Some(waiting.map_or(usual, |waiting| waiting.reason).to_owned()),
                message: waiting
                    .map(|waiting| waiting.message.clone())
                    .filter(|text| !text.is_empty()),
            });
        }
    }
    state
}

fn terminated(ended: &Ended) -> ContainerStateTerminated {
    ContainerStateTerminated {
        exit_code: ended.exit.code(),
        reason: Some(ended.exit.reason().to_owned()),
        started_at: Some(Time(ended.started)),
        finished_at: Some(Time(ended.finished)),
        ..ContainerStateTerminated::default()
    }
}

/// Why a condition is not True: reason and message.
type NotTrue = (&'static str, String);

/// The kubelet's conditions, then those of others as they are.
fn conditions(view: View<'_>, statuses: &[ContainerStatus]) -> Vec<PodCondition> {
    let before = view
        .pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref());
    let before = before.unwrap_or_default();
    let containers = containers_ready(view, statuses);
    let ready = containers
        .clone()
        .and_then(|()| gates_open(view.pod, before));
    let sandbox = view.record.pause_is_known();
    let ours: [(&str, Result<(), NotTrue>); 5] = [
        (
            "PodReadyToStartContainers",
            if sandbox {
                Ok(())
            } else {
                Err(("", String::new()))
            },
        ),
        ("Initialized", initialized(view)),
        ("Ready", ready),
        ("ContainersReady", containers),
        ("PodScheduled", Ok(())),
    ];
    let others = before
        .iter()
        .filter(|other| ours.iter().all(|(name, _)| other.type_ != *name));
    let others = others.cloned();
    let ours = ours
        .iter()
        .map(|(name, state)| condition(name, state, before, view.now));
    ours.chain(others).collect()
}

fn initialized(view: View<'_>) -> Result<(), NotTrue> {
    if is_initialized(view) {
        return Ok(());
    }
    let message = "containers with incomplete status".to_owned();
    Err(("ContainersNotInitialized", message))
}

fn containers_ready(view: View<'_>, statuses: &[ContainerStatus]) -> Result<(), NotTrue> {
    if is_finished(view.pod, view.record) {
        return Err(("PodCompleted", String::new()));
    }
    let unready = statuses.iter().filter(|status| !status.ready);
    let unready: Vec<&str> = unready.map(|status| status.name.as_str()).collect();
    if unready.is_empty() {
        return Ok(());
    }
    let message = format!("containers with unready status: [{}]", unready.join(" "));
    Err(("ContainersNotReady", message))
}

/// `spec.readinessGates`: conditions that others set.
fn gates_open(pod: &Pod, conditions: &[PodCondition]) -> Result<(), NotTrue> {
    let open = |name: &str| {
        conditions
            .iter()
            .any(|other| other.type_ == name && other.status == "True")
    };
    let mut gates = pod
        .spec
        .iter()
        .flat_map(|spec| spec.readiness_gates.iter().flatten());
    match gates.find(|gate| !open(&gate.condition_type)) {
        None => Ok(()),
        Some(closed) => {
            let message = format!("condition {} is not True", closed.condition_type);
            Err(("ReadinessGatesNotReady", message))
        }
    }
}

fn condition(
    name: &str,
    state: &Result<(), NotTrue>,
    before: &[PodCondition],
    now: Timestamp,
) -> PodCondition {
    let status = if state.is_ok() { "True" } else { "False" };
    let unchanged = before
        .iter()
        .find(|other| other.type_ == name && other.status == status);
    let since = unchanged.and_then(|other| other.last_transition_time.clone());
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let (reason, message) = match state {
        Ok(()) => (None, None),
        Err((reason, message)) => (text(reason), text(message)),
    };
    PodCondition {
        type_: name.to_owned(),
        status: status.to_owned(),
        reason,
        message,
        last_transition_time: Some(since.unwrap_or(Time(now))),
        ..PodCondition::default()
    }
}

#[cfg(test)]
mod tests;
