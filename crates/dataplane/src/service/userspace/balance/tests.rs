use podway_model::{IpFamily, ObjectName, Protocol};
use podway_plan::service::{PoolEndpoint, Reach};

use super::*;

fn pool(name: &str) -> PoolId {
    PoolId {
        service: ServicePortName {
            service: ObjectName::new("ns", name),
            port: "http".into(),
            protocol: Protocol::Tcp,
        },
        family: IpFamily::V4,
        reach: Reach::Cluster,
    }
}

/// Endpoints 10.0.0.1 and so on, of these weights.
fn endpoints(weights: &[u8]) -> Vec<PoolEndpoint> {
    let endpoint = |weight: &u8| PoolEndpoint {
        pod: None,
        local: false,
        weight: *weight,
    };
    weights.iter().map(endpoint).collect()
}

fn address(host: usize) -> SocketAddr {
    SocketAddr::new(IpAddr::from([10, 0, 0, u8::try_from(host).unwrap()]), 80)
}

fn destinations(endpoints: &[PoolEndpoint]) -> Vec<Destination<'_>> {
    let destination = |(index, endpoint)| Destination {
        address: address(index + 1),
        endpoint,
        masquerade: false,
    };
    endpoints.iter().enumerate().map(destination).collect()
}

/// The hosts that are first for so many connections.
fn firsts(balancer: &mut Balancer, destinations: &[Destination<'_>], count: usize) -> Vec<usize> {
    let host = |address: IpAddr| match address {
        IpAddr::V4(address) => usize::from(address.octets()[3]),
        IpAddr::V6(_) => 0,
    };
    (0..count)
        .map(|_| balancer.order(&pool("a"), destinations, None, Instant::now()))
        .map(|order| host(order[0].address.ip()))
        .collect()
}

#[test]
fn equals_take_turns_and_everybody_is_tried() {
    let endpoints = endpoints(&[100, 100, 100]);
    let all = destinations(&endpoints);
    let mut balancer = Balancer::default();
    assert_eq!(firsts(&mut balancer, &all, 7), [1, 2, 3, 1, 2, 3, 1]);
    let order = balancer.order(&pool("a"), &all, None, Instant::now());
    let order: Vec<SocketAddr> = order.iter().map(|d| d.address).collect();
    assert_eq!(order, [address(2), address(3), address(1)]);
    // Another pool has turns of its own.
    let other = balancer.order(&pool("b"), &all, None, Instant::now());
    assert_eq!(other[0].address, address(1));
}

#[test]
fn turns_go_on_where_they_were_when_endpoints_change() {
    let endpoints = endpoints(&[100; 4]);
    let all = destinations(&endpoints);
    let mut balancer = Balancer::default();
    assert_eq!(firsts(&mut balancer, &all, 2), [1, 2]);
    let without_second = [all[0], all[2], all[3]];
    assert_eq!(firsts(&mut balancer, &without_second, 2), [3, 4]);
    assert_eq!(firsts(&mut balancer, &all, 2), [1, 2]);
}

#[test]
fn weights_are_kept_in_every_stretch() {
    for weights in [vec![100, 50, 50], vec![1, 100], vec![99, 100, 3]] {
        let endpoints = endpoints(&weights);
        let all = destinations(&endpoints);
        let total: usize = weights.iter().map(|weight| usize::from(*weight)).sum();
        let turns = firsts(&mut Balancer::default(), &all, total);
        for (host, weight) in (1..).zip(&weights) {
            let count = turns.iter().filter(|turn| **turn == host).count();
            assert_eq!(count, usize::from(*weight), "host {host} of {weights:?}");
        }
    }
}

#[test]
fn a_client_keeps_its_endpoint_until_its_time_is_over() {
    let endpoints = endpoints(&[100, 100, 100]);
    let all = destinations(&endpoints);
    let mut balancer = Balancer::default();
    let start = Instant::now();
    let sticky = Stickiness {
        client: IpAddr::from([10, 1, 0, 1]),
        timeout: Duration::from_secs(10),
    };
    balancer.remember(&pool("a"), sticky, address(3), 2, start);
    let first = |balancer: &mut Balancer, of: &[Destination<'_>], seconds| {
        let now = start + Duration::from_secs(seconds);
        balancer.order(&pool("a"), of, Some(sticky), now)[0].address
    };
    assert_eq!(first(&mut balancer, &all, 9), address(3));
    // Its endpoint is not among those to choose from.
    assert_eq!(first(&mut balancer, &all[..2], 9), address(1));
    assert_eq!(first(&mut balancer, &all, 9), address(3));
    // Its time is over.
    assert_eq!(first(&mut balancer, &all, 10), address(2));
}

#[test]
fn no_more_clients_are_remembered_than_allowed() {
    let mut balancer = Balancer::default();
    let start = Instant::now();
    let sticky = |host, seconds| Stickiness {
        client: IpAddr::from([10, 1, 0, host]),
        timeout: Duration::from_secs(seconds),
    };
    balancer.remember(&pool("a"), sticky(1, 5), address(1), 2, start);
    balancer.remember(&pool("a"), sticky(2, 50), address(1), 2, start);
    balancer.remember(&pool("a"), sticky(3, 50), address(1), 2, start);
    assert_eq!(balancer.remembered.len(), 2, "the third is forgotten");
    let later = start + Duration::from_secs(6);
    balancer.remember(&pool("a"), sticky(3, 50), address(1), 2, later);
    let known = |host| {
        let client = (sticky(host, 0).client, pool("a").service);
        balancer.remembered.contains_key(&client)
    };
    assert!(
        !known(1) && known(2) && known(3),
        "the first's time is over"
    );
}
