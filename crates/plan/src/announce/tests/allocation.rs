use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::{Allocator, Refusal, ServiceAllocation};
use super::*;

fn allocator(pools: Vec<IpAddressPool>) -> Allocator {
    let mut allocator = Allocator::default();
    allocator.set_pools(&config(pools));
    allocator
}

fn assigned(allocator: &mut Allocator, request: &Request) -> Vec<IpAddr> {
    let allocation = allocator.assign(request);
    allocation
        .unwrap_or_else(|error| panic!("{request:?}: {error}"))
        .addresses
}

#[test]
fn the_lowest_free_address_is_given_and_comes_back() {
    let mut allocator = allocator(vec![pool("p", "10.0.0.254/31 10.0.0.1-10.0.0.2")]);
    for (name, expected) in [
        ("a", "10.0.0.254"),
        ("b", "10.0.0.255"),
        ("c", "10.0.0.1"),
        ("d", "10.0.0.2"),
    ] {
        assert_eq!(assigned(&mut allocator, &request(name)), ips(expected));
    }
    let none = allocator.assign(&request("e"));
    assert_eq!(none, Err(Refusal::Exhausted(vec!["p".to_owned()])));
    allocator.release(&request("b").name);
    assert_eq!(assigned(&mut allocator, &request("e")), ips("10.0.0.255"));
    assert_eq!(
        assigned(&mut allocator, &request("e")),
        ips("10.0.0.255"),
        "it keeps it"
    );
}

#[test]
fn buggy_addresses_are_left_out_and_counted_out() {
    let buggy = IpAddressPool {
        avoid_buggy_ips: true,
        ..pool("p", "10.0.0.254-10.0.1.1")
    };
    let mut allocator = allocator(vec![buggy]);
    assert_eq!(assigned(&mut allocator, &request("a")), ips("10.0.0.254"));
    assert_eq!(assigned(&mut allocator, &request("b")), ips("10.0.1.1"));
    assert!(allocator.assign(&request("c")).is_err());
    let usage: Vec<_> = allocator
        .usage()
        .map(|(_, usage)| (usage.assigned_v4, usage.available_v4))
        .collect();
    assert_eq!(usage, [(2, 0)]);
}

#[test]
fn an_address_may_be_asked_for() {
    let manual = IpAddressPool {
        auto_assign: Some(false),
        ..pool("manual", "10.1.0.0/24")
    };
    let mut allocator = allocator(vec![
        pool("p", "10.0.0.0/24"),
        manual,
        pool("q", "10.2.0.0/24"),
    ]);
    let ask = |name: &str, addresses: &str, pool: Option<&str>| Request {
        addresses: ips(addresses),
        pool: pool.map(str::to_owned),
        ..request(name)
    };
    assert_eq!(
        assigned(&mut allocator, &ask("a", "10.1.0.7", None)),
        ips("10.1.0.7")
    );
    let in_use = Refusal::InUse {
        address: ip("10.1.0.7"),
        by: request("a").name,
    };
    let not_in = Refusal::NotInPool {
        address: ip("10.0.0.1"),
        pool: "manual".to_owned(),
    };
    let families = Refusal::Family {
        address: ip("fd00::1"),
        families: vec![IpFamily::V4],
    };
    let cases = [
        (ask("b", "10.1.0.7", None), in_use),
        (
            ask("b", "10.9.0.1", None),
            Refusal::InNoPool(ip("10.9.0.1")),
        ),
        (ask("b", "10.0.0.1", Some("manual")), not_in),
        (ask("b", "fd00::1", None), families),
        (
            ask("b", "10.0.0.1 10.0.0.2", None),
            Refusal::TwoOfFamily(IpFamily::V4),
        ),
        (
            ask("b", "", Some("gone")),
            Refusal::NoPool("gone".to_owned()),
        ),
    ];
    for (request, expected) in cases {
        assert_eq!(allocator.assign(&request), Err(expected));
    }
    assert_eq!(
        assigned(&mut allocator, &ask("c", "", Some("manual"))),
        ips("10.1.0.0")
    );
    assert_eq!(
        assigned(&mut allocator, &ask("a", "10.1.0.8", None)),
        ips("10.1.0.8"),
        "another wish"
    );
    assert_eq!(
        assigned(&mut allocator, &ask("a", "", Some("q"))),
        ips("10.2.0.0"),
        "another pool"
    );
}

