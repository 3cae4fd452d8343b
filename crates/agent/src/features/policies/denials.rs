//! What policies deny, in the words of people: pods instead of addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use podway_dataplane::policy::{Denial, DenialReason, DeniedPackets};
use podway_model::{ClusterState, ObjectName, Protocol};
use podway_plan::policy::{Direction, PolicyTable, RuleSet};

use crate::status::{PodDenials, PoliciesStatus};

/// The packets that were denied to each pod in each direction, the most first,
/// at most as many as a status lists; and how many there are in all. With
/// `is_audit`, those that policies in audit mode would deny.
pub(super) fn of_pods(
    table: &PolicyTable,
    denied: &[DeniedPackets],
    is_audit: bool,
) -> (u64, Vec<PodDenials>) {
    let mut by_pod: BTreeMap<(&ObjectName, Direction), u64> = BTreeMap::new();
    let counted = denied.iter().filter(|one| one.is_audit == is_audit);
    for one in counted.filter(|one| one.packets > 0) {
        // A pod that went since the kernel was read is nobody's business.
        if let Some(pod) = table.pod_at.get(&one.address) {
            *by_pod.entry((pod, one.direction)).or_default() += one.packets;
        }
    }
    let total = by_pod.values().sum();
    let mut listed: Vec<PodDenials> = by_pod
        .into_iter()
        .map(|((pod, direction), packets)| PodDenials {
            pod: pod.to_string(),
            direction: direction.to_string(),
            packets,
            policies: responsible(table, pod, direction, is_audit),
        })
        .collect();
    listed.sort_by_key(|one| std::cmp::Reverse(one.packets));
    listed.truncate(PoliciesStatus::MOST_DENIALS);
    (total, listed)
}

/// The policies that have a say, or of those only the ones in audit mode.
fn responsible(
    table: &PolicyTable,
    pod: &ObjectName,
    direction: Direction,
    is_audit: bool,
) -> Vec<String> {
    let Some(rules) = table.pods.get(pod) else {
        return Vec::new();
    };
    let policies = |set: Option<&Arc<RuleSet>>| -> BTreeSet<ObjectName> {
        let names = set.map(|set| set.policies()).unwrap_or_default();
        names.into_iter().cloned().collect()
    };
    let enforced = policies(rules.enforced.get(direction));
    let responsible = if is_audit {
        &policies(rules.audited.get(direction)) - &enforced
    } else {
        enforced
    };
    responsible.iter().map(ToString::to_string).collect()
}

/// Writes a line for a packet.
pub(super) fn log(state: &ClusterState, table: &PolicyTable, denial: &Denial) {
    let name = |address| name_of(state, table, address);
    let (from, to) = (name(denial.source), name(denial.destination));
    let protocol = protocol_name(denial.protocol);
    let port = denial.port;
    match denial.reason {
        DenialReason::Forged => {
            tracing::info!(
                from,
                to,
                protocol,
                port,
                "denied: the source is not the pod's"
            );
        }
        DenialReason::Policies(direction) | DenialReason::Audit(direction) => {
            let is_audit = matches!(denial.reason, DenialReason::Audit(_));
            let subject = match direction {
                Direction::Ingress => denial.destination,
                Direction::Egress => denial.source,
            };
            let pod = table.pod_at.get(&subject);
            let policies = pod.map(|pod| responsible(table, pod, direction, is_audit).join(","));
            let direction = direction.to_string();
            let message = if is_audit {
                "policies in audit mode would deny"
            } else {
                "denied by policies"
            };
            tracing::info!(from, to, protocol, port, direction, policies, "{message}");
        }
    }
}

/// A pod by its name, a node as `node:NAME`, anybody else by address.
fn name_of(state: &ClusterState, table: &PolicyTable, address: IpAddr) -> String {
    let isolated = table.pod_at.get(&address);
    if let Some(pod) = isolated.or_else(|| state.pod_at(address).map(|pod| &pod.name)) {
        return pod.to_string();
    }
    match state.node_at(address) {
        Some(node) => format!("node:{}", node.name),
        None => address.to_string(),
    }
}

