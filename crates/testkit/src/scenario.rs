//! Service scenarios as text: objects, nodes to judge them from, and flows with
//! what must become of them. One file, any number of judges: `decide`, a tracer
//! over rendered rules, real packets.
//!
//! ```text
//! # comments and empty lines are free
//! node node1 192.168.0.2 2001:db8::2 zone=a
//! service ns1/svc1 ip=172.30.0.41 port=p80:80/tcp@3001 etp=local lb=1.2.3.4 ranges=203.0.113.0/25
//! endpoint ns1/svc1:p80 10.180.0.1:80 node1 [unready] [not-serving] [terminating] [zones=a,b] [nodes=node1] [weight=50]
//! on plain node1 detector=10.0.0.0/8 [masquerade-all] [node-ports=192.168.0.0/24]
//!    [localhost-node-ports] [service-prefixes=172.30.0.0/16]
//! case what it is about
//! flow pod 10.180.0.9 > 172.30.0.41:80 = 10.180.0.1:80
//! flow@plain,other node 192.168.0.2 > 172.30.0.41:80/udp = REJECT
//! ```
//!
//! What stands before the first `case` holds in every case. A flow without
//! `@` is judged from every `on`. The outcome is `PASS`, `REJECT`, `DROP` or
//! endpoints in order; `*` after one says that it is masqueraded, a final `M`
//! that all are. The protocol is TCP where none is written.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use podway_model::{
    ClusterState, IpFamily, LoadBalancerAddress, Node, ObjectName, Pod, Protocol, Service,
    ServicePort, ServiceType, SliceEndpoint, SlicePort, TrafficPolicy,
};
use podway_plan::service::{NodeContext, Outcome, Packet, Source};

use crate::builders::{self, IntoObject, ip, name, prefix, socket};

/// One case of a scenario file.
#[derive(Debug, Clone, Default)]
pub struct Case {
    /// What it is about.
    pub title: String,
    /// The objects.
    pub state: ClusterState,
    /// The nodes to judge from, by label.
    pub contexts: BTreeMap<String, NodeContext>,
    /// The flows.
    pub flows: Vec<Flow>,
}

/// One flow and what must become of it.
#[derive(Debug, Clone)]
pub struct Flow {
    /// Its line, for messages: `file:line: text`.
    pub line: String,
    /// The label of the node that it is judged from.
    pub context: String,
    /// Its first packet.
    pub packet: Packet,
    /// The outcome, as [`outcome`] writes it.
    pub outcome: String,
}

/// Reads a scenario. A mistake panics with its line.
#[must_use]
pub fn parse(file: &str, text: &str) -> Vec<Case> {
    let mut shared = Draft::default();
    let mut cases: Vec<Draft> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let place = format!("{file}:{}: {line}", index + 1);
        if let Some(title) = line.strip_prefix("case ") {
            cases.push(Draft {
                title: title.to_owned(),
                ..shared.clone()
            });
        } else {
            cases.last_mut().unwrap_or(&mut shared).read(line, &place);
        }
    }
    if cases.is_empty() {
        cases.push(shared);
    }
    cases.into_iter().map(Draft::finish).collect()
}

/// Writes an outcome as scenario files do: endpoints with `*` where masqueraded.
#[must_use]
pub fn outcome(outcome: &Outcome<'_>) -> String {
    match outcome {
        Outcome::Pass => "PASS".to_owned(),
        Outcome::Reject(_) => "REJECT".to_owned(),
        Outcome::Drop(_) => "DROP".to_owned(),
        Outcome::Forward(endpoints) => {
            let all = endpoints.iter().all(|e| e.masquerade);
            let mut words: Vec<String> = endpoints
                .iter()
                .map(|e| match e.masquerade && !all {
                    true => format!("{}*", e.address),
                    false => e.address.to_string(),
                })
                .collect();
            if all {
                words.push("M".to_owned());
            }
            words.join(" ")
        }
    }
}

/// A case while it is read.
#[derive(Debug, Clone, Default)]
struct Draft {
    title: String,
    nodes: Vec<Node>,
    services: Vec<Service>,
    pods: Vec<Pod>,
    endpoints: BTreeMap<(ObjectName, SlicePortKey), Vec<SliceEndpoint>>,
    contexts: BTreeMap<String, NodeContext>,
    flows: Vec<Flow>,
}

/// Endpoints that one slice can hold.
type SlicePortKey = (String, Protocol, u16, IpFamily);

