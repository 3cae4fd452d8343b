//! Model objects with everything that a test does not care about filled in.
//! What it does care about it sets itself:
//!
//! ```
//! use podway_model::{Service, TrafficPolicy};
//! use podway_testkit::builders::{port, service};
//!
//! let web = Service {
//!     internal_policy: TrafficPolicy::Local,
//!     ..service("default/web", &["10.96.0.10"], &[port("http", 80)])
//! };
//! assert_eq!(web.name.to_string(), "default/web");
//! ```
//!
//! Text that does not parse panics with the text: it is a mistake in the test.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use ipnet::IpNet;
use podway_model::{
    Change, ClusterNetworkPolicy, ClusterState, EndpointSlice, IpFamily, Labels, Namespace,
    NetworkPolicy, Node, Object, ObjectName, Pod, Protocol, Selector, Service, ServicePort,
    ServiceType, SliceEndpoint, SlicePort, TargetPort, TrafficPolicy,
};

/// A state that holds these objects.
#[must_use]
pub fn state(objects: impl IntoIterator<Item = Object>) -> ClusterState {
    let mut state = ClusterState::default();
    for object in objects {
        state.apply(Change::Upsert(object));
    }
    state
}

/// `namespace/name`.
#[must_use]
pub fn name(text: &str) -> ObjectName {
    ObjectName::parse(text).unwrap_or_else(|| panic!("`{text}` is not namespace/name"))
}

/// An address.
#[must_use]
pub fn ip(text: &str) -> IpAddr {
    parse(text, "an address")
}

/// An address and port.
#[must_use]
pub fn socket(text: &str) -> SocketAddr {
    parse(text, "address:port")
}

/// A prefix.
#[must_use]
pub fn prefix(text: &str) -> IpNet {
    parse(text, "a prefix")
}

/// Addresses.
#[must_use]
pub fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| ip(text)).collect()
}

/// Prefixes.
#[must_use]
pub fn prefixes(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| prefix(text)).collect()
}

/// Labels.
#[must_use]
pub fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

/// A selector of plain labels.
#[must_use]
pub fn selector(pairs: &[(&str, &str)]) -> Selector {
    Selector::of(labels(pairs))
}

/// A Namespace with the label of its name, as the API server gives it.
#[must_use]
pub fn namespace(name: &str) -> Namespace {
    Namespace {
        name: name.into(),
        revision: 1,
        labels: labels(&[("kubernetes.io/metadata.name", name)]),
    }
}

/// A ready Node.
#[must_use]
pub fn node(name: &str, addresses: &[&str], pod_prefixes: &[&str]) -> Node {
    Node {
        name: name.into(),
        revision: 1,
        labels: labels(&[("kubernetes.io/hostname", name)]),
        annotations: BTreeMap::new(),
        addresses: ips(addresses),
        pod_prefixes: prefixes(pod_prefixes),
        ready: true,
        network_unavailable: None,
        leaving: false,
    }
}

/// A running, ready Pod without labels or container ports.
#[must_use]
pub fn pod(pod_name: &str, node: &str, addresses: &[&str]) -> Pod {
    Pod {
        name: name(pod_name),
        uid: format!("uid of {pod_name}").into(),
        revision: 1,
        labels: BTreeMap::new(),
        node: Some(node.into()),
        host_network: false,
        finished: false,
        ready: true,
        terminating: false,
        addresses: ips(addresses),
        ports: Vec::new(),
        weight: None,
    }
}

/// A TCP port of a Service that leads to the same number.
#[must_use]
pub fn port(name: &str, number: u16) -> ServicePort {
    ServicePort {
        name: name.into(),
        protocol: Protocol::Tcp,
        port: number,
        target_port: TargetPort::Number(number),
        node_port: None,
    }
}

/// A Service of type ClusterIP, without a selector.
#[must_use]
pub fn service(service_name: &str, cluster_ips: &[&str], ports: &[ServicePort]) -> Service {
    Service {
        name: name(service_name),
        revision: 1,
        labels: BTreeMap::new(),
        created: 0,
        service_type: ServiceType::ClusterIp,
        cluster_ips: ips(cluster_ips),
        external_ips: Vec::new(),
        load_balancer: Vec::new(),
        source_ranges: Vec::new(),
        ports: ports.to_vec(),
        selector: None,
        affinity_seconds: None,
        internal_policy: TrafficPolicy::Cluster,
        external_policy: TrafficPolicy::Cluster,
        health_check_node_port: None,
        publish_not_ready: false,
    }
}

/// A slice of a Service. The family is its first endpoint's, IPv4 where it has
/// none.
#[must_use]
pub fn slice(
    slice_name: &str,
    service: &str,
    ports: &[SlicePort],
    endpoints: &[SliceEndpoint],
) -> EndpointSlice {
    let family = endpoints.first().map(|e| IpFamily::of(&e.address));
    EndpointSlice {
        name: name(slice_name),
        revision: 1,
        service: name(service),
        family: family.unwrap_or(IpFamily::V4),
        ports: ports.to_vec(),
        endpoints: endpoints.to_vec(),
        weight: None,
        triggered: None,
    }
}

/// A TCP port of a slice.
#[must_use]
pub fn slice_port(name: &str, number: u16) -> SlicePort {
    SlicePort {
        name: name.into(),
        protocol: Protocol::Tcp,
        port: number,
    }
}

/// A ready endpoint without hints.
#[must_use]
pub fn endpoint(address: &str, node: &str) -> SliceEndpoint {
    SliceEndpoint {
        address: ip(address),
        ready: true,
        serving: true,
        terminating: false,
        node: Some(node.into()),
        pod: None,
        zone_hints: BTreeSet::new(),
        node_hints: BTreeSet::new(),
    }
}

/// A policy that selects every pod of its namespace and isolates neither
/// direction: the test says which, and what is allowed.
#[must_use]
pub fn policy(policy_name: &str) -> NetworkPolicy {
    NetworkPolicy {
        name: name(policy_name),
        revision: 1,
        generation: 1,
        audit: false,
        subjects: Selector::default(),
        ingress: None,
        egress: None,
    }
}

/// Any model object as an [`Object`].
pub trait IntoObject {
    /// Wraps it.
    fn object(self) -> Object;
}

macro_rules! into_object {
    ($($kind:ident),*) => {
        $(impl IntoObject for $kind {
            fn object(self) -> Object {
                Object::$kind(Arc::new(self))
            }
        })*
    };
}

into_object!(
    Namespace,
    Node,
    Pod,
    Service,
    EndpointSlice,
    NetworkPolicy,
    ClusterNetworkPolicy
);

fn parse<T: FromStr<Err: Debug>>(text: &str, what: &str) -> T {
    text.parse()
        .unwrap_or_else(|error| panic!("`{text}` is not {what}: {error:?}"))
}
