//! Real connections through the rules, in both families.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use podway_dataplane::names::{PROXY_TABLE, SERVICE_TABLE};
use podway_dataplane::service::{
    BACKENDS, BackendSpec, SyncReport, iptables, ipvs, nftables, userspace,
};
use podway_kernel::iptables::{Family, Iptables as _, Script, Table, Xtables};
use podway_kernel::netns::NetNs;
use podway_kernel::nft::{Nft, Nftables as _, Operation, Transaction};
use podway_model::{Service, TrafficPolicy};
use podway_plan::service::NodeContext;
use podway_testkit::builders::{ip, prefixes};

use super::served::{POD_FAR, POD_ONE, POD_TWO, Pod, Served, node_port, numbered, vip};
use super::site::{
    CLIENT, Connection, GATEWAY, Reply, Site, TWO, ask, connect, connect_in_vain, from, udp,
};

/// Modes that every test here holds for. Mode `iptables` has the same tests for
/// each of its variants, beside these.
const MODES: [&BackendSpec; 2] = [&nftables::SPEC, &userspace::SPEC];

/// Modes that the second kernel has as well (docs/second-kernel.md).
const MODES_THERE: [&BackendSpec; 2] = [&iptables::SPEC, &ipvs::SPEC];

fn in_every_mode(services: &[(Service, &[Pod])], test: impl Fn(&mut Served)) {
    let there = MODES_THERE.into_iter().filter(|_| is_second_kernel());
    for spec in MODES.into_iter().chain(there) {
        test(&mut Served::new(spec, services));
    }
}

/// `vm/guest` says so.
pub(super) fn is_second_kernel() -> bool {
    std::env::var_os("PODWAY_SECOND_KERNEL").is_some()
}

#[test]
fn the_kernel_can_do_every_backend_or_says_what_is_missing() {
    let site = Site::new();
    for spec in BACKENDS {
        let probed = site.node.run(|| (spec.probe)()).unwrap();
        match probed {
            Ok(()) => {}
            Err(error) if spec.name == ipvs::SPEC.name && !is_second_kernel() => {
                let text = ErrorChain(&error).to_string();
                for words in ["mode ipvs", "IP_VS", "docs/second-kernel.md"] {
                    assert!(text.contains(words), "{text}");
                }
            }
            Err(error) => panic!("{}: {error:?}", spec.name),
        }
    }
}

/// An error with what it was caused by.
struct ErrorChain<'e>(&'e dyn std::error::Error);

impl std::fmt::Display for ErrorChain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        match self.0.source() {
            Some(source) => write!(f, ": {}", ErrorChain(source)),
            None => Ok(()),
        }
    }
}

#[test]
fn a_connection_goes_where_the_table_says() {
    let local = Service {
        external_policy: TrafficPolicy::Local,
        ..numbered(2)
    };
    let elsewhere = Service {
        external_policy: TrafficPolicy::Local,
        ..numbered(3)
    };
    let inside = Service {
        internal_policy: TrafficPolicy::Local,
        ..numbered(4)
    };
    let services: [(Service, &[Pod]); 6] = [
        (numbered(1), &[POD_ONE]),
        (local, &[POD_ONE, POD_FAR]),
        (elsewhere, &[POD_FAR]),
        (inside, &[POD_FAR]),
        (numbered(5), &[]),
        (numbered(6), &[POD_FAR]),
    ];
    in_every_mode(&services, connections_go_where_the_table_says);
}

