//! ClusterNetworkPolicy: a custom resource, whose types are not among those of
//! the Kubernetes API.

pub mod api;

use std::sync::Arc;

use ipnet::IpNet;
use podway_model::{
    ClusterNetworkPolicy, ClusterPeer, ClusterPort, ClusterRule, NamespacedPods, Object, ObjectRef,
    PolicyPort, PortMatch, Protocol, RuleAction, Selector, Tier,
};

use super::address::parse_prefix;
use super::selector::{read_selector, understood};
use super::{Faults, Readable, Reading, cluster_name_of, generation_of, is_audit, revision_of};

impl Readable for api::ClusterNetworkPolicy {
    fn reference(&self) -> ObjectRef {
        ObjectRef::ClusterNetworkPolicy(cluster_name_of(&self.metadata))
    }

    /// Leaves a policy out whose tier or subject cannot be understood: there is
    /// nothing that it could be held to mean. A rule that cannot be understood
    /// stays, and opens nothing.
    fn read(&self) -> Reading {
        let mut faults = Faults::of(self.reference());
        let policy = read_policy(self, &mut faults);
        let object = policy.map(|policy| Object::ClusterNetworkPolicy(Arc::new(policy)));
        faults.reading(object)
    }
}

fn read_policy(
    raw: &api::ClusterNetworkPolicy,
    faults: &mut Faults,
) -> Option<ClusterNetworkPolicy> {
    let spec = &raw.spec;
    let tier = match spec.tier.as_str() {
        "Admin" => Some(Tier::Admin),
        "Baseline" => Some(Tier::Baseline),
        other => {
            let reason = format!("{other:?} is not a tier: expected Admin or Baseline");
            faults.add("spec.tier", reason);
            None
        }
    };
    let subject = read_pods(
        "spec.subject",
        spec.subject.namespaces.as_ref(),
        spec.subject.pods.as_ref(),
        faults,
    );
    if subject.is_none() {
        faults.add("spec.subject", "expected one of namespaces and pods");
    }
    let (subject, is_whole) = subject.map(understood_pods)?;
    let audit = is_audit(&raw.metadata, faults);
    let ingress = spec.ingress.iter().flatten().enumerate();
    let egress = spec.egress.iter().flatten().enumerate();
    // For pods that it may not mean, a policy denies what it denies, and no more.
    let is_kept = |rule: &ClusterRule| is_whole || rule.action == RuleAction::Deny;
    Some(ClusterNetworkPolicy {
        name: cluster_name_of(&raw.metadata),
        revision: revision_of(&raw.metadata),
        generation: generation_of(&raw.metadata),
        audit,
        tier: tier?,
        priority: read_priority(spec.priority, faults),
        subject,
        ingress: ingress
            .map(|(i, rule)| {
                let field = format!("spec.ingress[{i}]");
                read_rule(&field, "from", rule, &rule.from, faults)
            })
            .filter(is_kept)
            .collect(),
        egress: egress
            .map(|(i, rule)| {
                let field = format!("spec.egress[{i}]");
                read_rule(&field, "to", rule, &rule.to, faults)
            })
            .filter(is_kept)
            .collect(),
    })
}

/// One that is out of range comes first or last.
fn read_priority(priority: i32, faults: &mut Faults) -> u16 {
    const LAST: i32 = 1000;
    if !(0..=LAST).contains(&priority) {
        let reason = format!("{priority} is not a priority: expected 0-{LAST}");
        faults.add("spec.priority", reason);
    }
    u16::try_from(priority.clamp(0, LAST)).unwrap_or(0)
}

fn read_pods(
    field: &str,
    namespaces: Option<&api::LabelSelector>,
    pods: Option<&api::NamespacedPod>,
    faults: &mut Faults,
) -> Option<NamespacedPods> {
    match (namespaces, pods) {
        (Some(namespaces), None) => Some(NamespacedPods {
            namespaces: read_selector(&format!("{field}.namespaces"), namespaces, faults),
            pods: Selector::default(),
        }),
        (None, Some(pods)) => {
            let namespaces = format!("{field}.pods.namespaceSelector");
            Some(NamespacedPods {
                namespaces: read_selector(&namespaces, &pods.namespace_selector, faults),
                pods: read_selector(
                    &format!("{field}.pods.podSelector"),
                    &pods.pod_selector,
                    faults,
                ),
            })
        }
        (None, None) | (Some(_), Some(_)) => None,
    }
}

/// See [`understood`].
fn understood_pods(pods: NamespacedPods) -> (NamespacedPods, bool) {
    let (namespaces, whole_namespaces) = understood(pods.namespaces);
    let (pods, whole_pods) = understood(pods.pods);
    (
        NamespacedPods { namespaces, pods },
        whole_namespaces && whole_pods,
    )
}

