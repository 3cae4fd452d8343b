//! The cost contract: what each kind of change writes, in each mode, held
//! against `cost.txt`. Two clusters of different size must cost the same.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use podway_dataplane::service::{iptables, nftables, userspace};
use podway_model::{
    Change, ClusterState, LoadBalancerAddress, Object, ObjectRef, Service, ServicePort,
    ServiceType, TrafficPolicy,
};
use podway_plan::service::ServicePlanner;
use podway_testkit::builders::{
    self, IntoObject as _, endpoint, ip, name, port, prefixes, slice, slice_port,
};

use crate::drift::Node;
use crate::iptables::clusters::{context, numbered};
use crate::live::Mode;

const MODES: [Mode; 3] = [
    Mode::Spec(&nftables::SPEC),
    Mode::Spec(&iptables::SPEC),
    Mode::Spec(&userspace::SPEC),
];

#[test]
fn a_change_costs_what_the_contract_says() {
    let [small, large] = [20, 150].map(contract);
    assert_eq!(small, large, "the cost depends on the size of the cluster");
    let agreed = include_str!("cost.txt");
    assert_eq!(large, agreed, "is\n{large}\nagreed\n{agreed}");
}

/// One line for each step: transactions (or runs of a program), messages and
/// elements (or lines) that each mode writes.
fn contract(services: u32) -> String {
    let columns = MODES.map(|mode| costs(mode, services));
    let mut text = format!("{:44}", "transactions/messages/elements");
    for mode in MODES {
        let _ = write!(text, "{:>12}", mode.name());
    }
    for (row, (what, _)) in steps().iter().enumerate() {
        let _ = write!(text, "\n{what:44}");
        for column in &columns {
            let _ = write!(text, "{:>12}", column[row]);
        }
    }
    text + "\n"
}

fn costs(mode: Mode, services: u32) -> Vec<String> {
    let node = Node::new();
    let mut backend = node.start(mode);
    let mut cluster: ClusterState = builders::state((0..services).flat_map(numbered));
    let mut planner = ServicePlanner::new(context());
    planner.plan_all(&cluster);
    backend.sync(planner.table(), None).unwrap();
    let steps = steps().into_iter().map(|(what, change)| {
        let updates = cluster.apply(change);
        let change = planner.update(&cluster, &updates);
        let report = backend.sync(planner.table(), Some(&change)).unwrap();
        assert!(!report.full, "{}: {what}", mode.name());
        let written = report.written;
        format!(
            "{}/{}/{}",
            written.transactions, written.messages, written.elements
        )
    });
    let costs = steps.collect();
    let rest = backend.sync(planner.table(), None).unwrap().written;
    assert_eq!(rest.transactions, 0, "{}: {rest:?}", mode.name());
    costs
}

/// A service beside the numbered ones, step by step.
fn steps() -> Vec<(&'static str, Change)> {
    let plain = || builders::service("ns/x", &["10.99.0.1"], &[port("http", 80)]);
    let with_port = || Service {
        service_type: ServiceType::NodePort,
        ports: vec![ServicePort {
            node_port: Some(30_000),
            ..port("http", 80)
        }],
        ..plain()
    };
    let balanced = |ranges: &[&str]| Service {
        service_type: ServiceType::LoadBalancer,
        load_balancer: vec![LoadBalancerAddress {
            address: ip("203.0.113.1"),
            is_vip: true,
        }],
        source_ranges: prefixes(ranges),
        ..with_port()
    };
    let sticky = || Service {
        affinity_seconds: Some(600),
        ..plain()
    };
    let local = || Service {
        internal_policy: TrafficPolicy::Local,
        ..plain()
    };
    let upsert = |service: Service| Change::Upsert(service.object());
    vec![
        ("a service without endpoints", upsert(plain())),
        ("its first two endpoints", pods(&[1, 2])),
        ("the same again", pods(&[1, 2])),
        ("one endpoint becomes another", pods(&[1, 3])),
        ("one endpoint more, a new number of them", pods(&[1, 3, 4])),
        ("one endpoint less", pods(&[1, 3])),
        ("a node port", upsert(with_port())),
        ("an address of a load balancer", upsert(balanced(&[]))),
        ("source ranges", upsert(balanced(&["192.0.2.0/24"]))),
        (
            "another source range",
            upsert(balanced(&["198.51.100.0/24"])),
        ),
        ("a cluster IP only", upsert(plain())),
        ("session affinity", upsert(sticky())),
        ("one endpoint becomes another, with affinity", pods(&[1, 2])),
        ("no affinity", upsert(plain())),
        ("internal policy Local, none local", upsert(local())),
        ("internal policy Cluster", upsert(plain())),
        ("its last endpoints leave", pods(&[])),
        (
            "the service goes",
            Change::Delete(ObjectRef::Service(name("ns/x"))),
        ),
    ]
}

fn pods(last: &[u8]) -> Change {
    let pods = last.iter().map(|last| {
        let address = Ipv4Addr::new(10, 244, 9, *last);
        endpoint(&address.to_string(), "node2")
    });
    let pods: Vec<_> = pods.collect();
    let slice: Object = slice("ns/x", "ns/x", &[slice_port("http", 8080)], &pods).object();
    Change::Upsert(slice)
}
