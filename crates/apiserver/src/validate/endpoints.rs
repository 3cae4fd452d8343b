//! Endpoints and `EndpointSlice`.

use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, Endpoints};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};

use super::{FieldErrors, Path, address, names, port};

pub(crate) fn validate(endpoints: &Endpoints, errors: &mut FieldErrors) {
    for (index, subset) in endpoints.subsets.iter().flatten().enumerate() {
        let path = Path::new("subsets").index(index);
        let ready = subset.addresses.as_deref().unwrap_or_default();
        let not_ready = subset.not_ready_addresses.as_deref().unwrap_or_default();
        if ready.is_empty() && not_ready.is_empty() {
            errors.required(&path, "must specify `addresses` or `notReadyAddresses`");
        }
        for (field, addresses) in [("addresses", ready), ("notReadyAddresses", not_ready)] {
            for (index, address) in addresses.iter().enumerate() {
                validate_address(address, &path.child(field).index(index), errors);
            }
        }
        let ports = subset.ports.as_deref().unwrap_or_default();
        for (index, port) in ports.iter().enumerate() {
            validate_port(
                port,
                ports.len() > 1,
                &path.child("ports").index(index),
                errors,
            );
        }
    }
}

fn validate_address(address: &EndpointAddress, path: &Path, errors: &mut FieldErrors) {
    match address::parse(&address.ip) {
        None => errors.invalid(
            &path.child("ip"),
            address.ip.as_str(),
            address::NOT_AN_ADDRESS,
        ),
        Some(ip) => not_special(ip, &path.child("ip"), errors),
    }
    if let Some(hostname) = &address.hostname {
        errors.invalid_each(
            &path.child("hostname"),
            hostname,
            names::dns_label(hostname),
        );
    }
    if let Some(node) = &address.node_name {
        errors.invalid_each(&path.child("nodeName"), node, names::dns_subdomain(node));
    }
}

/// An endpoint that is an address of the node's own would open what listens
/// only locally to everybody who may write Endpoints.
fn not_special(ip: IpAddr, path: &Path, errors: &mut FieldErrors) {
    for detail in address::special(ip) {
        errors.invalid(path, ip.to_string(), detail);
    }
}

fn validate_port(given: &EndpointPort, required: bool, path: &Path, errors: &mut FieldErrors) {
    match given.name.as_deref().unwrap_or_default() {
        "" if required => errors.required(&path.child("name"), ""),
        "" => {}
        name => errors.invalid_each(&path.child("name"), name, names::dns_label(name)),
    }
    port::number(given.port, &path.child("port"), errors);
    port::protocol(given.protocol.as_deref(), &path.child("protocol"), errors);
    port::app_protocol(
        given.app_protocol.as_deref(),
        &path.child("appProtocol"),
        errors,
    );
}

const ENDPOINTS_MAX: usize = 1000;
const ADDRESSES_MAX: usize = 100;
const PORTS_MAX: usize = 100;

pub(crate) fn validate_slice(slice: &EndpointSlice, errors: &mut FieldErrors) {
    let path = Path::new("addressType");
    match slice.address_type.as_str() {
        "" => errors.required(&path, ""),
        kind => port::supported(kind, &path, &["FQDN", "IPv4", "IPv6"], errors),
    }
    let path = Path::new("endpoints");
    if slice.endpoints.len() > ENDPOINTS_MAX {
        errors.too_many(&path, slice.endpoints.len(), ENDPOINTS_MAX);
    } else {
        for (index, endpoint) in slice.endpoints.iter().enumerate() {
            validate_endpoint(endpoint, &slice.address_type, &path.index(index), errors);
        }
    }
    validate_slice_ports(slice, errors);
}

fn validate_endpoint(
    endpoint: &Endpoint,
    address_type: &str,
    path: &Path,
    errors: &mut FieldErrors,
) {
    let addresses = path.child("addresses");
    match endpoint.addresses.len() {
        0 => errors.required(&addresses, "must contain at least 1 address"),
        count if count > ADDRESSES_MAX => errors.too_many(&addresses, count, ADDRESSES_MAX),
        _ => {}
    }
    for (index, text) in endpoint.addresses.iter().enumerate() {
        validate_slice_address(text, address_type, &addresses.index(index), errors);
    }
    if let Some(node) = &endpoint.node_name {
        errors.invalid_each(&path.child("nodeName"), node, names::dns_subdomain(node));
    }
    if let Some(hostname) = &endpoint.hostname {
        errors.invalid_each(
            &path.child("hostname"),
            hostname,
            names::dns_label(hostname),
        );
    }
}

fn validate_slice_address(text: &str, address_type: &str, path: &Path, errors: &mut FieldErrors) {
    match (address_type, address::parse(text)) {
        ("IPv4", Some(ip @ IpAddr::V4(_))) | ("IPv6", Some(ip @ IpAddr::V6(_))) => {
            not_special(ip, path, errors);
        }
        ("IPv4", _) => errors.invalid(path, text, "must be a valid IPv4 address"),
        ("IPv6", _) => errors.invalid(path, text, "must be a valid IPv6 address"),
        ("FQDN", _) => errors.invalid_each(path, text, names::dns_subdomain(text)),
        _ => {}
    }
}

fn validate_slice_ports(slice: &EndpointSlice, errors: &mut FieldErrors) {
    let path = Path::new("ports");
    let ports = slice.ports.as_deref().unwrap_or_default();
    if ports.len() > PORTS_MAX {
        errors.too_many(&path, ports.len(), PORTS_MAX);
        return;
    }
    let mut names = BTreeSet::new();
    for (index, given) in ports.iter().enumerate() {
        let path = path.index(index);
        let name = given.name.as_deref().unwrap_or_default();
        if !name.is_empty() {
            errors.invalid_each(&path.child("name"), name, names::dns_label(name));
        }
        if !names.insert(name) {
            errors.duplicate(&path.child("name"), name);
        }
        port::protocol(given.protocol.as_deref(), &path.child("protocol"), errors);
        if let Some(number) = given.port {
            port::number(number, &path.child("port"), errors);
        }
        port::app_protocol(
            given.app_protocol.as_deref(),
            &path.child("appProtocol"),
            errors,
        );
    }
}

pub(crate) fn validate_slice_update(
    new: &EndpointSlice,
    old: &EndpointSlice,
    errors: &mut FieldErrors,
) {
    if new.address_type != old.address_type {
        let value = new.address_type.as_str();
        errors.invalid(&Path::new("addressType"), value, "field is immutable");
    }
}
