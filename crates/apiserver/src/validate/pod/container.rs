//! Containers of a pod.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, ContainerPort, PodSpec};

use super::{FieldErrors, Path, names, port, probe};

/// What the containers of a pod share.
struct Shared<'a> {
    host_network: bool,
    volumes: &'a BTreeSet<&'a str>,
    names: BTreeSet<&'a str>,
    /// Protocol, address and number.
    host_ports: BTreeSet<(&'a str, &'a str, i32)>,
}

pub(super) fn validate_all(
    spec: &PodSpec,
    volumes: &BTreeSet<&str>,
    path: &Path,
    errors: &mut FieldErrors,
) {
    if spec.containers.is_empty() {
        errors.required(&path.child("containers"), "");
    }
    let mut shared = Shared {
        host_network: spec.host_network == Some(true),
        volumes,
        names: BTreeSet::new(),
        host_ports: BTreeSet::new(),
    };
    for (index, container) in spec.containers.iter().enumerate() {
        let path = path.child("containers").index(index);
        validate(container, &mut shared, &path, errors);
        if container.restart_policy.is_some() {
            errors.forbidden(
                &path.child("restartPolicy"),
                "may not be set for non-init containers",
            );
        }
    }
    for (index, container) in spec.init_containers.iter().flatten().enumerate() {
        let path = path.child("initContainers").index(index);
        validate(container, &mut shared, &path, errors);
        if let Some(policy) = &container.restart_policy {
            port::supported(policy, &path.child("restartPolicy"), &["Always"], errors);
        }
    }
}

fn validate<'a>(
    container: &'a Container,
    shared: &mut Shared<'a>,
    path: &Path,
    errors: &mut FieldErrors,
) {
    const PULL: &[&str] = &["Always", "IfNotPresent", "Never"];
    match container.name.as_str() {
        "" => errors.required(&path.child("name"), ""),
        name => {
            errors.invalid_each(&path.child("name"), name, names::dns_label(name));
            if !shared.names.insert(name) {
                errors.duplicate(&path.child("name"), name);
            }
        }
    }
    match container.image.as_deref() {
        None | Some("") => errors.required(&path.child("image"), ""),
        Some(image) if image.trim() != image => {
            let detail = "must not have leading or trailing whitespace";
            errors.invalid(&path.child("image"), image, detail);
        }
        Some(_) => {}
    }
    if let Some(policy) = &container.image_pull_policy {
        port::supported(policy, &path.child("imagePullPolicy"), PULL, errors);
    }
    validate_ports(container, shared, &path.child("ports"), errors);
    validate_env(container, &path.child("env"), errors);
    validate_mounts(container, shared, &path.child("volumeMounts"), errors);
    for (field, given, once) in [
        ("livenessProbe", &container.liveness_probe, true),
        ("readinessProbe", &container.readiness_probe, false),
        ("startupProbe", &container.startup_probe, true),
    ] {
        if let Some(given) = given {
            probe::validate(given, once, &path.child(field), errors);
        }
    }
}

fn validate_ports<'a>(
    container: &'a Container,
    shared: &mut Shared<'a>,
    path: &Path,
    errors: &mut FieldErrors,
) {
    let mut used_names = BTreeSet::new();
    for (index, given) in container.ports.iter().flatten().enumerate() {
        let path = path.index(index);
        if let Some(name) = given.name.as_deref().filter(|name| !name.is_empty()) {
            let details = names::port_name(name);
            if details.is_empty() && !used_names.insert(name) {
                errors.duplicate(&path.child("name"), name);
            }
            errors.invalid_each(&path.child("name"), name, details);
        }
        match given.container_port {
            0 => errors.required(&path.child("containerPort"), ""),
            number => port::number(number, &path.child("containerPort"), errors),
        }
        port::protocol(given.protocol.as_deref(), &path.child("protocol"), errors);
        validate_host_port(given, shared, &path, errors);
    }
}

fn validate_host_port<'a>(
    given: &'a ContainerPort,
    shared: &mut Shared<'a>,
    path: &Path,
    errors: &mut FieldErrors,
) {
    let Some(number) = given.host_port.filter(|number| *number != 0) else {
        return;
    };
    port::number(number, &path.child("hostPort"), errors);
    if shared.host_network && number != given.container_port {
        let detail = "must match `hostPort` when `hostNetwork` is true";
        errors.invalid(&path.child("containerPort"), given.container_port, detail);
    }
    let protocol = given.protocol.as_deref().unwrap_or_default();
    let address = given.host_ip.as_deref().unwrap_or_default();
    if !shared.host_ports.insert((protocol, address, number)) {
        errors.duplicate(
            &path.child("hostPort"),
            format!("{protocol}/{address}/{number}"),
        );
    }
}

fn validate_env(container: &Container, path: &Path, errors: &mut FieldErrors) {
    for (index, variable) in container.env.iter().flatten().enumerate() {
        let path = path.index(index);
        match variable.name.as_str() {
            "" => errors.required(&path.child("name"), ""),
            name => errors.invalid_each(&path.child("name"), name, names::env_name(name)),
        }
        let value = variable.value.as_deref().unwrap_or_default();
        if variable.value_from.is_some() && !value.is_empty() {
            let detail = "may not be specified when `value` is not empty";
            errors.invalid(&path.child("valueFrom"), "", detail);
        }
    }
}

fn validate_mounts(
    container: &Container,
    shared: &Shared<'_>,
    path: &Path,
    errors: &mut FieldErrors,
) {
    let mut used = BTreeSet::new();
    for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
        let path = path.index(index);
        match mount.name.as_str() {
            "" => errors.required(&path.child("name"), ""),
            name if !shared.volumes.contains(name) => errors.not_found(&path.child("name"), name),
            _ => {}
        }
        match mount.mount_path.as_str() {
            "" => errors.required(&path.child("mountPath"), ""),
            at if !used.insert(at) => {
                errors.invalid(&path.child("mountPath"), at, "must be unique");
            }
            _ => {}
        }
    }
}