impl Draft {
    fn read(&mut self, line: &str, place: &str) {
        let words = Words::of(line, place);
        match words.kind {
            "node" => self.nodes.push(node(&words)),
            "service" => self.services.push(service(&words)),
            "endpoint" => self.endpoint(&words),
            "on" => self.context(&words),
            kind => match kind.strip_prefix("flow") {
                Some(labels) => self.flow(labels, line, place),
                None => panic!("{place}: no such line: `{kind}`"),
            },
        }
    }

    fn endpoint(&mut self, words: &Words<'_>) {
        let (service, port) = words.plain[0]
            .split_once(':')
            .unwrap_or((words.plain[0], ""));
        let (address, protocol) = address(words.plain[1], words.place);
        let node = words.plain.get(2).copied().unwrap_or_default();
        let has = |word: &str| words.plain[2..].contains(&word);
        let key = (
            port.to_owned(),
            protocol,
            address.port(),
            IpFamily::of(&address.ip()),
        );
        let endpoint = SliceEndpoint {
            ready: !has("unready") && !has("terminating"),
            serving: !has("not-serving"),
            terminating: has("terminating"),
            zone_hints: words.list("zones").map(str::to_owned).collect(),
            node_hints: words.list("nodes").map(str::to_owned).collect(),
            pod: words.all("weight").next().map(|weight| {
                let pod_name = format!("weighted/{}", address.ip());
                self.pods.push(Pod {
                    weight: Some(number(weight, words.place)),
                    ..builders::pod(&pod_name, node, &[])
                });
                name(&pod_name)
            }),
            ..builders::endpoint(&address.ip().to_string(), node)
        };
        self.endpoints
            .entry((name(service), key))
            .or_default()
            .push(endpoint);
    }

    fn context(&mut self, words: &Words<'_>) {
        let context = NodeContext {
            node: words.plain[1].into(),
            pod_prefixes: words.list("detector").map(prefix).collect(),
            masquerade_all: words.plain.contains(&"masquerade-all"),
            node_port_prefixes: words.list("node-ports").map(prefix).collect(),
            localhost_node_ports: words.plain.contains(&"localhost-node-ports"),
            service_prefixes: words.list("service-prefixes").map(prefix).collect(),
            ..NodeContext::default()
        };
        self.contexts.insert(words.plain[0].to_owned(), context);
    }

    fn flow(&mut self, labels: &str, line: &str, place: &str) {
        let wrong =
            || -> ! { panic!("{place}: not `flow[@on,..] KIND SOURCE > DESTINATION = OUTCOME`") };
        let Some((head, outcome)) = line.split_once('=') else {
            wrong()
        };
        let words: Vec<&str> = head.split_whitespace().collect();
        let [_, kind, source, ">", destination] = words[..] else {
            wrong()
        };
        let (destination, protocol) = address(destination, place);
        let source_kind = match kind {
            "pod" => Source::Pod,
            "node" => Source::Node,
            "outside" => Source::Outside,
            _ => wrong(),
        };
        let labels: Vec<String> = match labels.strip_prefix('@') {
            Some(labels) => labels.split(',').map(str::to_owned).collect(),
            None => self.contexts.keys().cloned().collect(),
        };
        for label in labels {
            let context = self.contexts.get(&label);
            let context = context.unwrap_or_else(|| panic!("{place}: no `on {label}`"));
            let packet = Packet {
                source: source_kind,
                source_address: ip(source),
                destination,
                protocol,
                to_node_port_address: self.is_of(context, destination.ip()),
            };
            self.flows.push(Flow {
                line: place.to_owned(),
                context: label,
                packet,
                outcome: outcome.split_whitespace().collect::<Vec<_>>().join(" "),
            });
        }
    }

    fn is_of(&self, context: &NodeContext, address: IpAddr) -> bool {
        let node = self.nodes.iter().find(|node| node.name == context.node);
        let is_own = |node: &Node| address.is_loopback() || node.addresses.contains(&address);
        node.is_some_and(is_own) && context.serves_node_ports(address)
    }

    fn finish(self) -> Case {
        let slices = self
            .endpoints
            .iter()
            .enumerate()
            .map(|(index, (key, endpoints))| {
                let (service, (port, protocol, number, _)) = key;
                let port = SlicePort {
                    protocol: *protocol,
                    ..builders::slice_port(port, *number)
                };
                let slice_name = format!("{service}-{index}");
                builders::slice(&slice_name, &service.to_string(), &[port], endpoints).object()
            });
        let nodes = self.nodes.iter().cloned().map(IntoObject::object);
        let services = self.services.iter().cloned().map(IntoObject::object);
        let pods = self.pods.iter().cloned().map(IntoObject::object);
        Case {
            state: builders::state(nodes.chain(services).chain(pods).chain(slices)),
            title: self.title,
            contexts: self.contexts,
            flows: self.flows,
        }
    }
}

