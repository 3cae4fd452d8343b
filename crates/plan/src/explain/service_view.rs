use std::fmt;
use std::net::SocketAddr;

use podway_model::{ObjectName, Service, ServiceType};
use serde::Serialize;

use super::party::{find_node, find_service, object_name};
use super::{ExplainError, Explainer};
use crate::service::{FrontendKind, PoolEndpoint, Reach, Route, ServicePlanner, Verdict};

/// A Service as one node has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServiceView {
    /// `namespace/name`.
    pub service: String,
    /// The node.
    pub node: String,
    /// What a reader would stumble over: why there is no frontend, say.
    pub notes: Vec<String>,
    /// What clients can address.
    pub frontends: Vec<FrontendView>,
    /// Where that leads.
    pub pools: Vec<PoolView>,
}

/// One frontend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FrontendView {
    /// `10.96.0.10:80/tcp`, or `node:30080/tcp (IPv4)`.
    pub frontend: String,
    /// What it is: `cluster IP`, `node port`, ...
    pub kind: &'static str,
    /// The service port.
    pub port: String,
    /// The sources that it admits; `None` is everybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_from: Option<Vec<String>>,
    /// What becomes of a connection from a pod of the node.
    pub from_pod: String,
    /// From the node itself.
    pub from_node: String,
    /// From anywhere else.
    pub from_outside: String,
}

/// One pool of endpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PoolView {
    /// The service port, the family and the reach: `default/web:http IPv4 local`.
    pub pool: String,
    /// How long a client keeps its endpoint, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity_seconds: Option<u64>,
    /// Its endpoints.
    pub endpoints: Vec<PoolEndpointView>,
}

/// One endpoint of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PoolEndpointView {
    /// Its address and port.
    pub address: SocketAddr,
    /// Its pod.
    pub pod: Option<String>,
    /// Whether it runs on the node.
    pub local: bool,
    /// How many connections it gets, in proportion to the others; left out where
    /// nobody said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u8>,
}

impl Explainer {
    /// A Service, `NAMESPACE/NAME`, as a node has it; without a node, as the
    /// first one does.
    ///
    /// # Errors
    ///
    /// There is no such Service or node.
    pub fn service(&mut self, name: &str, node: Option<&str>) -> Result<ServiceView, ExplainError> {
        let service = find_service(&self.state, &object_name(name)?)?.clone();
        let first = || self.state.nodes().next().map(|node| node.name.clone());
        let node = match node {
            Some(node) => find_node(&self.state, node)?,
            None => first().unwrap_or_else(|| "".into()),
        };
        self.plan_services(&node);
        let planner = self.services.get(&node);
        let (frontends, pools, refused) = planner.map_or_else(Default::default, |planner| {
            (
                frontends(planner, &service.name),
                pools(planner, &service.name),
                refused(planner, &service.name),
            )
        });
        Ok(ServiceView {
            service: service.name.to_string(),
            node: node.to_string(),
            notes: notes(&service)
                .into_iter()
                .map(str::to_owned)
                .chain(refused)
                .collect(),
            frontends,
            pools,
        })
    }
}

fn notes(service: &Service) -> Vec<&'static str> {
    let mut notes = Vec::new();
    if service.service_type == ServiceType::ExternalName {
        notes.push("It is an ExternalName: an alias in DNS, with nothing for a node to serve.");
    } else if service.cluster_ips.is_empty() {
        notes.push("It has no cluster IP: clients connect to the addresses that DNS tells them.");
    }
    if service.load_balancer.iter().any(|entry| !entry.is_vip) {
        notes.push(
            "An address of its load balancer has ipMode Proxy: connections to that one leave the \
             node and pass the load balancer.",
        );
    }
    notes
}

fn refused(planner: &ServicePlanner, service: &ObjectName) -> Vec<String> {
    planner
        .conflicts()
        .filter(|conflict| conflict.refused.service == *service)
        .map(|conflict| {
            let (frontend, holder) = (conflict.frontend, conflict.holder);
            format!("{frontend} is not its own: {holder}, which is older, has it.")
        })
        .collect()
}

