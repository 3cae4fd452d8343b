//! Ingress and `IngressClass`.

use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, Ingress, IngressBackend, IngressClass, IngressSpec,
};

use super::{FieldErrors, Path, address, names, port};

pub(crate) fn ingress(ingress: &Ingress, errors: &mut FieldErrors) {
    let path = Path::new("spec");
    let none = IngressSpec::default();
    let spec = ingress.spec.as_ref().unwrap_or(&none);
    let rules = spec.rules.as_deref().unwrap_or_default();
    if rules.is_empty() && spec.default_backend.is_none() {
        let value = serde_json::to_value(spec).unwrap_or_default();
        let detail = "either `defaultBackend` or `rules` must be specified";
        errors.invalid(&path, value, detail);
    }
    if let Some(given) = &spec.default_backend {
        backend(given, &path.child("defaultBackend"), errors);
    }
    for (index, rule) in rules.iter().enumerate() {
        let path = path.child("rules").index(index);
        if let Some(name) = rule.host.as_deref().filter(|name| !name.is_empty()) {
            host(name, &path.child("host"), errors);
        }
        let Some(http) = &rule.http else { continue };
        let path = path.child("http").child("paths");
        if http.paths.is_empty() {
            errors.required(&path, "");
        }
        for (index, given) in http.paths.iter().enumerate() {
            http_path(given, &path.index(index), errors);
        }
    }
    for (index, tls) in spec.tls.iter().flatten().enumerate() {
        let path = path.child("tls").index(index).child("hosts");
        for (index, name) in tls.hosts.iter().flatten().enumerate() {
            host(name, &path.index(index), errors);
        }
    }
    if let Some(class) = &spec.ingress_class_name {
        let details = names::dns_subdomain(class);
        errors.invalid_each(&path.child("ingressClassName"), class, details);
    }
}

fn host(name: &str, path: &Path, errors: &mut FieldErrors) {
    if address::parse(name).is_some() {
        errors.invalid(path, name, "must be a DNS name, not an IP address");
        return;
    }
    let plain = name.strip_prefix("*.").unwrap_or(name);
    errors.invalid_each(path, name, names::dns_subdomain(plain));
}

fn http_path(given: &HTTPIngressPath, path: &Path, errors: &mut FieldErrors) {
    const TYPES: &[&str] = &["Exact", "ImplementationSpecific", "Prefix"];
    let text = given.path.as_deref().unwrap_or_default();
    let at = path.child("path");
    match given.path_type.as_str() {
        "" => errors.required(&path.child("pathType"), "pathType must be specified"),
        "Exact" | "Prefix" if !text.starts_with('/') => {
            errors.invalid(&at, text, "must be an absolute path");
        }
        "Exact" | "Prefix" => {
            for part in ["//", "/./", "/../", "%2f", "%2F"] {
                if text.contains(part) {
                    errors.invalid(&at, text, &format!("must not contain '{part}'"));
                }
            }
            for end in ["/..", "/."] {
                if text.ends_with(end) {
                    errors.invalid(&at, text, &format!("cannot end with '{end}'"));
                }
            }
        }
        "ImplementationSpecific" if !text.is_empty() && !text.starts_with('/') => {
            errors.invalid(&at, text, "must be an absolute path");
        }
        other => port::supported(other, &path.child("pathType"), TYPES, errors),
    }
    backend(&given.backend, &path.child("backend"), errors);
}

fn backend(backend: &IngressBackend, path: &Path, errors: &mut FieldErrors) {
    let service = match (&backend.service, &backend.resource) {
        (Some(_), Some(_)) => {
            let detail = "cannot set both resource and service backends";
            errors.invalid(path, "", detail);
            return;
        }
        (None, None) => {
            errors.required(path, "resource or service backend is required");
            return;
        }
        (None, Some(_)) => return,
        (Some(service), None) => service,
    };
    let path = path.child("service");
    match service.name.as_str() {
        "" => errors.required(&path.child("name"), ""),
        name => errors.invalid_each(&path.child("name"), name, names::dns_1035_label(name)),
    }
    let none = Default::default();
    let given = service.port.as_ref().unwrap_or(&none);
    let path = path.child("port");
    match (given.name.as_deref().unwrap_or_default(), given.number) {
        ("", None | Some(0)) => errors.required(&path, "port name or number is required"),
        ("", Some(number)) => port::number(number, &path.child("number"), errors),
        (_, Some(1..)) => errors.invalid(&path, "", "cannot set both port name & port number"),
        (name, _) => errors.invalid_each(&path.child("name"), name, names::port_name(name)),
    }
}

pub(crate) fn class(class: &IngressClass, errors: &mut FieldErrors) {
    let path = Path::from("spec.controller");
    let controller = class
        .spec
        .as_ref()
        .and_then(|spec| spec.controller.as_deref());
    match controller.unwrap_or_default() {
        "" => errors.required(&path, ""),
        name => match name.split_once('/') {
            None => errors.invalid(
                &path,
                name,
                "must be a domain-prefixed path (such as \"acme.io/foo\")",
            ),
            Some((domain, _)) => {
                errors.invalid_each(&path, name, names::dns_subdomain(domain));
            }
        },
    }
}

pub(crate) fn class_update(new: &IngressClass, old: &IngressClass, errors: &mut FieldErrors) {
    let controller = |class: &IngressClass| {
        let spec = class.spec.as_ref();
        spec.and_then(|spec| spec.controller.clone())
    };
    if controller(new) != controller(old) {
        let path = Path::from("spec.controller");
        errors.invalid(&path, controller(new), "field is immutable");
    }
}
