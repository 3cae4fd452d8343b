use std::sync::Arc;
use std::time::Duration;

use podway_kernel::conntrack::{FakeConntrack, Tuple};
use podway_model::{ObjectName, ServicePortName};
use podway_plan::service::{self, FrontendKind, Pool, PoolEndpoint, Reach, Verdict};

use super::*;

fn socket(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Frontends 10.96.0.1:53 and node port 30053 over one UDP pool.
fn table(endpoints: &[&str]) -> ServiceTable {
    let port = ServicePortName {
        service: ObjectName::new("kube-system", "dns"),
        port: "dns".into(),
        protocol: Protocol::Udp,
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
            protocol: Protocol::Udp,
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
    let endpoint = PoolEndpoint {
        pod: None,
        local: false,
        weight: PoolEndpoint::FULL_WEIGHT,
    };
    let pool = Pool {
        endpoints: endpoints
            .iter()
            .map(|text| (socket(text), endpoint.clone()))
            .collect(),
        affinity: None::<Duration>,
    };
    if !endpoints.is_empty() {
        table.pools.insert(id, Arc::new(pool));
    }
    table
}

fn flow(to: &str, endpoint: &str) -> Flow {
    let client = socket("10.244.1.9:4000");
    let tuple = |source, destination| Tuple {
        protocol: Protocol::Udp.number(),
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

/// What happens; the endpoints before it (`None` at a start) and after it; the
/// flows that end.
type Case<'a> = (
    &'a str,
    Option<&'a [&'a str]>,
    &'a [&'a str],
    &'a [(&'a str, &'a str)],
);

#[test]
fn flows_end_where_their_endpoint_is_gone() {
    let both = [A, B];
    let after_start = [(VIP, VIP)];
    let without_a = [(VIP, A), (VIP, VIP), (NODE, A)];
    let without_all = [(VIP, A), (VIP, B), (VIP, VIP), (NODE, A), (NODE, B)];
    let cases: [Case; 5] = [
        ("start", None, &both, &after_start),
        ("nothing went", Some(&[A]), &both, &[]),
        ("A went", Some(&both), &[B], &without_a),
        ("all went", Some(&both), &[], &without_all),
        ("the first came", Some(&[]), &both, &after_start),
    ];
    for (what, before, after, ended) in cases {
        let after = table(after);
        let stale = match before {
            None => StaleFlows::of_table(&after),
            Some(before) => {
                let change = service::diff(&table(before), &after);
                let users: Vec<Frontend> = after.routes.keys().copied().collect();
                StaleFlows::of_change(&after, &change, |_| users.clone())
            }
        };
        let all: Vec<Flow> = flows().into_iter().map(|(to, e)| flow(to, e)).collect();
        let mut conntrack = FakeConntrack { flows: all };
        let count = stale.end(&mut conntrack).unwrap();
        let rest: Vec<(&str, &str)> = flows()
            .into_iter()
            .filter(|(to, e)| !conntrack.flows.contains(&flow(to, e)))
            .collect();
        assert_eq!(
            (rest.as_slice(), count),
            (ended, ended.len() as u64),
            "{what}"
        );
    }
}
