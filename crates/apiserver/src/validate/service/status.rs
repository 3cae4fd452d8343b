//! `status.loadBalancer`.

use k8s_openapi::api::core::v1::{LoadBalancerIngress, Service};

use super::{FieldErrors, Path, address, is, names, port};

pub(crate) fn validate_status(service: &Service, errors: &mut FieldErrors) {
    let balancer = service
        .status
        .as_ref()
        .and_then(|status| status.load_balancer.as_ref());
    let ingress = balancer
        .and_then(|balancer| balancer.ingress.as_deref())
        .unwrap_or_default();
    let path = Path::from("status.loadBalancer.ingress");
    let is_balancer = service
        .spec
        .as_ref()
        .is_some_and(|spec| is(spec, "LoadBalancer"));
    if !is_balancer && !ingress.is_empty() {
        errors.forbidden(&path, "may only be used when `spec.type` is 'LoadBalancer'");
        return;
    }
    for (index, entry) in ingress.iter().enumerate() {
        validate_ingress(entry, &path.index(index), errors);
    }
}

fn validate_ingress(entry: &LoadBalancerIngress, path: &Path, errors: &mut FieldErrors) {
    let mode = path.child("ipMode");
    match (&entry.ip, &entry.ip_mode) {
        (Some(ip), _) if address::parse(ip).is_none() => {
            errors.invalid(&path.child("ip"), ip.as_str(), address::NOT_AN_ADDRESS);
        }
        (None, Some(_)) => errors.forbidden(&mode, "may not be specified when `ip` is not set"),
        (Some(_), Some(given)) => port::supported(given, &mode, &["Proxy", "VIP"], errors),
        (Some(_), None) => errors.required(&mode, "must be specified when `ip` is set"),
        (None, None) => {}
    }
    if let Some(hostname) = &entry.hostname {
        let path = path.child("hostname");
        if address::parse(hostname).is_some() {
            let detail = "must be a DNS name, not an IP address";
            errors.invalid(&path, hostname.as_str(), detail);
        }
        errors.invalid_each(&path, hostname, names::dns_subdomain(hostname));
    }
}