fn read_rule(
    field: &str,
    side: &str,
    raw: &api::Rule,
    peers: &Option<Vec<api::Peer>>,
    faults: &mut Faults,
) -> ClusterRule {
    let listed = peers.iter().flatten().enumerate();
    let mut peers: Vec<ClusterPeer> = listed
        .map(|(i, peer)| read_peer(&format!("{field}.{side}[{i}]"), peer, faults))
        .collect();
    if peers.is_empty() {
        let reason = "expected at least one peer".to_owned();
        faults.add(format!("{field}.{side}"), &reason);
        peers.push(ClusterPeer::Unknown(reason));
    }
    let action = match raw.action.as_str() {
        "Accept" => RuleAction::Accept,
        "Deny" => RuleAction::Deny,
        "Pass" => RuleAction::Pass,
        other => {
            let reason = format!("{other:?} is not an action: expected Accept, Deny or Pass");
            faults.add(format!("{field}.action"), &reason);
            peers.push(ClusterPeer::Unknown(reason));
            RuleAction::Deny
        }
    };
    let ports = raw.protocols.as_ref().map(|protocols| {
        let listed = protocols.iter().enumerate();
        listed
            .map(|(i, port)| read_port(&format!("{field}.protocols[{i}]"), port, faults))
            .collect()
    });
    ClusterRule {
        name: raw.name.clone().unwrap_or_default(),
        action,
        peers,
        ports,
    }
}

fn read_peer(field: &str, raw: &api::Peer, faults: &mut Faults) -> ClusterPeer {
    let pods = raw.namespaces.is_some() || raw.pods.is_some();
    let set = [
        pods,
        raw.nodes.is_some(),
        raw.networks.is_some(),
        raw.domain_names.is_some(),
    ];
    let peer = match (set.into_iter().filter(|is| *is).count(), raw) {
        (1, _) if pods => {
            let pods = read_pods(field, raw.namespaces.as_ref(), raw.pods.as_ref(), faults);
            let pods = pods.map(|pods| (understood_pods(pods.clone()).1, pods));
            match pods {
                Some((true, pods)) => Ok(ClusterPeer::Pods(pods)),
                // Its own fault is noted.
                Some((false, _)) => return ClusterPeer::Unknown("a selector".to_owned()),
                None => Err("namespaces stands alone: no pods beside it".to_owned()),
            }
        }
        (1, api::Peer { nodes: Some(n), .. }) => {
            let nodes = read_selector(&format!("{field}.nodes"), n, faults);
            match understood(nodes) {
                (nodes, true) => Ok(ClusterPeer::Nodes(nodes)),
                (_, false) => return ClusterPeer::Unknown("a selector".to_owned()),
            }
        }
        (
            1,
            api::Peer {
                networks: Some(networks),
                ..
            },
        ) => read_networks(networks).map(ClusterPeer::Networks),
        (1, _) => Err("domainNames are not offered: no rule can be held to them".to_owned()),
        _ => Err("expected one of namespaces, pods, nodes and networks".to_owned()),
    };
    peer.unwrap_or_else(|reason| {
        faults.add(field, &reason);
        ClusterPeer::Unknown(reason)
    })
}

fn read_networks(networks: &[String]) -> Result<Vec<IpNet>, String> {
    let prefixes = networks.iter().map(|text| parse_prefix(text));
    prefixes
        .collect::<Result<_, _>>()
        .map_err(|reason| format!("networks: {reason}"))
}

fn read_port(field: &str, raw: &api::RuleProtocol, faults: &mut Faults) -> ClusterPort {
    let numbered = [
        (Protocol::Tcp, &raw.tcp),
        (Protocol::Udp, &raw.udp),
        (Protocol::Sctp, &raw.sctp),
    ];
    let mut set = numbered
        .into_iter()
        .filter_map(|(protocol, ports)| Some((protocol, ports.as_ref()?)));
    let port = match (set.next(), set.next(), &raw.destination_named_port) {
        (Some((protocol, ports)), None, None) => {
            let field = format!("{field}.{protocol}.destinationPort");
            read_destination(ports.destination_port.as_ref(), &field, faults)
                .map(|port| ClusterPort::Port(PolicyPort { protocol, port }))
        }
        (None, None, Some(name)) => Ok(ClusterPort::Named(name.clone())),
        _ => Err("expected one of tcp, udp, sctp and destinationNamedPort".to_owned()),
    };
    port.unwrap_or_else(|reason| {
        faults.add(field, &reason);
        ClusterPort::Unknown(reason)
    })
}

fn read_destination(
    raw: Option<&api::DestinationPort>,
    field: &str,
    faults: &mut Faults,
) -> Result<PortMatch, String> {
    let Some(raw) = raw else {
        return Ok(PortMatch::Any);
    };
    let (first, last) = match (raw.number, &raw.range) {
        (Some(number), None) => (number, number),
        (None, Some(range)) => (range.start, range.end),
        _ => return Err("destinationPort: expected one of number and range".to_owned()),
    };
    let ports = (faults.port(field, first), faults.port(field, last));
    match ports {
        (Some(first), Some(last)) if first <= last => Ok(PortMatch::Range(first, last)),
        _ => Err(format!("destinationPort: {first}-{last} is no range")),
    }
}
