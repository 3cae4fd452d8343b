#![allow(
    clippy::too_many_lines,
    reason = "a table of cases is read line by line, not as logic"
)]

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn allocator(services: &[&str]) -> Allocator {
    Allocator::new(Ranges {
        services: services
            .iter()
            .map(|prefix| prefix.parse().unwrap())
            .collect(),
        node_ports: 30000..=32767,
    })
    .unwrap()
}

fn dual() -> Allocator {
    allocator(&["10.96.0.0/16", "fd00:10:96::/112"])
}

fn service(name: &str, spec: &Value) -> Value {
    let mut service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "d", "name": name},
        "spec": {"selector": {"a": "b"}, "ports": [{"port": 80}]}});
    json_patch::merge(&mut service["spec"], spec);
    service_kind().admit_create(service).unwrap()
}

fn create(allocator: &mut Allocator, name: &str, spec: &Value) -> Result<Value, AllocateError> {
    let mut service = service(name, spec);
    let claim = allocator.plan_create(&mut service)?;
    allocator.commit(claim);
    Ok(service)
}

fn update(allocator: &mut Allocator, old: &Value, change: &Value) -> Result<Value, AllocateError> {
    let mut new = old.clone();
    json_patch::merge(&mut new["spec"], change);
    let decoded = service_kind().decode_value(new).unwrap().object;
    let mut new = service_kind().admit_update(decoded, old, crate::kinds::Part::Object)?;
    let claim = allocator.plan_update(&mut new, old)?;
    allocator.commit(claim);
    Ok(new)
}

fn delete(allocator: &mut Allocator, service: &Value) {
    let claim = allocator.plan_delete(service);
    allocator.commit(claim);
}

fn families(service: &Value) -> (Vec<&str>, &str, usize) {
    let spec = &service["spec"];
    let families = spec["ipFamilies"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f.as_str().unwrap())
        .collect();
    let addresses = spec["clusterIPs"].as_array().map_or(0, Vec::len);
    (
        families,
        spec["ipFamilyPolicy"].as_str().unwrap(),
        addresses,
    )
}

#[test]
fn families_follow_what_the_service_says() {
    let (v4, v6): (&[&str], &[&str]) = (&["10.96.0.0/16"], &["fd00:10:96::/112"]);
    let both: &[&str] = &["10.96.0.0/16", "fd00:10:96::/112"];
    let six_first: &[&str] = &["fd00:10:96::/112", "10.96.0.0/16"];
    let (one, two) = ("SingleStack", "RequireDualStack");
    let cases = [
        (both, json!({}), (vec!["IPv4"], one, 1)),
        (six_first, json!({}), (vec!["IPv6"], one, 1)),
        (
            both,
            json!({"ipFamilies": ["IPv6"]}),
            (vec!["IPv6"], one, 1),
        ),
        (
            both,
            json!({"ipFamilyPolicy": "PreferDualStack"}),
            (vec!["IPv4", "IPv6"], "PreferDualStack", 2),
        ),
        (
            v4,
            json!({"ipFamilyPolicy": "PreferDualStack"}),
            (vec!["IPv4"], "PreferDualStack", 1),
        ),
        (
            v6,
            json!({"ipFamilyPolicy": "PreferDualStack"}),
            (vec!["IPv6"], "PreferDualStack", 1),
        ),
        (
            both,
            json!({"ipFamilyPolicy": two, "ipFamilies": ["IPv6"]}),
            (vec!["IPv6", "IPv4"], two, 2),
        ),
        (
            both,
            json!({"ipFamilies": ["IPv6", "IPv4"]}),
            (vec!["IPv6", "IPv4"], two, 2),
        ),
        (
            both,
            json!({"clusterIP": "fd00:10:96::7"}),
            (vec!["IPv6"], one, 1),
        ),
        (
            both,
            json!({"clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7", "fd00:10:96::7"]}),
            (vec!["IPv4", "IPv6"], two, 2),
        ),
        (both, json!({"clusterIP": "None"}), (vec!["IPv4"], one, 1)),
        (
            both,
            json!({"clusterIP": "None", "ipFamilyPolicy": two}),
            (vec!["IPv4", "IPv6"], two, 1),
        ),
        (
            v4,
            json!({"clusterIP": "None", "selector": null}),
            (vec!["IPv4", "IPv6"], two, 1),
        ),
    ];
    for (ranges, spec, expected) in cases {
        let made = create(&mut allocator(ranges), "web", &spec).unwrap();
        assert_eq!(families(&made), expected, "{ranges:?} {spec}: {made:#}");
    }
}

