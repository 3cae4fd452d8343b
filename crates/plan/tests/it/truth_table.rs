//! `truth_table.txt`, each row in both families.

use std::net::{IpAddr, SocketAddr};

use podway_model::{
    ClusterState, IpFamily, LoadBalancerAddress, Protocol, Service, ServicePort, ServiceType,
    TrafficPolicy,
};
use podway_plan::service::{self, NodeContext, Packet, Source};
use podway_testkit::builders::{
    self, IntoObject, endpoint, ip, node, port, prefix, slice, slice_port,
};
use podway_testkit::scenario;

use crate::flows::plan;

/// The addresses of a family.
struct Addresses {
    cluster_ip: &'static str,
    lb: &'static str,
    external: &'static str,
    node: &'static str,
    pod: &'static str,
    pods: &'static str,
    outside: &'static str,
    here: &'static str,
    elsewhere: &'static str,
    nobody: &'static str,
    everybody: &'static str,
}

const V4: Addresses = Addresses {
    cluster_ip: "172.30.0.41",
    lb: "1.2.3.4",
    external: "192.168.99.11",
    node: "192.168.0.2",
    pod: "10.180.0.9",
    pods: "10.180.0.0/24",
    outside: "203.0.113.2",
    here: "10.180.0.1",
    elsewhere: "10.180.1.1",
    nobody: "198.51.100.0/24",
    everybody: "0.0.0.0/0",
};

const V6: Addresses = Addresses {
    cluster_ip: "fd00:30::41",
    lb: "2001:db8:1::4",
    external: "2001:db8:2::11",
    node: "2001:db8::2",
    pod: "fd00:10::9",
    pods: "fd00:10::/64",
    outside: "2001:db8:f::2",
    here: "fd00:10::1",
    elsewhere: "fd00:10:1::1",
    nobody: "2001:db8:dead::/48",
    everybody: "::/0",
};

#[derive(Clone, Copy)]
struct Row<'a> {
    line: usize,
    destination: &'a str,
    settings: &'a str,
    endpoints: &'a str,
}

impl Row<'_> {
    fn has(&self, setting: &str) -> bool {
        self.settings.split_whitespace().any(|word| word == setting)
    }

    fn context(&self, with: &Addresses) -> NodeContext {
        let detector = (!self.has("no-detector")).then(|| prefix(with.pods));
        NodeContext {
            node: "node1".into(),
            pod_prefixes: detector.into_iter().collect(),
            masquerade_all: self.has("masquerade-all"),
            ..NodeContext::default()
        }
    }

    fn state(&self, with: &Addresses) -> ClusterState {
        let policy = |setting: &str| match self.has(setting) {
            true => TrafficPolicy::Local,
            false => TrafficPolicy::Cluster,
        };
        let ranges = self
            .settings
            .split_whitespace()
            .find_map(|w| w.strip_prefix("ranges="));
        let range = ranges.map(|who| match who {
            "none" => prefix(with.nobody),
            "all" => prefix(with.everybody),
            "pod" => prefix(with.pods),
            "node" => ip(with.node).into(),
            "outside" => ip(with.outside).into(),
            other => panic!("line {}: no such range `{other}`", self.line),
        });
        let service = Service {
            service_type: ServiceType::LoadBalancer,
            internal_policy: policy("itp=local"),
            external_policy: policy("etp=local"),
            external_ips: vec![ip(with.external)],
            load_balancer: vec![LoadBalancerAddress {
                address: ip(with.lb),
                is_vip: true,
            }],
            source_ranges: range.into_iter().collect(),
            ..builders::service(
                "ns1/svc1",
                &[with.cluster_ip],
                &[ServicePort {
                    node_port: Some(3001),
                    ..port("p", 80)
                }],
            )
        };
        let endpoints = match self.endpoints {
            "both" => vec![
                endpoint(with.here, "node1"),
                endpoint(with.elsewhere, "node2"),
            ],
            "remote" => vec![endpoint(with.elsewhere, "node2")],
            "none" => Vec::new(),
            other => panic!("line {}: no such endpoints `{other}`", self.line),
        };
        builders::state([
            node("node1", &[with.node], &[]).object(),
            service.object(),
            slice(
                "ns1/svc1-1",
                "ns1/svc1",
                &[slice_port("p", 8080)],
                &endpoints,
            )
            .object(),
        ])
    }

    fn packet(&self, with: &Addresses, source: Source) -> Packet {
        let (destination, port) = match self.destination {
            "cluster-ip" => (with.cluster_ip, 80),
            "lb" => (with.lb, 80),
            "external" => (with.external, 80),
            "node-port" => (with.node, 3001),
            other => panic!("line {}: no such destination `{other}`", self.line),
        };
        Packet {
            source,
            source_address: ip(match source {
                Source::Pod => with.pod,
                Source::Node => with.node,
                Source::Outside => with.outside,
            }),
            destination: SocketAddr::new(ip(destination), port),
            protocol: Protocol::Tcp,
            to_node_port_address: self.destination == "node-port",
        }
    }

    fn expected(&self, with: &Addresses, outcome: &str) -> String {
        let to = |address: &str| SocketAddr::new(ip(address), 8080).to_string();
        let local = match self.endpoints {
            "both" => to(with.here),
            _ => String::new(),
        };
        let all = format!("{local} {}", to(with.elsewhere));
        outcome.replace("all", all.trim()).replace("loc", &local)
    }
}

#[test]
fn the_truth_table_holds() {
    let mut wrong = Vec::new();
    for (index, line) in include_str!("truth_table.txt").lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [destination, settings, endpoints, pod, node, outside] = cells[..] else {
            panic!("line {}: six columns, please: {line}", index + 1);
        };
        let row = Row {
            line: index + 1,
            destination,
            settings,
            endpoints,
        };
        for with in [&V4, &V6] {
            let table = plan(&row.state(with), &row.context(with));
            let sources = [
                (Source::Pod, pod),
                (Source::Node, node),
                (Source::Outside, outside),
            ];
            for (source, outcome) in sources {
                let decision = service::decide(&table, &row.packet(with, source));
                let decided = scenario::outcome(&decision.outcome);
                let expected = row.expected(with, outcome);
                let family = IpFamily::of(&with.node.parse::<IpAddr>().expect("address"));
                if decided != expected {
                    let line = row.line;
                    wrong.push(format!(
                        "line {line}, {family}, from {source:?}: {decided}, not {expected}"
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
