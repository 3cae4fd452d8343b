//! What `decide` says of the lab, beside what the corpus says.

use std::collections::BTreeMap;
use std::net::IpAddr;

use podway_model::{IpFamily, Protocol};
use podway_plan::policy::{Connection, PolicyPlanner, decide};
use podway_watch::manifest;
use serde_json::{Value, json};

use super::corpus::Step;
use super::matrix::{By, Cell};
use super::pods::container_ports;

/// The addresses of each pod.
pub(crate) type Addresses = BTreeMap<String, Vec<IpAddr>>;

/// What `decide` says of the lab as it is in a step.
pub(crate) struct Oracle<'a> {
    pods: &'a [String],
    planner: PolicyPlanner,
    at: Addresses,
}

impl<'a> Oracle<'a> {
    pub(crate) fn new(step: &'a Step, policies: &[Value], at: Addresses) -> Self {
        let namespaces = step.namespaces.iter().map(|(name, labels)| {
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
        });
        let pods = step.pod_info.iter().map(|pod| {
            let ips: Vec<Value> = at[&pod.full_name()].iter().map(|ip| json!({"ip": ip})).collect();
            json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": pod.name, "namespace": pod.namespace, "labels": pod.labels},
                "spec": {"nodeName": "node1", "containers": [{"name": "server", "image": "podway/toolbox", "ports": container_ports()}]},
                "status": {"phase": "Running", "podIPs": ips},
            })
        });
        let items: Vec<Value> = namespaces
            .chain(pods)
            .chain(policies.iter().cloned())
            .collect();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
        let documents =
            manifest::parse("the step", &list).unwrap_or_else(|error| panic!("{error}"));
        Self {
            pods: &step.pods,
            planner: PolicyPlanner::plan(None, &manifest::load_state(&documents)),
            at,
        }
    }

    /// Every cell of a flow: to each other pod by both addresses, to itself by
    /// its Service only, since the rest never leaves the pod.
    pub(crate) fn table(
        &self,
        place: &str,
        (family, protocol, port): (IpFamily, Protocol, u16),
        corpus: &dyn Fn(usize, usize) -> Option<bool>,
    ) -> Vec<(Cell, bool)> {
        let mut cells = Vec::new();
        for from in 0..self.pods.len() {
            for to in 0..self.pods.len() {
                let decided = self.decides(family, protocol, port, from, to);
                let said = corpus(from, to).filter(|_| from != to);
                assert_eq!(
                    said.unwrap_or(decided),
                    decided,
                    "{place}: decide on {family:?} {protocol}/{port} from {from} to {to}"
                );
                let ways = [By::PodIp, By::ClusterIp]
                    .into_iter()
                    .filter(|by| from != to || *by == By::ClusterIp);
                cells.extend(ways.map(|by| {
                    (
                        Cell {
                            family,
                            by,
                            protocol,
                            port,
                            from,
                            to,
                        },
                        decided,
                    )
                }));
            }
        }
        cells
    }

    fn decides(
        &self,
        family: IpFamily,
        protocol: Protocol,
        port: u16,
        from: usize,
        to: usize,
    ) -> bool {
        let address = |pod: usize| {
            let own = self.at[&self.pods[pod]]
                .iter()
                .find(|ip| IpFamily::of(ip) == family);
            *own.expect("both families")
        };
        let connection = Connection {
            source: address(from),
            destination: address(to),
            protocol,
            port,
            node: None,
            through_service: from == to,
        };
        decide(self.planner.table(), &connection).is_allowed()
    }
}
