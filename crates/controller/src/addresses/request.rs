//! What a Service asks for.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use podway_model::{IpFamily, Labels, ObjectName, Protocol};
use podway_plan::announce::{DualStack, PortUse, Request, Sharing};

/// The prefixes of annotations: today's, and that of before 0.13.
const PREFIXES: [&str; 2] = ["metallb.io/", "metallb.universe.tf/"];

/// The request of a Service that is to have addresses, or `None`.
///
/// # Errors
/// What it asks for cannot be read: the text for its Event.
pub(super) fn read(
    service: &Service,
    class: Option<&str>,
    namespace_labels: &Labels,
) -> Result<Option<Request>, String> {
    let Some(spec) = service.spec.as_ref().filter(|spec| is_ours(spec, class)) else {
        return Ok(None);
    };
    let metadata = &service.metadata;
    let annotations = metadata.annotations.clone().unwrap_or_default();
    let created = metadata.creation_timestamp.as_ref();
    Ok(Some(Request {
        name: name_of(service),
        created: created.map_or(0, |time| time.0.as_second()),
        labels: metadata.labels.clone().unwrap_or_default(),
        namespace_labels: namespace_labels.clone(),
        families: families(spec),
        dual_stack: match spec.ip_family_policy.as_deref() {
            Some("RequireDualStack") => DualStack::Require,
            Some("PreferDualStack") => DualStack::Prefer,
            _ => DualStack::Single,
        },
        current: current(service),
        addresses: wanted(spec, &annotations)?,
        pool: annotation(&annotations, "address-pool"),
        sharing: annotation(&annotations, "allow-shared-ip").map(|key| Sharing {
            key,
            backend: backend(spec),
        }),
        ports: spec.ports.iter().flatten().filter_map(port).collect(),
    }))
}

pub(super) fn name_of(service: &Service) -> ObjectName {
    let metadata = &service.metadata;
    ObjectName::new(
        metadata.namespace.clone().unwrap_or_default(),
        metadata.name.clone().unwrap_or_default(),
    )
}

/// The addresses in its status.
pub(super) fn current(service: &Service) -> Vec<IpAddr> {
    let status = service.status.as_ref();
    let balancer = status.and_then(|status| status.load_balancer.as_ref());
    let ingress = balancer.and_then(|balancer| balancer.ingress.as_ref());
    let addresses = ingress.into_iter().flatten();
    addresses
        .filter_map(|ingress| ingress.ip.as_ref()?.parse().ok())
        .collect()
}

fn is_ours(spec: &ServiceSpec, class: Option<&str>) -> bool {
    spec.type_.as_deref() == Some("LoadBalancer") && spec.load_balancer_class.as_deref() == class
}

/// Those of its cluster addresses, not `spec.ipFamilies`: it is served where it
/// has been given an address.
fn families(spec: &ServiceSpec) -> Vec<IpFamily> {
    let several = spec.cluster_ips.iter().flatten();
    let one = spec
        .cluster_ip
        .iter()
        .filter(|_| spec.cluster_ips.is_none());
    let addresses = several.chain(one).filter_map(|text| text.parse().ok());
    addresses
        .map(|address: IpAddr| IpFamily::of(&address))
        .collect()
}

fn wanted(
    spec: &ServiceSpec,
    annotations: &BTreeMap<String, String>,
) -> Result<Vec<IpAddr>, String> {
    let field = spec.load_balancer_ip.clone().filter(|ip| !ip.is_empty());
    let named = annotation(annotations, "loadBalancerIPs");
    let text = match (field, named) {
        (Some(_), Some(_)) => {
            return Err(
                "spec.loadBalancerIP and annotation metallb.io/loadBalancerIPs are both set: \
                 leave out the field, which is deprecated"
                    .to_owned(),
            );
        }
        (field, named) => field.or(named).unwrap_or_default(),
    };
    let parts = text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    parts
        .map(|part| {
            part.parse()
                .map_err(|_| format!("{part:?} is asked for, which is no address"))
        })
        .collect()
}

fn annotation(annotations: &BTreeMap<String, String>, name: &str) -> Option<String> {
    let mut found = PREFIXES
        .iter()
        .filter_map(|prefix| annotations.get(&format!("{prefix}{name}")));
    found.find(|value| !value.is_empty()).cloned()
}