#[allow(clippy::too_many_lines, reason = "a table of cases")]
fn connections_go_where_the_table_says(served: &mut Served) {
    let (site, mode) = (&served.site, served.spec.name);
    for family in [0, 1] {
        let one = |seen: [&str; 2]| from("one", seen[family]);
        let far = |seen: [&str; 2]| from("far", seen[family]);
        let cases: [(&str, &NetNs, SocketAddr, Reply); 16] = [
            ("pod to cluster IP", &site.two, vip(1, family, 80), one(TWO)),
            ("hairpin", &site.one, vip(1, family, 80), one(GATEWAY)),
            (
                "node to cluster IP",
                &site.node,
                vip(1, family, 80),
                one(GATEWAY),
            ),
            (
                "outside to cluster IP",
                &site.client,
                vip(1, family, 80),
                one(GATEWAY),
            ),
            (
                "outside to node port",
                &site.client,
                node_port(1, family),
                one(GATEWAY),
            ),
            (
                "pod to node port",
                &site.two,
                node_port(1, family),
                one(GATEWAY),
            ),
            (
                "hairpin by node port",
                &site.one,
                node_port(1, family),
                one(GATEWAY),
            ),
            (
                "node to its own node port",
                &site.node,
                node_port(1, family),
                one(GATEWAY),
            ),
            (
                "to another node's pod",
                &site.client,
                node_port(6, family),
                far(GATEWAY),
            ),
            (
                "local: source kept",
                &site.client,
                node_port(2, family),
                one(CLIENT),
            ),
            (
                "pod to no endpoints",
                &site.two,
                vip(5, family, 80),
                Reply::Refused,
            ),
            (
                "node to no endpoints",
                &site.node,
                vip(5, family, 80),
                Reply::Refused,
            ),
            (
                "outside to no endpoints",
                &site.client,
                node_port(5, family),
                Reply::Refused,
            ),
            (
                "pod to a wrong port",
                &site.two,
                vip(1, family, 81),
                Reply::Refused,
            ),
            (
                "node to a wrong port",
                &site.node,
                vip(1, family, 81),
                Reply::Refused,
            ),
            (
                "node, local elsewhere",
                &site.node,
                node_port(3, family),
                far(GATEWAY),
            ),
        ];
        for (what, client, to, expected) in cases {
            assert_eq!(connect(client, to), expected, "{mode}: {what}: {to}");
        }
        for (what, client, to) in [
            (
                "outside, local elsewhere",
                &site.client,
                node_port(3, family),
            ),
            (
                "pod, internal policy local elsewhere",
                &site.two,
                vip(4, family, 80),
            ),
        ] {
            let reply = connect_in_vain(client, to);
            assert_eq!(reply, Reply::Silence, "{mode}: {what}: {to}");
        }
    }
}

#[test]
fn a_datagram_goes_where_the_table_says() {
    let services: [(Service, &[Pod]); 2] = [(numbered(1), &[POD_ONE]), (numbered(5), &[])];
    in_every_mode(&services, datagrams_go_where_the_table_says);
}

fn datagrams_go_where_the_table_says(served: &mut Served) {
    let (site, mode) = (&served.site, served.spec.name);
    for family in [0, 1] {
        let one = |seen: [&str; 2]| from("one", seen[family]);
        for (what, client, to, expected) in [
            ("pod", &site.two, vip(1, family, 53), one(TWO)),
            ("hairpin", &site.one, vip(1, family, 53), one(GATEWAY)),
            ("node", &site.node, vip(1, family, 53), one(GATEWAY)),
            ("outside", &site.client, node_port(1, family), one(GATEWAY)),
            ("nobody", &site.two, vip(5, family, 53), Reply::Refused),
            (
                "nobody, from outside",
                &site.client,
                node_port(5, family),
                Reply::Refused,
            ),
            ("wrong port", &site.two, vip(1, family, 54), Reply::Refused),
        ] {
            assert_eq!(ask(&udp(client, to)), expected, "{mode}: {what}: {to}");
        }
    }
}

#[test]
fn every_endpoint_gets_its_share() {
    let pods = [POD_ONE, POD_TWO, POD_FAR];
    in_every_mode(&[(numbered(1), &pods)], shares_are_equal);
}

fn shares_are_equal(served: &mut Served) {
    const CONNECTIONS: usize = 300;
    for family in [0, 1] {
        let mut counts = std::collections::BTreeMap::<String, usize>::new();
        for _ in 0..CONNECTIONS {
            let reply = ask(&udp(&served.site.client, node_port(1, family)));
            let Reply::From { pod, .. } = reply else {
                panic!("{reply:?}");
            };
            *counts.entry(pod).or_default() += 1;
        }
        let expected = CONNECTIONS as f64 / 3.0;
        let chi_squared: f64 = counts
            .values()
            .map(|count| (*count as f64 - expected).powi(2) / expected)
            .sum();
        // Two degrees of freedom: beyond 18.4 once in ten thousand runs.
        let mode = served.spec.name;
        assert!(
            counts.len() == 3 && chi_squared < 18.4,
            "{mode}: {counts:?}"
        );
    }
}

