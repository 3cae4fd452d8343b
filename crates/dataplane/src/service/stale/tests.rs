use std::sync::Arc;
use std::time::Duration;

use podway_kernel::conntrack::{FakeConntrack, Tuple};
use podway_model::{ObjectName, ServicePortName};
use podway_plan::service::{self, FrontendKind, Pool, PoolEndpoint, Reach, Verdict};

use super::*;

fn socket(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn pool(endpoints: &[&str]) -> Pool {
    let endpoint = PoolEndpoint {
        pod: None,
        local: false,
        weight: PoolEndpoint::FULL_WEIGHT,
    };
    let endpoints = endpoints.iter();
    Pool {
        endpoints: endpoints
            .map(|text| (socket(text), endpoint.clone()))
            .collect(),
        affinity: None::<Duration>,
    }
}

/// Frontends 10.96.0.1:53 and node port 30053 over one pool; those that linger
/// keep what they have.
fn table(protocol: Protocol, endpoints: &[&str], lingering: &[&str]) -> ServiceTable {
    let port = ServicePortName {
        service: ObjectName::new("kube-system", "dns"),
        port: "dns".into(),
        protocol,
    };
    let id = PoolId {
        service: port.clone(),
        family: IpFamily::V4,
        reach: Reach::Cluster,
    };
    let forward = match endpoints {
        [] => Verdict::Reject,
        _ => Verdict::Forward {
            pool: id.clone(),
            masquerade: false,
        },
    };
    let mut table = ServiceTable::default();
    let vip = FrontendAddress::Ip("10.96.0.1".parse().unwrap());
    let node = FrontendAddress::Node(IpFamily::V4);
    for (address, number, kind) in [
        (vip, 53, FrontendKind::ClusterIp),
        (node, 30053, FrontendKind::NodePort),
    ] {
        let frontend = Frontend {
            address,
            protocol,
            port: number,
        };
        let route = Route {
            service: port.clone(),
            kind,
            allow_from: None,
            from_pod: forward.clone(),
            from_node: forward.clone(),
            from_outside: forward.clone(),
        };
        table.routes.insert(frontend, Arc::new(route));
    }
    if !endpoints.is_empty() {
        table.pools.insert(id, Arc::new(pool(endpoints)));
    }
    if !lingering.is_empty() {
        let id = PortId {
            service: port,
            family: IpFamily::V4,
        };
        let lingering = Lingering {
            endpoints: lingering.iter().map(|text| socket(text)).collect(),
            frontends: table.routes.keys().copied().collect(),
        };
        table.lingering.insert(id, Arc::new(lingering));
    }
    table
}

fn flow(protocol: Protocol, to: &str, endpoint: &str) -> Flow {
    let client = socket("10.244.1.9:4000");
    let tuple = |source, destination| Tuple {
        protocol: protocol.number(),
        source,
        destination,
    };
    Flow::new(tuple(client, socket(to)), tuple(socket(endpoint), client))
}

const A: &str = "10.244.2.1:53";
const B: &str = "10.244.2.2:53";
const VIP: &str = "10.96.0.1:53";
const NODE: &str = "172.16.0.11:30053";

fn flows() -> Vec<(&'static str, &'static str)> {
    vec![
        (VIP, A),
        (VIP, B),
        // Untranslated: from before the service was there.
        (VIP, VIP),
        (NODE, A),
        (NODE, B),
        // Somebody else's: same port, another translation; same endpoint,
        // another frontend.
        (NODE, "192.0.2.1:53"),
        ("192.0.2.9:30054", A),
    ]
}

/// The flows that end, of a protocol, when one table follows another (`None`: at
/// a start).
fn ended(
    protocol: Protocol,
    before: Option<&ServiceTable>,
    after: &ServiceTable,
) -> Vec<(&'static str, &'static str)> {
    let stale = match before {
        None => StaleFlows::of_table(after),
        Some(before) => {
            let change = service::diff(before, after);
            let users: Vec<Frontend> = after.routes.keys().copied().collect();
            StaleFlows::of_change(after, &change, |_| users.clone())
        }
    };
    let all = flows().into_iter();
    let all = all.map(|(to, e)| flow(protocol, to, e)).collect();
    let mut conntrack = FakeConntrack { flows: all };
    let count = stale.end(&mut conntrack).unwrap();
    let ended: Vec<_> = flows()
        .into_iter()
        .filter(|(to, e)| !conntrack.flows.contains(&flow(protocol, to, e)))
        .collect();
    assert_eq!(count, ended.len() as u64);
    ended
}

const WITHOUT_A: &[(&str, &str)] = &[(VIP, A), (NODE, A)];
const WITHOUT_ALL: &[(&str, &str)] = &[(VIP, A), (VIP, B), (NODE, A), (NODE, B)];

#[test]
fn udp_flows_end_where_their_endpoint_is_gone() {
    let of = |endpoints: &[&str]| table(Protocol::Udp, endpoints, &[]);
    let end =
        |before: Option<&ServiceTable>, after: &ServiceTable| ended(Protocol::Udp, before, after);
    let both = of(&[A, B]);
    assert_eq!(end(None, &both), [(VIP, VIP)], "start");
    assert_eq!(end(Some(&of(&[A])), &both), [], "nothing went");
    assert_eq!(end(Some(&both), &of(&[B])), [(VIP, A), (NODE, A)], "A went");
    assert_eq!(
        end(Some(&both), &of(&[])),
        [(VIP, A), (VIP, B), (VIP, VIP), (NODE, A), (NODE, B)],
        "all went"
    );
    assert_eq!(end(Some(&of(&[])), &both), [(VIP, VIP)], "the first came");
    let gone = ServiceTable::default();
    assert!(
        end(Some(&both), &gone).contains(&(VIP, B)),
        "the Service went"
    );
}

#[test]
fn connections_end_where_their_endpoint_is_gone() {
    for protocol in [Protocol::Tcp, Protocol::Sctp] {
        let of = |endpoints: &[&str]| table(protocol, endpoints, &[]);
        let both = of(&[A, B]);
        let end =
            |before: Option<&ServiceTable>, after: &ServiceTable| ended(protocol, before, after);
        assert_eq!(end(None, &both), [], "start");
        assert_eq!(
            end(None, &of(&[B])),
            [(VIP, A)],
            "A went while nobody looked"
        );
        assert_eq!(end(Some(&of(&[A])), &both), [], "nothing went");
        assert_eq!(end(Some(&both), &of(&[B])), WITHOUT_A, "A went");
        assert_eq!(end(Some(&both), &of(&[])), WITHOUT_ALL, "all went");
        let gone = ServiceTable::default();
        assert_eq!(
            end(Some(&both), &gone),
            [],
            "the frontends went, not their endpoints"
        );
    }
}

#[test]
fn endpoints_that_linger_keep_their_flows() {
    for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
        let both = table(protocol, &[A, B], &[]);
        let draining = table(protocol, &[B], &[A]);
        let drained = table(protocol, &[B], &[]);
        assert_eq!(ended(protocol, Some(&both), &draining), [], "A terminates");
        assert_eq!(
            ended(protocol, Some(&draining), &drained),
            WITHOUT_A,
            "A went"
        );
        let last = table(protocol, &[], &[A]);
        let none = table(protocol, &[], &[]);
        let went = ended(protocol, Some(&last), &none);
        assert_eq!(went, WITHOUT_A, "the last went");
    }
}
