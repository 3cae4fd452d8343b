//! Rules, sets and virtual servers decide as the table does: every flow that
//! `plan` decides, traced through what is rendered.

use std::collections::BTreeSet;
use std::net::IpAddr;

use podway_dataplane::service::ipvs::{Rendered, render};
use podway_model::IpFamily;
use podway_plan::service::{self, NodeContext, Packet, Source};
use podway_testkit::builders::{self, IntoObject as _, ip, state};
use podway_testkit::flows;
use podway_testkit::iptables_trace::Tracer;
use podway_testkit::scenario::{self, Case, Flow};
use proptest::prelude::*;

use crate::iptables::clusters::any_object;
use crate::iptables::trace::{NODE, any_packet, detected, outcome, traced};
use crate::iptables::{plan, settings};

#[test]
fn every_flow_ends_where_the_table_says() {
    let (mut flows, mut wrong) = (0, Vec::new());
    for (file, cases) in flows::all() {
        // The proxy's in every mode, as in mode `iptables`.
        if file == flows::LOOPBACK {
            continue;
        }
        for case in cases {
            flows += case.flows.len();
            wrong.extend(case.flows.iter().filter_map(|flow| mistake(&case, flow)));
        }
    }
    let count = wrong.len();
    assert!(wrong.is_empty(), "{count} of {flows}\n{}", wrong.join("\n"));
}

fn mistake(case: &Case, flow: &Flow) -> Option<String> {
    let context = &case.contexts[&flow.context];
    let table = plan(&case.state, context);
    let packet = &flow.packet;
    let node = case.state.node(&context.node);
    let mut addresses: BTreeSet<IpAddr> = node.map_or_else(BTreeSet::new, |node| {
        node.addresses.iter().copied().collect()
    });
    let rendered = render(&table, &settings(context), &addresses);
    if packet.source == Source::Node {
        addresses.insert(packet.source_address);
    }
    let found = trace(&rendered, &addresses, packet);
    let expected = expected(&flow.outcome, packet, &rendered);
    (found != expected).then(|| {
        let Case { title, .. } = case;
        let Flow { context, line, .. } = flow;
        format!("case `{title}` on {context}: {line}\n  traced: {found}\n{rendered}")
    })
}

/// What becomes of a packet here, where the table says this: two things are
/// otherwise (docs/backends/ipvs.md).
fn expected(outcome: &str, packet: &Packet, rendered: &Rendered) -> String {
    match outcome {
        // The address is the node's: nothing else can answer there.
        "PASS" if rendered.bound.contains(&packet.destination.ip()) => "REJECT".to_owned(),
        "PASS" | "REJECT" | "DROP" => outcome.to_owned(),
        // The node's own connections have the very address that they go to as
        // their source: to the endpoint it is the node's in either case.
        _ if packet.source == Source::Node && !outcome.ends_with(" M") => {
            format!("{} M", outcome.replace('*', ""))
        }
        _ => outcome.to_owned(),
    }
}

/// The interface's addresses are the node's.
fn trace(rendered: &Rendered, addresses: &BTreeSet<IpAddr>, packet: &Packet) -> String {
    let family = IpFamily::of(&packet.destination.ip());
    let local = addresses.iter().chain(&rendered.bound).copied();
    let loopback = ["127.0.0.1", "::1"].map(ip);
    let mut tracer = Tracer::new(&rendered.rules[&family], local.chain(loopback));
    for (name, members) in &rendered.sets {
        tracer = tracer.with_members(name, members.iter().copied());
    }
    for (server, wanted) in &rendered.servers {
        let open = wanted.reals.iter().filter(|(_, weight)| **weight > 0);
        tracer = tracer.with_server(*server, open.map(|(real, _)| *real).collect());
    }
    outcome(&tracer.trace(&traced(packet)), packet)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the services are, however they clash with each other and with the
    /// node's addresses, and however pods are told from others.
    #[test]
    fn any_packet_ends_where_the_table_says(
        objects in prop::collection::vec(any_object(), 1..10),
        packets in prop::collection::vec(any_packet(), 1..20),
        detector in 0..4_usize,
        masquerade_all: bool,
    ) {
        let context = NodeContext { masquerade_all, ..detected(detector) };
        let node = builders::node("node1", &NODE, &[]).object();
        let table = plan(&state(objects.into_iter().chain([node])), &context);
        let addresses = NODE.map(ip).into_iter().collect();
        let rendered = render(&table, &settings(&context), &addresses);
        for packet in packets {
            let found = trace(&rendered, &addresses, &packet);
            let decided = scenario::outcome(&service::decide(&table, &packet).outcome);
            let decided = expected(&decided, &packet, &rendered);
            prop_assert_eq!(found, decided, "{:?}\n{}", packet, rendered);
        }
    }
}
