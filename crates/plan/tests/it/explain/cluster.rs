//! Two nodes, a few pods, services and policies, as files would have them: no
//! EndpointSlice, since every Service here has a selector.

use podway_model::{
    ClusterState, ContainerPort, LoadBalancerAddress, NetworkPolicy, Peer, Pod, PolicyPort,
    PolicyRule, PortMatch, Protocol, Selector, Service, ServicePort, ServiceType, TargetPort,
    TrafficPolicy,
};
use podway_testkit::builders::{
    self, IntoObject, ip, labels, namespace, node, policy, port, prefix, prefixes, selector,
};

/// A pod on a node with a number, by which its addresses go.
fn pod(name: &str, node: u8, number: u8, app: &str) -> Pod {
    let v4 = format!("10.244.{node}.{number}");
    let v6 = format!("fd00:10:244:{node}::{number}");
    Pod {
        labels: labels(&[("app", app)]),
        ports: vec![ContainerPort {
            name: "http".to_owned(),
            protocol: Protocol::Tcp,
            port: 8080,
        }],
        ..builders::pod(name, &format!("node{node}"), &[&v4, &v6])
    }
}

fn service(name: &str, number: u8, app: &str) -> Service {
    let v4 = format!("10.96.0.{number}");
    let v6 = format!("fd00:10:96::{number}");
    Service {
        selector: Some(labels(&[("app", app)])),
        ..builders::service(
            name,
            &[&v4, &v6],
            &[ServicePort {
                target_port: TargetPort::Name("http".to_owned()),
                ..port("http", 80)
            }],
        )
    }
}

fn with_node_port(service: Service, number: u16) -> Service {
    let node_port = |port: &ServicePort| ServicePort {
        node_port: Some(number),
        ..port.clone()
    };
    Service {
        service_type: ServiceType::NodePort,
        ports: service.ports.iter().map(node_port).collect(),
        ..service
    }
}

fn pods_of(namespaces: Option<Selector>, app: &str) -> Peer {
    Peer::Pods {
        namespaces,
        pods: Some(selector(&[("app", app)])),
    }
}

fn block(text: &str, except: &[&str]) -> Peer {
    Peer::Block {
        prefix: prefix(text),
        except: prefixes(except),
    }
}

fn tcp(port: PortMatch) -> PolicyPort {
    PolicyPort {
        protocol: Protocol::Tcp,
        port,
    }
}

fn pods() -> Vec<Pod> {
    vec![
        pod("default/web-1", 1, 5, "web"),
        pod("default/web-2", 2, 5, "web"),
        pod("default/api", 2, 6, "api"),
        pod("default/db", 2, 7, "db"),
        pod("x/a", 1, 9, "a"),
        pod("x/b", 2, 9, "b"),
        // Its old address is web-1's now (kubernetes#92697).
        Pod {
            finished: true,
            ..pod("x/done", 1, 5, "a")
        },
        Pod {
            addresses: Vec::new(),
            ready: false,
            ..pod("x/pending", 1, 10, "a")
        },
        Pod {
            addresses: vec![ip("10.244.1.11")],
            ..pod("x/four", 1, 11, "four")
        },
        Pod {
            host_network: true,
            addresses: vec![ip("172.16.0.11")],
            ..pod("x/host", 1, 12, "host")
        },
        // On a node of which the files have no object.
        Pod {
            host_network: true,
            addresses: vec![ip("172.16.0.13")],
            ..pod("x/host-3", 3, 12, "host")
        },
    ]
}

fn services() -> Vec<Service> {
    let lb = with_node_port(service("default/lb", 20, "api"), 30020);
    vec![
        with_node_port(service("default/web", 10, "web"), 30010),
        Service {
            service_type: ServiceType::LoadBalancer,
            external_policy: TrafficPolicy::Local,
            load_balancer: vec![LoadBalancerAddress {
                address: ip("172.16.0.200"),
                is_vip: true,
            }],
            source_ranges: prefixes(&["203.0.113.0/25"]),
            affinity_seconds: Some(600),
            ..lb
        },
        Service {
            internal_policy: TrafficPolicy::Local,
            ..service("default/near", 30, "api")
        },
        service("default/empty", 40, "nobody"),
        Service {
            cluster_ips: Vec::new(),
            ..service("default/headless", 50, "web")
        },
        service("x/self", 60, "a"),
    ]
}

fn policies() -> Vec<NetworkPolicy> {
    vec![
        NetworkPolicy {
            subjects: selector(&[("app", "web")]),
            ingress: Some(vec![
                PolicyRule {
                    peers: vec![pods_of(
                        Some(selector(&[("kubernetes.io/metadata.name", "x")])),
                        "a",
                    )],
                    ports: vec![tcp(PortMatch::Name("http".to_owned()))],
                },
                PolicyRule {
                    peers: vec![block("203.0.113.0/24", &["203.0.113.128/25"])],
                    ports: Vec::new(),
                },
            ]),
            ..policy("default/web-ingress")
        },
        NetworkPolicy {
            subjects: selector(&[("app", "db")]),
            ingress: Some(Vec::new()),
            egress: Some(Vec::new()),
            ..policy("default/db-closed")
        },
        NetworkPolicy {
            subjects: selector(&[("app", "b")]),
            egress: Some(vec![
                PolicyRule {
                    peers: vec![pods_of(Some(Selector::default()), "api")],
                    ports: vec![tcp(PortMatch::Range(8000, 8100))],
                },
                PolicyRule {
                    peers: vec![block("10.244.2.5/32", &[])],
                    ports: vec![tcp(PortMatch::Any)],
                },
            ]),
            ..policy("x/b-egress")
        },
    ]
}

/// The cluster.
pub(super) fn cluster() -> ClusterState {
    let nodes = [
        node(
            "node1",
            &["172.16.0.11", "fd00:172:16::11"],
            &["10.244.1.0/24", "fd00:10:244:1::/64"],
        ),
        node(
            "node2",
            &["172.16.0.12", "fd00:172:16::12"],
            &["10.244.2.0/24", "fd00:10:244:2::/64"],
        ),
    ];
    let namespaces = ["default", "x"].map(|name| {
        // As a file has it: the label of its name is the API server's work.
        podway_model::Namespace {
            labels: labels(&[]),
            ..namespace(name)
        }
    });
    let objects = nodes.map(IntoObject::object).into_iter();
    builders::state(
        objects
            .chain(namespaces.map(IntoObject::object))
            .chain(pods().into_iter().map(IntoObject::object))
            .chain(services().into_iter().map(IntoObject::object))
            .chain(policies().into_iter().map(IntoObject::object)),
    )
}