/// A line's words: those with `=` by key, the others in order.
struct Words<'a> {
    place: &'a str,
    kind: &'a str,
    plain: Vec<&'a str>,
    keyed: Vec<(&'a str, &'a str)>,
}

impl<'a> Words<'a> {
    fn of(line: &'a str, place: &'a str) -> Self {
        let mut words = line.split_whitespace();
        let kind = words.next().unwrap_or_default();
        let (keyed, plain): (Vec<_>, Vec<_>) = words.partition(|word| word.contains('='));
        Self {
            place,
            kind,
            plain,
            keyed: keyed
                .iter()
                .filter_map(|word| word.split_once('='))
                .collect(),
        }
    }

    fn all(&self, key: &str) -> impl Iterator<Item = &'a str> {
        let keyed = self.keyed.iter().filter(move |(k, _)| *k == key);
        keyed.map(|(_, value)| *value)
    }

    fn list(&self, key: &str) -> impl Iterator<Item = &'a str> {
        self.all(key).flat_map(|value| value.split(','))
    }
}

fn node(words: &Words<'_>) -> Node {
    let prefixes: Vec<&str> = words.list("pods").collect();
    let mut node = builders::node(words.plain[0], &words.plain[1..], &prefixes);
    for zone in words.all("zone") {
        let label = "topology.kubernetes.io/zone".to_owned();
        node.labels.insert(label, zone.to_owned());
    }
    node
}

fn service(words: &Words<'_>) -> Service {
    let cluster_ips: Vec<&str> = words.list("ip").collect();
    let ports: Vec<ServicePort> = words
        .all("port")
        .map(|text| port(text, words.place))
        .collect();
    let vips = |key: &str, is_vip: bool| -> Vec<LoadBalancerAddress> {
        let addresses = words.list(key).map(ip);
        addresses
            .map(|address| LoadBalancerAddress { address, is_vip })
            .collect()
    };
    let load_balancer = [vips("lb", true), vips("lb-proxy", false)].concat();
    let local = |key: &str| match words.all(key).next() {
        Some("local") => TrafficPolicy::Local,
        _ => TrafficPolicy::Cluster,
    };
    let service_type = match words.all("type").next() {
        Some("ExternalName") => ServiceType::ExternalName,
        _ if !load_balancer.is_empty() => ServiceType::LoadBalancer,
        _ if ports.iter().any(|port| port.node_port.is_some()) => ServiceType::NodePort,
        _ => ServiceType::ClusterIp,
    };
    Service {
        service_type,
        load_balancer,
        created: words
            .all("created")
            .next()
            .map_or(0, |n| number(n, words.place)),
        external_ips: words.list("external").map(ip).collect(),
        source_ranges: words.list("ranges").map(prefix).collect(),
        internal_policy: local("itp"),
        external_policy: local("etp"),
        affinity_seconds: words.all("affinity").next().map(|n| number(n, words.place)),
        ..builders::service(words.plain[0], &cluster_ips, &ports)
    }
}

/// `NAME:NUMBER/PROTOCOL[@NODEPORT]`.
fn port(text: &str, place: &str) -> ServicePort {
    let (text, node_port) = match text.split_once('@') {
        Some((text, node_port)) => (text, Some(number(node_port, place))),
        None => (text, None),
    };
    let (text, protocol) = protocol(text, place);
    let (name, number_text) = text.split_once(':').unwrap_or(("", text));
    ServicePort {
        protocol,
        node_port,
        ..builders::port(name, number(number_text, place))
    }
}

/// `ADDRESS:PORT[/PROTOCOL]`.
fn address(text: &str, place: &str) -> (SocketAddr, Protocol) {
    let (text, protocol) = protocol(text, place);
    (socket(text), protocol)
}

fn protocol<'a>(text: &'a str, place: &str) -> (&'a str, Protocol) {
    let Some((rest, name)) = text.rsplit_once('/') else {
        return (text, Protocol::Tcp);
    };
    let protocol = Protocol::parse(name);
    (
        rest,
        protocol.unwrap_or_else(|| panic!("{place}: no protocol `{name}`")),
    )
}

fn number<T: std::str::FromStr>(text: &str, place: &str) -> T {
    text.parse()
        .unwrap_or_else(|_| panic!("{place}: `{text}` is not a number in range"))
}
