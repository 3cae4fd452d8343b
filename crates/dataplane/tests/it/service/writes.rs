//! What is written for a change, and that nothing is where nothing changed.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use nix::errno::Errno;
use podway_dataplane::names::SERVICE_TABLE;
use podway_dataplane::service::nftables::{NftablesServices, render};
use podway_dataplane::service::{ServiceBackend, ServiceSettings, SyncReport};
use podway_kernel::conntrack::FakeConntrack;
use podway_kernel::netns::NetNs;
use podway_kernel::nft::{FakeNft, Fault, Nft, Nftables, Written, reconcile};
use podway_model::{
    Change, ClusterState, EndpointSlice, Object, ObjectRef, Service, ServicePort, ServiceType,
    SliceEndpoint, TrafficPolicy,
};
use podway_plan::service::{self, NodeContext, ServiceChange, ServicePlanner, ServiceTable};
use podway_testkit::builders::{
    self, IntoObject, endpoint, name, port, prefixes, slice, slice_port, state,
};
use proptest::prelude::*;

use super::{plan, settings};

fn context() -> NodeContext {
    NodeContext {
        node: "node1".into(),
        pod_prefixes: prefixes(&["10.244.1.0/24", "fd00:10:244:1::/64"]),
        service_prefixes: prefixes(&["10.96.0.0/16", "fd00:10:96::/112"])
            .into_iter()
            .collect(),
        ..NodeContext::default()
    }
}

type Fake = NftablesServices<FakeNft, FakeConntrack>;

fn fake() -> Fake {
    let settings = settings(&context());
    NftablesServices::new(FakeNft::new(), FakeConntrack::default(), settings)
}

fn sync<N, C>(
    backend: &mut NftablesServices<N, C>,
    table: &ServiceTable,
    change: Option<&ServiceChange>,
) -> SyncReport
where
    NftablesServices<N, C>: ServiceBackend,
{
    backend
        .sync(table, change)
        .unwrap_or_else(|error| panic!("{error}: {error:#?}"))
}

/// What a full comparison would still write.
fn rest(kernel: &mut impl Nftables, table: &ServiceTable, settings: &ServiceSettings) -> String {
    let held = kernel.dump(SERVICE_TABLE).unwrap();
    reconcile(&render(table, settings), held.as_ref()).to_string()
}

const SERVICES: u32 = 10_000;

/// A service of two endpoints.
fn numbered(number: u32) -> [Object; 2] {
    let service_name = format!("ns/s{number}");
    let ip = Ipv4Addr::from(0x0a60_0000 + number).to_string();
    let endpoints = [0, 1].map(|pod| {
        let address = Ipv4Addr::from(0x0af4_0000 + 2 * number + pod).to_string();
        endpoint(&address, "node2")
    });
    [
        builders::service(&service_name, &[&ip], &[port("http", 80)]).object(),
        slice_of(number, &endpoints),
    ]
}

fn slice_of(number: u32, endpoints: &[SliceEndpoint]) -> Object {
    let service = format!("ns/s{number}");
    slice(&service, &service, &[slice_port("http", 8080)], endpoints).object()
}

/// Ten thousand services, and then one endpoint of one of them changes, in the
/// three ways in which endpoints change.
fn one_change_among_many<N: Nftables + Send>(nftables: N) {
    let mut cluster = state((0..SERVICES).flat_map(numbered));
    let mut planner = ServicePlanner::new(context());
    planner.plan_all(&cluster);
    let settings = settings(&context());
    let mut backend = NftablesServices::new(nftables, FakeConntrack::default(), settings.clone());
    let first = sync(&mut backend, planner.table(), None);
    assert!(first.full && first.written.transactions == 1, "{first:?}");
    let again = sync(&mut backend, planner.table(), None);
    assert_eq!(again.written, Written::default(), "nothing has changed");

    let pod = |last: u8| endpoint(&format!("10.244.9.{last}"), "node2");
    let steps = [
        // Two others, first seen: both elements of the map are exchanged.
        ("replaced", vec![pod(1), pod(2)], 4),
        // One more: its element, the frontend's class, and a chain for three
        // (pick and route) with the element that leads there.
        ("scaled up", vec![pod(1), pod(2), pod(3)], 4),
        // The last leaves: the same backwards.
        ("scaled down", vec![pod(1), pod(2)], 4),
        ("one moved", vec![pod(1), pod(4)], 2),
    ];
    for (what, endpoints, elements) in steps {
        let updates = cluster.apply(Change::Upsert(slice_of(4711, &endpoints)));
        let change = planner.update(&cluster, &updates);
        let report = sync(&mut backend, planner.table(), Some(&change));
        let written = report.written;
        assert!(!report.full, "{what}");
        assert_eq!(
            (written.transactions, written.elements),
            (1, elements),
            "{what}: {report}"
        );
        assert!(written.messages <= 10, "{what}: {report}");
    }
    let rest = rest(backend.nftables_mut(), planner.table(), &settings);
    assert_eq!(rest, "", "the kernel holds what a fresh start would write");
}

