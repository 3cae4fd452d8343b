//! The real programs and the real kernel, both variants.

use std::sync::Arc;

use podway_dataplane::service::iptables::{IptablesServices, render};
use podway_dataplane::service::{BACKENDS, ServiceBackend as _, SyncReport};
use podway_kernel::conntrack::FakeConntrack;
use podway_kernel::ipset::{IpSetTable, IpSets as _};
use podway_kernel::iptables::{Family, Iptables as _, Rule, Table, Variant, Xtables};
use podway_kernel::netns::NetNs;
use podway_kernel::nft::Written;
use podway_model::{ClusterState, IpFamily};
use podway_plan::service::{ServicePlanner, ServiceTable};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use super::clusters::{any_change, context, variety};
use super::{plan, settings, sync};

pub(super) type Real = IptablesServices<Xtables, IpSetTable, FakeConntrack>;

pub(super) fn in_each_variant(test: impl Fn(Variant) + Sync) {
    for variant in Variant::ALL {
        let namespace = NetNs::anonymous().expect("this test needs root (CAP_SYS_ADMIN)");
        namespace.run(|| test(variant)).unwrap();
    }
}

/// Opened in the calling thread's namespace.
pub(super) fn real(variant: Variant) -> Real {
    IptablesServices::new(
        Xtables::open_variant(variant).unwrap(),
        IpSetTable::open().unwrap(),
        FakeConntrack::default(),
        settings(&context()),
    )
}

/// What a fresh start would write, sets that are still busy left out.
fn rest(variant: Variant, table: &ServiceTable) -> SyncReport {
    sync(&mut real(variant), table, None)
}

/// A set that no rule names any more may still be busy: wait it out.
fn settle(variant: Variant, table: &ServiceTable) {
    const ATTEMPTS: usize = 1_000;
    for _ in 0..ATTEMPTS {
        if rest(variant, table).written == Written::default() {
            return;
        }
    }
    panic!(
        "{variant}: {:?} is written at each start",
        rest(variant, table)
    );
}

#[test]
fn the_kernel_holds_what_was_rendered_and_a_restart_writes_nothing() {
    in_each_variant(|variant| {
        let table = plan(&variety(), &context());
        let mut backend = real(variant);
        let first = sync(&mut backend, &table, None);
        assert!(first.full && first.written.transactions > 0, "{first}");
        for (kernel_family, family) in Family::ALL.into_iter().zip(IpFamily::ALL) {
            let wanted = render(&table, &settings(&context()), family);
            let held = backend.iptables_mut().save(kernel_family).unwrap();
            for kernel_table in Table::ALL {
                let mut held = held[&kernel_table].clone();
                let mut wanted = wanted[&kernel_table].clone();
                // The order of rules in listings is that of their writing.
                for rules in held.values_mut().chain(wanted.values_mut()) {
                    rules.sort();
                }
                assert_eq!(held, wanted, "{variant} {family} {kernel_table}");
            }
        }
        assert_eq!(rest(variant, &table).written, Written::default());
        backend.cleanup().unwrap();
        assert_eq!(backend.sets_mut().list().unwrap().len(), 0);
        for family in Family::ALL {
            let tables = backend.iptables_mut().save(family).unwrap();
            for (kernel_table, chains) in tables {
                let built_in = kernel_table.built_in();
                let is_clean = |(chain, rules): (&Arc<str>, &Vec<Rule>)| {
                    rules.is_empty() && built_in.contains(&&**chain)
                };
                assert!(chains.iter().all(is_clean), "{variant} {chains:?}");
            }
        }
    });
}

/// However the table came about, the kernel holds what a fresh start from it
/// would write.
#[test]
fn changes_end_where_a_fresh_start_does() {
    const CHANGES: usize = 60;
    in_each_variant(|variant| {
        // The same sequence in every run.
        let mut runner = TestRunner::deterministic();
        let mut cluster = ClusterState::default();
        let mut planner = ServicePlanner::new(context());
        let mut backend = real(variant);
        sync(&mut backend, planner.table(), None);
        for index in 0..CHANGES {
            let change = any_change().new_tree(&mut runner).unwrap().current();
            let updates = cluster.apply(change);
            let change = planner.update(&cluster, &updates);
            let report = sync(&mut backend, planner.table(), Some(&change));
            assert!(!report.full, "{index}");
            if index % 10 == 9 {
                let rest = rest(variant, planner.table()).written;
                assert_eq!(rest.transactions, 0, "{variant} {index}: {change:#?}");
            }
        }
        settle(variant, planner.table());
    });
}

#[test]
fn the_node_can_do_the_mode() {
    let spec = BACKENDS.iter().find(|spec| spec.name == "iptables");
    let spec = spec.expect("iptables is a mode");
    let namespace = NetNs::anonymous().expect("this test needs root (CAP_SYS_ADMIN)");
    namespace
        .run(|| {
            (spec.probe)().unwrap_or_else(|error| panic!("{error}: {error:?}"));
            let mut opened = (spec.open)(settings(&context())).unwrap();
            let table = plan(&variety(), &context());
            assert!(opened.sync(&table, None).unwrap().full);
            // The probe has left nothing behind.
            let mut sets = IpSetTable::open().unwrap();
            let sets = sets.list().unwrap();
            assert!(sets.keys().all(|name| !name.contains("PROBE")), "{sets:?}");
            let mut rules = Xtables::open().unwrap();
            let held = &rules.save(Family::V4).unwrap()[&Table::Nat];
            assert!(
                held.keys().all(|chain| !chain.contains("PROBE")),
                "{held:?}"
            );
        })
        .unwrap();
}