fn pinned(name: &str, addresses: &str, priority: u32, rules: ServiceAllocation) -> IpAddressPool {
    IpAddressPool {
        service_allocation: Some(ServiceAllocation { priority, ..rules }),
        ..pool(name, addresses)
    }
}

#[test]
fn pools_are_tried_by_what_they_are_for() {
    let namespace = ServiceAllocation {
        namespaces: BTreeSet::from(["default".to_owned()]),
        ..ServiceAllocation::default()
    };
    let team = ServiceAllocation {
        namespace_selectors: vec![selector("team=a")],
        ..ServiceAllocation::default()
    };
    let gold = ServiceAllocation {
        service_selectors: vec![selector("tier=gold")],
        ..ServiceAllocation::default()
    };
    let both = ServiceAllocation {
        service_selectors: gold.service_selectors.clone(),
        ..team.clone()
    };
    let mut allocator = allocator(vec![
        pool("any", "10.0.0.0/32"),
        pinned("last", "10.0.0.1/32", 0, namespace.clone()),
        pinned("second", "10.0.0.2/32", 20, namespace),
        pinned("team", "10.0.0.3/32", 10, team),
        pinned("gold", "10.0.0.4/32", 5, gold),
        pinned("both", "10.0.0.5/32", 1, both),
    ]);
    let in_namespace = |name: &str, namespace: &str, service: &str, of: &str| Request {
        name: ObjectName::new(namespace, name),
        labels: labels(service),
        namespace_labels: labels(of),
        ..request(name)
    };
    let cases = [
        (in_namespace("a", "default", "", ""), "10.0.0.2"),
        (in_namespace("b", "default", "", ""), "10.0.0.1"),
        (in_namespace("c", "default", "", ""), "10.0.0.0"),
        (in_namespace("d", "x", "tier=gold", "team=a"), "10.0.0.5"),
        (in_namespace("e", "x", "tier=gold", "team=a"), "10.0.0.4"),
        (in_namespace("f", "x", "tier=gold", "team=a"), "10.0.0.3"),
    ];
    for (request, expected) in cases {
        assert_eq!(
            assigned(&mut allocator, &request),
            ips(expected),
            "{}",
            request.name
        );
    }
    let refused = allocator.assign(&in_namespace("g", "x", "", ""));
    assert_eq!(refused, Err(Refusal::Exhausted(vec!["any".to_owned()])));
}

#[test]
fn dual_stack_in_every_form() {
    let pools = || {
        vec![
            pool("a-v4", "10.0.0.0/30"),
            pool("b-v6", "fd00:1::/126"),
            pool("c-both", "10.1.0.0/30 fd00:2::/126"),
        ]
    };
    let ask = |families: &[IpFamily], dual_stack, pool: Option<&str>| Request {
        families: families.to_vec(),
        dual_stack,
        pool: pool.map(str::to_owned),
        ..request("a")
    };
    let (v4, v6) = (IpFamily::V4, IpFamily::V6);
    let cases = [
        (ask(&[v4], DualStack::Single, None), Some("10.0.0.0")),
        (ask(&[v6], DualStack::Single, None), Some("fd00:1::")),
        (
            ask(&[v4, v6], DualStack::Prefer, None),
            Some("10.1.0.0 fd00:2::"),
        ),
        (
            ask(&[v6, v4], DualStack::Require, None),
            Some("fd00:2:: 10.1.0.0"),
        ),
        (
            ask(&[v4, v6], DualStack::Prefer, Some("a-v4")),
            Some("10.0.0.0"),
        ),
        (
            ask(&[v4, v6], DualStack::Prefer, Some("b-v6")),
            Some("fd00:1::"),
        ),
        (ask(&[v4, v6], DualStack::Require, Some("a-v4")), None),
        (ask(&[v4], DualStack::Prefer, None), Some("10.0.0.0")),
    ];
    for (request, expected) in cases {
        let found = allocator(pools())
            .assign(&request)
            .ok()
            .map(|a| a.addresses);
        assert_eq!(found, expected.map(ips), "{request:?}");
    }
    let mut grows = allocator(vec![pool("p", "10.0.0.0/30")]);
    let prefer = ask(&[v4, v6], DualStack::Prefer, None);
    assert_eq!(assigned(&mut grows, &prefer), ips("10.0.0.0"));
    grows.set_pools(&config(vec![pool("p", "10.0.0.0/30 fd00::/126")]));
    assert_eq!(
        assigned(&mut grows, &prefer),
        ips("10.0.0.0 fd00::"),
        "the pool has gained a family"
    );
}

