//! Every flow that `plan` decides, traced through the rules to the port that
//! says who it is from, and decided by what the proxy asks.

use std::net::{IpAddr, SocketAddr};

use podway_kernel::nft::{Hook, reconcile};
use podway_model::Protocol;
use podway_plan::service::{self, NodeContext, Packet, ServicePlanner};
use podway_testkit::flows;
use podway_testkit::nft_trace::{End, Fate as End_, TracedPacket, Tracer};
use podway_testkit::scenario::{self, Case, Flow};

use super::*;
use crate::names::STEERED_MARK;

fn plan(case: &Case, context: &NodeContext) -> ServiceTable {
    let mut planner = ServicePlanner::new(context.clone());
    planner.plan_all(&case.state);
    planner.table().clone()
}

fn gate(context: &NodeContext, reach: Reach) -> Gate {
    let settings = ServiceSettings {
        pod_prefixes: context.pod_prefixes.clone(),
        node_port_prefixes: context.node_port_prefixes.clone(),
        localhost_node_ports: context.localhost_node_ports,
        ..ServiceSettings::default()
    };
    Gate::new(reach, settings, Ports::example())
}

/// The way of a first packet; what the node sends to itself comes in again.
fn trace(rules: &Ruleset, case: &Case, flow: &Flow) -> Vec<End> {
    let packet = &flow.packet;
    let node = case.state.node(&case.contexts[&flow.context].node);
    let mut local: Vec<IpAddr> = node.map_or_else(Vec::new, |node| node.addresses.clone());
    local.extend(["127.0.0.1", "127.1.2.3", "::1"].map(|a| a.parse::<IpAddr>().unwrap()));
    let is_from_node = packet.source == Source::Node;
    if is_from_node {
        local.push(packet.source_address);
    }
    let first = TracedPacket {
        source: SocketAddr::new(packet.source_address, 40_000),
        destination: packet.destination,
        protocol: packet.protocol.number(),
        interfaces: [String::new(), String::new()],
        hooks: vec![if is_from_node {
            Hook::Output
        } else {
            Hook::Prerouting
        }],
    };
    let stays = local.contains(&packet.destination.ip());
    let tracer = Tracer::new([rules], local);
    let ends = tracer.trace(&first);
    let comes_in_again = |end: &End| stays || end.mark & STEERED_MARK != 0;
    if is_from_node && ends.iter().all(comes_in_again) {
        let hooks = vec![Hook::Prerouting];
        return tracer.trace(&TracedPacket { hooks, ..first });
    }
    ends
}

fn outcome(ends: &[End], packet: &Packet, table: &ServiceTable) -> String {
    let [end] = ends else {
        return format!("{ends:?}");
    };
    let ports = Ports::example();
    let ports = match packet.protocol {
        Protocol::Udp => ports.udp,
        Protocol::Tcp | Protocol::Sctp => ports.tcp,
    };
    match (end.fate, end.steered) {
        (End_::Reject, _) => "REJECT".to_owned(),
        (End_::Drop, _) => "DROP".to_owned(),
        (End_::Pass, None) => "PASS".to_owned(),
        (End_::Pass, Some(port)) => {
            let told = ports.iter().find(|(_, known)| **known == port);
            let Some(((_, source), _)) = told else {
                return format!("port {port} is nobody's");
            };
            let packet = Packet {
                source: *source,
                to_node_port_address: true,
                ..*packet
            };
            scenario::outcome(&service::decide(table, &packet).outcome)
        }
    }
}

#[test]
fn every_flow_ends_where_the_table_says() {
    let mut wrong = Vec::new();
    let files = flows::all().into_iter();
    for case in files.flat_map(|(_, cases)| cases) {
        for flow in &case.flows {
            // This kernel's proxy has no sockets for it.
            if flow.packet.protocol == Protocol::Sctp {
                continue;
            }
            let context = &case.contexts[&flow.context];
            let table = plan(&case, context);
            let rules = gate(context, Reach::Everything).whole(&table);
            let found = outcome(&trace(&rules, &case, flow), &flow.packet, &table);
            if found != flow.outcome {
                wrong.push(format!(
                    "case `{}` on {}: {}\n  found: {found}\n{rules}",
                    case.title, flow.context, flow.line
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is only at loopback is nobody else's.
#[test]
fn a_proxy_of_loopback_addresses_touches_nothing_else() {
    let (file, text) = flows::FILES
        .iter()
        .find(|(file, _)| *file == flows::LOOPBACK)
        .unwrap();
    let elsewhere = "
        flow@served node 192.168.0.2 > 192.168.0.2:3001 = 10.180.0.1:80 M
        flow@served outside 203.0.113.2 > 192.168.0.2:3001 = 10.180.0.1:80 M
        flow@served pod 10.180.0.9 > 172.30.0.41:80 = 10.180.0.1:80
        flow@served pod 10.180.0.9 > 172.30.0.41:81 = REJECT";
    for case in scenario::parse(file, &format!("{text}{elsewhere}")) {
        for flow in &case.flows {
            let context = &case.contexts[&flow.context];
            if !context.localhost_node_ports {
                continue;
            }
            let table = plan(&case, context);
            let rules = gate(context, Reach::Loopback).whole(&table);
            let ends = trace(&rules, &case, flow);
            let found = outcome(&ends, &flow.packet, &table);
            let expected = if flow.packet.destination.ip().is_loopback() {
                flow.outcome.as_str()
            } else {
                "PASS"
            };
            assert_eq!(found, expected, "{}", flow.line);
        }
    }
}

/// A change writes what differs, and ends where a fresh start does.
#[test]
fn a_change_is_the_difference() {
    let mut tables = Vec::new();
    for file in ["load_balancer.txt", "terminating.txt", "unallocated.txt"] {
        for case in flows::cases(file) {
            let contexts = case.contexts.values();
            tables.extend(contexts.map(|context| plan(&case, context)));
        }
    }
    let gate = gate(&NodeContext::default(), Reach::Everything);
    for (one, other) in tables.iter().zip(tables.iter().skip(1)) {
        let mut kernel = podway_kernel::nft::FakeNft::new();
        let mut apply = |transaction: &Transaction| {
            podway_kernel::nft::Nftables::apply(&mut kernel, transaction).unwrap();
        };
        apply(&reconcile(&gate.whole(one), None));
        let change = service::diff(one, other);
        let transaction = gate.change(&change);
        assert_eq!(transaction.is_empty(), gate.whole(one) == gate.whole(other));
        apply(&transaction);
        let held = podway_kernel::nft::Nftables::dump(&mut kernel, PROXY_TABLE).unwrap();
        let rest = reconcile(&gate.whole(other), held.as_ref());
        assert_eq!(rest.to_string(), "");
    }
}
