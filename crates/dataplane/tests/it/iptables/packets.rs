//! Real connections through the rules, in both families and both variants.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use podway_dataplane::service::ServiceBackend as _;
use podway_dataplane::service::SyncReport;
use podway_dataplane::service::iptables::IptablesServices;
use podway_kernel::conntrack::ConntrackTable;
use podway_kernel::ipset::{IpSetTable, IpSets as _};
use podway_kernel::iptables::{Family, Iptables as _, Script, Table, Variant, Xtables};
use podway_kernel::netns::NetNs;
use podway_kernel::route::{Route, Rtnetlink};
use podway_model::{
    Change, ClusterState, EndpointSlice, IpFamily, Protocol, Service, ServicePort, ServiceType,
    SliceEndpoint, SlicePort, TrafficPolicy,
};
use podway_plan::service::{NodeContext, ServicePlanner};
use podway_testkit::builders::{self, IntoObject, endpoint, ip, port, prefixes, slice, slice_port};

use super::settings;
use crate::service::site::{
    CLIENT, Connection, FAR, GATEWAY, NODE, ONE, Reply, Site, TCP_PORT, TWO, UDP_PORT, ask,
    connect, connect_in_vain, from, udp,
};

/// What of a pod is in a slice.
type Pod = (&'static [&'static str; 2], &'static str);
const POD_ONE: Pod = (&ONE, "node1");
const POD_TWO: Pod = (&TWO, "node1");
const POD_FAR: Pod = (&FAR, "node2");

type Backend = IptablesServices<Xtables, IpSetTable, ConntrackTable>;

/// A site whose node serves.
struct Served {
    site: Site,
    variant: Variant,
    state: ClusterState,
    planner: ServicePlanner,
    backend: Backend,
}

/// Service number `n`, with cluster IPs 10.96.0.n and fd00:10:96::n and node
/// port 30000 + n, TCP 80 and UDP 53.
fn numbered(number: u16) -> Service {
    let node_port = |name, number, protocol, node_port| ServicePort {
        protocol,
        node_port: Some(node_port),
        ..port(name, number)
    };
    let ips = [0, 1].map(|family| vip(number, family, 0).ip().to_string());
    let ports = [
        node_port("web", 80, Protocol::Tcp, 30_000 + number),
        node_port("dns", 53, Protocol::Udp, 30_000 + number),
    ];
    Service {
        service_type: ServiceType::NodePort,
        ..builders::service(&format!("ns/s{number}"), &[&ips[0], &ips[1]], &ports)
    }
}

fn sticky(number: u16) -> Service {
    Service {
        affinity_seconds: Some(600),
        ..numbered(number)
    }
}

fn vip(number: u16, family: usize, port: u16) -> SocketAddr {
    let prefix = ["10.96.0.", "fd00:10:96::"][family];
    SocketAddr::new(ip(&format!("{prefix}{number}")), port)
}

fn node_port(number: u16, family: usize) -> SocketAddr {
    SocketAddr::new(ip(NODE[family]), 30_000 + number)
}

/// The slices of a service, one for each family.
fn slices(number: u16, pods: &[Pod]) -> [EndpointSlice; 2] {
    let dns = SlicePort {
        protocol: Protocol::Udp,
        ..slice_port("dns", UDP_PORT)
    };
    let ports = [slice_port("web", TCP_PORT), dns];
    [0, 1].map(|family| {
        let pods = pods.iter();
        let endpoints: Vec<SliceEndpoint> = pods
            .map(|(addresses, node)| endpoint(addresses[family], node))
            .collect();
        let service = format!("ns/s{number}");
        let mut made = slice(&format!("{service}-{family}"), &service, &ports, &endpoints);
        made.family = IpFamily::ALL[family];
        made
    })
}

fn in_each_variant(services: &[(Service, &[Pod])], test: impl Fn(&mut Served)) {
    for variant in Variant::ALL {
        test(&mut Served::new(variant, services));
    }
}