fn sticky(number: u16) -> Service {
    Service {
        affinity_seconds: Some(600),
        ..numbered(number)
    }
}

/// The one endpoint that answers this client, asked often.
fn faithful(client: &NetNs, to: SocketAddr) -> String {
    let pods: BTreeSet<String> = (0..12)
        .map(|_| match connect(client, to) {
            Reply::From { pod, .. } => pod,
            other => panic!("{to}: {other:?}"),
        })
        .collect();
    assert_eq!(pods.len(), 1, "{to}: {pods:?}");
    pods.into_iter().next().unwrap()
}

#[test]
fn a_client_keeps_its_endpoint_as_long_as_there_is_one() {
    in_every_mode(&[(sticky(7), &ALL)], clients_keep_their_endpoints);
}

const ALL: [Pod; 3] = [POD_ONE, POD_TWO, POD_FAR];

fn clients_keep_their_endpoints(served: &mut Served) {
    for family in [0, 1] {
        for to in [vip(7, family, 80), node_port(7, family)] {
            let client = |served: &Served| faithful(&served.site.client, to);
            let chosen = client(served);

            // Another endpoint leaves: nothing changes for this client.
            let others = |name: &str| -> Vec<Pod> {
                let names = ["one", "two", "far"];
                let pods = ALL.into_iter().zip(names);
                pods.filter(|(_, n)| *n != name)
                    .map(|(pod, _)| pod)
                    .collect()
            };
            let bystander = if chosen == "far" { "one" } else { "far" };
            served.scale(7, &others(bystander));
            assert_eq!(client(served), chosen, "{to}");

            // Its own leaves: it moves once, and stays there.
            served.scale(7, &others(&chosen));
            let second = client(served);
            assert_ne!(second, chosen, "{to}");

            // The first comes back: who has moved stays.
            served.scale(7, &ALL);
            assert_eq!(client(served), second, "{to}");
        }
    }
}

#[test]
fn a_restart_of_the_agent_forgets_no_client() {
    let mut served = Served::new(&nftables::SPEC, &[(sticky(7), &ALL)]);
    let chosen = [0, 1].map(|family| faithful(&served.site.client, vip(7, family, 80)));
    assert_eq!(served.restart().written.transactions, 0);
    let again = [0, 1].map(|family| faithful(&served.site.client, vip(7, family, 80)));
    assert_eq!(again, chosen);
}

#[test]
fn established_connections_outlive_whatever_happens_to_rules() {
    in_every_mode(&[(numbered(1), &[POD_ONE])], established_connections_stay);
}

fn established_connections_stay(served: &mut Served) {
    let mode = served.spec.name;
    let mut open_connections: Vec<Connection> = [
        (&served.site.two, vip(1, 0, 80)),
        (&served.site.client, node_port(1, 0)),
        (&served.site.two, vip(1, 1, 80)),
        (&served.site.node, vip(1, 1, 80)),
    ]
    .into_iter()
    .map(|(client, to)| Connection::open(client, to).unwrap_or_else(|reply| panic!("{reply:?}")))
    .collect();
    let mut check = |what: &str| {
        for connection in &mut open_connections {
            let reply = connection.reply.clone();
            assert!(connection.echoes(what), "{mode}: {what}: {reply:?}");
        }
    };
    check("fresh");
    served.scale(1, &[POD_ONE, POD_TWO]);
    check("another endpoint has come");
    served.scale(1, &[POD_ONE]);
    check("and gone");
    served.site.node.run(|| spoil(mode)).unwrap();
    assert!(served.sync_whole().written.messages > 0);
    check("the rules were spoiled and mended");
    // A proxy that ends takes its connections with it.
    if mode != userspace::SPEC.name {
        served.restart();
        check("the agent has started again");
    }
    if [nftables::SPEC.name, iptables::SPEC.name].contains(&mode) {
        served.scale(1, &[POD_TWO]);
        for connection in &mut open_connections {
            assert!(!connection.echoes("gone"), "{mode}: its endpoint is gone");
        }
    }
}

