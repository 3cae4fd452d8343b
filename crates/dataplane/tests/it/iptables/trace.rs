//! The rules decide as the table does: every flow that `plan` decides, traced
//! through what is rendered.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use podway_dataplane::service::iptables::{cluster_ip_set, render};
use podway_kernel::iptables::{Chains, Table};
use podway_model::{IpFamily, Protocol, Service};
use podway_plan::service::{self, Interfaces, NodeContext, Packet, ServiceTable, Source};
use podway_testkit::builders::{
    self, IntoObject as _, endpoint, ip, port, prefixes, slice, slice_port, socket, state,
};
use podway_testkit::flows;
use podway_testkit::iptables_trace::{End, Fate, TracedPacket, Tracer};
use podway_testkit::scenario::{self, Case, Flow};

use proptest::prelude::*;

use super::clusters::{any_object, context};
use super::{plan, settings};

type Tables = BTreeMap<Table, Chains>;

#[test]
fn every_flow_ends_where_the_table_says() {
    let (mut flows, mut wrong) = (0, Vec::new());
    for (file, cases) in flows::all() {
        // The kernel cannot translate what is sent to loopback addresses without
        // `route_localnet`, which opens the node to its neighbours.
        if file == flows::LOOPBACK {
            continue;
        }
        for case in cases {
            flows += case.flows.len();
            wrong.extend(mistakes(&case));
        }
    }
    let count = wrong.len();
    assert!(wrong.is_empty(), "{count} of {flows}\n{}", wrong.join("\n"));
}

fn mistakes(case: &Case) -> Vec<String> {
    let mut wrong = Vec::new();
    for flow in &case.flows {
        let context = &case.contexts[&flow.context];
        let table = plan(&case.state, context);
        let family = IpFamily::of(&flow.packet.destination.ip());
        let rules = render(&table, &settings(context), family);
        let traced = outcome(&trace(&rules, &table, case, flow), &flow.packet);
        if traced != flow.outcome {
            wrong.push(format!(
                "case `{}` on {}: {}\n  traced: {traced}\n{}",
                case.title,
                flow.context,
                flow.line,
                text(&rules)
            ));
        }
    }
    wrong
}

fn trace(rules: &Tables, table: &ServiceTable, case: &Case, flow: &Flow) -> BTreeSet<End> {
    let packet = &flow.packet;
    let node = case.state.node(&case.contexts[&flow.context].node);
    let mut local: Vec<IpAddr> = node.map_or_else(Vec::new, |node| node.addresses.clone());
    local.extend(["127.0.0.1", "::1"].map(ip));
    if packet.source == Source::Node {
        local.push(packet.source_address);
    }
    tracer(rules, table, local).trace(&traced(packet))
}

fn tracer<'r>(
    rules: &'r Tables,
    table: &ServiceTable,
    local: impl IntoIterator<Item = IpAddr>,
) -> Tracer<'r> {
    let sets = IpFamily::ALL.map(cluster_ip_set);
    let addresses = || table.cluster_ips.iter().copied();
    let tracer = Tracer::new(rules, local);
    sets.into_iter()
        .fold(tracer, |tracer, set| tracer.with_set(set, addresses()))
}

pub(crate) fn traced(packet: &Packet) -> TracedPacket {
    TracedPacket {
        source: SocketAddr::new(packet.source_address, 40_000),
        destination: packet.destination,
        protocol: packet.protocol.name(),
        interface: match packet.source {
            Source::Pod => Some("veth1a2b3c4d"),
            Source::Node => None,
            Source::Outside => Some("eth0"),
        },
    }
}