impl Served {
    fn new(variant: Variant, services: &[(Service, &[Pod])]) -> Self {
        let site = Site::new();
        let context = NodeContext {
            node: "node1".into(),
            pod_prefixes: prefixes(&["10.244.1.0/24", "fd00:10:244:1::/64"]),
            ..NodeContext::default()
        };
        let mut served = Self {
            backend: open(&site.node, variant, &context),
            planner: ServicePlanner::new(context),
            state: ClusterState::default(),
            site,
            variant,
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
        let table = self.planner.table();
        self.backend.sync(table, Some(&change)).unwrap()
    }

    /// What happens when the agent is started again.
    fn restart(&mut self) -> SyncReport {
        self.backend = open(&self.site.node, self.variant, self.planner.context());
        self.sync_whole()
    }
}

fn open(node: &NetNs, variant: Variant, context: &NodeContext) -> Backend {
    node.run(|| {
        IptablesServices::new(
            Xtables::open_variant(variant).unwrap(),
            IpSetTable::open().unwrap(),
            ConntrackTable::open().unwrap(),
            settings(context),
        )
    })
    .unwrap()
}

#[test]
fn a_connection_goes_where_the_table_says() {
    let local = |number| Service {
        external_policy: TrafficPolicy::Local,
        ..numbered(number)
    };
    let inside = Service {
        internal_policy: TrafficPolicy::Local,
        ..numbered(4)
    };
    let services: [(Service, &[Pod]); 6] = [
        (numbered(1), &[POD_ONE]),
        (local(2), &[POD_ONE, POD_FAR]),
        (local(3), &[POD_FAR]),
        (inside, &[POD_FAR]),
        (numbered(5), &[]),
        (numbered(6), &[POD_FAR]),
    ];
    in_each_variant(&services, |served| {
        for family in [0, 1] {
            let cases = connections(&served.site, family);
            for (what, client, to, expected) in cases {
                let reply = match expected {
                    Reply::Silence => connect_in_vain(client, to),
                    _ => connect(client, to),
                };
                assert_eq!(reply, expected, "{}: {what}: {to}", served.variant);
            }
        }
    });
}

type Case<'s> = (&'static str, &'s NetNs, SocketAddr, Reply);

fn connections(site: &Site, family: usize) -> Vec<Case<'_>> {
    let one = |seen: [&str; 2]| from("one", seen[family]);
    let far = |seen: [&str; 2]| from("far", seen[family]);
    let vip = |number, port| vip(number, family, port);
    let node_port = |number| node_port(number, family);
    let (pod, node, outside) = (&site.two, &site.node, &site.client);
    vec![
        ("pod to cluster IP", pod, vip(1, 80), one(TWO)),
        ("hairpin", &site.one, vip(1, 80), one(GATEWAY)),
        ("node to cluster IP", node, vip(1, 80), one(GATEWAY)),
        ("outside to cluster IP", outside, vip(1, 80), one(GATEWAY)),
        ("outside to node port", outside, node_port(1), one(GATEWAY)),
        ("pod to node port", pod, node_port(1), one(GATEWAY)),
        (
            "hairpin by node port",
            &site.one,
            node_port(1),
            one(GATEWAY),
        ),
        ("node to its node port", node, node_port(1), one(GATEWAY)),
        ("to another node's pod", outside, node_port(6), far(GATEWAY)),
        ("local: source kept", outside, node_port(2), one(CLIENT)),
        ("node, local elsewhere", node, node_port(3), far(GATEWAY)),
        ("pod, local elsewhere", pod, node_port(3), far(TWO)),
        ("pod to no endpoints", pod, vip(5, 80), Reply::Refused),
        ("node to no endpoints", node, vip(5, 80), Reply::Refused),
        ("outside to none", outside, node_port(5), Reply::Refused),
        ("node to none", node, node_port(5), Reply::Refused),
        ("pod to a wrong port", pod, vip(1, 81), Reply::Refused),
        ("node to a wrong port", node, vip(1, 81), Reply::Refused),
        ("outside to one", outside, vip(1, 81), Reply::Refused),
        (
            "outside, local elsewhere",
            outside,
            node_port(3),
            Reply::Silence,
        ),
        ("pod, internal elsewhere", pod, vip(4, 80), Reply::Silence),
    ]
}