/// Somebody empties a chain of the mode.
fn spoil(mode: &str) {
    let table = match mode {
        "nftables" => SERVICE_TABLE,
        "userspace" => PROXY_TABLE,
        _ => {
            let mut script = Script::new();
            script.chain(Table::Nat, &"KUBE-SERVICES".into(), []);
            let mut other = Xtables::open().unwrap();
            for family in Family::ALL {
                other.restore(family, &[script.clone()]).unwrap();
            }
            return;
        }
    };
    let mut spoiled = Transaction::new(table);
    spoiled.push(Operation::FlushChain("prerouting".into()));
    Nft::open().unwrap().apply(&spoiled).unwrap();
}

#[test]
fn a_udp_flow_leaves_an_endpoint_that_is_gone() {
    let services: [(Service, &[Pod]); 2] = [(numbered(1), &[POD_ONE]), (numbered(2), &[POD_ONE])];
    in_every_mode(&services, udp_flows_leave);
}

fn udp_flows_leave(served: &mut Served) {
    let flows = |served: &Served| {
        [
            udp(&served.site.two, vip(1, 0, 53)),
            udp(&served.site.client, node_port(1, 0)),
            udp(&served.site.two, vip(1, 1, 53)),
            udp(&served.site.client, node_port(1, 1)),
        ]
    };
    let sockets = flows(served);
    let bystander = udp(&served.site.two, vip(2, 0, 53));
    for socket in sockets.iter().chain([&bystander]) {
        assert_eq!(pod(&ask(socket)), "one");
    }
    // IPVS ends flows by itself, too, where it takes an endpoint away.
    let is_ended = |report: SyncReport, mode: &str| {
        assert!(
            report.stale_flows == 4 || mode == ipvs::SPEC.name,
            "{report}"
        );
    };
    let mode = served.spec.name;
    is_ended(served.scale(1, &[POD_FAR]), mode);
    for socket in &sockets {
        assert_eq!(pod(&ask(socket)), "far");
    }
    assert_eq!(pod(&ask(&bystander)), "one");

    // Down to nothing: refused at once instead of lost at an old address.
    is_ended(served.scale(1, &[]), mode);
    for socket in &sockets {
        assert_eq!(ask(socket), Reply::Refused);
    }
    // A flow to a service without changes is never touched.
    assert_eq!(served.scale(1, &[POD_FAR]).stale_flows, 0);
}

fn pod(reply: &Reply) -> &str {
    match reply {
        Reply::From { pod, .. } => pod,
        other => panic!("{other:?}"),
    }
}

#[test]
fn loopback_addresses_serve_node_ports_where_they_are_asked_to() {
    let local = Service {
        external_policy: TrafficPolicy::Local,
        ..numbered(2)
    };
    let services: [(Service, &[Pod]); 3] = [
        (numbered(1), &[POD_ONE]),
        (local, &[POD_TWO]),
        (numbered(3), &[]),
    ];
    let modes = MODES
        .into_iter()
        .flat_map(|spec| [(spec, true), (spec, false)]);
    for (spec, is_asked) in modes {
        let context = NodeContext {
            node: "node1".into(),
            pod_prefixes: prefixes(&["10.244.1.0/24", "fd00:10:244:1::/64"]),
            localhost_node_ports: is_asked,
            ..NodeContext::default()
        };
        let served = Served::of(spec, context, &services);
        let (node, mode) = (&served.site.node, spec.name);
        let seen = GATEWAY;
        for (family, loopback) in [(0, "127.0.0.1"), (0, "127.3.2.1"), (1, "::1")] {
            let at = |number: u16| SocketAddr::new(ip(loopback), 30_000 + number);
            let expected = |name: &str| match is_asked {
                true => from(name, seen[family]),
                false => Reply::Refused,
            };
            assert_eq!(connect(node, at(1)), expected("one"), "{mode}: {loopback}");
            assert_eq!(connect(node, at(2)), expected("two"), "{mode}: {loopback}");
            assert_eq!(connect(node, at(3)), Reply::Refused, "{mode}: {loopback}");
            assert_eq!(
                ask(&udp(node, at(1))),
                expected("one"),
                "{mode}: {loopback}"
            );
        }
    }
}
