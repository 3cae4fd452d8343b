//! What only mode `ipvs` can get wrong, with real connections on the second
//! kernel. What every mode must do is in `service/packets.rs`, and runs there for
//! this mode too.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::time::{Duration, Instant};

use podway_dataplane::policy::nftables::SPEC as POLICIES;
use podway_dataplane::policy::{Established, PolicyBackend, PolicyOptions};
use podway_dataplane::service::ipvs::{
    DEVICE, IpvsServices, IpvsSettings, Kernel, KernelNode, SPEC,
};
use podway_dataplane::service::{ServiceBackend as _, ServiceSettings};
use podway_kernel::conntrack::ConntrackTable;
use podway_kernel::ipset::IpSetTable;
use podway_kernel::iptables::Xtables;
use podway_kernel::ipvs::{Ipvs as _, IpvsTable, Scheduling, VirtualServer};
use podway_kernel::netns::NetNs;
use podway_kernel::route::Rtnetlink;
use podway_model::{Change, LoadBalancerAddress, Service, ServiceType, TrafficPolicy};
use podway_plan::policy::PolicyPlanner;
use podway_plan::service::{NodeContext, ServicePlanner};
use podway_testkit::builders::{IntoObject as _, ip, prefixes, state};
use podway_testkit::policy_scenario;

use crate::iptables::clusters;
use crate::iptables::settings;
use crate::service::served::{POD_FAR, POD_ONE, POD_TWO, Pod, Served, node_port, numbered, vip};
use crate::service::site::{
    CLIENT, Connection, FAR, GATEWAY, NODE, ONE, Reply, Site, TCP_PORT, TWO, connect,
    connect_in_vain, from,
};

/// Who answers, each asked often enough that everybody does once.
fn answers(client: &NetNs, to: SocketAddr) -> BTreeSet<String> {
    (0..8)
        .map(|_| match connect(client, to) {
            Reply::From { pod, seen } => format!("{pod} sees {seen}"),
            other => panic!("{to}: {other:?}"),
        })
        .collect()
}

fn local(number: u16) -> Service {
    Service {
        external_policy: TrafficPolicy::Local,
        ..numbered(number)
    }
}

#[test]
#[ignore = "needs ip_vs: make test-vm"]
fn a_local_policy_is_for_clients_outside() {
    let served = Served::new(&SPEC, &[(local(2), &[POD_ONE, POD_FAR])]);
    let site = &served.site;
    for family in [0, 1] {
        let to = node_port(2, family);
        let said = |pairs: &[(&str, &str)]| -> BTreeSet<String> {
            let pairs = pairs.iter();
            pairs
                .map(|(pod, seen)| format!("{pod} sees {seen}"))
                .collect()
        };
        let (two, gateway) = (TWO[family], GATEWAY[family]);
        let client = said(&[("one", CLIENT[family])]);
        assert_eq!(answers(&site.client, to), client, "only the local endpoint");
        let pod = said(&[("one", two), ("far", two)]);
        assert_eq!(answers(&site.two, to), pod, "all, by its own address");
        let node = said(&[("one", gateway), ("far", gateway)]);
        assert_eq!(answers(&site.node, to), node, "all, masqueraded");
    }
    // The same again after a restart, with the same marks.
    let mut served = served;
    assert_eq!(served.restart().written.messages, 0);
}

#[test]
#[ignore = "needs ip_vs: make test-vm"]
fn ports_of_the_host_are_not_ports_of_services() {
    let served = Served::new(&SPEC, &[(numbered(1), &[POD_ONE])]);
    let site = &served.site;
    let listener = site.node.run(|| TcpListener::bind(("::", 9_999))).unwrap();
    let _listener = listener.unwrap();
    for family in [0, 1] {
        let service = vip(1, family, 9_999);
        for client in [&site.two, &site.node, &site.client] {
            assert_eq!(connect(client, service), Reply::Refused, "{service}");
        }
        // It is there, at the node's own address.
        let host = SocketAddr::new(ip(NODE[family]), 9_999);
        let opened = site.client.run(|| std::net::TcpStream::connect(host));
        opened.unwrap().unwrap();
    }
}

/// A service whose load balancer address only these may use.
fn balanced(ranges: &[&str]) -> Service {
    let address = |address| LoadBalancerAddress {
        address: ip(address),
        is_vip: true,
    };
    Service {
        service_type: ServiceType::LoadBalancer,
        load_balancer: vec![address(BALANCED[0]), address(BALANCED[1])],
        source_ranges: prefixes(ranges),
        ..numbered(1)
    }
}

