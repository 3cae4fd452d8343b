//! Policy scenarios as text: namespaces, pods, policies, and connections with
//! what must become of them. One file, any number of judges: `decide`, a tracer
//! over rendered rules, real packets.
//!
//! ```text
//! # comments and empty lines are free
//! namespace x team=red
//! node node1 172.16.0.11 role=edge
//! pod x/a node1 10.0.1.1,fd00:1::1 app=web port=http:80/tcp [host-network] [finished] [terminating]
//! case what it is about
//! policy x/deny app in (web,db),!test
//! ingress none
//! ingress from pods app=web | namespaces team=red pods * | block 10.0.0.0/8 except 10.1.0.0/16 ports tcp/80 tcp/http udp/1-9 sctp
//! egress any
//! connect x/a > x/b 80 = allow x/deny#0
//! policy x/soon app=web
//! audit
//! ingress none
//! cluster first admin 10 namespaces team=red pods app=web
//! ingress pass from namespaces team=red
//! egress deny to networks 10.0.0.0/8 ::/0 | nodes * ports tcp/80 named/http
//! connect 192.0.2.1 > x/b 80/udp = deny ingress
//! connect node:node1 > x/b 80 through-service = allow
//! ```
//!
//! What stands before the first `case` holds in every case. Selectors are
//! written as kubectl writes them, `*` is the empty one. `ingress none` isolates
//! without a rule; `any` is the rule that has neither peers nor ports. Between
//! two pods, or from a node to a pod, a connection is judged in every family
//! that both have. What follows `allow` are the rules that must be named,
//! `deny` is followed by the sides that deny: `egress`, `ingress` or both, each
//! with the rule of the ClusterNetworkPolicy that does. Behind `audit` is what
//! would become of it if policies in audit mode were enforced; without it, the
//! same.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use podway_model::{
    ClusterNetworkPolicy, ClusterState, ContainerPort, IpFamily, Namespace, NetworkPolicy, Node,
    Operator, Peer, Pod, PolicyPort, PolicyRule, PortMatch, Protocol, Requirement, Selector,
};
use podway_plan::policy::{Connection, Decision, Judgement};

use crate::builders::{self, IntoObject, ip, prefix};

mod cluster;

/// One case of a scenario file.
#[derive(Debug, Clone, Default)]
pub struct PolicyCase {
    /// What it is about.
    pub title: String,
    /// The objects.
    pub state: ClusterState,
    /// The connections.
    pub attempts: Vec<Attempt>,
}

/// One connection and what must become of it.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Its line, for messages: `file:line: text`.
    pub line: String,
    /// The connection.
    pub connection: Connection,
    /// Whether it is allowed.
    pub allowed: bool,
    /// What [`outcome`] must say; one word only where the rest does not matter.
    pub outcome: String,
    /// What it must say if policies in audit mode were enforced.
    pub audited: String,
}

impl Attempt {
    /// Whether a decision is the one expected.
    #[must_use]
    pub fn agrees(&self, decision: &Decision) -> bool {
        is_meant(&self.outcome, decision)
    }

    /// Whether a decision that counts policies in audit mode is.
    #[must_use]
    pub fn agrees_audited(&self, decision: &Decision) -> bool {
        is_meant(&self.audited, decision)
    }
}

fn is_meant(expected: &str, decision: &Decision) -> bool {
    let words = outcome(decision);
    words == expected || words.split(' ').next() == Some(expected)
}

/// Writes a decision as scenario files do. Rules that allow are named egress
/// first.
#[must_use]
pub fn outcome(decision: &Decision) -> String {
    let sides = [("egress", &decision.egress), ("ingress", &decision.ingress)];
    let mut words = vec![
        if decision.is_allowed() {
            "allow"
        } else {
            "deny"
        }
        .to_owned(),
    ];
    for (side, judgement) in sides {
        match judgement {
            Judgement::Denied { .. } => words.push(side.to_owned()),
            Judgement::Refused { policy, rule } => {
                words.push(side.to_owned());
                words.push(format!("{policy}#{rule}"));
            }
            Judgement::Allowed { policy, rule } if decision.is_allowed() => {
                words.push(format!("{policy}#{rule}"));
            }
            Judgement::Open | Judgement::Allowed { .. } => {}
        }
    }
    words.join(" ")
}