#[test]
fn what_cannot_be_had_is_refused() {
    let (both, v4): (&[&str], &[&str]) = (&["10.96.0.0/16", "fd00:10:96::/112"], &["10.96.0.0/16"]);
    let node_port =
        |port: i32| json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": port}]});
    let cases = [
        (
            both,
            json!({"clusterIP": "10.96.0.50"}),
            "spec.clusterIPs: Invalid value: [\"10.96.0.50\"]: failed to allocate IP 10.96.0.50: provided IP is already allocated",
        ),
        (
            both,
            json!({"clusterIP": "10.96.0.1"}),
            "spec.clusterIPs: Invalid value: [\"10.96.0.1\"]: failed to allocate IP 10.96.0.1: provided IP is already allocated",
        ),
        (
            both,
            json!({"clusterIP": "10.97.0.1"}),
            "spec.clusterIPs: Invalid value: [\"10.97.0.1\"]: failed to allocate IP 10.97.0.1: the provided IP (10.97.0.1) is not in the valid range. The range of valid IPs is 10.96.0.0/16",
        ),
        (
            both,
            json!({"clusterIP": "10.96.255.255"}),
            "spec.clusterIPs: Invalid value: [\"10.96.255.255\"]: failed to allocate IP 10.96.255.255: the provided IP (10.96.255.255) is not in the valid range. The range of valid IPs is 10.96.0.0/16",
        ),
        (
            both,
            node_port(30080),
            "spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated",
        ),
        (
            both,
            node_port(80),
            "spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767",
        ),
        (
            both,
            node_port(-1),
            "spec.ports[0].nodePort: Invalid value: -1: provided port is not in the valid range. The range of valid ports is 30000-32767",
        ),
        (
            v4,
            json!({"ipFamilyPolicy": "RequireDualStack"}),
            "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services",
        ),
        (
            v4,
            json!({"ipFamilies": ["IPv6"]}),
            "spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster",
        ),
        (
            both,
            json!({"ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv4", "IPv6"]}),
            "spec.ipFamilyPolicy: Invalid value: \"SingleStack\": must be RequireDualStack or PreferDualStack when multiple IP families are specified",
        ),
    ];
    for (ranges, spec, expected) in cases {
        let mut allocator = allocator(ranges);
        let taken = json!({"clusterIP": "10.96.0.50", "type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]});
        create(&mut allocator, "first", &taken).unwrap();
        let error = create(&mut allocator, "second", &spec).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("Service \"second\" is invalid: {expected}"),
            "{spec}"
        );
    }
}

#[test]
fn kubernetes_itself_has_the_first_addresses() {
    let mut allocator = dual();
    let mut kubernetes = service(
        "kubernetes",
        &json!({"ipFamilyPolicy": "PreferDualStack", "selector": null}),
    );
    kubernetes["metadata"]["namespace"] = "default".into();
    let claim = allocator.plan_create(&mut kubernetes).unwrap();
    allocator.commit(claim);
    assert_eq!(
        kubernetes["spec"]["clusterIPs"],
        json!(["10.96.0.1", "fd00:10:96::1"])
    );
}

