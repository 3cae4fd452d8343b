//! What services make of a packet.

use std::slice;

use podway_model::{Service, TrafficPolicy};

use super::{LISTED, Teller, list, named};
use crate::explain::judge::Judged;
use crate::explain::path::Vantage;
use crate::service::{
    Decision, Destination, DropReason, Frontend, FrontendKind, Outcome, Reach, Route, Verdict,
};

impl Teller<'_> {
    /// What the services of a node make of the packet.
    pub(in crate::explain) fn meets_services(
        &mut self,
        vantage: &Vantage,
        decision: &Decision<'_>,
    ) {
        match (&decision.matched, &decision.outcome) {
            (Some((frontend, route)), outcome) => {
                self.matches(vantage, frontend, route);
                self.is_served(vantage, route, outcome);
            }
            (None, Outcome::Reject(_)) => self.misses_port(vantage),
            (None, Outcome::Drop(_)) => {
                let (node, address) = (named(&vantage.node), self.journey.destination.ip());
                self.say(format!(
                    "Cluster IPs are allocated from a prefix that holds {address}, and no \
                     service has it: {node} drops the packet."
                ));
            }
            (None, _) => {
                let node = named(&vantage.node);
                self.say(format!(
                    "No service of {node} takes it: it goes where it was sent."
                ));
            }
        }
    }

    /// The services of the first node let the packet pass, and so do the
    /// source's policies: the next node is the one that it is addressed to.
    pub(in crate::explain) fn goes_on(
        &mut self,
        first: &Vantage,
        leaving: &Judged,
        next: &Vantage,
    ) {
        let node = named(&first.node);
        self.say(format!(
            "No service of {node} takes it: it goes where it was sent."
        ));
        self.leaves(slice::from_ref(leaving));
        let next = named(&next.node);
        self.say(format!(
            "It arrives at {next}, for which it comes from elsewhere."
        ));
    }

    fn matches(&mut self, vantage: &Vantage, frontend: &Frontend, route: &Route) {
        let node = named(&vantage.node);
        let service = &route.service;
        let what = match route.kind {
            FrontendKind::ClusterIp => "the cluster IP",
            FrontendKind::ExternalIp => "an external IP",
            FrontendKind::LoadBalancerIp => "a load balancer IP",
            FrontendKind::NodePort => "the node port",
        };
        self.say(match route.kind {
            FrontendKind::NodePort => {
                let (port, protocol) = (frontend.port, frontend.protocol);
                format!("{port}/{protocol} of {node} is {what} of service {service}.")
            }
            _ => format!("On {node}, {frontend} is {what} of service {service}."),
        });
    }

    fn is_served(&mut self, vantage: &Vantage, route: &Route, outcome: &Outcome<'_>) {
        let node = named(&vantage.node);
        let service = &route.service;
        match outcome {
            Outcome::Forward(endpoints) => {
                self.is_forwarded(vantage, route, endpoints);
                self.changes_source(vantage, endpoints);
            }
            Outcome::Reject(_) => self.say(format!(
                "{service} has no endpoint that is ready, or still serves while it terminates: \
                 {node} refuses the connection."
            )),
            Outcome::Drop(DropReason::NoLocalEndpoints) => {
                let policy = local_policy(route.kind);
                self.say(format!(
                    "{policy} is Local and no endpoint of {service} is on {node}: {node} drops \
                     the packet."
                ));
            }
            Outcome::Drop(DropReason::SourceRange) => {
                let source = self.journey.source;
                let ranges = list(route.allow_from.as_deref().unwrap_or_default());
                self.say(format!(
                    "loadBalancerSourceRanges admits {ranges}, and {source} is not in there: \
                     {node} drops the packet."
                ));
            }
            // Neither comes with a route.
            Outcome::Drop(DropReason::UnallocatedClusterIp) | Outcome::Pass => {}
        }
    }

    fn is_forwarded(&mut self, vantage: &Vantage, route: &Route, endpoints: &[Destination<'_>]) {
        let names: Vec<String> = endpoints.iter().take(LISTED + 1).map(endpoint).collect();
        let chosen = match endpoints.len() {
            1 => format!("its only endpoint for this client, {}", list(&names)),
            count if count > LISTED => {
                let first = names[..LISTED].join(", ");
                format!("one of its {count} endpoints for this client: {first} and so on")
            }
            count => format!(
                "one of its {count} endpoints for this client: {}",
                list(&names)
            ),
        };
        let mut step = format!("{} forwards it to {chosen}.", route.service);
        if let Some(why) = self.why_these(vantage, route) {
            step.push(' ');
            step.push_str(&why);
        }
        self.say(step);
        if let Some(seconds) = self.service(route).and_then(|s| s.affinity_seconds) {
            self.say(format!(
                "Session affinity: the client keeps its endpoint until {seconds} s after its last \
                 new connection."
            ));
        }
    }

    /// Which rule chose the endpoints, where it was not the ordinary one.
    fn why_these(&self, vantage: &Vantage, route: &Route) -> Option<String> {
        let Verdict::Forward { pool, .. } = route.verdict(vantage.source) else {
            return None;
        };
        let node = named(&vantage.node);
        let policy = local_policy(route.kind);
        match pool.reach {
            Reach::Local => Some(format!(
                "{policy} is Local: only endpoints on {node} are asked."
            )),
            Reach::Cluster => {
                let external = route.kind != FrontendKind::ClusterIp
                    && self.service(route)?.external_policy == TrafficPolicy::Local;
                external.then(|| {
                    format!("{policy} is Local, but clients on {node} itself reach every endpoint.")
                })
            }
        }
    }

    fn changes_source(&mut self, vantage: &Vantage, endpoints: &[Destination<'_>]) {
        let node = named(&vantage.node);
        let source = self.journey.source;
        let masqueraded = endpoints.iter().filter(|e| e.masquerade).count();
        if masqueraded == 0 {
            self.say(format!("The source stays {source}."));
            return;
        }
        if masqueraded == endpoints.len() && endpoints.iter().any(|e| e.address.ip() != source) {
            self.say(format!(
                "The source becomes an address of {node} (masquerade), so that replies come back \
                 through it."
            ));
            return;
        }
        let client = self.client();
        self.say(format!(
            "Where {client} is its own endpoint, the source becomes an address of {node}: a reply \
             that did not pass {node} could not be translated back."
        ));
    }

    fn misses_port(&mut self, vantage: &Vantage) {
        let node = named(&vantage.node);
        let address = self.journey.destination.ip();
        let mut services = self.explainer.state.services();
        let owner = services.find(|service| service.cluster_ips.contains(&address));
        let whose = owner.map_or_else(
            || "a service".to_owned(),
            |service| {
                let ports = service.ports.iter();
                let ports: Vec<String> = ports
                    .map(|port| format!("{}/{}", port.port, port.protocol))
                    .collect();
                format!("service {}, whose ports are {}", service.name, list(&ports))
            },
        );
        let (port, protocol) = (self.journey.question.port, self.journey.question.protocol);
        self.say(format!(
            "{address} is the cluster IP of {whose}: {node} refuses a connection to \
             {port}/{protocol}."
        ));
    }

    fn service(&self, route: &Route) -> Option<&Service> {
        let service = self.explainer.state.service(&route.service.service);
        service.map(|service| &**service)
    }
}

fn endpoint(endpoint: &Destination<'_>) -> String {
    match &endpoint.endpoint.pod {
        Some(pod) => format!("{} ({pod})", endpoint.address),
        None => endpoint.address.to_string(),
    }
}

/// The traffic policy that has a say in a kind of frontend.
const fn local_policy(kind: FrontendKind) -> &'static str {
    match kind {
        FrontendKind::ClusterIp => "internalTrafficPolicy",
        FrontendKind::ExternalIp | FrontendKind::LoadBalancerIp | FrontendKind::NodePort => {
            "externalTrafficPolicy"
        }
    }
}
