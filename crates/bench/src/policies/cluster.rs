//! A made-up cluster, of which every application has a policy: it lets in the
//! next application of its namespace, the first one of any, and a block, and may
//! itself reach the application before it, and DNS.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use podway_model::{
    Change, ClusterState, Labels, Namespace, NetworkPolicy, Object, ObjectName, Peer, Pod,
    PolicyPort, PolicyRule, PortMatch, Protocol, Selector,
};

/// The port of every application.
pub(super) const PORT: u16 = 8080;

/// How large it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) namespaces: u32,
    /// Applications of a namespace, each with a policy.
    pub(super) applications: u32,
    /// Pods of applications in a namespace, on the node.
    pub(super) local: u32,
    /// Other pods of a namespace, on another node.
    pub(super) remote: u32,
}

impl Size {
    /// All namespaces with their pods and policies.
    pub(super) fn state(self) -> ClusterState {
        let mut state = ClusterState::default();
        for space in 0..self.namespaces {
            let namespace = Namespace {
                name: name_of(space).into(),
                revision: 1,
                labels: Labels::new(),
            };
            state.apply(Change::Upsert(Object::Namespace(Arc::new(namespace))));
            for number in 0..self.local + self.remote {
                state.apply(upsert(self.pod(space, number)));
            }
            for application in 0..self.applications {
                let policy = self.policy(space, application, PORT);
                state.apply(Change::Upsert(Object::NetworkPolicy(Arc::new(policy))));
            }
        }
        state
    }

    /// A pod; those of applications come first.
    pub(super) fn pod(self, space: u32, number: u32) -> Pod {
        let (node, app) = if number < self.local {
            ("node1", format!("app{}", number % self.applications))
        } else {
            ("node2", "other".to_owned())
        };
        labelled(
            name_of(space),
            number,
            &app,
            node,
            space * (self.local + self.remote) + number,
        )
    }

    /// A pod that was not there before.
    pub(super) fn newcomer(self, number: u32) -> Pod {
        let index = self.namespaces * (self.local + self.remote) + number;
        labelled("new".to_owned(), number, "app0", "node2", index)
    }

    /// The policy of an application, with the port that it opens.
    pub(super) fn policy(self, space: u32, application: u32, port: u16) -> NetworkPolicy {
        let all = self.applications;
        let next = selector(&format!("app{}", (application + 1) % all));
        let before = selector(&format!("app{}", (application + all - 1) % all));
        let own = |pods| Peer::Pods {
            namespaces: None,
            pods: Some(pods),
        };
        let anywhere = Peer::Pods {
            namespaces: Some(Selector::default()),
            pods: Some(selector("app0")),
        };
        let block = Peer::Block {
            prefix: "192.0.2.0/24".parse().expect("a prefix"),
            except: vec!["192.0.2.128/25".parse().expect("a prefix")],
        };
        let ingress = vec![
            rule(vec![own(next), anywhere], &[(Protocol::Tcp, port)]),
            rule(vec![block], &[]),
        ];
        let egress = vec![
            rule(vec![own(before)], &[(Protocol::Tcp, PORT)]),
            rule(Vec::new(), &[(Protocol::Udp, 53), (Protocol::Tcp, 53)]),
        ];
        NetworkPolicy {
            name: ObjectName::new(name_of(space), format!("app{application}")),
            revision: 1,
            generation: 1,
            audit: false,
            subjects: selector(&format!("app{application}")),
            ingress: Some(ingress),
            egress: Some(egress),
        }
    }
}

/// The addresses of the pod with this index in the whole cluster.
pub(super) fn addresses(index: u32) -> [IpAddr; 2] {
    let v4 = Ipv4Addr::from(0x0a00_0000 + 256 + index);
    let v6 = Ipv6Addr::from((0xfd00_u128 << 112) + 256 + u128::from(index));
    [v4.into(), v6.into()]
}

pub(super) fn upsert(pod: Pod) -> Change {
    Change::Upsert(Object::Pod(Arc::new(pod)))
}

fn labelled(namespace: String, number: u32, app: &str, node: &str, index: u32) -> Pod {
    Pod {
        name: ObjectName::new(namespace, format!("pod{number}")),
        uid: format!("uid {index}").into(),
        revision: 1,
        labels: [("app".to_owned(), app.to_owned())].into(),
        node: Some(node.into()),
        host_network: false,
        finished: false,
        ready: true,
        terminating: false,
        addresses: addresses(index).to_vec(),
        ports: Vec::new(),
        weight: None,
    }
}

fn name_of(space: u32) -> String {
    format!("ns{space}")
}

fn selector(app: &str) -> Selector {
    Selector::of([("app".to_owned(), app.to_owned())].into())
}

fn rule(peers: Vec<Peer>, ports: &[(Protocol, u16)]) -> PolicyRule {
    let ports = ports.iter().map(|&(protocol, port)| PolicyPort {
        protocol,
        port: PortMatch::Range(port, port),
    });
    PolicyRule {
        peers,
        ports: ports.collect(),
    }
}
