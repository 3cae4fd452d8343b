//! Probes of a container.

use k8s_openapi::api::core::v1::Probe;

use super::{FieldErrors, Path, port};

/// `once`: a success need not be repeated to count.
pub(super) fn validate(probe: &Probe, once: bool, path: &Path, errors: &mut FieldErrors) {
    validate_handler(probe, path, errors);
    for (field, value) in [
        ("initialDelaySeconds", probe.initial_delay_seconds),
        ("timeoutSeconds", probe.timeout_seconds),
        ("periodSeconds", probe.period_seconds),
        ("successThreshold", probe.success_threshold),
        ("failureThreshold", probe.failure_threshold),
    ] {
        if let Some(value) = value.filter(|value| *value < 0) {
            errors.invalid(
                &path.child(field),
                value,
                "must be greater than or equal to 0",
            );
        }
    }
    if let Some(threshold) = probe
        .success_threshold
        .filter(|threshold| once && *threshold != 1)
    {
        errors.invalid(&path.child("successThreshold"), threshold, "must be 1");
    }
}

fn validate_handler(probe: &Probe, path: &Path, errors: &mut FieldErrors) {
    let given = [
        ("exec", probe.exec.is_some()),
        ("httpGet", probe.http_get.is_some()),
        ("tcpSocket", probe.tcp_socket.is_some()),
        ("grpc", probe.grpc.is_some()),
    ];
    let mut given = given
        .iter()
        .filter(|(_, set)| *set)
        .map(|(field, _)| *field);
    if given.next().is_none() {
        errors.required(path, "must specify a handler type");
    }
    for field in given {
        errors.forbidden(
            &path.child(field),
            "may not specify more than 1 handler type",
        );
    }
    if let Some(exec) = &probe.exec
        && exec.command.as_ref().is_none_or(Vec::is_empty)
    {
        errors.required(&path.child("exec").child("command"), "");
    }
    if let Some(get) = &probe.http_get {
        let path = path.child("httpGet");
        port::number_or_name(&get.port, &path.child("port"), errors);
        if let Some(scheme) = &get.scheme {
            port::supported(scheme, &path.child("scheme"), &["HTTP", "HTTPS"], errors);
        }
    }
    if let Some(socket) = &probe.tcp_socket {
        port::number_or_name(&socket.port, &path.child("tcpSocket").child("port"), errors);
    }
    if let Some(grpc) = &probe.grpc {
        port::number(grpc.port, &path.child("grpc").child("port"), errors);
    }
}