/// As scenario files write it.
pub(crate) fn outcome(ends: &BTreeSet<End>, packet: &Packet) -> String {
    let fates: BTreeSet<Fate> = ends.iter().map(|end| end.fate).collect();
    let untouched = |end: &End| end.destination == packet.destination;
    match fates.iter().collect::<Vec<_>>()[..] {
        [Fate::Reject] => return "REJECT".to_owned(),
        [Fate::Drop] => return "DROP".to_owned(),
        [Fate::Pass] if ends.iter().all(untouched) => return "PASS".to_owned(),
        [Fate::Pass] => {}
        _ => return format!("{ends:?}"),
    }
    let all = ends.iter().all(|end| end.masquerade);
    let mut words: Vec<String> = ends
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

fn text(rules: &Tables) -> String {
    let lines = rules.iter().flat_map(|(table, chains)| {
        chains.iter().flat_map(move |(chain, rules)| {
            rules
                .iter()
                .map(move |rule| format!("  {table}: -A {chain} {rule}"))
        })
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A service with affinity and these endpoints.
fn sticky(endpoints: &[&str]) -> (Tables, ServiceTable) {
    let service = Service {
        affinity_seconds: Some(600),
        ..builders::service("ns/s", &["10.96.0.1"], &[port("http", 80)])
    };
    let endpoints: Vec<_> = endpoints
        .iter()
        .map(|address| endpoint(address, "node2"))
        .collect();
    let slice = slice("ns/s", "ns/s", &[slice_port("http", 8080)], &endpoints);
    let table = plan(&state([service.object(), slice.object()]), &context());
    let rules = render(&table, &settings(&context()), IpFamily::V4);
    (rules, table)
}

#[test]
fn a_remembered_client_comes_to_one_endpoint_only() {
    const ALL: [&str; 3] = ["10.244.2.1", "10.244.2.2", "10.244.2.3"];
    let (rules, table) = sticky(&ALL);
    let packet = TracedPacket {
        source: socket("10.244.1.9:40000"),
        destination: socket("10.96.0.1:80"),
        protocol: "tcp",
        interface: Some("veth1a2b3c4d"),
    };
    let first = tracer(&rules, &table, []).trace(&packet);
    assert_eq!(first.len(), 3, "each endpoint can be chosen: {first:?}");
    for end in first {
        let sets: Vec<&String> = end.joined.iter().collect();
        let [set] = sets[..] else { panic!("{end:?}") };
        // Remembered anew each time, at the same endpoint.
        let known = || [packet.source.ip()];
        let again = tracer(&rules, &table, []).with_set(set, known());
        assert_eq!(again.trace(&packet), BTreeSet::from([end.clone()]));
        // Another endpoint leaves: the set of this one has the same name.
        let rest: Vec<&str> = ALL
            .into_iter()
            .filter(|address| ip(address) != end.destination.ip())
            .collect();
        let (rules, table) = sticky(&[rest[0], &end.destination.ip().to_string()]);
        let fewer = tracer(&rules, &table, []).with_set(set, known());
        assert_eq!(fewer.trace(&packet), BTreeSet::from([end.clone()]));
        // Its own leaves: it chooses anew.
        let (rules, table) = sticky(&rest);
        let moved = tracer(&rules, &table, []).with_set(set, known());
        assert_eq!(moved.trace(&packet).len(), 2);
    }
}

/// Packets from and to everywhere that [`any_object`] knows.
pub(crate) fn any_packet() -> impl Strategy<Value = Packet> {
    let addresses = prop_oneof![
        Just((
            ["10.244.1.1", "172.16.0.11", "203.0.113.130"],
            [
                "10.96.0.0",
                "10.96.0.1",
                "192.0.2.1",
                "203.0.113.1",
                "172.16.0.11",
                "10.96.7.7"
            ],
        )),
        Just((
            ["fd00:10:244:1::1", "fd00:172:16::11", "2001:db8::130"],
            [
                "fd00:10:96::",
                "fd00:10:96::1",
                "2001:db8:9::1",
                "2001:db8:1::1",
                "fd00:172:16::11",
                "fd00:10:96::7"
            ],
        )),
    ];
    let ports = prop_oneof![Just(80_u16), Just(30_001), Just(30_002), Just(81)];
    (addresses, 0..3_usize, 0..6_usize, ports).prop_map(
        |((sources, destinations), source, destination, port)| {
            let destination = SocketAddr::new(ip(destinations[destination]), port);
            Packet {
                source: [Source::Pod, Source::Node, Source::Outside][source],
                source_address: ip(sources[source]),
                destination,
                protocol: Protocol::Tcp,
                to_node_port_address: NODE.map(ip).contains(&destination.ip()),
            }
        },
    )
}

pub(crate) const NODE: [&str; 2] = ["172.16.0.11", "fd00:172:16::11"];

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
        let rules = IpFamily::ALL.map(|family| render(&table, &settings(&context), family));
        for packet in packets {
            let family = IpFamily::of(&packet.destination.ip());
            let rules = &rules[family as usize];
            let ends = tracer(rules, &table, NODE.map(ip)).trace(&traced(&packet));
            let decided = scenario::outcome(&service::decide(&table, &packet).outcome);
            prop_assert_eq!(outcome(&ends, &packet), decided, "{:?}\n{}", packet, text(rules));
        }
    }
}

/// The ways in which a node can tell its pods from others.
pub(crate) fn detected(detector: usize) -> NodeContext {
    let none = NodeContext {
        pod_prefixes: Vec::new(),
        ..context()
    };
    match detector {
        0 => context(),
        1 => NodeContext {
            pod_prefixes: prefixes(&["10.244.1.0/25", "10.244.9.0/24", "fd00:10:244:1::/64"]),
            ..none
        },
        2 => NodeContext {
            pod_interfaces: Some(Interfaces::Prefixed("veth".into())),
            ..none
        },
        // Nobody is known to be a pod, so nobody's verdict says pod.
        _ => none,
    }
}