#[test]
fn one_change_among_ten_thousand_services_writes_that_service() {
    one_change_among_many(FakeNft::new());
}

#[test]
fn one_change_among_ten_thousand_services_in_the_kernel() {
    let namespace = NetNs::anonymous().expect("this test needs root (CAP_SYS_ADMIN)");
    namespace
        .run(|| one_change_among_many(Nft::open().unwrap()))
        .unwrap();
}

#[test]
fn a_restart_writes_nothing() {
    let namespace = NetNs::anonymous().expect("this test needs root (CAP_SYS_ADMIN)");
    namespace
        .run(|| {
            let table = plan(&variety(), &context());
            let start = || {
                let conntrack = FakeConntrack::default();
                let settings = settings(&context());
                NftablesServices::new(Nft::open().unwrap(), conntrack, settings)
            };
            assert_eq!(sync(&mut start(), &table, None).written.transactions, 1);
            let adopted = sync(&mut start(), &table, None);
            assert_eq!(adopted.written, Written::default());
        })
        .unwrap();
}

/// Services with everything that a table can hold.
fn variety() -> ClusterState {
    let node_port = |number: u16, node_port: u16| ServicePort {
        node_port: Some(node_port),
        ..port("http", number)
    };
    let both = ["10.244.1.5", "10.244.2.5"];
    let both6 = ["fd00:10:244:1::5", "fd00:10:244:2::5"];
    let slices = |service: &str| {
        [both, both6].map(|addresses| {
            let endpoints = [
                endpoint(addresses[0], "node1"),
                endpoint(addresses[1], "node2"),
            ];
            let slice_name = format!("{service}-{}", addresses[0].replace([':', '.'], "-"));
            let ports = [slice_port("http", 8080)];
            slice(&slice_name, service, &ports, &endpoints).object()
        })
    };
    let service = |index: u16| {
        let service_name = format!("ns/v{index}");
        let ips = [format!("10.96.1.{index}"), format!("fd00:10:96::{index}")];
        let ips: Vec<&str> = ips.iter().map(String::as_str).collect();
        let ports = [node_port(80, 30_000 + index)];
        builders::service(&service_name, &ips, &ports)
    };
    let services = [
        service(1),
        Service {
            affinity_seconds: Some(10_800),
            external_policy: TrafficPolicy::Local,
            service_type: ServiceType::NodePort,
            ..service(2)
        },
        Service {
            service_type: ServiceType::LoadBalancer,
            load_balancer: vec![podway_model::LoadBalancerAddress {
                address: builders::ip("203.0.113.7"),
                is_vip: true,
            }],
            source_ranges: prefixes(&["198.51.100.0/24", "198.51.100.0/25", "2001:db8::/32"]),
            internal_policy: TrafficPolicy::Local,
            ..service(3)
        },
    ];
    let slices = ["ns/v1", "ns/v2", "ns/v3"].into_iter().flat_map(slices);
    let without = builders::service("ns/none", &["10.96.1.99"], &[port("http", 80)]);
    let services = services.into_iter().map(IntoObject::object);
    state(services.chain(slices).chain([without.object()]))
}

/// The whole of what a variety of services becomes, as nft prints it.
/// `UPDATE_GOLDEN=1` writes it anew.
#[test]
fn the_rules_of_a_variety_of_services() {
    let rules = render(&plan(&variety(), &context()), &settings(&context())).to_string();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/service/golden.nft");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &rules).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap();
    assert!(rules == golden, "differs from {path}:\n{rules}");
}

#[test]
fn the_number_of_sets_and_chains_does_not_depend_on_services() {
    let rules = |count: u32| {
        let table = plan(&state((0..count).flat_map(numbered)), &context());
        let rules = render(&table, &settings(&context()));
        (rules.sets.len(), rules.chains.len())
    };
    assert_eq!(rules(1), rules(500));
}

#[test]
fn after_an_error_the_next_sync_compares_and_mends() {
    let mut cluster = variety();
    let mut planner = ServicePlanner::new(context());
    planner.plan_all(&cluster);
    let mut backend = fake();
    sync(&mut backend, planner.table(), None);

    let updates = cluster.apply(Change::Delete(ObjectRef::Service(name("ns/v1"))));
    let change = planner.update(&cluster, &updates);
    let errno = Errno::ENOMEM;
    backend.nftables_mut().inject(Fault { after: 0, errno });
    let error = backend.sync(planner.table(), Some(&change)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "services: the rules of mode nftables are not in force"
    );

    let nothing = ServiceChange::default();
    let report = sync(&mut backend, planner.table(), Some(&nothing));
    assert!(report.full && report.written.transactions == 1, "{report}");
    let settings = settings(&context());
    let rest = rest(backend.nftables_mut(), planner.table(), &settings);
    assert_eq!(rest, "");
}