const BALANCED: [&str; 2] = ["203.0.113.9", "2001:db8:1::9"];

#[test]
#[ignore = "needs ip_vs: make test-vm"]
fn source_ranges_hold_for_everybody() {
    let ranges = |addresses: [&str; 2]| -> Vec<String> {
        let lengths = [32, 128];
        let pairs = addresses.into_iter().zip(lengths);
        pairs
            .map(|(address, length)| format!("{address}/{length}"))
            .collect()
    };
    let mut served = Served::new(&SPEC, &[(numbered(1), &[POD_ONE])]);
    for (allowed, name) in [(CLIENT, "client"), (TWO, "pod")] {
        let ranges = ranges(allowed);
        let ranges: Vec<&str> = ranges.iter().map(String::as_str).collect();
        served.apply([Change::Upsert(balanced(&ranges).object())]);
        let site = &served.site;
        for family in [0, 1] {
            let to = SocketAddr::new(ip(BALANCED[family]), 80);
            for (client, who) in [
                (&site.client, "client"),
                (&site.two, "pod"),
                (&site.node, "node"),
            ] {
                if who == name {
                    let reply = from("one", GATEWAY[family]);
                    assert_eq!(connect(client, to), reply, "{who} {to}");
                } else {
                    assert_eq!(connect_in_vain(client, to), Reply::Silence, "{who} {to}");
                }
            }
            // The cluster IP and the node port are nobody's ranges.
            let reply = from("one", TWO[family]);
            assert_eq!(connect(&site.two, vip(1, family, 80)), reply);
        }
    }
}

const PODS: &str = "namespace x
pod x/one node1 10.244.1.10,fd00:10:244:1::10 app=one
pod x/two node1 10.244.1.20,fd00:10:244:1::20 app=two
pod x/far node2 10.244.2.10,fd00:10:244:2::10 app=far
case policies
";

/// Policies beside the services, on the same node.
fn enforce(site: &Site, text: &str) -> Box<dyn PolicyBackend> {
    let state = policy_scenario::parse("policies", &format!("{PODS}{text}"))
        .remove(0)
        .state;
    let planner = PolicyPlanner::plan(Some("node1".into()), &state);
    let options = PolicyOptions {
        established: Established::Cut,
        anti_spoofing: None,
        log: None,
    };
    let mut backend = site.node.run(|| (POLICIES.open)(options)).unwrap().unwrap();
    backend.sync(planner.table(), None).unwrap();
    backend
}

#[test]
#[ignore = "needs ip_vs: make test-vm"]
fn policies_judge_what_goes_to_services() {
    let services: [(Service, &[Pod]); 2] = [(numbered(1), &[POD_ONE]), (numbered(2), &[POD_FAR])];
    let served = Served::new(&SPEC, &services);
    let site = &served.site;
    let mut open: Vec<Connection> = [0, 1]
        .map(|family| Connection::open(&site.two, vip(1, family, 80)).unwrap())
        .into();
    enforce(
        site,
        "policy x/p app=one\ningress from pods app=far ports tcp/8080\n",
    );
    for family in [0, 1] {
        let (one, far) = (vip(1, family, 80), vip(2, family, 80));
        assert_eq!(
            connect_in_vain(&site.two, one),
            Reply::Silence,
            "ingress of one"
        );
        assert_eq!(
            connect_in_vain(&site.client, one),
            Reply::Silence,
            "ingress of one"
        );
        let node = from("one", GATEWAY[family]);
        assert_eq!(connect(&site.node, one), node, "its own node");
        assert_eq!(
            connect(&site.two, far),
            from("far", TWO[family]),
            "nobody's policy"
        );
    }
    for connection in &mut open {
        let stream = connection.stream.get_mut();
        stream
            .set_read_timeout(Some(Duration::from_millis(300)))
            .unwrap();
        assert!(
            !connection.echoes("cut"),
            "what the policy denies now is cut"
        );
    }
    // Whom it may reach is said by endpoints, not by the service's address.
    enforce(
        site,
        "policy x/q app=two\negress to pods app=one ports tcp/8080\n",
    );
    for family in [0, 1] {
        let one = from("one", TWO[family]);
        assert_eq!(connect(&site.two, vip(1, family, 80)), one, "egress to one");
        let far = connect_in_vain(&site.two, vip(2, family, 80));
        assert_eq!(far, Reply::Silence, "egress to far");
        let host = SocketAddr::new(ip(NODE[family]), TCP_PORT);
        let host = connect_in_vain(&site.two, host);
        assert_eq!(host, Reply::Silence, "egress to the node itself");
    }
}

