//! Services in IPVS: every flow that `plan` decides, traced through rules, sets
//! and virtual servers.

use std::collections::BTreeSet;
use std::net::IpAddr;

use podway_dataplane::service::ipvs::{Rendered, render};
use podway_model::IpFamily;
use podway_plan::service::Source;
use podway_testkit::builders::ip;
use podway_testkit::flows;
use podway_testkit::iptables_trace::Tracer;
use podway_testkit::scenario::{Case, Flow};

use crate::iptables::trace::{outcome, traced};
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
            for flow in &case.flows {
                flows += 1;
                wrong.extend(mistake(&case, flow));
            }
        }
    }
    let count = wrong.len();
    assert!(wrong.is_empty(), "{count} of {flows}\n{}", wrong.join("\n"));
}

fn mistake(case: &Case, flow: &Flow) -> Option<String> {
    let context = &case.contexts[&flow.context];
    let table = plan(&case.state, context);
    let node = case.state.node(&context.node);
    let mut addresses: BTreeSet<IpAddr> = node.map_or_else(BTreeSet::new, |node| {
        node.addresses.iter().copied().collect()
    });
    let rendered = render(&table, &settings(context), &addresses);
    addresses.extend(["127.0.0.1", "::1"].map(ip));
    if flow.packet.source == Source::Node {
        addresses.insert(flow.packet.source_address);
    }
    let found = trace(&rendered, addresses, flow);
    let is_right = found == expected(flow);
    (!is_right).then(|| {
        let Case { title, .. } = case;
        let Flow { context, line, .. } = flow;
        format!("case `{title}` on {context}: {line}\n  traced: {found}\n{rendered}")
    })
}

/// What the node itself sends to a cluster IP has that address as its source, and
/// is always masqueraded (docs/backends/ipvs.md).
fn expected(flow: &Flow) -> String {
    let outcome = flow.outcome.clone();
    let is_served = !["PASS", "REJECT", "DROP"].contains(&outcome.as_str());
    let is_kept = is_served && !outcome.ends_with('M');
    match flow.packet.source {
        Source::Node if is_kept => format!("{outcome} M"),
        _ => outcome,
    }
}

/// The interface's addresses are the node's.
fn trace(rendered: &Rendered, addresses: BTreeSet<IpAddr>, flow: &Flow) -> String {
    let family = IpFamily::of(&flow.packet.destination.ip());
    let local = addresses.into_iter().chain(rendered.bound.iter().copied());
    let mut tracer = Tracer::new(&rendered.rules[&family], local);
    for (name, members) in &rendered.sets {
        tracer = tracer.with_members(name, members.iter().copied());
    }
    for (server, wanted) in &rendered.servers {
        let open = wanted.reals.iter().filter(|(_, weight)| **weight > 0);
        tracer = tracer.with_server(*server, open.map(|(real, _)| *real).collect());
    }
    outcome(&tracer.trace(&traced(&flow.packet)), &flow.packet)
}