/// Whose endpoints its traffic goes to, where that matters.
fn backend(spec: &ServiceSpec) -> String {
    if spec.external_traffic_policy.as_deref() != Some("Local") {
        return String::new();
    }
    let selector = spec.selector.iter().flatten();
    let pairs: Vec<String> = selector.map(|(k, v)| format!("{k}={v}")).collect();
    pairs.join(",")
}

fn port(port: &k8s_openapi::api::core::v1::ServicePort) -> Option<PortUse> {
    let protocol = match port.protocol.as_deref() {
        None | Some("TCP") => Protocol::Tcp,
        Some("UDP") => Protocol::Udp,
        Some("SCTP") => Protocol::Sctp,
        Some(_) => return None,
    };
    Some(PortUse {
        protocol,
        port: port.port.try_into().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn service(metadata: &Value, spec: &Value) -> Service {
        let mut object = json!({"metadata": {"namespace": "x", "name": "web"}, "spec": {"type": "LoadBalancer", "clusterIPs": ["10.96.0.1", "fd00::1"]}});
        for (part, fields) in [("metadata", metadata), ("spec", spec)] {
            for (field, value) in fields.as_object().expect("fields") {
                object[part][field] = value.clone();
            }
        }
        serde_json::from_value(object).expect("a Service")
    }

    fn request(metadata: &Value, spec: &Value) -> Request {
        let read = read(&service(metadata, spec), None, &Labels::new());
        read.expect("it reads").expect("it is to have addresses")
    }

    #[test]
    fn everything_that_a_service_says_is_read() {
        let request = request(
            &json!({"creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"app": "web"}, "annotations": {
                "metallb.io/address-pool": "gold", "metallb.universe.tf/allow-shared-ip": "k", "metallb.io/loadBalancerIPs": "10.0.0.9, fd00::9"}}),
            &json!({"ipFamilyPolicy": "PreferDualStack", "externalTrafficPolicy": "Local", "selector": {"a": "1", "b": "2"},
                "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53}]}),
        );
        assert_eq!(request.name.to_string(), "x/web");
        assert_eq!(request.created, 1_767_225_600);
        assert_eq!(request.families, [IpFamily::V4, IpFamily::V6]);
        assert_eq!(request.dual_stack, DualStack::Prefer);
        assert_eq!(request.pool.as_deref(), Some("gold"));
        let sharing = request.sharing.expect("it shares");
        assert_eq!((&*sharing.key, &*sharing.backend), ("k", "a=1,b=2"));
        let addresses: Vec<_> = request.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["10.0.0.9", "fd00::9"]);
        assert_eq!(request.ports.len(), 2);
    }

    #[test]
    fn services_of_others_ask_for_nothing() {
        let none = json!({});
        for (spec, class, asks) in [
            (json!({}), None, true),
            (json!({"type": "NodePort"}), None, false),
            (json!({"loadBalancerClass": "a/b"}), None, false),
            (json!({"loadBalancerClass": "a/b"}), Some("a/b"), true),
            (json!({}), Some("a/b"), false),
        ] {
            let read = read(&service(&none, &spec), class, &Labels::new());
            assert_eq!(read.expect("it reads").is_some(), asks, "{spec} {class:?}");
        }
    }

    #[test]
    fn what_cannot_be_is_said() {
        let annotations = json!({"annotations": {"metallb.io/loadBalancerIPs": "10.0.0.9"}});
        let wrong = json!({"annotations": {"metallb.io/loadBalancerIPs": "10.0.0"}});
        let field = json!({"loadBalancerIP": "10.0.0.8"});
        for (metadata, spec, expected) in [
            (&annotations, &field, "are both set"),
            (
                &wrong,
                &json!({}),
                "\"10.0.0\" is asked for, which is no address",
            ),
        ] {
            let read = read(&service(metadata, spec), None, &Labels::new());
            let error = read.expect_err("it does not read");
            assert!(error.contains(expected), "{error}");
        }
        assert_eq!(request(&json!({}), &field).addresses.len(), 1);
    }
}