/// Reads a scenario. A mistake panics with its line.
#[must_use]
pub fn parse(file: &str, text: &str) -> Vec<PolicyCase> {
    let mut shared = Draft::default();
    let mut cases: Vec<Draft> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
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
    cases.into_iter().map(Draft::finish).collect()
}

/// A selector as kubectl writes it: `a=b,c in (d,e),f notin (g),h,!i`; `*` is
/// the empty one. A mistake panics.
#[must_use]
pub fn selector(text: &str) -> Selector {
    let mut selector = Selector::default();
    for term in terms(text) {
        let (key, operator) = if let Some((key, values)) = term.split_once(" notin ") {
            (key, Operator::NotIn(values_of(values)))
        } else if let Some((key, values)) = term.split_once(" in ") {
            (key, Operator::In(values_of(values)))
        } else if let Some((key, value)) = term.split_once('=') {
            selector.labels.insert(key.to_owned(), value.to_owned());
            continue;
        } else if let Some(key) = term.strip_prefix('!') {
            (key, Operator::DoesNotExist)
        } else {
            (term, Operator::Exists)
        };
        selector.requirements.push(Requirement {
            key: key.to_owned(),
            operator,
        });
    }
    selector
}

/// The terms of a selector: commas in parentheses do not separate.
fn terms(text: &str) -> Vec<&str> {
    let (mut terms, mut depth, mut start) = (Vec::new(), 0, 0);
    for (index, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                terms.push(text[start..index].trim());
                start = index + 1;
            }
            _ => {}
        }
    }
    terms.push(text[start..].trim());
    terms.retain(|term| !term.is_empty() && *term != "*");
    terms
}

fn values_of(text: &str) -> BTreeSet<String> {
    text.trim_matches(['(', ')', ' '])
        .split(',')
        .map(|value| value.trim().to_owned())
        .collect()
}

/// A case while it is read.
#[derive(Debug, Clone, Default)]
struct Draft {
    title: String,
    namespaces: BTreeMap<String, Namespace>,
    nodes: Vec<Node>,
    pods: Vec<Pod>,
    policies: Vec<NetworkPolicy>,
    cluster: Vec<ClusterNetworkPolicy>,
    /// Whether the last policy is one of the cluster's.
    in_cluster: bool,
    attempts: Vec<Attempt>,
}

impl Draft {
    fn read(&mut self, line: &str, place: &str) {
        let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
        match kind {
            "namespace" => self.namespace(rest),
            "node" => self.node(rest),
            "pod" => self.pod(rest, place),
            "policy" => self.policy(rest),
            "cluster" => self.cluster_policy(rest, place),
            "audit" => self.audit(place),
            "ingress" | "egress" if self.in_cluster => self.cluster_rule(kind, rest, place),
            "ingress" | "egress" => self.rule(kind, rest, place),
            "connect" => self.connect(rest, place),
            _ => panic!("{place}: no such line: `{kind}`"),
        }
    }

    fn namespace(&mut self, rest: &str) {
        let mut words = rest.split_whitespace();
        let name = words.next().unwrap_or_default();
        let namespace = self.namespaces.entry(name.to_owned());
        let namespace = namespace.or_insert_with(|| builders::namespace(name));
        namespace.labels.extend(words.filter_map(label));
    }

    fn node(&mut self, rest: &str) {
        let (labels, words): (Vec<&str>, Vec<&str>) =
            rest.split_whitespace().partition(|word| word.contains('='));
        let mut node = builders::node(words[0], &words[1..], &[]);
        node.labels.extend(labels.into_iter().filter_map(label));
        self.nodes.push(node);
    }