#[test]
fn a_datagram_goes_where_the_table_says() {
    let services: [(Service, &[Pod]); 2] = [(numbered(1), &[POD_ONE]), (numbered(5), &[])];
    in_each_variant(&services, |served| {
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
                    "from outside",
                    &site.client,
                    node_port(5, family),
                    Reply::Refused,
                ),
                ("wrong port", &site.two, vip(1, family, 54), Reply::Refused),
            ] {
                let reply = ask(&udp(client, to));
                assert_eq!(reply, expected, "{}: {what}: {to}", served.variant);
            }
        }
    });
}

#[test]
fn every_endpoint_gets_its_share() {
    const CONNECTIONS: usize = 300;
    let services: [(Service, &[Pod]); 1] = [(numbered(1), &[POD_ONE, POD_TWO, POD_FAR])];
    in_each_variant(&services, |served| {
        let mut counts = BTreeMap::<String, usize>::new();
        for _ in 0..CONNECTIONS {
            let reply = ask(&udp(&served.site.client, node_port(1, 0)));
            *counts.entry(pod(&reply).to_owned()).or_default() += 1;
        }
        let expected = CONNECTIONS as f64 / 3.0;
        let deviations = counts.values().map(|count| *count as f64 - expected);
        let chi_squared: f64 = deviations
            .map(|deviation| deviation.powi(2) / expected)
            .sum();
        // Two degrees of freedom: beyond 18.4 once in ten thousand runs.
        assert!(counts.len() == 3 && chi_squared < 18.4, "{counts:?}");
    });
}

/// kube-proxy's lists hold 100 clients each; two endpoints would keep 200.
const CLIENTS: u16 = 300;

fn client(family: usize, number: u16) -> IpAddr {
    let prefix = ["10.99.", "fd00:99::"][family];
    match family {
        0 => ip(&format!("{prefix}{}.{}", number / 250, 1 + number % 250)),
        _ => ip(&format!("{prefix}{number:x}")),
    }
}

/// Gives the client's namespace the addresses of a crowd.
fn crowd(site: &Site) {
    let mut netlink = Rtnetlink::open_in(&site.client).expect("rtnetlink");
    let lo = netlink.link("lo").expect("links").expect("lo").index;
    let mut node = Rtnetlink::open_in(&site.node).expect("rtnetlink");
    let link = node.link("client").expect("links").map(|link| link.index);
    for (family, prefix) in ["10.99.0.0/16", "fd00:99::/64"].into_iter().enumerate() {
        for number in 0..CLIENTS {
            let address = client(family, 1 + number);
            netlink.add_address(lo, address.into()).expect("an address");
        }
        let route = Route {
            gateway: Some(ip(CLIENT[family])),
            link,
            onlink: true,
            ..Route::new(builders::prefix(prefix))
        };
        node.add_route(&route).expect("a route to the crowd");
    }
}

/// The pod that answers a client by a new flow. The first datagram between two
/// hosts can get lost, where neighbours are not known to each other yet.
fn answer(site: &Site, client: IpAddr, to: SocketAddr) -> String {
    const ATTEMPTS: usize = 20;
    let opened = site.client.run(|| {
        let socket = UdpSocket::bind((client, 0))?;
        socket.connect(to)?;
        socket.set_read_timeout(Some(Duration::from_millis(500)))?;
        std::io::Result::Ok(socket)
    });
    let socket = opened.expect("the client's namespace").expect("a socket");
    let mut replies = (0..ATTEMPTS).map(|_| ask(&socket));
    let reply = replies.find(|reply| *reply != Reply::Silence);
    let reply = reply.unwrap_or_else(|| panic!("{client} to {to}: no answer"));
    pod(&reply).to_owned()
}

