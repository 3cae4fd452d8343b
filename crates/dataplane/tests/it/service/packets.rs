//! Real connections through the rules, in both families.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use podway_dataplane::names::SERVICE_TABLE;
use podway_dataplane::service::nftables::NftablesServices;
use podway_dataplane::service::{BACKENDS, ServiceBackend, SyncReport};
use podway_kernel::conntrack::ConntrackTable;
use podway_kernel::netns::NetNs;
use podway_kernel::nft::{Nft, Nftables as _, Operation, Transaction};
use podway_model::{
    Change, ClusterState, EndpointSlice, Protocol, Service, ServicePort, ServiceType,
    SliceEndpoint, SlicePort, TrafficPolicy,
};
use podway_plan::service::{NodeContext, ServicePlanner};
use podway_testkit::builders::{self, IntoObject, endpoint, ip, port, prefixes, slice, slice_port};

use super::settings;
use super::site::{
    CLIENT, Connection, FAR, GATEWAY, NODE, ONE, Reply, Site, TCP_PORT, TWO, UDP_PORT, ask,
    connect, connect_in_vain, from, udp,
};

/// What of a pod is in a slice.
type Pod = (&'static [&'static str; 2], &'static str);
const POD_ONE: Pod = (&ONE, "node1");
const POD_TWO: Pod = (&TWO, "node1");
const POD_FAR: Pod = (&FAR, "node2");

/// Service number `n`, with cluster IPs 10.96.0.n, fd00:10:96::n and node port
/// 30000 + n, TCP 80 and UDP 53.
fn numbered(number: u16) -> Service {
    let node_port = |name, number, protocol, node_port| ServicePort {
        protocol,
        node_port: Some(node_port),
        ..port(name, number)
    };
    let ips = VIP_PREFIXES.map(|prefix| format!("{prefix}{number}"));
    let ips: Vec<&str> = ips.iter().map(String::as_str).collect();
    let ports = [
        node_port("web", 80, Protocol::Tcp, 30_000 + number),
        node_port("dns", 53, Protocol::Udp, 30_000 + number),
    ];
    Service {
        service_type: ServiceType::NodePort,
        ..builders::service(&format!("ns/s{number}"), &ips, &ports)
    }
}

const VIP_PREFIXES: [&str; 2] = ["10.96.0.", "fd00:10:96::"];

fn vip(number: u16, family: usize, port: u16) -> SocketAddr {
    SocketAddr::new(ip(&format!("{}{number}", VIP_PREFIXES[family])), port)
}

fn node_port(number: u16, family: usize) -> SocketAddr {
    SocketAddr::new(ip(NODE[family]), 30_000 + number)
}

/// The slices of a service, one for each family.
fn slices(number: u16, pods: &[Pod]) -> [EndpointSlice; 2] {
    let ports = [
        slice_port("web", TCP_PORT),
        SlicePort {
            protocol: Protocol::Udp,
            ..slice_port("dns", UDP_PORT)
        },
    ];
    [0, 1].map(|family| {
        let endpoints: Vec<SliceEndpoint> = pods
            .iter()
            .map(|(addresses, node)| endpoint(addresses[family], node))
            .collect();
        let service = format!("ns/s{number}");
        let mut made = slice(&format!("{service}-{family}"), &service, &ports, &endpoints);
        made.family = podway_model::IpFamily::ALL[family];
        made
    })
}

/// A site whose node serves.
struct Served {
    site: Site,
    state: ClusterState,
    planner: ServicePlanner,
    backend: NftablesServices<Nft, ConntrackTable>,
}

impl Served {
    fn new(services: &[(Service, &[Pod])]) -> Self {
        let site = Site::new();
        let context = NodeContext {
            node: "node1".into(),
            pod_prefixes: prefixes(&["10.244.1.0/24", "fd00:10:244:1::/64"]),
            ..NodeContext::default()
        };
        let mut served = Self {
            backend: open(&site.node, &context),
            planner: ServicePlanner::new(context),
            state: ClusterState::default(),
            site,
        };
        for (service, pods) in services {
            let number: u16 = service.name.name[1..].parse().unwrap();
            let slices = slices(number, pods).map(IntoObject::object);
            for object in [service.clone().object()].into_iter().chain(slices) {
                served.state.apply(Change::Upsert(object));
            }
        }
        served.planner.plan_all(&served.state);
        served.sync_whole();
        served
    }

    fn sync_whole(&mut self) -> SyncReport {
        self.backend.sync(self.planner.table(), None).unwrap()
    }

    /// Other pods for a service.
    fn scale(&mut self, number: u16, pods: &[Pod]) -> SyncReport {
        let mut updates = Vec::new();
        for slice in slices(number, pods) {
            updates.extend(self.state.apply(Change::Upsert(slice.object())));
        }
        let change = self.planner.update(&self.state, &updates);
        self.backend
            .sync(self.planner.table(), Some(&change))
            .unwrap()
    }
}

fn open(node: &NetNs, context: &NodeContext) -> NftablesServices<Nft, ConntrackTable> {
    let settings = settings(context);
    node.run(|| {
        let conntrack = ConntrackTable::open().unwrap();
        NftablesServices::new(Nft::open().unwrap(), conntrack, settings)
    })
    .unwrap()
}

