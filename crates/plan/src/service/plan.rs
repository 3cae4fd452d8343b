//! One Service's routes and pools (kube-proxy.md 1.1 and 1.4).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use podway_model::{
    ClusterState, EndpointSlice, IpFamily, Node, Protocol, Service, ServicePort, ServicePortName,
    ServiceType, SliceEndpoint, SortedMap, SortedSet, TrafficPolicy,
};

use super::context::of_family;
use super::selection::{Candidate, Place, Selection};
use super::{
    Frontend, FrontendAddress, FrontendKind, HealthCheck, Lingering, NodeContext, Pool,
    PoolEndpoint, PoolId, PortId, Reach, Route, Verdict,
};

/// What one Service wants on a node, before other Services' claims on the same
/// frontends are settled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServicePlan {
    /// Its frontends.
    pub routes: SortedMap<Frontend, Arc<Route>>,
    /// Its pools: every one that its routes name, and no other.
    pub pools: SortedMap<PoolId, Arc<Pool>>,
    /// Its cluster IPs, at most one of each family.
    pub cluster_ips: SortedSet<IpAddr>,
    /// Whether the node's zone or addresses were asked for: if not, a change of
    /// them leaves the plan as it is.
    pub depends_on_node: bool,
    /// Its health check node port, and what to answer there.
    pub health_check: Option<(u16, Arc<HealthCheck>)>,
    /// Its endpoints that keep their flows and get no others.
    pub lingering: BTreeMap<PortId, Arc<Lingering>>,
    /// Its ports that a local policy leaves without endpoints on this node.
    pub without_local: BTreeMap<IpFamily, WithoutLocal>,
}

/// Service ports that have endpoints, but none on this node, where a local
/// policy wants them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WithoutLocal {
    /// By `internalTrafficPolicy`.
    pub internal: usize,
    /// By `externalTrafficPolicy`.
    pub external: usize,
}

/// Plans one Service for one node: everything that no other Service has a say
/// in. A headless Service or an ExternalName has nothing; a Service without a
/// cluster IP of a family has nothing in that family, node ports included.
#[must_use]
pub fn plan_service(state: &ClusterState, context: &NodeContext, service: &Service) -> ServicePlan {
    let mut plan = ServicePlan::default();
    if service.service_type == ServiceType::ExternalName {
        return plan;
    }
    let slices: Vec<&EndpointSlice> = state.slices_of(&service.name).map(|s| &**s).collect();
    let node = state.node(&context.node).map(|node| &**node);
    let place = Place {
        node: &context.node,
        zone: node.and_then(Node::zone),
    };
    for family in IpFamily::ALL {
        let Some(cluster_ip) = addresses_of(&service.cluster_ips, family).next() else {
            continue;
        };
        plan.cluster_ips.insert(cluster_ip);
        for port in &service.ports {
            let planner = PortPlanner {
                state,
                context,
                node,
                service,
                port,
                family,
                selection: Selection::of(&slices, port, family, place),
            };
            planner.plan_into(cluster_ip, &mut plan);
        }
    }
    plan.health_check = health_check(state, context, service, &slices, &plan.cluster_ips);
    plan
}

/// A load balancer asks for it only where sending to a node without an endpoint
/// of its own would lose connections.
fn health_check(
    state: &ClusterState,
    context: &NodeContext,
    service: &Service,
    slices: &[&EndpointSlice],
    cluster_ips: &SortedSet<IpAddr>,
) -> Option<(u16, Arc<HealthCheck>)> {
    let port = service.health_check_node_port?;
    let is_asked = service.service_type == ServiceType::LoadBalancer
        && service.external_policy == TrafficPolicy::Local;
    if !is_asked {
        return None;
    }
    let counted = |family| {
        let slices = slices.iter().filter(|slice| slice.family == family);
        let serving: BTreeSet<IpAddr> = slices
            .flat_map(|slice| slice.endpoints.iter().map(|e| (e, slice.weight)))
            .filter(|(e, _)| e.ready && e.node.as_ref() == Some(&context.node))
            .filter(|(e, slice_weight)| weight(state, e, *slice_weight) > 0)
            .map(|(e, _)| e.address)
            .collect();
        (family, serving.len())
    };
    let families = cluster_ips.iter().map(IpFamily::of);
    let check = HealthCheck {
        service: service.name.clone(),
        local_endpoints: families.map(counted).collect(),
    };
    Some((port, Arc::new(check)))
}

/// What the pod says, or else the slice.
fn weight(state: &ClusterState, endpoint: &SliceEndpoint, slice_weight: Option<u8>) -> u8 {
    let pod = endpoint.pod.as_ref().and_then(|name| state.pod(name));
    pod.and_then(|pod| pod.weight)
        .or(slice_weight)
        .unwrap_or(PoolEndpoint::FULL_WEIGHT)
}

/// One port of a Service, in one family.
struct PortPlanner<'a> {
    state: &'a ClusterState,
    context: &'a NodeContext,
    node: Option<&'a Node>,
    service: &'a Service,
    port: &'a ServicePort,
    family: IpFamily,
    selection: Selection<'a>,
}

