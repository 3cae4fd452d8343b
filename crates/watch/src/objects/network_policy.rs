use std::sync::Arc;

use ipnet::IpNet;
use k8s_openapi::api::networking::v1 as api;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use podway_model::{NetworkPolicy, Object, ObjectRef, Peer, PolicyPort, PolicyRule, PortMatch};

use super::address::parse_prefix;
use super::selector::{read_selector, understood};
use super::{Faults, Readable, Reading, generation_of, is_audit, name_of, revision_of};

impl Readable for api::NetworkPolicy {
    fn reference(&self) -> ObjectRef {
        ObjectRef::NetworkPolicy(name_of(&self.metadata))
    }

    /// Never leaves a policy out: a rule or a peer that cannot be understood
    /// matches nothing, so that the pods it selects stay isolated. One whose
    /// `podSelector` cannot be understood isolates every pod that it may mean, and
    /// allows nothing.
    fn read(&self) -> Reading {
        let mut faults = Faults::of(self.reference());
        let policy = read_policy(self, &mut faults);
        faults.reading(Some(Object::NetworkPolicy(Arc::new(policy))))
    }
}

fn read_policy(raw: &api::NetworkPolicy, faults: &mut Faults) -> NetworkPolicy {
    let default = api::NetworkPolicySpec::default();
    let spec = raw.spec.as_ref().unwrap_or(&default);
    let (isolates_ingress, isolates_egress) = directions(spec, faults);
    let subjects = spec.pod_selector.as_ref();
    let subjects = subjects.map(|selector| read_selector("spec.podSelector", selector, faults));
    let (subjects, is_whole) = understood(subjects.unwrap_or_default());
    let ingress = isolates_ingress.then(|| {
        let rules = spec.ingress.iter().flatten().filter(|_| is_whole);
        rules
            .enumerate()
            .map(|(i, rule)| {
                let field = format!("spec.ingress[{i}]");
                read_rule(
                    &field,
                    "from",
                    rule.from.as_ref(),
                    rule.ports.as_ref(),
                    faults,
                )
            })
            .collect()
    });
    let egress = isolates_egress.then(|| {
        let rules = spec.egress.iter().flatten().filter(|_| is_whole);
        rules
            .enumerate()
            .map(|(i, rule)| {
                let field = format!("spec.egress[{i}]");
                read_rule(&field, "to", rule.to.as_ref(), rule.ports.as_ref(), faults)
            })
            .collect()
    });
    NetworkPolicy {
        name: name_of(&raw.metadata),
        revision: revision_of(&raw.metadata),
        generation: generation_of(&raw.metadata),
        audit: is_audit(&raw.metadata, faults),
        subjects,
        ingress,
        egress,
    }
}

/// Whether ingress and egress are isolated. An explicit list is taken at its
/// word; without one, the API server's default (`SetDefaults_NetworkPolicy`).
fn directions(spec: &api::NetworkPolicySpec, faults: &mut Faults) -> (bool, bool) {
    let listed = spec.policy_types.as_deref().unwrap_or_default();
    if listed.is_empty() {
        return (true, spec.egress.as_ref().is_some_and(|r| !r.is_empty()));
    }
    for (i, name) in listed.iter().enumerate() {
        if name != "Ingress" && name != "Egress" {
            faults.add(
                format!("spec.policyTypes[{i}]"),
                format!("{name:?} is not a direction: expected Ingress or Egress"),
            );
        }
    }
    let lists = |direction: &str| listed.iter().any(|name| name == direction);
    (lists("Ingress"), lists("Egress"))
}

fn read_rule(
    field: &str,
    side: &str,
    peers: Option<&Vec<api::NetworkPolicyPeer>>,
    ports: Option<&Vec<api::NetworkPolicyPort>>,
    faults: &mut Faults,
) -> PolicyRule {
    let peers = peers.into_iter().flatten().enumerate();
    let mut rule = PolicyRule {
        peers: peers
            .map(|(i, peer)| read_peer(&format!("{field}.{side}[{i}]"), peer, faults))
            .collect(),
        ports: Vec::new(),
    };
    let listed = ports.map(Vec::as_slice).unwrap_or_default();
    for (i, port) in listed.iter().enumerate() {
        rule.ports
            .extend(read_port(&format!("{field}.ports[{i}]"), port, faults));
    }
    if rule.ports.is_empty() && !listed.is_empty() {
        // Without ports the rule would mean "every port".
        rule.peers = vec![Peer::Invalid(
            "none of the rule's ports is valid".to_owned(),
        )];
    }
    rule
}

fn read_peer(field: &str, raw: &api::NetworkPolicyPeer, faults: &mut Faults) -> Peer {
    let peer = match (&raw.ip_block, &raw.namespace_selector, &raw.pod_selector) {
        (Some(block), None, None) => read_block(block),
        (Some(_), _, _) => Err("ipBlock stands alone: no selector beside it".to_owned()),
        (None, None, None) => {
            Err("empty peer: expected ipBlock, podSelector or namespaceSelector".to_owned())
        }
        (None, namespaces, pods) => Ok(Peer::Pods {
            namespaces: namespaces.as_ref().map(|selector| {
                read_selector(&format!("{field}.namespaceSelector"), selector, faults)
            }),
            pods: pods
                .as_ref()
                .map(|selector| read_selector(&format!("{field}.podSelector"), selector, faults)),
        }),
    };
    peer.unwrap_or_else(|reason| {
        faults.add(field, &reason);
        Peer::Invalid(reason)
    })
}

fn read_block(raw: &api::IPBlock) -> Result<Peer, String> {
    let prefix = parse_prefix(&raw.cidr).map_err(|reason| format!("ipBlock.cidr: {reason}"))?;
    let except: Vec<IpNet> = raw
        .except
        .iter()
        .flatten()
        .map(|text| parse_prefix(text))
        .collect::<Result<_, _>>()
        .map_err(|reason| format!("ipBlock.except: {reason}"))?;
    Ok(Peer::Block { prefix, except })
}

fn read_port(field: &str, raw: &api::NetworkPolicyPort, faults: &mut Faults) -> Option<PolicyPort> {
    let protocol = faults.protocol(&format!("{field}.protocol"), raw.protocol.as_deref());
    let port = match (&raw.port, raw.end_port) {
        (None, None) => Some(PortMatch::Any),
        (Some(IntOrString::String(name)), None) => Some(PortMatch::Name(name.clone())),
        (Some(IntOrString::Int(first)), end) => {
            let first = faults.port(&format!("{field}.port"), *first);
            let last = end.map_or(first, |end| faults.port(&format!("{field}.endPort"), end));
            read_range(field, first?, last?, faults)
        }
        (None | Some(IntOrString::String(_)), Some(_)) => {
            faults.add(format!("{field}.endPort"), "needs a port that is a number");
            None
        }
    };
    Some(PolicyPort {
        protocol: protocol?,
        port: port?,
    })
}

fn read_range(field: &str, first: u16, last: u16, faults: &mut Faults) -> Option<PortMatch> {
    if last < first {
        faults.add(
            format!("{field}.endPort"),
            format!("{last} is below port {first}"),
        );
        return None;
    }
    Some(PortMatch::Range(first, last))
}
