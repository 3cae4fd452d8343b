//! Changes upon changes leave what a fresh start from the last state would
//! write: the dumps of two kernels are compared, one of which has seen them all.

use std::fmt::Write as _;

use podway_dataplane::names::{PROXY_TABLE, SERVICE_TABLE};
use podway_dataplane::service::{ServiceBackend, iptables, nftables, userspace};
use podway_kernel::ipset::{IpSetTable, IpSets as _};
use podway_kernel::iptables::{Family, Iptables as _, Rule, Variant, Xtables};
use podway_kernel::netns::NetNs;
use podway_kernel::nft::{Nft, Nftables as _};
use podway_kernel::route::{LinkChange, Rtnetlink};
use podway_model::ClusterState;
use podway_plan::service::{ServicePlanner, ServiceTable};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use crate::iptables::clusters::{any_change, context};
use crate::live::Mode;

#[test]
fn changes_leave_what_a_fresh_start_writes_in_nftables() {
    judge(Mode::Spec(&nftables::SPEC), 1_000);
}

#[test]
fn changes_leave_what_a_fresh_start_writes_in_iptables() {
    judge(Mode::Spec(&iptables::SPEC), 60);
}

#[test]
fn changes_leave_what_a_fresh_start_writes_in_iptables_legacy() {
    judge(Mode::Legacy, 120);
}

#[test]
fn changes_leave_what_a_fresh_start_writes_in_userspace() {
    judge(Mode::Spec(&userspace::SPEC), 1_000);
}

/// The long form of every mode.
const FULL: usize = 10_000;
/// How often the kernels are compared on the way.
const COMPARED: usize = 10;

fn judge(mode: Mode, short: usize) {
    let changes = if crate::is_full() { FULL } else { short };
    // The same sequence in every run.
    let mut runner = TestRunner::deterministic();
    let mut cluster = ClusterState::default();
    let mut planner = ServicePlanner::new(context());
    let seasoned = Node::new();
    let mut backend = seasoned.start(mode);
    backend.sync(planner.table(), None).unwrap();
    for index in 1..=changes {
        let change = any_change().new_tree(&mut runner).unwrap().current();
        let updates = cluster.apply(change);
        let change = planner.update(&cluster, &updates);
        let report = backend.sync(planner.table(), Some(&change));
        let report = report.unwrap_or_else(|error| panic!("{index}: {error:?}\n{change:#?}"));
        assert!(
            !report.full,
            "{}: change {index} was written whole",
            mode.name()
        );
        if index % (changes / COMPARED).max(1) == 0 || index == changes {
            let held = seasoned.dump(mode);
            let fresh = fresh(mode, planner.table());
            assert!(
                held == fresh,
                "{}: after change {index}\n{change:#?}\n{}",
                mode.name(),
                difference(&held, &fresh)
            );
        }
    }
}

/// What a fresh start writes to an empty kernel.
fn fresh(mode: Mode, table: &ServiceTable) -> String {
    let node = Node::new();
    let mut backend = node.start(mode);
    backend.sync(table, None).unwrap();
    node.dump(mode)
}

pub(crate) struct Node(NetNs);

impl Node {
    pub(crate) fn new() -> Self {
        let node = NetNs::anonymous().expect("this test needs root (CAP_SYS_ADMIN)");
        let mut netlink = Rtnetlink::open_in(&node).unwrap();
        let lo = netlink.link("lo").unwrap().unwrap().index;
        netlink.change_link(lo, &LinkChange::new().up()).unwrap();
        Self(node)
    }

    pub(crate) fn start(&self, mode: Mode) -> Box<dyn ServiceBackend> {
        mode.start_in(&self.0, &context())
    }

    /// What the kernel holds of a mode, but for what is the kernel's own choice.
    fn dump(&self, mode: Mode) -> String {
        let dump = || match mode {
            Mode::Spec(spec) if spec.name == "nftables" => table(SERVICE_TABLE),
            Mode::Spec(spec) if spec.name == "userspace" => table(PROXY_TABLE),
            Mode::Spec(_) => rules(Variant::Nft),
            Mode::Legacy => rules(Variant::Legacy),
        };
        self.0.run(dump).unwrap()
    }
}

/// Sets with their members, and chains with their rules.
fn table(name: &str) -> String {
    let held = Nft::open().unwrap().dump(name).unwrap().unwrap_or_default();
    let mut text = String::new();
    for (name, set) in held.sets {
        let _ = writeln!(text, "{name} {:?}", set.shape);
        let elements = set.elements.iter();
        let mut elements: Vec<String> = elements.map(|e| format!("  {name} {e:?}")).collect();
        elements.sort();
        let _ = writeln!(text, "{}", elements.join("\n"));
    }
    for (name, chain) in held.chains {
        let _ = writeln!(text, "{name} {:?}", chain.base);
        // The ports of a proxy differ from start to start.
        let is_proxys = name.starts_with("proxy-");
        for rule in chain.rules.iter().filter(|_| !is_proxys) {
            let _ = writeln!(text, "  {name} {rule:?}");
        }
    }
    text
}

/// Rules by chain, and sets with their members. Rules of chains that all services
/// share are in the order in which they were written.
fn rules(variant: Variant) -> String {
    let mut text = String::new();
    let mut xtables = Xtables::open_variant(variant).unwrap();
    for family in Family::ALL {
        for (table, chains) in xtables.save(family).unwrap() {
            for (chain, mut rules) in chains {
                if !["-SVC-", "-SVL-", "-EXT-", "-FW-", "-SEP-"]
                    .iter()
                    .any(|own| chain.contains(own))
                {
                    rules.sort();
                }
                let rules: Vec<String> = rules.iter().map(Rule::to_string).collect();
                let _ = writeln!(text, "{family:?} {table} {chain}\n  {}", rules.join("\n  "));
            }
        }
    }
    let mut sets = IpSetTable::open().unwrap();
    for name in sets.list().unwrap().into_keys() {
        let members = sets.members(&name).unwrap();
        let _ = writeln!(text, "{name} {members:?}");
    }
    text
}

/// The lines that only one of them has.
fn difference(held: &str, fresh: &str) -> String {
    let only = |one: &str, other: &str, sign: char| {
        let lines = one
            .lines()
            .filter(|line| !other.lines().any(|l| l == *line));
        lines
            .map(|line| format!("{sign}{line}\n"))
            .collect::<String>()
    };
    only(held, fresh, '+') + &only(fresh, held, '-')
}
