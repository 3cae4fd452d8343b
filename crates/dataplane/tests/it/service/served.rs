//! A site whose node serves, in any mode.

use std::net::SocketAddr;

use podway_dataplane::service::{BackendSpec, ServiceBackend, SyncReport};
use podway_model::{
    Change, ClusterState, EndpointSlice, Protocol, Service, ServicePort, ServiceType,
    SliceEndpoint, SlicePort,
};
use podway_plan::service::{NodeContext, ServicePlanner};
use podway_testkit::builders::{self, IntoObject, endpoint, ip, port, prefixes, slice, slice_port};

use super::settings;
use super::site::{FAR, NODE, ONE, Site, TCP_PORT, TWO, UDP_PORT};

/// What of a pod is in a slice.
pub(crate) type Pod = (&'static [&'static str; 2], &'static str);
pub(crate) const POD_ONE: Pod = (&ONE, "node1");
pub(crate) const POD_TWO: Pod = (&TWO, "node1");
pub(crate) const POD_FAR: Pod = (&FAR, "node2");

/// Service number `n`, with cluster IPs 10.96.0.n, fd00:10:96::n and node port
/// 30000 + n, TCP 80 and UDP 53.
pub(crate) fn numbered(number: u16) -> Service {
    let node_port = |name, number, protocol, node_port| ServicePort {
        protocol,
        node_port: Some(node_port),
        ..port(name, number)
    };
    let ips = VIP_PREFIXES.map(|prefix| format!("{prefix}{number}"));
    let ips: Vec<&str> = ips.iter().map(String::as_str).collect();
    let ports = [
        node_port("web", 80, Protocol::Tcp, 30_000 + number),
        node_port("dns", 53, Protocol::Udp, 30_000 + number),
    ];
    Service {
        service_type: ServiceType::NodePort,
        ..builders::service(&format!("ns/s{number}"), &ips, &ports)
    }
}

pub(crate) const VIP_PREFIXES: [&str; 2] = ["10.96.0.", "fd00:10:96::"];

pub(crate) fn vip(number: u16, family: usize, port: u16) -> SocketAddr {
    SocketAddr::new(ip(&format!("{}{number}", VIP_PREFIXES[family])), port)
}

pub(crate) fn node_port(number: u16, family: usize) -> SocketAddr {
    SocketAddr::new(ip(NODE[family]), 30_000 + number)
}

/// The slices of a service, one for each family.
pub(crate) fn slices(number: u16, pods: &[Pod]) -> [EndpointSlice; 2] {
    let ports = [
        slice_port("web", TCP_PORT),
        SlicePort {
            protocol: Protocol::Udp,
            ..slice_port("dns", UDP_PORT)
        },
    ];
    [0, 1].map(|family| {
        let endpoints: Vec<SliceEndpoint> = pods
            .iter()
            .map(|(addresses, node)| endpoint(addresses[family], node))
            .collect();
        let service = format!("ns/s{number}");
        let mut made = slice(&format!("{service}-{family}"), &service, &ports, &endpoints);
        made.family = podway_model::IpFamily::ALL[family];
        made
    })
}

/// A site whose node serves.
pub(crate) struct Served {
    pub(crate) site: Site,
    pub(crate) spec: &'static BackendSpec,
    pub(crate) planner: ServicePlanner,
    pub(crate) backend: Box<dyn ServiceBackend>,
    state: ClusterState,
}

impl Served {
    /// Services of [`numbered`] with their pods, in a mode.
    pub(crate) fn new(spec: &'static BackendSpec, services: &[(Service, &[Pod])]) -> Self {
        let context = NodeContext {
            node: "node1".into(),
            pod_prefixes: prefixes(&["10.244.1.0/24", "fd00:10:244:1::/64"]),
            ..NodeContext::default()
        };
        Self::of(spec, context, services)
    }

    /// The same, with a context of the test's own.
    pub(crate) fn of(
        spec: &'static BackendSpec,
        context: NodeContext,
        services: &[(Service, &[Pod])],
    ) -> Self {
        let site = Site::new();
        let mut served = Self {
            backend: open(spec, &site, &context),
            planner: ServicePlanner::new(context),
            state: ClusterState::default(),
            spec,
            site,
        };
        for (service, pods) in services {
            let number: u16 = service.name.name[1..].parse().unwrap();
            let slices = slices(number, pods).map(IntoObject::object);
            for object in [service.clone().object()].into_iter().chain(slices) {
                served.state.apply(Change::Upsert(object));
            }
        }
        served.planner.plan_all(&served.state);
        served.sync_whole();
        served
    }

    pub(crate) fn sync_whole(&mut self) -> SyncReport {
        let mode = self.spec.name;
        let outcome = self.backend.sync(self.planner.table(), None);
        outcome.unwrap_or_else(|error| panic!("{mode}: {error:?}"))
    }

    /// Other pods for a service.
    pub(crate) fn scale(&mut self, number: u16, pods: &[Pod]) -> SyncReport {
        let slices = slices(number, pods).map(IntoObject::object);
        self.apply(slices.map(Change::Upsert))
    }

    /// Any changes.
    pub(crate) fn apply(&mut self, changes: impl IntoIterator<Item = Change>) -> SyncReport {
        let mut updates = Vec::new();
        for change in changes {
            updates.extend(self.state.apply(change));
        }
        let change = self.planner.update(&self.state, &updates);
        let mode = self.spec.name;
        let outcome = self.backend.sync(self.planner.table(), Some(&change));
        outcome.unwrap_or_else(|error| panic!("{mode}: {error:?}"))
    }

    /// The agent ends, and another one takes over.
    pub(crate) fn restart(&mut self) -> SyncReport {
        self.backend = open(self.spec, &self.site, self.planner.context());
        self.sync_whole()
    }
}

fn open(spec: &BackendSpec, site: &Site, context: &NodeContext) -> Box<dyn ServiceBackend> {
    let opened = site.node.run(|| spec.start(settings(context))).unwrap();
    opened.unwrap_or_else(|error| panic!("{}: {error:?}", spec.name))
}
