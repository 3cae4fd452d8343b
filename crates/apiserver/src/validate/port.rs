//! Port numbers, names and protocols.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{FieldErrors, Path, names};

const RANGE: &str = "must be between 1 and 65535, inclusive";
const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];

pub(crate) fn number(number: i32, path: &Path, errors: &mut FieldErrors) {
    if !(1..=65535).contains(&number) {
        errors.invalid(path, number, RANGE);
    }
}

pub(crate) fn number_or_name(port: &IntOrString, path: &Path, errors: &mut FieldErrors) {
    match port {
        IntOrString::Int(port) => number(*port, path, errors),
        IntOrString::String(name) => errors.invalid_each(path, name, names::port_name(name)),
    }
}

pub(crate) fn protocol(protocol: Option<&str>, path: &Path, errors: &mut FieldErrors) {
    match protocol {
        None | Some("") => errors.required(path, ""),
        Some(protocol) => supported(protocol, path, PROTOCOLS, errors),
    }
}

pub(crate) fn app_protocol(protocol: Option<&str>, path: &Path, errors: &mut FieldErrors) {
    if let Some(protocol) = protocol {
        errors.invalid_each(path, protocol, names::qualified_name(protocol));
    }
}

/// A value of an enumeration.
pub(crate) fn supported(value: &str, path: &Path, values: &[&str], errors: &mut FieldErrors) {
    if !values.contains(&value) {
        errors.not_supported(path, value, values);
    }
}