#[test]
fn the_kernel_can_do_every_backend() {
    let site = Site::new();
    for spec in BACKENDS {
        let probed = site.node.run(|| (spec.probe)()).unwrap();
        probed.unwrap_or_else(|error| panic!("{}: {error:?}", spec.name));
    }
}

#[allow(clippy::too_many_lines, reason = "a table of cases")]
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
    let served = Served::new(&[
        (numbered(1), &[POD_ONE]),
        (local, &[POD_ONE, POD_FAR]),
        (elsewhere, &[POD_FAR]),
        (inside, &[POD_FAR]),
        (numbered(5), &[]),
        (numbered(6), &[POD_FAR]),
    ]);
    let site = &served.site;
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
            assert_eq!(connect(client, to), expected, "{what}: {to}");
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
            assert_eq!(connect_in_vain(client, to), Reply::Silence, "{what}: {to}");
        }
    }
}

#[test]
fn a_datagram_goes_where_the_table_says() {
    let served = Served::new(&[(numbered(1), &[POD_ONE]), (numbered(5), &[])]);
    let site = &served.site;
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
            assert_eq!(ask(&udp(client, to)), expected, "{what}: {to}");
        }
    }
}

#[test]
fn every_endpoint_gets_its_share() {
    const CONNECTIONS: usize = 300;
    let served = Served::new(&[(numbered(1), &[POD_ONE, POD_TWO, POD_FAR])]);
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
        assert!(counts.len() == 3 && chi_squared < 18.4, "{counts:?}");
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
    let all = [POD_ONE, POD_TWO, POD_FAR];
    let mut served = Served::new(&[(sticky(7), &all)]);
    for family in [0, 1] {
        for to in [vip(7, family, 80), node_port(7, family)] {
            let client = |served: &Served| faithful(&served.site.client, to);
            let chosen = client(&served);

            // Another endpoint leaves: nothing changes for this client.
            let others = |name: &str| -> Vec<Pod> {
                let names = ["one", "two", "far"];
                let pods = all.into_iter().zip(names);
                pods.filter(|(_, n)| *n != name)
                    .map(|(pod, _)| pod)
                    .collect()
            };
            let bystander = if chosen == "far" { "one" } else { "far" };
            served.scale(7, &others(bystander));
            assert_eq!(client(&served), chosen, "{to}");

            // Its own leaves: it moves once, and stays there.
            served.scale(7, &others(&chosen));
            let second = client(&served);
            assert_ne!(second, chosen, "{to}");

            // The first comes back: who has moved stays.
            served.scale(7, &all);
            assert_eq!(client(&served), second, "{to}");
        }
    }
}

#[test]
fn a_restart_of_the_agent_forgets_no_client() {
    let mut served = Served::new(&[(sticky(7), &[POD_ONE, POD_TWO, POD_FAR])]);
    let chosen = [0, 1].map(|family| faithful(&served.site.client, vip(7, family, 80)));
    served.backend = open(&served.site.node, served.planner.context());
    assert_eq!(served.sync_whole().written.transactions, 0);
    let again = [0, 1].map(|family| faithful(&served.site.client, vip(7, family, 80)));
    assert_eq!(again, chosen);
}

#[test]
fn established_connections_outlive_whatever_happens_to_rules() {
    let mut served = Served::new(&[(numbered(1), &[POD_ONE])]);
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
            assert!(connection.echoes(what), "{what}: {:?}", connection.reply);
        }
    };
    check("fresh");
    served.scale(1, &[POD_TWO]);
    check("their endpoint has left the service");
    served.scale(1, &[]);
    check("the service has no endpoints");
    served.scale(1, &[POD_ONE]);
    let mut spoiled = Transaction::new(SERVICE_TABLE);
    spoiled.push(Operation::FlushChain("prerouting".into()));
    served.backend.nftables_mut().apply(&spoiled).unwrap();
    assert!(served.sync_whole().written.messages > 0);
    check("the rules were spoiled and mended");
    served.backend = open(&served.site.node, served.planner.context());
    served.sync_whole();
    check("the agent has started again");
}

#[test]
fn a_udp_flow_leaves_an_endpoint_that_is_gone() {
    let mut served = Served::new(&[(numbered(1), &[POD_ONE]), (numbered(2), &[POD_ONE])]);
    let flows = |served: &Served| {
        [
            udp(&served.site.two, vip(1, 0, 53)),
            udp(&served.site.client, node_port(1, 0)),
            udp(&served.site.two, vip(1, 1, 53)),
            udp(&served.site.client, node_port(1, 1)),
        ]
    };
    let sockets = flows(&served);
    let bystander = udp(&served.site.two, vip(2, 0, 53));
    for socket in sockets.iter().chain([&bystander]) {
        assert_eq!(pod(&ask(socket)), "one");
    }
    assert_eq!(served.scale(1, &[POD_FAR]).stale_flows, 4);
    for socket in &sockets {
        assert_eq!(pod(&ask(socket)), "far");
    }
    assert_eq!(pod(&ask(&bystander)), "one");

    // Down to nothing: refused at once instead of lost at an old address.
    assert_eq!(served.scale(1, &[]).stale_flows, 4);
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