#[test]
fn a_plan_that_is_not_committed_claims_nothing() {
    let mut allocator = dual();
    let spec = json!({"clusterIP": "10.96.0.50", "type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]});
    let _ = allocator
        .plan_create(&mut service("failed", &spec))
        .unwrap();
    create(&mut allocator, "next", &spec).unwrap();
}

#[test]
fn changes_release_what_is_not_used_any_more() {
    let mut allocator = dual();
    let spec =
        json!({"type": "NodePort", "ipFamilyPolicy": "PreferDualStack", "ports": [{"port": 80}]});
    let first = create(&mut allocator, "web", &spec).unwrap();
    let port = first["spec"]["ports"][0]["nodePort"].clone();
    let asked = json!({"type": "NodePort", "clusterIP": first["spec"]["clusterIP"], "ports": [{"port": 80, "nodePort": port}]});
    assert!(create(&mut allocator, "other", &asked).is_err());

    let same = update(
        &mut allocator,
        &first,
        &json!({"sessionAffinity": "ClientIP"}),
    )
    .unwrap();
    assert_eq!(same["spec"]["clusterIPs"], first["spec"]["clusterIPs"]);
    assert_eq!(same["spec"]["ports"][0]["nodePort"], port);
    let single = update(
        &mut allocator,
        &same,
        &json!({"ipFamilyPolicy": "SingleStack"}),
    )
    .unwrap();
    assert_eq!(families(&single), (vec!["IPv4"], "SingleStack", 1));
    let again = update(
        &mut allocator,
        &single,
        &json!({"ipFamilyPolicy": "RequireDualStack"}),
    )
    .unwrap();
    assert_eq!(
        families(&again),
        (vec!["IPv4", "IPv6"], "RequireDualStack", 2)
    );
    let internal = update(&mut allocator, &again, &json!({"type": "ClusterIP"})).unwrap();
    assert_eq!(internal["spec"]["ports"][0].get("nodePort"), None);
    let port_only = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": port}]});
    let other = create(&mut allocator, "other", &port_only).unwrap();
    delete(&mut allocator, &other);

    let external = update(
        &mut allocator,
        &internal,
        &json!({"type": "ExternalName", "externalName": "a.b"}),
    )
    .unwrap();
    assert_eq!(external["spec"].get("clusterIP"), None);
    let taken = create(&mut allocator, "other", &asked).unwrap();
    delete(&mut allocator, &taken);
    create(&mut allocator, "third", &asked).unwrap();
}

#[test]
fn ports_of_a_service_share_a_number_across_protocols() {
    let mut allocator = dual();
    let dns = json!({"type": "NodePort", "ports": [{"name": "udp", "port": 53, "protocol": "UDP"}, {"name": "tcp", "port": 53, "protocol": "TCP"}, {"name": "m", "port": 9153}]});
    let made = create(&mut allocator, "dns", &dns).unwrap();
    let port = |index: usize| made["spec"]["ports"][index]["nodePort"].as_i64().unwrap();
    assert_eq!(port(0), port(1));
    assert_ne!(port(0), port(2));
    let asked = json!({"type": "NodePort", "ports": [{"port": 53, "protocol": "SCTP", "nodePort": port(0)}]});
    assert!(
        create(&mut allocator, "other", &asked).is_err(),
        "not across services"
    );
}

#[test]
fn load_balancers_choose_node_ports_or_none_and_may_need_a_health_check() {
    let mut allocator = dual();
    let local = json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local"});
    let made = create(&mut allocator, "local", &local).unwrap();
    let check = made["spec"]["healthCheckNodePort"].as_i64().unwrap();
    assert_ne!(Some(check), made["spec"]["ports"][0]["nodePort"].as_i64());
    let none = json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false});
    let made = create(&mut allocator, "none", &none).unwrap();
    assert_eq!(made["spec"]["ports"][0].get("nodePort"), None);
}

#[test]
fn full_ranges_are_errors_that_say_so() {
    let mut small = Allocator::new(Ranges {
        services: vec!["10.96.0.0/30".parse().unwrap()],
        node_ports: 30000..=30000,
    })
    .unwrap();
    create(&mut small, "a", &json!({"type": "NodePort"})).unwrap();
    let headless = json!({"clusterIP": "None"});
    create(&mut small, "b", &headless).unwrap();
    let error = create(&mut small, "c", &json!({})).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Internal error occurred: failed to allocate a serviceIP: range is full"
    );
    let mut ports = allocator(&["10.96.0.0/16"]);
    ports = Allocator::new(Ranges {
        node_ports: 30000..=30000,
        ..ports.ranges().clone()
    })
    .unwrap();
    create(&mut ports, "a", &json!({"type": "NodePort"})).unwrap();
    let error = create(&mut ports, "b", &json!({"type": "NodePort"})).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Internal error occurred: failed to allocate a nodePort: range is full"
    );
}