/// What programs print of a namespace.
fn printed(namespace: &NetNs, program: &str, arguments: &[&str]) -> String {
    let output = namespace.run(|| Command::new(program).args(arguments).output());
    let output = output
        .unwrap()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {output:?}"
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
#[ignore = "needs ip_vs: make test-vm"]
fn the_programs_show_what_operators_know_and_nothing_when_it_is_cleaned_up() {
    let mut served = Served::new(
        &SPEC,
        &[(numbered(1), &[POD_ONE, POD_FAR]), (local(2), &[POD_ONE])],
    );
    let node = &served.site.node;
    let servers = printed(node, "ipvsadm", &["-Sn"]);
    for line in [
        "-A -t 10.96.0.1:80 -s rr\n",
        "-a -t 10.96.0.1:80 -r 10.244.1.10:8080 -m -w 1\n",
        "-a -t 10.96.0.1:80 -r 10.244.2.10:8080 -m -w 1\n",
        "-A -u [fd00:10:96::1]:53 -s rr\n",
        "-A -t 172.16.0.11:30002 -s rr\n-a -t 172.16.0.11:30002 -r 10.244.1.10:8080 -m -w 1\n",
    ] {
        assert!(servers.contains(line), "{line}{servers}");
    }
    let members = |set: &str| {
        let listed = printed(node, "ipset", &["list", set]);
        let (_, members) = listed.split_once("Members:\n").expect("members");
        members.lines().map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let expected = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let cluster = [
        "10.96.0.1,tcp:80",
        "10.96.0.1,udp:53",
        "10.96.0.2,tcp:80",
        "10.96.0.2,udp:53",
    ];
    assert_eq!(members("KUBE-CLUSTER-IP"), expected(&cluster));
    assert_eq!(members("KUBE-NODE-PORT-TCP"), expected(&["30001", "30002"]));
    assert_eq!(members("KUBE-NODE-PORT-LOCAL-UDP"), expected(&["30002"]));
    assert_eq!(
        members("KUBE-IPVS-IPS"),
        expected(&["10.96.0.1", "10.96.0.2"])
    );
    let hairpins = [
        "10.244.1.10,tcp:8080,10.244.1.10",
        "10.244.1.10,udp:8053,10.244.1.10",
    ];
    assert_eq!(members("KUBE-LOOP-BACK"), expected(&hairpins));
    let addresses = printed(node, "ip", &["-br", "address", "show", "dev", DEVICE]);
    assert!(addresses.contains("10.96.0.1/32") && addresses.contains("fd00:10:96::2/128"));
    assert_eq!(
        served.sync_whole().written.messages,
        0,
        "read as it was written"
    );

    cleaning_up_leaves_what_is_not_ours(&mut served);
}

fn cleaning_up_leaves_what_is_not_ours(served: &mut Served) {
    let node = &served.site.node;
    let foreign = VirtualServer::Mark {
        family: podway_kernel::iptables::Family::V4,
        mark: 7,
    };
    let add = || {
        IpvsTable::open()
            .unwrap()
            .add(&foreign, &Scheduling::by("rr"))
    };
    node.run(add).unwrap().unwrap();
    printed(node, "ipset", &["create", "SOMEBODY", "hash:ip"]);
    served.backend.cleanup().unwrap();
    let node = &served.site.node;
    assert_eq!(printed(node, "ipvsadm", &["-Sn"]), "-A -f 7 -s rr\n");
    assert_eq!(printed(node, "ipset", &["list", "-n"]), "SOMEBODY\n");
    for program in ["iptables-save", "ip6tables-save"] {
        let rules = printed(node, program, &[]);
        assert!(!rules.contains("KUBE-"), "{rules}");
    }
    let mut netlink = Rtnetlink::open_in(node).unwrap();
    assert!(netlink.link(DEVICE).unwrap().is_none());
}

type Real = IpvsServices<IpvsTable, IpSetTable, Xtables, KernelNode, ConntrackTable>;

fn open(site: &Site, settings: ServiceSettings) -> Real {
    let kernel = || Kernel {
        ipvs: IpvsTable::open().unwrap(),
        sets: IpSetTable::open().unwrap(),
        iptables: Xtables::open().unwrap(),
        node: KernelNode::open().unwrap(),
        conntrack: ConntrackTable::open().unwrap(),
    };
    IpvsServices::new(site.node.run(kernel).unwrap(), settings)
}

#[test]
#[ignore = "needs ip_vs: make test-vm"]
fn an_endpoint_goes_when_its_last_connection_has_ended() {
    let mut served = Served::new(&SPEC, &[(numbered(1), &[POD_ONE, POD_TWO])]);
    let context = served.planner.context().clone();
    served.backend = Box::new(open(&served.site, settings(&context)));
    served.sync_whole();
    let mut connection = Connection::open(&served.site.client, vip(1, 0, 80)).unwrap();
    let Reply::From { pod, .. } = connection.reply.clone() else {
        panic!("{:?}", connection.reply);
    };
    let other = if pod == "one" { POD_TWO } else { POD_ONE };
    served.scale(1, &[other]);
    let servers = printed(&served.site.node, "ipvsadm", &["-Sn"]);
    assert!(servers.contains("-w 0"), "{servers}");
    assert!(connection.echoes("still there"));
    // Closed with something unread: a reset, after which IPVS waits 10 s. After
    // two FINs it waits two minutes.
    let stream = connection.stream.get_mut();
    std::io::Write::write_all(stream, b"unread\n").unwrap();
    stream.peek(&mut [0]).unwrap();
    drop(connection);
    let begin = Instant::now();
    while printed(&served.site.node, "ipvsadm", &["-Sn"]).contains("-w 0") {
        assert!(begin.elapsed() < Duration::from_secs(60), "it stays");
        std::thread::sleep(Duration::from_millis(100));
        served.sync_whole();
    }
    let reply = connect(&served.site.client, vip(1, 0, 80));
    assert!(matches!(reply, Reply::From { pod: other, .. } if other != pod));
}

#[test]
#[ignore = "needs ip_vs: make test-vm"]
fn every_scheduler_serves() {
    let mut served = Served::new(&SPEC, &[(numbered(1), &[POD_ONE, POD_TWO])]);
    let context = served.planner.context().clone();
    for scheduler in podway_kernel::ipvs::SCHEDULERS {
        served.backend.configure(ServiceSettings {
            ipvs: IpvsSettings {
                scheduler: scheduler.into(),
                ..IpvsSettings::default()
            },
            ..settings(&context)
        });
        served.sync_whole();
        for family in [0, 1] {
            let reply = connect(&served.site.client, vip(1, family, 80));
            assert!(
                matches!(reply, Reply::From { .. }),
                "{scheduler}: {reply:?}"
            );
        }
    }
    served.backend.configure(ServiceSettings {
        ipvs: IpvsSettings {
            scheduler: "maglev".into(),
            ..IpvsSettings::default()
        },
        ..settings(&context)
    });
    let error = served
        .backend
        .sync(served.planner.table(), None)
        .unwrap_err();
    let text = std::error::Error::source(&error).unwrap().to_string();
    assert!(
        text.contains("\"maglev\"") && text.contains("rr, wrr, lc, wlc"),
        "{text}"
    );
}

/// Not a limit, a figure: it is printed with `--nocapture`, and in
/// docs/backends/ipvs.md.
#[test]
#[ignore = "needs ip_vs: make test-vm"]
fn figures() {
    const SERVICES: u32 = 2_000;
    let site = Site::new();
    let mut state = state((1..=SERVICES).flat_map(clusters::numbered));
    let mut planner = ServicePlanner::new(NodeContext {
        node: "node1".into(),
        ..clusters::context()
    });
    planner.plan_all(&state);
    let mut backend = open(&site, settings(planner.context()));
    let begin = Instant::now();
    let report = backend.sync(planner.table(), None).unwrap();
    let whole = begin.elapsed();
    let begin = Instant::now();
    let again = backend.sync(planner.table(), None).unwrap();
    let compared = begin.elapsed();
    assert_eq!(again.written.messages, 0);
    let mut changes = Vec::new();
    for number in 1..=20 {
        let endpoints = [FAR[0], ONE[0]].map(|a| podway_testkit::builders::endpoint(a, "node2"));
        let slice = clusters::slice_of(number, &endpoints[..1]);
        let updates = state.apply(Change::Upsert(slice));
        let updates: Vec<_> = updates.into_iter().collect();
        let change = planner.update(&state, &updates);
        let begin = Instant::now();
        backend.sync(planner.table(), Some(&change)).unwrap();
        changes.push(begin.elapsed());
    }
    changes.sort_unstable();
    let median = changes[changes.len() / 2];
    println!(
        "{SERVICES} services of 2 endpoints: {} requests in {whole:?}; compared in {compared:?}; \
         one service's endpoints changed in {median:?}",
        report.written.messages
    );
}