fn protocol_name(number: u8) -> String {
    const ICMP: u8 = 1;
    const ICMP6: u8 = 58;
    match (Protocol::from_number(number), number) {
        (Some(protocol), _) => protocol.to_string(),
        (None, ICMP) => "icmp".to_owned(),
        (None, ICMP6) => "icmpv6".to_owned(),
        (None, other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use podway_plan::policy::PolicyPlanner;
    use podway_testkit::builders::ip;
    use podway_testkit::policy_scenario::parse;

    use super::*;

    const SCENARIO: &str = "node node1 172.16.0.11
pod x/a node1 10.0.1.1,fd00::1 app=a
pod x/b node1 10.0.1.2 app=b
pod x/c node1 10.0.1.3 app=c
case one
policy x/deny *
ingress none
policy x/a app=a
ingress none
egress none
";

    #[test]
    fn pods_are_listed_with_what_isolates_them() {
        let state = parse("inline", SCENARIO).remove(0).state;
        let planner = PolicyPlanner::plan(None, &state);
        let denied = |address, direction, packets| DeniedPackets {
            address: ip(address),
            direction,
            is_audit: false,
            packets,
        };
        let counts = [
            denied("10.0.1.1", Direction::Ingress, 2),
            denied("fd00::1", Direction::Ingress, 3),
            denied("10.0.1.1", Direction::Egress, 1),
            denied("10.0.1.2", Direction::Ingress, 7),
            denied("10.0.1.3", Direction::Ingress, 0),
            denied("10.0.1.9", Direction::Ingress, 100),
        ];
        let (total, listed) = of_pods(planner.table(), &counts, false);
        assert_eq!(total, 13);
        let shown: Vec<String> = listed
            .iter()
            .map(|one| {
                format!(
                    "{} {} {} {:?}",
                    one.pod, one.direction, one.packets, one.policies
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                "x/b ingress 7 [\"x/deny\"]",
                "x/a ingress 5 [\"x/a\", \"x/deny\"]",
                "x/a egress 1 [\"x/a\"]",
            ]
        );
    }

    #[test]
    fn what_would_be_denied_is_listed_with_who_would() {
        let text = "pod x/a node1 10.0.1.1 app=a\ncase one\n\
            policy x/now *\ningress none\n\
            policy x/soon app=a\naudit\ningress none\negress none\n\
            cluster late admin 1 namespaces *\naudit\negress deny to namespaces *\n";
        let state = parse("inline", text).remove(0).state;
        let planner = PolicyPlanner::plan(None, &state);
        let audited = |direction, is_audit| DeniedPackets {
            address: ip("10.0.1.1"),
            direction,
            is_audit,
            packets: 2,
        };
        let counts = [
            audited(Direction::Egress, true),
            audited(Direction::Ingress, false),
        ];
        let policies = |is_audit| {
            let (total, listed) = of_pods(planner.table(), &counts, is_audit);
            (
                total,
                listed[0].direction.clone(),
                listed[0].policies.join(","),
            )
        };
        assert_eq!(policies(true), (2, "egress".into(), "late,x/soon".into()));
        assert_eq!(policies(false), (2, "ingress".into(), "x/now".into()));
    }

    #[test]
    fn addresses_have_names() {
        let state = parse("inline", SCENARIO).remove(0).state;
        let planner = PolicyPlanner::plan(None, &state);
        let cases = [
            ("10.0.1.2", "x/b"),
            ("172.16.0.11", "node:node1"),
            ("192.0.2.1", "192.0.2.1"),
        ];
        for (address, expected) in cases {
            assert_eq!(name_of(&state, planner.table(), ip(address)), expected);
        }
        assert_eq!([1, 6, 99].map(protocol_name), ["icmp", "tcp", "99"]);
    }
}