fn frontends(planner: &ServicePlanner, service: &ObjectName) -> Vec<FrontendView> {
    let routes = planner.table().routes.iter();
    routes
        .filter(|(_, route)| route.service.service == *service)
        .map(|(frontend, route)| FrontendView {
            frontend: frontend.to_string(),
            kind: kind(route),
            port: route.service.to_string(),
            allow_from: route
                .allow_from
                .as_ref()
                .map(|prefixes| prefixes.iter().map(ToString::to_string).collect()),
            from_pod: verdict(&route.from_pod),
            from_node: verdict(&route.from_node),
            from_outside: verdict(&route.from_outside),
        })
        .collect()
}

fn pools(planner: &ServicePlanner, service: &ObjectName) -> Vec<PoolView> {
    let pools = planner.table().pools.iter();
    pools
        .filter(|(id, _)| id.service.service == *service)
        .map(|(id, pool)| PoolView {
            pool: id.to_string(),
            affinity_seconds: pool.affinity.map(|timeout| timeout.as_secs()),
            endpoints: pool
                .endpoints
                .iter()
                .map(|(address, endpoint)| PoolEndpointView {
                    address: *address,
                    pod: endpoint.pod.as_ref().map(ToString::to_string),
                    local: endpoint.local,
                    weight: Some(endpoint.weight)
                        .filter(|weight| *weight != PoolEndpoint::FULL_WEIGHT),
                })
                .collect(),
        })
        .collect()
}

const fn kind(route: &Route) -> &'static str {
    match route.kind {
        FrontendKind::ClusterIp => "cluster IP",
        FrontendKind::ExternalIp => "external IP",
        FrontendKind::LoadBalancerIp => "load balancer IP",
        FrontendKind::NodePort => "node port",
    }
}

fn verdict(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Reject => "reject: no endpoint".to_owned(),
        Verdict::Drop => "drop: no endpoint on this node".to_owned(),
        Verdict::Forward { pool, masquerade } => {
            let reach = match pool.reach {
                Reach::Cluster => "every endpoint",
                Reach::Local => "endpoints on this node",
            };
            let source = if *masquerade {
                "masqueraded"
            } else {
                "source kept"
            };
            format!("{reach}, {source}")
        }
    }
}

impl fmt::Display for ServiceView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.node.is_empty() {
            true => writeln!(f, "service {}", self.service)?,
            false => writeln!(f, "service {}, as {} has it", self.service, self.node)?,
        }
        for note in &self.notes {
            writeln!(f, "  {note}")?;
        }
        for frontend in &self.frontends {
            let FrontendView {
                frontend,
                kind,
                port,
                allow_from,
                from_pod,
                from_node,
                from_outside,
            } = frontend;
            writeln!(f, "\n{frontend}  {kind} of {port}")?;
            if let Some(prefixes) = allow_from {
                writeln!(
                    f,
                    "  admits           {}; others are dropped",
                    prefixes.join(", ")
                )?;
            }
            writeln!(f, "  from a pod here  {from_pod}")?;
            writeln!(f, "  from this node   {from_node}")?;
            writeln!(f, "  from elsewhere   {from_outside}")?;
        }
        for pool in &self.pools {
            writeln!(f, "\nendpoints of {}", pool.pool)?;
            if let Some(seconds) = pool.affinity_seconds {
                writeln!(f, "  a client keeps its endpoint for {seconds} s")?;
            }
            for endpoint in &pool.endpoints {
                let pod = endpoint.pod.as_deref().unwrap_or("-");
                let here = if endpoint.local { "  on this node" } else { "" };
                write!(f, "  {}  {pod}{here}", endpoint.address)?;
                match endpoint.weight {
                    None => writeln!(f)?,
                    Some(0) => writeln!(f, "  drains: weight 0")?,
                    Some(weight) => writeln!(f, "  weight {weight}")?,
                }
            }
        }
        Ok(())
    }
}
