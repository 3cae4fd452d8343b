//! What is written for a change, and that nothing is where nothing changed.

use std::fmt::Write as _;

use podway_dataplane::service::iptables::SPEC;
use podway_dataplane::service::{ServiceBackend as _, ServiceSettings};
use podway_kernel::nft::Written;
use podway_model::{Change, ClusterState, Object, ObjectRef, Service, ServiceType};
use podway_plan::service::{self, ServiceChange, ServicePlanner, ServiceTable};
use podway_testkit::builders::{IntoObject, endpoint, name, prefixes, state};
use proptest::prelude::*;

use super::clusters::{any_change, any_object, context, numbered, slice_of, variety};
use super::{Fake, fake, plan, settings, sync};

/// A cluster, its plan, and a backend that is in step with it.
struct InStep {
    cluster: ClusterState,
    planner: ServicePlanner,
    backend: Fake,
}

impl InStep {
    fn new(cluster: ClusterState) -> Self {
        let mut planner = ServicePlanner::new(context());
        planner.plan_all(&cluster);
        let mut backend = fake();
        sync(&mut backend, planner.table(), None);
        Self {
            cluster,
            planner,
            backend,
        }
    }

    fn change(&mut self, change: Change) -> (ServiceChange, Written, bool) {
        let updates = self.cluster.apply(change);
        let change = self.planner.update(&self.cluster, &updates);
        let report = sync(&mut self.backend, self.planner.table(), Some(&change));
        (change, report.written, report.full)
    }

    /// What a full comparison would still write.
    fn rest(&mut self) -> Written {
        sync(&mut self.backend, self.planner.table(), None).written
    }
}

/// The whole of what a variety of services becomes, as iptables-save prints it.
/// `UPDATE_GOLDEN=1` writes it anew.
#[test]
fn the_rules_of_a_variety_of_services() {
    let rules = (SPEC.render_text)(&plan(&variety(), &context()), &settings(&context()));
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/it/iptables/golden.rules"
    );
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &rules).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap();
    assert!(rules == golden, "differs from {path}:\n{rules}");
}

#[test]
fn one_change_among_a_thousand_services_writes_that_service() {
    let mut in_step = InStep::new(state((0..1_000).flat_map(numbered)));
    assert_eq!(in_step.rest(), Written::default(), "nothing has changed");
    let slice = |pods: &[u8]| {
        let pods = pods.iter();
        let endpoints: Vec<_> = pods
            .map(|last| endpoint(&format!("10.244.9.{last}"), "node2"))
            .collect();
        Change::Upsert(slice_of(471, &endpoints))
    };
    let [service, _] = numbered(471);
    let [other, _] = numbered(472);
    let gone = Change::Delete(ObjectRef::Service(name("ns/s471")));
    let steps = [
        // KUBE-SVC with 3 rules, two KUBE-SEP with 2 each, two emptied and
        // removed.
        ("two others", slice(&[1, 2]), 4 + 6 + 4),
        ("one more", slice(&[1, 2, 3]), 5 + 3),
        ("the last leaves", slice(&[1, 2]), 4 + 2),
        // Besides, its rule in KUBE-SERVICES goes and one that refuses comes.
        ("all leave", slice(&[]), 2 + 4 + 2),
        ("they come back", slice(&[1, 2]), 4 + 6 + 2),
        // And its cluster IP is a member of a set.
        ("the service goes", gone, 2 + 4 + 1 + 1),
        ("it comes back", Change::Upsert(service), 4 + 6 + 1 + 1),
        ("nothing of it changes", Change::Upsert(other), 0),
    ];
    for (what, change, elements) in steps {
        let (change, written, full) = in_step.change(change);
        assert_eq!(written.elements, elements, "{what}: {change:#?}");
        assert_eq!(written.transactions, u64::from(elements > 0), "{what}");
        assert!(!full, "{what}");
    }
    assert_eq!(in_step.rest(), Written::default());
}