#[test]
fn other_settings_change_elements_only() {
    let table = plan(&variety(), &context());
    let mut backend = fake();
    sync(&mut backend, &table, None);
    backend.configure(ServiceSettings {
        pod_prefixes: prefixes(&["10.244.7.0/24"]),
        ..settings(&context())
    });
    let report = sync(&mut backend, &table, Some(&ServiceChange::default()));
    assert!(report.full);
    // Two prefixes go, one comes.
    assert_eq!(report.written.elements, 3, "{report}");
}

#[test]
fn cleanup_takes_ours_and_nothing_else() {
    let mut backend = fake();
    let foreign = podway_kernel::nft::Ruleset::new("foreign");
    let make = reconcile(&foreign, None);
    backend.nftables_mut().apply(&make).unwrap();
    backend.cleanup().unwrap();
    sync(&mut backend, &plan(&variety(), &context()), None);
    backend.cleanup().unwrap();
    assert_eq!(backend.nftables().ruleset(SERVICE_TABLE), None);
    assert_eq!(backend.nftables().ruleset("foreign"), Some(foreign));
}

/// Services over few names and addresses, so that they meet often.
fn any_object() -> impl Strategy<Value = Object> {
    let policy = prop_oneof![Just(TrafficPolicy::Cluster), Just(TrafficPolicy::Local)];
    let address = (1..4_u8, 1..3_u8);
    let endpoints = prop::collection::vec((address, any::<bool>()), 0..6);
    let weight = prop_oneof![3 => Just(None), 2 => prop_oneof![0..4_u8, Just(99)].prop_map(Some)];
    let parts = (0..4_u8, 0..3_u8, endpoints, weight);
    let slices = parts.prop_map(|(index, service, endpoints, weight)| {
        let endpoints: Vec<SliceEndpoint> = endpoints
            .into_iter()
            .map(|((host, node), ready)| SliceEndpoint {
                ready,
                ..endpoint(&format!("10.244.{node}.{host}"), &format!("node{node}"))
            })
            .collect();
        let ports = [slice_port("http", 8080)];
        let (slice_name, service) = (format!("ns/e{index}"), format!("ns/p{service}"));
        let slice = slice(&slice_name, &service, &ports, &endpoints);
        EndpointSlice { weight, ..slice }.object()
    });
    let affinity = prop::option::of(Just(60));
    let services = (0..3_u8, 80..82_u16, any::<[bool; 2]>(), policy, affinity).prop_map(
        |(index, number, [with_node_port, with_ranges], external_policy, affinity_seconds)| {
            let ports = [ServicePort {
                node_port: with_node_port.then_some(30_000 + number),
                ..port("http", number)
            }];
            let ip = format!("10.96.0.{}", index % 2);
            Service {
                external_ips: builders::ips(&["192.0.2.1"]),
                source_ranges: prefixes(if with_ranges { &["192.0.2.0/28"] } else { &[] }),
                load_balancer: vec![podway_model::LoadBalancerAddress {
                    address: builders::ip("203.0.113.1"),
                    is_vip: true,
                }],
                service_type: ServiceType::LoadBalancer,
                external_policy,
                affinity_seconds,
                ..builders::service(&format!("ns/p{index}"), &[&ip], &ports)
            }
            .object()
        },
    );
    prop_oneof![services, slices]
}

fn any_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => any_object().prop_map(Change::Upsert),
        1 => (0..3_u8).prop_map(|i| Change::Delete(ObjectRef::Service(name(&format!("ns/p{i}"))))),
        1 => (0..4_u8).prop_map(|i| Change::Delete(ObjectRef::EndpointSlice(name(&format!("ns/e{i}"))))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// However the table came about, the kernel holds what a fresh start from
    /// it would write.
    #[test]
    fn changes_end_where_a_fresh_start_does(changes in prop::collection::vec(any_change(), 1..40)) {
        let mut cluster = ClusterState::default();
        let mut planner = ServicePlanner::new(context());
        let mut backend = fake();
        sync(&mut backend, planner.table(), None);
        let mut history = String::new();
        for change in changes {
            let updates = cluster.apply(change);
            let change = planner.update(&cluster, &updates);
            let report = sync(&mut backend, planner.table(), Some(&change));
            let _ = writeln!(history, "{report}");
            prop_assert!(!report.full);
            // Weights may differ and leave everybody's share as it was.
            prop_assert!(report.written.transactions <= u64::from(!change.is_empty()));
            let settings = settings(&context());
            let rest = rest(backend.nftables_mut(), planner.table(), &settings);
            prop_assert_eq!(rest, "", "{}", history);
        }
    }

    /// Any table becomes any other.
    #[test]
    fn a_difference_is_a_change(
        one in prop::collection::vec(any_object(), 0..12),
        other in prop::collection::vec(any_object(), 0..12),
    ) {
        let [one, other] = [one, other].map(|objects| plan(&state(objects), &context()));
        let mut backend = fake();
        sync(&mut backend, &one, None);
        sync(&mut backend, &other, Some(&service::diff(&one, &other)));
        let rest = rest(backend.nftables_mut(), &other, &settings(&context()));
        prop_assert_eq!(rest, "");
    }
}
