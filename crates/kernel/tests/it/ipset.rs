//! IP sets written natively, as rules of iptables see them.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use podway_kernel::ipset::{FakeIpSets, IpSet, IpSetTable, IpSets};
use podway_kernel::iptables::{Family, Iptables as _, Rule, Script, Table, Variant, Xtables};

use super::namespace;

/// What is written before a set is let go of: longer than the kernel takes.
const PATIENCE: Duration = Duration::from_secs(10);

fn set(name: &str, family: Family, timeout: Option<u64>) -> IpSet {
    IpSet {
        name: name.into(),
        family,
        limit: 65_536,
        timeout: timeout.map(Duration::from_secs),
    }
}

fn addresses(family: Family, count: u32) -> Vec<IpAddr> {
    (1..=count)
        .map(|number| match family {
            Family::V4 => Ipv4Addr::from(0x0a00_0000 + number).into(),
            Family::V6 => Ipv6Addr::from((0xfd00 << 112) + u128::from(number)).into(),
        })
        .collect()
}

/// Everything that a caller may rely on, of the kernel and of the fake.
fn contract(sets: &mut impl IpSets) {
    let both = [
        set("KUBE-FOUR", Family::V4, Some(10_800)),
        set("KUBE-SIX", Family::V6, None),
    ];
    assert_eq!(sets.list().unwrap().len(), 0);
    for wanted in &both {
        sets.create(wanted).unwrap();
        let error = sets.create(wanted).unwrap_err().to_string();
        assert!(error.contains(&wanted.name), "{error}");
    }
    let held: Vec<IpSet> = sets.list().unwrap().into_values().collect();
    assert_eq!(held, both);
    for wanted in &both {
        let name = &wanted.name;
        let members = addresses(wanted.family, 5_000);
        sets.add(name, &members).unwrap();
        sets.add(name, &members[..3]).unwrap();
        let all: BTreeSet<IpAddr> = members.iter().copied().collect();
        assert_eq!(sets.members(name).unwrap(), all);
        sets.remove(name, &members[1..]).unwrap();
        sets.remove(name, &members[1..]).unwrap();
        assert_eq!(sets.members(name).unwrap(), BTreeSet::from([members[0]]));
        sets.flush(name).unwrap();
        assert_eq!(sets.members(name).unwrap(), BTreeSet::new());
        assert!(sets.destroy(name).unwrap());
        assert!(sets.destroy(name).unwrap(), "gone is no error");
        let error = sets.add(name, &members).unwrap_err().to_string();
        assert!(error.contains("not there"), "{error}");
    }
    let small = IpSet {
        limit: 64,
        ..set("KUBE-SMALL", Family::V4, None)
    };
    sets.create(&small).unwrap();
    let many = addresses(Family::V4, 5_000);
    let error = sets.add(&small.name, &many).unwrap_err().to_string();
    assert!(
        error.contains("KUBE-SMALL") && error.contains("full"),
        "{error}"
    );
}

#[test]
fn sets_in_the_kernel() {
    namespace()
        .run(|| contract(&mut IpSetTable::open().unwrap()))
        .unwrap();
}

#[test]
fn sets_in_memory() {
    contract(&mut FakeIpSets::new());
}

#[test]
fn a_set_that_a_rule_names_stays() {
    for variant in Variant::ALL {
        namespace().run(|| keep(variant)).unwrap();
    }
}

fn keep(variant: Variant) {
    let mut sets = IpSetTable::open().unwrap();
    let mut rules = Xtables::open_variant(variant).unwrap();
    sets.create(&set("KUBE-NAMED", Family::V4, None)).unwrap();
    let chain = "KUBE-X".into();
    let mut script = Script::new();
    let rule = Rule::new().matching("set --match-set KUBE-NAMED src");
    script.chain(Table::Filter, &chain, [rule.jump("DROP")]);
    rules.restore(Family::V4, &[script]).unwrap();
    assert!(!sets.destroy("KUBE-NAMED").unwrap(), "{variant}");

    let mut script = Script::new();
    script.remove(Table::Filter, &chain);
    rules.restore(Family::V4, &[script]).unwrap();
    let begin = Instant::now();
    while !sets.destroy("KUBE-NAMED").unwrap() {
        assert!(begin.elapsed() < PATIENCE, "{variant}");
        std::thread::yield_now();
    }
}