#[test]
fn addresses_are_shared_where_nothing_collides() {
    let shared = |name: &str, key: &str, backend: &str, on: u16| Request {
        sharing: sharing(key, backend),
        ports: BTreeSet::from([port(on)]),
        ..request(name)
    };
    let mut allocator = allocator(vec![pool("p", "10.0.0.0/24")]);
    assert_eq!(assigned(&mut allocator, &request("alone")), ips("10.0.0.0"));
    let cases = [
        (shared("a", "k", "", 80), "10.0.0.1"),
        (shared("b", "k", "", 81), "10.0.0.1"),
        (shared("same-port", "k", "", 80), "10.0.0.2"),
        (shared("other-key", "l", "", 82), "10.0.0.3"),
        (shared("local", "k", "app=web", 83), "10.0.0.4"),
        (shared("local-too", "k", "app=web", 84), "10.0.0.4"),
        (shared("third", "k", "", 85), "10.0.0.1"),
    ];
    for (request, expected) in &cases {
        assert_eq!(
            assigned(&mut allocator, request),
            ips(expected),
            "{}",
            request.name
        );
    }
    assert_eq!(allocator.users(ip("10.0.0.1")).count(), 3);
    // Who does not share any more moves; the others stay.
    let alone = Request {
        sharing: None,
        ..cases[0].0.clone()
    };
    assert_eq!(assigned(&mut allocator, &alone), ips("10.0.0.5"));
    assert_eq!(allocator.users(ip("10.0.0.1")).count(), 2);
}

#[test]
fn after_a_restart_everybody_has_what_it_had() {
    let mut allocator = allocator(vec![pool("p", "10.0.0.0/30")]);
    let with = |name: &str, current: &str, created| Request {
        current: ips(current),
        created,
        ..request(name)
    };
    let requests = [
        with("new", "", 1),
        with("a", "10.0.0.0", 9),
        with("b", "10.0.0.2", 8),
        with("thief", "10.0.0.2", 9),
        with("stray", "192.0.2.1", 3),
    ];
    let outcome = allocator.assign_all(&requests);
    let found: BTreeMap<&str, String> = outcome
        .iter()
        .map(|(name, result)| {
            let text = match result {
                Ok(allocation) => allocation.addresses[0].to_string(),
                Err(error) => error.to_string(),
            };
            (&*name.name, text)
        })
        .collect();
    assert_eq!(found["a"], "10.0.0.0");
    assert_eq!(found["b"], "10.0.0.2", "the older keeps it");
    assert_eq!(found["stray"], "10.0.0.1");
    assert_eq!(found["thief"], "10.0.0.3");
    assert!(found["new"].starts_with("no address is left"), "{found:?}");
    allocator.set_pools(&config(vec![pool("q", "10.9.0.0/24")]));
    let outcome = allocator.assign_all(&requests);
    assert!(
        outcome
            .values()
            .all(|result| result.as_ref().is_ok_and(|a| a.pool == "q"))
    );
    let none = allocator.assign_all(&requests[..0]);
    assert!(none.is_empty() && allocator.users(ip("10.9.0.0")).count() == 0);
}

