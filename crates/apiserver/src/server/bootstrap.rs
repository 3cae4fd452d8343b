//! What every cluster has from the start.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::Settings;
use crate::Error;
use crate::kinds::{Part, known};
use crate::rest::{Change, Content, DeleteOptions, Registry, Target};
use crate::status::Status;

const NAMESPACES: &[&str] = &["default", "kube-system", "kube-public", "kube-node-lease"];
/// The port of the Service, whatever the server itself listens on.
const SERVICE_PORT: u16 = 443;

/// The address of a prefix that belongs to `default/kubernetes`.
pub(super) fn first_address(prefix: &IpNet) -> String {
    match prefix.network() {
        IpAddr::V4(network) => {
            std::net::Ipv4Addr::from(u32::from(network).saturating_add(1)).to_string()
        }
        IpAddr::V6(network) => {
            std::net::Ipv6Addr::from(u128::from(network).saturating_add(1)).to_string()
        }
    }
}

/// Creates or updates what is not as it should be.
pub(super) async fn run(registry: &Registry, settings: &Settings) -> Result<(), Error> {
    for name in NAMESPACES {
        ensure(
            registry,
            json!({
                "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name },
            }),
        )
        .await?;
    }
    ensure(registry, service(settings)).await?;
    ensure_endpoints(registry, settings).await
}

fn service(settings: &Settings) -> Value {
    let addresses: Vec<String> = settings
        .service_prefixes
        .iter()
        .map(first_address)
        .collect();
    let families: Vec<&str> = settings.service_prefixes.iter().map(family).collect();
    let target = settings
        .advertise
        .first()
        .map_or(SERVICE_PORT, SocketAddr::port);
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": { "component": "apiserver", "provider": "kubernetes" },
        },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": addresses.first(),
            "clusterIPs": addresses,
            "ipFamilies": families,
            "ipFamilyPolicy": if families.len() > 1 { "RequireDualStack" } else { "SingleStack" },
            "ports": [{
                "name": "https", "port": SERVICE_PORT, "protocol": "TCP", "targetPort": target,
            }],
        },
    })
}

fn family(prefix: &IpNet) -> &'static str {
    match prefix {
        IpNet::V4(_) => "IPv4",
        IpNet::V6(_) => "IPv6",
    }
}

/// The Service has no selector: its endpoints are this server's addresses. What
/// an earlier start wrote and this one has no addresses for goes away.
async fn ensure_endpoints(registry: &Registry, settings: &Settings) -> Result<(), Error> {
    let port = settings.advertise.first().map(SocketAddr::port);
    let ports = json!([{ "name": "https", "port": port, "protocol": "TCP" }]);
    let addresses = |ipv4: bool| -> Vec<String> {
        let all = settings.advertise.iter();
        let chosen = all.filter(|address| address.is_ipv4() == ipv4);
        chosen.map(|address| address.ip().to_string()).collect()
    };
    for (name, address_type, addresses) in [
        ("kubernetes", "IPv4", addresses(true)),
        ("kubernetes-ipv6", "IPv6", addresses(false)),
    ] {
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": name, "namespace": "default",
                "labels": { "kubernetes.io/service-name": "kubernetes" },
            },
            "addressType": address_type,
            "endpoints": [{ "addresses": addresses, "conditions": { "ready": true } }],
            "ports": ports,
        });
        keep(registry, slice, !addresses.is_empty()).await?;
    }
    let first = settings.advertise.first();
    let primary = addresses(first.is_some_and(SocketAddr::is_ipv4));
    let primary: Vec<Value> = primary.iter().map(|ip| json!({ "ip": ip })).collect();
    let endpoints = json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            // Its slices are written here, not mirrored by the controller.
            "labels": { "endpointslice.kubernetes.io/skip-mirror": "true" },
        },
        "subsets": [{ "addresses": primary, "ports": ports }],
    });
    keep(registry, endpoints, first.is_some()).await
}

/// Makes the object so, or makes it go away.
async fn keep(registry: &Registry, object: Value, wanted: bool) -> Result<(), Error> {
    if wanted {
        return ensure(registry, object).await;
    }
    let target = target_of(&object);
    let describe = format!("{} {}", target.kind.kind, target.name);
    match registry
        .delete(target, DeleteOptions::default(), false)
        .await
    {
        Err(status) if status.code != 404 => Err(Error::Bootstrap {
            object: describe,
            source: Box::new(status),
        }),
        _ => Ok(()),
    }
}

fn target_of(object: &Value) -> Target {
    let text = |pointer: &str| {
        object
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    Target {
        kind: Arc::clone(known(text("/apiVersion"), text("/kind"))),
        namespace: text("/metadata/namespace").to_owned(),
        name: text("/metadata/name").to_owned(),
    }
}

async fn ensure(registry: &Registry, object: Value) -> Result<(), Error> {
    let target = target_of(&object);
    let kind = Arc::clone(&target.kind);
    let describe = format!("{} {}", kind.kind, target.name);
    let failed = |status: Status| Error::Bootstrap {
        object: describe,
        source: Box::new(status),
    };
    match registry
        .create(target.clone(), object.clone(), None, false)
        .await
    {
        Err(status) if status.reason == "AlreadyExists" => {}
        outcome => return outcome.map(drop).map_err(failed),
    }
    if kind.kind == "Namespace" {
        return Ok(());
    }
    let change = Change {
        content: Content::Object(object),
        part: Part::Object,
        strict: false,
        author: None,
    };
    registry
        .update(target, change, false)
        .await
        .map(drop)
        .map_err(failed)
}