#[test]
fn three_hundred_clients_keep_their_endpoints() {
    let services: [(Service, &[Pod]); 1] = [(sticky(7), &[POD_ONE, POD_TWO])];
    in_each_variant(&services, |served| {
        crowd(&served.site);
        for family in [0, 1] {
            let to = node_port(7, family);
            let ask_all = |served: &Served| -> BTreeMap<IpAddr, String> {
                let clients = (1..=CLIENTS).map(|number| client(family, number));
                clients
                    .map(|client| (client, answer(&served.site, client, to)))
                    .collect()
            };
            let first = ask_all(served);
            let pods: BTreeSet<&String> = first.values().collect();
            assert_eq!(pods.len(), 2, "{to}");
            assert_eq!(ask_all(served), first, "{}: {to}", served.variant);
            assert_eq!(served.restart().written.transactions, 0);
            assert_eq!(ask_all(served), first, "after a restart: {to}");
            // One endpoint more: nobody moves.
            served.scale(7, &[POD_ONE, POD_TWO, POD_FAR]);
            assert_eq!(ask_all(served), first, "one more endpoint: {to}");
            served.scale(7, &[POD_ONE, POD_TWO]);
        }
        let sets = served.backend.sets_mut();
        let names = sets.list().unwrap().into_keys();
        let names = names.filter(|name| name.starts_with("KUBE-SEP-"));
        let members: usize = names.map(|name| sets.members(&name).unwrap().len()).sum();
        assert_eq!(members, 2 * usize::from(CLIENTS));
    });
}

#[test]
fn a_client_moves_when_its_endpoint_leaves_and_stays_there() {
    let all = [POD_ONE, POD_TWO, POD_FAR];
    let services: [(Service, &[Pod]); 1] = [(sticky(7), &all)];
    in_each_variant(&services, |served| {
        for family in [0, 1] {
            let to = vip(7, family, 80);
            let faithful = |served: &Served| -> String {
                let replies = (0..8).map(|_| connect(&served.site.two, to));
                let pods: BTreeSet<String> = replies.map(|r| pod(&r).to_owned()).collect();
                assert_eq!(pods.len(), 1, "{}: {to}: {pods:?}", served.variant);
                pods.into_iter().next().unwrap()
            };
            let without = |name: &str| -> Vec<Pod> {
                let pods = all.into_iter().zip(["one", "two", "far"]);
                let pods = pods.filter(|(_, pod)| *pod != name);
                pods.map(|(pod, _)| pod).collect()
            };
            let chosen = faithful(served);
            served.scale(7, &without(&chosen));
            let second = faithful(served);
            assert_ne!(second, chosen, "{to}");
            served.scale(7, &all);
            assert_eq!(faithful(served), second, "{to}");
        }
    });
}

#[test]
fn established_connections_outlive_whatever_happens_to_rules() {
    let services: [(Service, &[Pod]); 1] = [(numbered(1), &[POD_ONE])];
    in_each_variant(&services, |served| {
        let clients = [
            (&served.site.two, vip(1, 0, 80)),
            (&served.site.client, node_port(1, 0)),
            (&served.site.two, vip(1, 1, 80)),
            (&served.site.node, vip(1, 1, 80)),
        ];
        let opened = clients.map(|(client, to)| Connection::open(client, to));
        let mut opened = opened.map(|opened| opened.unwrap_or_else(|reply| panic!("{reply:?}")));
        let mut check = |what: &str| {
            for connection in &mut opened {
                assert!(connection.echoes(what), "{what}: {:?}", connection.reply);
            }
        };
        check("fresh");
        served.scale(1, &[POD_ONE, POD_TWO]);
        check("another endpoint has come");
        served.scale(1, &[POD_ONE]);
        check("and gone");
        for family in Family::ALL {
            let mut spoiled = Script::new();
            spoiled.chain(Table::Nat, &"KUBE-SERVICES".into(), []);
            let rules = served.backend.iptables_mut();
            rules.restore(family, &[spoiled]).unwrap();
        }
        check("the rules were spoiled");
        assert!(served.sync_whole().written.transactions > 0);
        check("the rules were mended");
        served.restart();
        check("the agent has started again");
    });
}

#[test]
fn a_udp_flow_leaves_an_endpoint_that_is_gone() {
    let services: [(Service, &[Pod]); 2] = [(numbered(1), &[POD_ONE]), (numbered(2), &[POD_ONE])];
    in_each_variant(&services, |served| {
        let site = &served.site;
        let sockets = [
            udp(&site.two, vip(1, 0, 53)),
            udp(&site.client, node_port(1, 0)),
            udp(&site.two, vip(1, 1, 53)),
            udp(&site.client, node_port(1, 1)),
        ];
        let bystander = udp(&site.two, vip(2, 0, 53));
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
    });
}

fn pod(reply: &Reply) -> &str {
    match reply {
        Reply::From { pod, .. } => pod,
        other => panic!("{other:?}"),
    }
}
