//! The rules decide as the table does: every flow that `plan` decides, traced
//! through what is rendered.

use std::net::{IpAddr, SocketAddr};

use podway_dataplane::service::nftables::render;
use podway_kernel::nft::{Hook, Ruleset};
use podway_plan::service::{Packet, Source};
use podway_testkit::nft_trace::{End, Fate, TracedPacket, Tracer};
use podway_testkit::scenario::{self, Case, Flow};

use super::{plan, settings};

macro_rules! scenarios {
    ($($test:ident: $file:literal),* $(,)?) => {
        $(#[test]
        fn $test() {
            judge($file, include_str!(concat!("../../../../plan/tests/it/flows/", $file)));
        })*
    };
}

scenarios! {
    cluster_ip_in_general: "cluster_ip.txt",
    masquerade_by_policy_and_source: "masquerade.txt",
    terminating_endpoints: "terminating.txt",
    load_balancer_and_source_ranges: "load_balancer.txt",
    node_ports: "node_ports.txt",
    traffic_policies: "traffic_policy.txt",
    topology_hints: "topology.txt",
    no_endpoints: "no_endpoints.txt",
    contested_frontends: "conflicts.txt",
}

fn judge(file: &str, text: &str) {
    let mut wrong = Vec::new();
    for case in scenario::parse(file, text) {
        for flow in &case.flows {
            let context = &case.contexts[&flow.context];
            let table = plan(&case.state, context);
            let rules = render(&table, &settings(context));
            let traced = outcome(&trace(&rules, &case, flow), &flow.packet);
            if traced != flow.outcome {
                wrong.push(format!(
                    "case `{}` on {}: {}\n  traced: {traced}\n{rules}",
                    case.title, flow.context, flow.line
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} flows\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

fn trace(rules: &Ruleset, case: &Case, flow: &Flow) -> Vec<End> {
    let packet = &flow.packet;
    let node = case.state.node(&case.contexts[&flow.context].node);
    let mut local: Vec<IpAddr> = node.map_or_else(Vec::new, |node| node.addresses.clone());
    local.extend(["127.0.0.1", "::1"].map(|address| address.parse::<IpAddr>().unwrap()));
    if packet.source == Source::Node {
        local.push(packet.source_address);
    }
    Tracer::new([rules], local).trace(&traced(packet))
}

pub(super) fn traced(packet: &Packet) -> TracedPacket {
    let first = match packet.source {
        Source::Node => Hook::Output,
        Source::Pod | Source::Outside => Hook::Prerouting,
    };
    TracedPacket {
        source: SocketAddr::new(packet.source_address, 40_000),
        destination: packet.destination,
        protocol: packet.protocol.number(),
        interfaces: [String::new(), String::new()],
        hooks: vec![first, Hook::Postrouting],
    }
}

/// As scenario files write it.
fn outcome(ends: &[End], packet: &Packet) -> String {
    let passed: Vec<&End> = ends.iter().filter(|end| end.fate == Fate::Pass).collect();
    let untouched = |end: &&End| end.destination == packet.destination;
    match ends {
        [end] if end.fate == Fate::Reject => return "REJECT".to_owned(),
        [end] if end.fate == Fate::Drop => return "DROP".to_owned(),
        _ if passed.len() != ends.len() => return format!("{ends:?}"),
        _ if passed.iter().all(untouched) => return "PASS".to_owned(),
        _ => {}
    }
    let all = passed.iter().all(|end| end.masquerade);
    let mut words: Vec<String> = passed
        .iter()
        .map(|end| match end.masquerade && !all {
            true => format!("{}*", end.destination),
            false => end.destination.to_string(),
        })
        .collect();
    if all {
        words.push("M".to_owned());
    }
    words.join(" ")
}