#[test]
fn much_that_goes_at_once_is_compared_as_a_whole() {
    let mut in_step = InStep::new(state((0..200).flat_map(numbered)));
    let before = in_step.planner.table().clone();
    let table = plan(&state((0..50).flat_map(numbered)), &context());
    let change = service::diff(&before, &table);
    let report = sync(&mut in_step.backend, &table, Some(&change));
    assert!(report.full, "{report}");
    let again = sync(&mut in_step.backend, &table, None);
    assert_eq!(again.written, Written::default());
}

#[test]
fn after_an_error_the_next_sync_compares_and_mends() {
    let mut in_step = InStep::new(variety());
    let gone = Change::Delete(ObjectRef::Service(name("ns/plain")));
    let updates = in_step.cluster.apply(gone);
    let change = in_step.planner.update(&in_step.cluster, &updates);
    in_step.backend.iptables_mut().fail(1);
    let table = in_step.planner.table().clone();
    let error = in_step.backend.sync(&table, Some(&change)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "services: the rules of mode iptables are not in force"
    );
    let report = sync(
        &mut in_step.backend,
        &table,
        Some(&ServiceChange::default()),
    );
    assert!(report.full && report.written.transactions > 0, "{report}");
    assert_eq!(in_step.rest(), Written::default());
}

#[test]
fn other_settings_are_compared_and_written() {
    let mut in_step = InStep::new(variety());
    let table = in_step.planner.table().clone();
    let others = [
        ServiceSettings {
            pod_prefixes: prefixes(&["10.244.7.0/24"]),
            ..settings(&context())
        },
        ServiceSettings {
            pod_prefixes: prefixes(&["10.244.7.0/24", "10.244.9.0/24"]),
            node_port_prefixes: prefixes(&["172.16.0.0/24", "fd00:172::/32", "127.0.0.0/8"]),
            ..settings(&context())
        },
        settings(&context()),
    ];
    for settings in others {
        in_step.backend.configure(settings.clone());
        let change = ServiceChange::default();
        let report = sync(&mut in_step.backend, &table, Some(&change));
        assert!(report.full && report.written.elements > 0, "{settings:?}");
        assert_eq!(in_step.rest(), Written::default(), "{settings:?}");
    }
}

/// Names that no API server lets through: they must not become rules.
#[test]
fn a_name_cannot_write_rules() {
    let evil = "x\" -j ACCEPT\nCOMMIT\n*filter\n-A INPUT -j ACCEPT\n#";
    let mut objects: Vec<Object> = numbered(1).into();
    let ports = [podway_testkit::builders::port("http", 80)];
    let service = Service {
        service_type: ServiceType::NodePort,
        name: podway_model::ObjectName::new(evil, "'\\"),
        ..podway_testkit::builders::service("ns/evil", &["10.96.9.9"], &ports)
    };
    objects.push(service.object());
    let mut backend = fake();
    let table = plan(&state(objects), &context());
    sync(&mut backend, &table, None);
    assert_eq!(sync(&mut backend, &table, None).written, Written::default());
}

fn any_table() -> impl Strategy<Value = ServiceTable> {
    prop::collection::vec(any_object(), 0..12).prop_map(|objects| plan(&state(objects), &context()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// However the table came about, the kernel holds what a fresh start from
    /// it would write.
    #[test]
    fn changes_end_where_a_fresh_start_does(changes in prop::collection::vec(any_change(), 1..30)) {
        let mut in_step = InStep::new(ClusterState::default());
        let mut history = String::new();
        for change in changes {
            let (change, written, full) = in_step.change(change);
            let _ = writeln!(history, "{change:#?} {written:?}");
            prop_assert!(!full);
            prop_assert!(!change.is_empty() || written == Written::default());
            prop_assert_eq!(in_step.rest(), Written::default(), "{}", history);
        }
    }

    /// Any table becomes any other, by a change or by comparison.
    #[test]
    fn any_table_becomes_any_other(one in any_table(), other in any_table(), compared: bool) {
        let mut backend = fake();
        sync(&mut backend, &one, None);
        let change = service::diff(&one, &other);
        sync(&mut backend, &other, (!compared).then_some(&change));
        let rest = sync(&mut backend, &other, None).written;
        prop_assert_eq!(rest, Written::default(), "{:#?}", change);
    }
}