    fn pod(&mut self, rest: &str, place: &str) {
        let words: Vec<&str> = rest.split_whitespace().collect();
        let [name, node, addresses, words @ ..] = &words[..] else {
            panic!("{place}: not `pod NAMESPACE/NAME NODE ADDRESSES ...`")
        };
        let addresses: Vec<&str> = addresses.split(',').collect();
        let mut pod = builders::pod(name, node, &addresses);
        for word in words {
            match word.split_once('=') {
                None if *word == "host-network" => pod.host_network = true,
                None if *word == "finished" => pod.finished = true,
                None if *word == "terminating" => pod.terminating = true,
                Some(("port", port)) => pod.ports.push(container_port(port, place)),
                Some(_) => pod.labels.extend(label(word)),
                None => panic!("{place}: no such word: `{word}`"),
            }
        }
        let namespace = pod.name.namespace.to_string();
        self.namespaces
            .entry(namespace.clone())
            .or_insert_with(|| builders::namespace(&namespace));
        self.pods.retain(|other| other.name != pod.name);
        self.pods.push(pod);
    }

    fn policy(&mut self, rest: &str) {
        let (name, subjects) = rest.split_once(' ').unwrap_or((rest, "*"));
        self.in_cluster = false;
        self.policies.push(NetworkPolicy {
            subjects: selector(subjects),
            ..builders::policy(name)
        });
    }

    fn audit(&mut self, place: &str) {
        let audit = if self.in_cluster {
            self.cluster.last_mut().map(|policy| &mut policy.audit)
        } else {
            self.policies.last_mut().map(|policy| &mut policy.audit)
        };
        *audit.unwrap_or_else(|| panic!("{place}: before the first policy")) = true;
    }

    fn rule(&mut self, direction: &str, rest: &str, place: &str) {
        let Some(policy) = self.policies.last_mut() else {
            panic!("{place}: a rule before the first policy")
        };
        let rules = match direction {
            "ingress" => policy.ingress.get_or_insert_default(),
            _ => policy.egress.get_or_insert_default(),
        };
        if rest == "none" {
            return;
        }
        let (peers, ports) = match rest.strip_prefix("ports ") {
            Some(ports) => ("any", ports),
            None => rest.split_once(" ports ").unwrap_or((rest, "")),
        };
        let peers = peers.trim_start_matches("from ").trim_start_matches("to ");
        let peers = peers.split('|').filter(|peer| peer.trim() != "any");
        rules.push(PolicyRule {
            peers: peers.map(|text| peer(text.trim(), place)).collect(),
            ports: ports
                .split_whitespace()
                .map(|text| policy_port(text, place))
                .collect(),
        });
    }