#[test]
fn a_large_ipv6_pool_and_many_services() {
    let mut allocator = allocator(vec![pool("p", "fd00::/48")]);
    let requests: Vec<Request> = (0..2_000)
        .map(|n| Request {
            families: vec![IpFamily::V6],
            ..request(&format!("s{n}"))
        })
        .collect();
    let outcome = allocator.assign_all(&requests);
    let addresses: BTreeSet<IpAddr> = outcome
        .into_values()
        .flat_map(|r| r.expect("room").addresses)
        .collect();
    assert_eq!(addresses.len(), 2_000);
}

fn any_request() -> impl Strategy<Value = Request> {
    let families = prop::sample::select(vec![
        vec![IpFamily::V4],
        vec![IpFamily::V6],
        vec![IpFamily::V4, IpFamily::V6],
    ]);
    let dual = prop::sample::select(vec![
        DualStack::Single,
        DualStack::Prefer,
        DualStack::Require,
    ]);
    let key = prop::option::of((0..2_u8, 0..2_u8));
    let asked = prop::option::of(0..12_u8);
    let named = prop::option::of(prop::sample::select(vec!["a", "b", "gone"]));
    (0..8_u8, families, dual, key, asked, named, 80..83_u16).prop_map(
        |(name, families, dual_stack, key, asked, named, on)| Request {
            families,
            dual_stack,
            sharing: key.and_then(|(key, backend)| sharing(&key.to_string(), &backend.to_string())),
            addresses: asked
                .map(|n| ip(&format!("10.0.0.{n}")))
                .into_iter()
                .collect(),
            pool: named.map(str::to_owned),
            ports: BTreeSet::from([port(on)]),
            ..request(&name.to_string())
        },
    )
}

proptest! {
    /// Whatever is asked for and released, and however the pools change: an
    /// address belongs to one, or to those who may share it, and is in a pool
    /// when it is given.
    #[test]
    fn no_address_is_given_twice(
        steps in prop::collection::vec((any_request(), 0..8_u8), 1..60),
    ) {
        let small = vec![pool("a", "10.0.0.0/30 fd00::/127"), pool("b", "10.0.0.8/31")];
        let other = vec![pool("a", "10.0.0.2-10.0.0.9"), pool("b", "fd00::/126")];
        let mut allocator = allocator(small.clone());
        let mut pools = config(small.clone());
        let mut known: BTreeMap<ObjectName, Request> = BTreeMap::new();
        for (request, action) in steps {
            match action {
                0 => {
                    allocator.release(&request.name);
                    known.remove(&request.name);
                }
                1 | 2 => {
                    pools = config(if action == 1 { small.clone() } else { other.clone() });
                    allocator.set_pools(&pools);
                    let all: Vec<&Request> = known.values().collect();
                    let outcome = allocator.assign_all(all);
                    known.retain(|name, _| outcome[name].is_ok());
                }
                _ => match allocator.assign(&request) {
                    Ok(allocation) => {
                        prop_assert_eq!(allocator.assign(&request), Ok(allocation), "again");
                        known.insert(request.name.clone(), request);
                    }
                    Err(_) => {
                        prop_assert_eq!(allocator.allocation(&request.name), None);
                        known.remove(&request.name);
                    }
                },
            }
            check(&allocator, &pools, &known);
        }
    }
}

fn check(allocator: &Allocator, pools: &Config, known: &BTreeMap<ObjectName, Request>) {
    let mut users: BTreeMap<IpAddr, Vec<&Request>> = BTreeMap::new();
    for (name, request) in known {
        let allocation = allocator.allocation(name).expect("what was given is held");
        let pool = pools.pool(&allocation.pool).expect("its pool");
        for address in &allocation.addresses {
            assert!(pool.offers(*address), "{address} is not of {pool:?}");
            assert!(allocator.users(*address).any(|user| user == name));
            users.entry(*address).or_default().push(request);
        }
    }
    for (address, users) in users {
        for (index, one) in users.iter().enumerate() {
            for another in &users[..index] {
                let shares = one.sharing.is_some() && one.sharing == another.sharing;
                let apart = one.ports.is_disjoint(&another.ports);
                assert!(shares && apart, "{address}: {one:?} and {another:?}");
            }
        }
    }
}