#[test]
fn unusable_ranges_are_refused() {
    let cases: [(&[&str], RangeInclusive<u16>, &str); 6] = [
        (
            &[],
            1..=2,
            "service prefixes must be one, or one of each IP family, not []",
        ),
        (
            &["10.0.0.0/16", "10.1.0.0/16"],
            1..=2,
            "service prefixes must be one, or one of each IP family, not [10.0.0.0/16, 10.1.0.0/16]",
        ),
        (
            &["10.0.0.0/31"],
            1..=2,
            "service prefix 10.0.0.0/31 is too small: a /30 (IPv4) or /126 (IPv6) is the least",
        ),
        (
            &["fd00::/127"],
            1..=2,
            "service prefix fd00::/127 is too small: a /30 (IPv4) or /126 (IPv6) is the least",
        ),
        (
            &["10.0.0.0/16"],
            RangeInclusive::new(2, 1),
            "node port range 2-1 is empty or begins with 0",
        ),
        (
            &["10.0.0.0/16"],
            0..=1,
            "node port range 0-1 is empty or begins with 0",
        ),
    ];
    for (services, node_ports, expected) in cases {
        let services = services
            .iter()
            .map(|prefix| prefix.parse().unwrap())
            .collect();
        let error = Allocator::new(Ranges {
            services,
            node_ports,
        })
        .unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn a_restart_knows_what_is_held_and_what_clashes() {
    let mut before = dual();
    let both = json!({"type": "NodePort", "ipFamilyPolicy": "PreferDualStack"});
    let services: Vec<Value> = ["a", "b", "c"]
        .iter()
        .map(|name| create(&mut before, name, &both).unwrap())
        .collect();
    let mut after = dual();
    assert_eq!(after.rebuild(&services), Vec::<String>::new());
    for name in ["d", "e"] {
        assert_eq!(
            create(&mut before, name, &both),
            create(&mut after, name, &both),
            "{name}"
        );
    }
    let mut clash = services[0].clone();
    clash["metadata"]["name"] = "z".into();
    let mut foreign = service("far", &json!({}));
    foreign["spec"]["clusterIPs"] = json!(["10.200.0.1"]);
    let ip = |index: usize| {
        services[0]["spec"]["clusterIPs"][index]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let port = &services[0]["spec"]["ports"][0]["nodePort"];
    assert_eq!(
        after.rebuild([&services[0], &clash, &foreign]),
        [
            format!("service d/z holds cluster IP {}: provided IP is already allocated", ip(0)),
            format!("service d/z holds cluster IP {}: provided IP is already allocated", ip(1)),
            format!("service d/z holds node port {port}: provided port is already allocated"),
            "service d/far holds cluster IP 10.200.0.1: the provided IP (10.200.0.1) is not in the valid range. The range of valid IPs is 10.96.0.0/16".to_owned(),
        ]
    );
}

/// One request: a service's number and what it is to be.
#[derive(Debug, Clone, Copy)]
enum Request {
    Put(u8, &'static str, &'static str),
    Delete(u8),
}

fn request() -> impl Strategy<Value = Request> {
    let kinds = prop::sample::select(vec![
        "ClusterIP",
        "NodePort",
        "LoadBalancer",
        "ExternalName",
    ]);
    let policies = prop::sample::select(vec!["SingleStack", "PreferDualStack"]);
    prop_oneof![
        3 => (0_u8..12, kinds, policies).prop_map(|(n, kind, policy)| Request::Put(n, kind, policy)),
        1 => (0_u8..12).prop_map(Request::Delete),
    ]
}

fn spec_of(kind: &str, policy: &str) -> Value {
    match kind {
        "ExternalName" => json!({"type": kind, "externalName": "a.b", "ipFamilyPolicy": null}),
        _ => json!({"type": kind, "ipFamilyPolicy": policy}),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// In ranges so small that they fill up: nothing is held twice, and a
    /// restart finds exactly what was held.
    #[test]
    fn nothing_is_given_twice(requests in prop::collection::vec(request(), 1..60)) {
        let ranges = Ranges {
            services: vec!["10.96.0.0/29".parse().unwrap(), "fd00::/125".parse().unwrap()],
            node_ports: 30000..=30004,
        };
        let mut allocator = Allocator::new(ranges.clone()).unwrap();
        let mut stored: BTreeMap<u8, Value> = BTreeMap::new();
        for request in requests {
            match request {
                Request::Delete(number) => {
                    if let Some(service) = stored.remove(&number) {
                        delete(&mut allocator, &service);
                    }
                }
                Request::Put(number, kind, policy) => {
                    let spec = spec_of(kind, policy);
                    let result = match stored.get(&number) {
                        Some(old) => update(&mut allocator, old, &spec),
                        None => create(&mut allocator, &format!("s{number}"), &spec),
                    };
                    if let Ok(service) = result {
                        stored.insert(number, service);
                    }
                }
            }
            let mut held = Held::default();
            for service in stored.values() {
                let own = held_by(&parse(service).unwrap());
                prop_assert!(own.addresses.iter().all(|a| held.addresses.insert(*a)), "{stored:#?}");
                prop_assert!(own.ports.iter().all(|p| held.ports.insert(*p)), "{stored:#?}");
            }
            let mut restarted = Allocator::new(ranges.clone()).unwrap();
            prop_assert_eq!(restarted.rebuild(stored.values()), Vec::<String>::new());
            prop_assert_eq!(format!("{restarted:?}"), format!("{allocator:?}"));
        }
    }
}