/// What becomes of a connection, by source.
#[derive(Clone)]
struct Verdicts {
    from_pod: Verdict,
    from_node: Verdict,
    from_outside: Verdict,
}

impl PortPlanner<'_> {
    fn plan_into(&self, cluster_ip: IpAddr, plan: &mut ServicePlan) {
        plan.depends_on_node |= self.selection.has_zone_hints;
        self.add(plan, cluster_ip, FrontendKind::ClusterIp, self.internal());
        // An address in two roles takes the first, which is the stricter.
        for address in self.load_balancer_ips() {
            plan.depends_on_node |= !self.service.source_ranges.is_empty();
            self.add(plan, address, FrontendKind::LoadBalancerIp, self.external());
        }
        for address in addresses_of(&self.service.external_ips, self.family) {
            self.add(plan, address, FrontendKind::ExternalIp, self.external());
        }
        self.note_without_local(plan);
        if let Some(port) = self.node_port() {
            let address = FrontendAddress::Node(self.family);
            let route = self.route(FrontendKind::NodePort, self.external());
            self.add_route(plan, address, port, route);
        }
        self.note_lingering(cluster_ip, plan);
    }

    fn note_lingering(&self, cluster_ip: IpAddr, plan: &mut ServicePlan) {
        let pool = |reach| plan.pools.get(&self.pool_id(reach));
        let pools: Vec<&Arc<Pool>> = [Reach::Cluster, Reach::Local]
            .into_iter()
            .filter_map(pool)
            .collect();
        let lives_on = |candidate: &Candidate<'_>| match self.port.protocol {
            Protocol::Udp => candidate.endpoint.serving,
            Protocol::Tcp | Protocol::Sctp => true,
        };
        let is_in_none = |address: &SocketAddr| {
            let mut pools = pools.iter();
            !pools.any(|pool| pool.endpoints.contains_key(address))
        };
        let all = self.selection.all.iter();
        let endpoints: BTreeSet<SocketAddr> = all
            .filter(|(address, candidate)| lives_on(candidate) && is_in_none(address))
            .map(|(address, _)| *address)
            .collect();
        if endpoints.is_empty() {
            return;
        }
        let id = PortId {
            service: self.name(),
            family: self.family,
        };
        let lingering = Lingering {
            endpoints,
            frontends: self.frontends(cluster_ip),
        };
        plan.lingering.insert(id, Arc::new(lingering));
    }

    /// Every frontend that it wants.
    fn frontends(&self, cluster_ip: IpAddr) -> BTreeSet<Frontend> {
        let frontend = |address, port| Frontend {
            address,
            protocol: self.port.protocol,
            port,
        };
        let external = addresses_of(&self.service.external_ips, self.family);
        let addresses = [cluster_ip]
            .into_iter()
            .chain(self.load_balancer_ips())
            .chain(external)
            .map(|address| frontend(FrontendAddress::Ip(address), self.port.port));
        let node = FrontendAddress::Node(self.family);
        let node_port = self.node_port().map(|port| frontend(node, port));
        addresses.chain(node_port).collect()
    }

    fn pool_id(&self, reach: Reach) -> PoolId {
        PoolId {
            service: self.name(),
            family: self.family,
            reach,
        }
    }

    fn add(&self, plan: &mut ServicePlan, address: IpAddr, kind: FrontendKind, verdicts: Verdicts) {
        let route = self.route(kind, verdicts);
        self.add_route(plan, FrontendAddress::Ip(address), self.port.port, route);
    }

    fn add_route(&self, plan: &mut ServicePlan, address: FrontendAddress, port: u16, route: Route) {
        let frontend = Frontend {
            address,
            protocol: self.port.protocol,
            port,
        };
        if plan.routes.contains_key(&frontend) {
            return;
        }
        for id in route.pools() {
            if !plan.pools.contains_key(id) {
                plan.pools.insert(id.clone(), Arc::new(self.pool(id.reach)));
            }
        }
        plan.routes.insert(frontend, Arc::new(route));
    }

    fn route(&self, kind: FrontendKind, verdicts: Verdicts) -> Route {
        Route {
            service: self.name(),
            kind,
            allow_from: match kind {
                FrontendKind::LoadBalancerIp => self.allow_from(),
                _ => None,
            },
            from_pod: verdicts.from_pod,
            from_node: verdicts.from_node,
            from_outside: verdicts.from_outside,
        }
    }

    fn pool(&self, reach: Reach) -> Pool {
        let chosen = match reach {
            Reach::Cluster => &self.selection.cluster,
            Reach::Local => &self.selection.local,
        };
        let mut endpoints: Vec<(SocketAddr, PoolEndpoint)> = chosen
            .iter()
            .map(|(address, candidate)| (*address, self.endpoint(*candidate)))
            .collect();
        // Draining is for the sake of the others. Where there are no others, an
        // endpoint that drains is better than none, as one that terminates is.
        if endpoints.iter().all(|(_, endpoint)| endpoint.weight == 0) {
            for (_, endpoint) in &mut endpoints {
                endpoint.weight = PoolEndpoint::FULL_WEIGHT;
            }
        }
        Pool {
            endpoints: endpoints.into_iter().collect(),
            affinity: self
                .service
                .affinity_seconds
                .map(|seconds| Duration::from_secs(seconds.into())),
        }
    }

    fn endpoint(&self, candidate: Candidate<'_>) -> PoolEndpoint {
        let Candidate {
            endpoint,
            slice_weight,
        } = candidate;
        PoolEndpoint {
            pod: endpoint.pod.clone(),
            local: endpoint.node.as_ref() == Some(&self.context.node),
            weight: weight(self.state, endpoint, slice_weight),
        }
    }

    fn note_without_local(&self, plan: &mut ServicePlan) {
        if self.selection.cluster.is_empty() || !self.selection.local.is_empty() {
            return;
        }
        let counts = plan.without_local.entry(self.family).or_default();
        if self.service.internal_policy == TrafficPolicy::Local {
            counts.internal += 1;
        }
        if self.service.external_policy == TrafficPolicy::Local && self.is_reached_from_outside() {
            counts.external += 1;
        }
    }

    fn is_reached_from_outside(&self) -> bool {
        let by_type = matches!(
            self.service.service_type,
            ServiceType::NodePort | ServiceType::LoadBalancer
        );
        by_type || !self.service.external_ips.is_empty()
    }

    fn name(&self) -> ServicePortName {
        ServicePortName {
            service: self.service.name.clone(),
            port: self.port.name.clone(),
            protocol: self.port.protocol,
        }
    }

    /// The verdicts for the cluster IP.
    fn internal(&self) -> Verdicts {
        let reach = match self.service.internal_policy {
            TrafficPolicy::Cluster => Reach::Cluster,
            TrafficPolicy::Local => Reach::Local,
        };
        let always = self.context.masquerade_all;
        // Without a detector nobody can be told from a pod of this node.
        let elsewhere = always || self.context.detects(self.family);
        Verdicts {
            from_pod: self.verdict(reach, always),
            from_node: self.verdict(reach, elsewhere),
            from_outside: self.verdict(reach, elsewhere),
        }
    }

    /// The verdicts for everything else: load balancer IPs, external IPs and
    /// node ports. With the local policy, clients on the node itself are
    /// short-circuited to every endpoint: the policy is about keeping the
    /// addresses of clients outside, and they are not.
    fn external(&self) -> Verdicts {
        if self.service.external_policy == TrafficPolicy::Cluster {
            let verdict = self.verdict(Reach::Cluster, true);
            return Verdicts {
                from_pod: verdict.clone(),
                from_node: verdict.clone(),
                from_outside: verdict,
            };
        }
        let pods_reach = match self.context.detects(self.family) {
            true => Reach::Cluster,
            false => Reach::Local,
        };
        Verdicts {
            from_pod: self.verdict(pods_reach, false),
            from_node: self.verdict(Reach::Cluster, true),
            from_outside: self.verdict(Reach::Local, false),
        }
    }

    fn verdict(&self, reach: Reach, masquerade: bool) -> Verdict {
        if self.selection.cluster.is_empty() {
            return Verdict::Reject;
        }
        if reach == Reach::Local && self.selection.local.is_empty() {
            return Verdict::Drop;
        }
        let pool = self.pool_id(reach);
        Verdict::Forward { pool, masquerade }
    }

    fn load_balancer_ips(&self) -> impl Iterator<Item = IpAddr> {
        let balanced = self.service.service_type == ServiceType::LoadBalancer;
        let entries = self.service.load_balancer.iter();
        entries
            .filter(move |entry| balanced && entry.is_vip)
            .map(|entry| entry.address)
            .filter(|address| IpFamily::of(address) == self.family)
    }

    fn node_port(&self) -> Option<u16> {
        match self.service.service_type {
            ServiceType::NodePort | ServiceType::LoadBalancer => self.port.node_port,
            ServiceType::ClusterIp | ServiceType::ExternalName => None,
        }
    }

    /// The source ranges of this family. None of them, or one that holds every
    /// address, restricts nothing: ranges of one family leave the other open.
    fn allow_from(&self) -> Option<Vec<IpNet>> {
        let mut prefixes: BTreeSet<IpNet> = of_family(&self.service.source_ranges, self.family)
            .map(IpNet::trunc)
            .collect();
        if prefixes.is_empty() || prefixes.iter().any(|prefix| prefix.prefix_len() == 0) {
            return None;
        }
        // Where the node may use the address, its own connection may come with
        // the load balancer's address as source, looped back on the node.
        let addresses = self.node.map_or(&[][..], |node| &node.addresses);
        let node_address = addresses_of(addresses, self.family).next();
        if node_address.is_some_and(|address| prefixes.iter().any(|p| p.contains(&address))) {
            prefixes.extend(self.load_balancer_ips().map(IpNet::from));
        }
        Some(prefixes.into_iter().collect())
    }
}

fn addresses_of(addresses: &[IpAddr], family: IpFamily) -> impl Iterator<Item = IpAddr> {
    addresses
        .iter()
        .copied()
        .filter(move |address| IpFamily::of(address) == family)
}
