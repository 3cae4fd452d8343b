//! The rules decide as the table does: every flow that `plan` decides, traced
//! through what is rendered.

use std::net::{IpAddr, SocketAddr};

use podway_dataplane::service::nftables::render;
use podway_kernel::nft::{Hook, Ruleset};
use podway_model::{Protocol, Service};
use podway_plan::service::{NodeContext, Packet, Source};
use podway_testkit::builders::{
    self, IntoObject, endpoint, ip, port, prefixes, slice, slice_port, socket, state,
};
use podway_testkit::flows;
use podway_testkit::nft_trace::{End, Fate, TracedPacket, Tracer, Written};
use podway_testkit::scenario::{Case, Flow};

use super::{plan, settings};

/// Flows at loopback addresses are the proxy's in every mode.
fn cases() -> impl Iterator<Item = Case> {
    let files = flows::all().into_iter();
    files
        .filter(|(file, _)| *file != flows::LOOPBACK)
        .flat_map(|(_, cases)| cases)
}

#[test]
fn every_flow_ends_where_the_table_says() {
    let mut wrong = Vec::new();
    for case in cases() {
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
    let count = wrong.len();
    assert!(wrong.is_empty(), "{count} flows\n{}", wrong.join("\n"));
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

/// A service with affinity and these endpoints.
fn sticky(endpoints: &[&str]) -> Ruleset {
    let service = Service {
        affinity_seconds: Some(600),
        ..builders::service("ns/s", &["10.96.0.1"], &[port("http", 80)])
    };
    let endpoints: Vec<_> = endpoints
        .iter()
        .map(|address| endpoint(address, "node2"))
        .collect();
    let slice = slice("ns/s", "ns/s", &[slice_port("http", 8080)], &endpoints);
    let context = NodeContext {
        node: "node1".into(),
        pod_prefixes: prefixes(&["10.244.1.0/24"]),
        ..NodeContext::default()
    };
    let table = plan(&state([service.object(), slice.object()]), &context);
    render(&table, &settings(&context))
}

/// Where a client can come, and what is remembered there.
fn from_client(rules: &Ruleset, client: &str, written: &Written) -> Vec<(SocketAddr, Written)> {
    let packet = Packet {
        source: Source::Pod,
        source_address: ip(client),
        destination: socket("10.96.0.1:80"),
        protocol: Protocol::Tcp,
        to_node_port_address: false,
    };
    Tracer::new([rules], [])
        .trace_with(&traced(&packet), written)
        .into_iter()
        .map(|(end, written)| (end.destination, written))
        .collect()
}

#[test]
fn a_remembered_client_comes_to_one_endpoint_only() {
    const ALL: [&str; 3] = ["10.244.2.1", "10.244.2.2", "10.244.2.3"];
    let rules = sticky(&ALL);
    let first = from_client(&rules, "10.244.1.9", &Written::new());
    assert_eq!(first.len(), 3, "each endpoint can be chosen: {first:?}");
    for (chosen, written) in first {
        assert_eq!(written.len(), 1, "{written:?}");
        let again = from_client(&rules, "10.244.1.9", &written);
        assert_eq!(again, [(chosen, written.clone())]);
        let another = from_client(&rules, "10.244.1.10", &written);
        assert_eq!(another.len(), 3, "another client is free to choose");

        // Whatever other endpoint leaves, the client stays; when its own does,
        // it is forgotten and remembered anew.
        for gone in ALL {
            let rest: Vec<&str> = ALL.into_iter().filter(|address| *address != gone).collect();
            let ends = from_client(&sticky(&rest), "10.244.1.9", &written);
            if chosen.ip() == ip(gone) {
                assert_eq!(ends.len(), 2, "{ends:?}");
                assert!(
                    ends.iter()
                        .all(|(_, now)| now.len() == 1 && *now != written)
                );
            } else {
                assert_eq!(ends, [(chosen, written.clone())], "without {gone}");
            }
        }
    }
}
