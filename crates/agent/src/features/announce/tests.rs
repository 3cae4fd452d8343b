use podway_model::{Change, LoadBalancerAddress, TrafficPolicy};
use podway_plan::announce::parse_config_map;
use podway_testkit::builders::{
    IntoObject, endpoint, ip, labels, name, node, port, service, slice, slice_port, state,
};

use super::*;

const POOL: &str = "address-pools: [{name: p, protocol: layer2, addresses: [172.16.0.200/28]}]";

fn config(text: &str) -> AddressConfig {
    AddressConfig {
        config: Arc::new(parse_config_map(text).expect("a configuration")),
        ..AddressConfig::default()
    }
}

fn balanced(name: &str, address: &str, external_policy: TrafficPolicy) -> Object {
    Service {
        service_type: ServiceType::LoadBalancer,
        labels: labels(&[("app", "web")]),
        load_balancer: vec![LoadBalancerAddress {
            address: ip(address),
            is_vip: true,
        }],
        external_policy,
        ..service(name, &["10.96.0.10"], &[port("http", 80)])
    }
    .object()
}

/// Two nodes; endpoints of `slice` on these.
fn cluster(policy: TrafficPolicy, endpoint_nodes: &[&str]) -> ClusterState {
    state([
        node("node1", &["172.16.0.11"], &[]).object(),
        node("node2", &["172.16.0.12"], &[]).object(),
        balanced("default/web", "172.16.0.200", policy),
        endpoints(endpoint_nodes),
    ])
}

fn endpoints(nodes: &[&str]) -> Object {
    let endpoints: Vec<_> = nodes
        .iter()
        .map(|node| endpoint("10.244.0.5", node))
        .collect();
    slice(
        "default/web-1",
        "default/web",
        &[slice_port("http", 80)],
        &endpoints,
    )
    .object()
}

/// What node1 may hold, and with whom.
fn candidates(announce: &mut Announce, config: &AddressConfig) -> Vec<String> {
    let plan = announce.layer2(config);
    let addresses = plan.addresses.iter().flat_map(|(address, planned)| {
        let candidates = planned.candidates.iter();
        candidates.map(move |candidate| format!("{address} {}", candidate.node))
    });
    let mut addresses: Vec<String> = addresses.collect();
    addresses.sort();
    addresses
}

#[test]
fn what_a_node_may_hold_follows_the_cluster_and_the_configuration() {
    let (cluster_wide, local) = (TrafficPolicy::Cluster, TrafficPolicy::Local);
    let both = ["172.16.0.200 node1", "172.16.0.200 node2"];
    for (policy, nodes, text, expected) in [
        (cluster_wide, &["node2"][..], POOL, &both[..]),
        (cluster_wide, &[], POOL, &[]),
        (cluster_wide, &["node2"], "{}", &[]),
        (local, &["node1"], POOL, &both[..1]),
        (local, &["node2"], POOL, &[]),
    ] {
        let mut announce = Announce::new(&LoadBalancer::default(), "node1".into());
        announce.plan_all(&cluster(policy, nodes));
        let found = candidates(&mut announce, &config(text));
        assert_eq!(found, expected, "{policy:?} {nodes:?} {text}");
    }
}

#[test]
fn a_change_is_planned_as_the_whole_is() {
    let config = config(POOL);
    let mut state = cluster(TrafficPolicy::Local, &["node2"]);
    let mut announce = Announce::new(&LoadBalancer::default(), "node1".into());
    announce.plan_all(&state);
    let changes = [
        Change::Upsert(endpoints(&["node1", "node2"])),
        Change::Delete(endpoints(&[]).reference()),
        Change::Upsert(endpoints(&["node1"])),
        Change::Upsert(node("node3", &["172.16.0.13"], &[]).object()),
        Change::Upsert(balanced(
            "default/web",
            "172.16.0.201",
            TrafficPolicy::Cluster,
        )),
        Change::Upsert(service("default/web", &["10.96.0.10"], &[port("http", 80)]).object()),
        Change::Delete(node("node2", &[], &[]).object().reference()),
    ];
    for change in changes {
        let text = format!("{change:?}");
        let updates = state.apply(change);
        announce.plan(&state, &updates);
        let mut fresh = Announce::new(&LoadBalancer::default(), "node1".into());
        fresh.plan_all(&state);
        assert_eq!(announce.layer2(&config), fresh.layer2(&config), "{text}");
    }
    assert_eq!(candidates(&mut announce, &config), Vec::<String>::new());
    assert!(!announce.services.contains_key(&name("default/web")));
    assert_eq!(announce.voters.len(), 2);
}