    fn connect(&mut self, rest: &str, place: &str) {
        let wrong = || -> ! {
            panic!("{place}: not `connect FROM > TO PORT[/PROTOCOL] [through-service] = OUTCOME`")
        };
        let Some((head, outcome)) = rest.split_once('=') else {
            wrong()
        };
        let words: Vec<&str> = head.split_whitespace().collect();
        let [from, ">", to, port, flags @ ..] = &words[..] else {
            wrong()
        };
        let (port, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
        let outcome = outcome.split_whitespace().collect::<Vec<_>>().join(" ");
        let (outcome, audited) = match outcome.split_once(" audit ") {
            Some((outcome, audited)) => (outcome.to_owned(), audited.to_owned()),
            None => (outcome.clone(), outcome),
        };
        let before = self.attempts.len();
        for family in IpFamily::ALL {
            let addresses = (self.address(from, family), self.address(to, family));
            let (Some(source), Some(destination)) = addresses else {
                continue;
            };
            self.attempts.push(Attempt {
                line: place.to_owned(),
                connection: Connection {
                    source,
                    destination,
                    protocol: protocol_of(protocol, place),
                    port: port.parse().unwrap_or_else(|_| wrong()),
                    node: from.strip_prefix("node:").map(Into::into),
                    through_service: flags.contains(&"through-service"),
                },
                allowed: outcome.starts_with("allow"),
                outcome: outcome.clone(),
                audited: audited.clone(),
            });
        }
        assert!(self.attempts.len() > before, "{place}: no family in common");
    }

    /// The address of `namespace/pod`, `node:name` or an address, in a family.
    fn address(&self, text: &str, family: IpFamily) -> Option<IpAddr> {
        let addresses = if let Some(name) = text.strip_prefix("node:") {
            let node = self.nodes.iter().find(|node| &*node.name == name);
            node.unwrap_or_else(|| panic!("no node {name}"))
                .addresses
                .clone()
        } else if text.contains('/') {
            let name = builders::name(text);
            let pod = self.pods.iter().find(|pod| pod.name == name);
            pod.unwrap_or_else(|| panic!("no pod {name}"))
                .addresses
                .clone()
        } else {
            vec![ip(text)]
        };
        addresses.into_iter().find(|a| IpFamily::of(a) == family)
    }

    fn finish(self) -> PolicyCase {
        let namespaces = self.namespaces.into_values().map(IntoObject::object);
        let nodes = self.nodes.into_iter().map(IntoObject::object);
        let pods = self.pods.into_iter().map(IntoObject::object);
        let policies = self.policies.into_iter().map(IntoObject::object);
        let cluster = self.cluster.into_iter().map(IntoObject::object);
        let policies = policies.chain(cluster);
        PolicyCase {
            title: self.title,
            state: builders::state(namespaces.chain(nodes).chain(pods).chain(policies)),
            attempts: self.attempts,
        }
    }
}

fn label(word: &str) -> Option<(String, String)> {
    let (key, value) = word.split_once('=')?;
    Some((key.to_owned(), value.to_owned()))
}

/// `pods S`, `namespaces S`, `namespaces S pods S`, `block P except P P` or
/// `invalid`.
fn peer(text: &str, place: &str) -> Peer {
    if text == "invalid" {
        return Peer::Invalid("a test says so".to_owned());
    }
    if let Some(rest) = text.strip_prefix("block ") {
        let (block, except) = rest.split_once(" except ").unwrap_or((rest, ""));
        return Peer::Block {
            prefix: prefix(block.trim()),
            except: except.split_whitespace().map(prefix).collect(),
        };
    }
    if let Some(rest) = text.strip_prefix("pods ") {
        return Peer::Pods {
            namespaces: None,
            pods: Some(selector(rest)),
        };
    }
    let Some(rest) = text.strip_prefix("namespaces ") else {
        panic!("{place}: not a peer: `{text}`")
    };
    let (namespaces, pods) = match rest.split_once(" pods ") {
        Some((namespaces, pods)) => (namespaces, Some(selector(pods))),
        None => (rest, None),
    };
    Peer::Pods {
        namespaces: Some(selector(namespaces)),
        pods,
    }
}

/// `tcp`, `tcp/80`, `tcp/80-90` or `tcp/http`.
fn policy_port(text: &str, place: &str) -> PolicyPort {
    let (protocol, port) = text.split_once('/').unwrap_or((text, ""));
    let number = |text: &str| text.parse::<u16>().ok();
    let range = port.split_once('-').unwrap_or((port, port));
    PolicyPort {
        protocol: protocol_of(protocol, place),
        port: match (number(range.0), number(range.1)) {
            (Some(first), Some(last)) => PortMatch::Range(first, last),
            _ if port.is_empty() => PortMatch::Any,
            _ => PortMatch::Name(port.to_owned()),
        },
    }
}

/// `name:80/tcp`.
fn container_port(text: &str, place: &str) -> ContainerPort {
    let parts = text
        .split_once(':')
        .and_then(|(name, rest)| Some((name, rest.split_once('/')?)));
    let Some((name, (port, protocol))) = parts else {
        panic!("{place}: not NAME:NUMBER/PROTOCOL: `{text}`")
    };
    ContainerPort {
        name: name.to_owned(),
        protocol: protocol_of(protocol, place),
        port: port
            .parse()
            .unwrap_or_else(|_| panic!("{place}: not a port: `{port}`")),
    }
}

fn protocol_of(name: &str, place: &str) -> Protocol {
    Protocol::parse(name).unwrap_or_else(|| panic!("{place}: no protocol `{name}`"))
}
