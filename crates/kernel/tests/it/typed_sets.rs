//! IP sets of every type that services use: the same contract for the kernel
//! and for the fake, and `ipset` as the judge of what was written.

use std::collections::BTreeSet;
use std::process::Command;

use podway_kernel::ipset::{FakeTypedSets, IpSetTable, Member, Port, SetType, TypedSet, TypedSets};
use podway_kernel::iptables::Family;

use super::namespace;

fn port(protocol: u8, address: &str) -> Port {
    Port {
        protocol,
        address: address.parse().unwrap(),
    }
}

/// A set of each type with members, IPv6 among them.
#[allow(clippy::too_many_lines, reason = "a table of sets")]
fn examples() -> Vec<(TypedSet, Vec<Member>)> {
    let web = port(6, "10.96.0.1:80");
    let dns = port(17, "10.96.0.10:53");
    let six = port(132, "[fd00:10:96::1]:90");
    let peer = |text: &str| text.parse().unwrap();
    let prefix = |text: &str| text.parse().unwrap();
    let of = |name: &str, set_type, family, members: &[Member]| {
        let limit = if set_type == SetType::Port {
            0
        } else {
            1 << 20
        };
        let set = TypedSet {
            name: name.to_owned(),
            set_type,
            family,
            limit,
        };
        (set, members.to_vec())
    };
    let (v4, v6) = (Some(Family::V4), Some(Family::V6));
    vec![
        of(
            "A",
            SetType::Address,
            v6,
            &[Member::Address(peer("fd00::1"))],
        ),
        of(
            "B",
            SetType::Port,
            None,
            &[Member::Port(30_001), Member::Port(0)],
        ),
        of(
            "C",
            SetType::AddressPort,
            v4,
            &[Member::AddressPort(web), Member::AddressPort(dns)],
        ),
        of("D", SetType::AddressPort, v6, &[Member::AddressPort(six)]),
        of(
            "E",
            SetType::AddressPortMark,
            v4,
            &[
                Member::AddressPortMark(web, 0x5000_0001),
                Member::AddressPortMark(dns, 0xffff_0000),
            ],
        ),
        of(
            "F",
            SetType::AddressPortAddress,
            v6,
            &[Member::AddressPortAddress(six, peer("fd00::9"))],
        ),
        of(
            "G",
            SetType::AddressPortPrefix,
            v4,
            &[
                Member::AddressPortPrefix(web, prefix("203.0.113.0/25")),
                Member::AddressPortPrefix(dns, prefix("203.0.113.7/32")),
            ],
        ),
    ]
}

fn contract(sets: &mut impl TypedSets) {
    for (set, members) in &examples() {
        sets.create(set).unwrap();
        let error = sets.create(set).unwrap_err().to_string();
        assert!(error.contains("already"), "{error}");
        sets.add(&set.name, members).unwrap();
        sets.add(&set.name, members).unwrap();
        let held = sets.members(set).unwrap();
        assert_eq!(held, members.iter().copied().collect::<BTreeSet<_>>());
    }
    let held: Vec<TypedSet> = sets.list().unwrap().into_values().collect();
    let wanted: Vec<TypedSet> = examples().into_iter().map(|(set, _)| set).collect();
    assert_eq!(held, wanted);
    // A member that is there takes the new mark.
    let [marked, _] = [port(6, "10.96.0.1:80"), port(17, "10.96.0.10:53")];
    sets.add("E", &[Member::AddressPortMark(marked, 7)])
        .unwrap();
    let set = sets.list().unwrap().remove("E").unwrap();
    let held = sets.members(&set).unwrap();
    assert!(
        held.contains(&Member::AddressPortMark(marked, 7)),
        "{held:?}"
    );
    assert_eq!(held.len(), 2);

    for (set, members) in &examples() {
        sets.remove(&set.name, &members[..1]).unwrap();
        sets.remove(&set.name, &members[..1]).unwrap();
        assert_eq!(sets.members(set).unwrap().len(), members.len() - 1);
        sets.flush(&set.name).unwrap();
        assert!(sets.members(set).unwrap().is_empty());
        assert!(sets.destroy(&set.name).unwrap());
        assert!(sets.destroy(&set.name).unwrap(), "gone is no error");
        assert!(sets.add(&set.name, members).is_err());
    }
}

#[test]
fn sets_of_every_type_in_memory() {
    contract(&mut FakeTypedSets::new());
}

#[test]
fn sets_of_every_type_in_the_kernel() {
    namespace()
        .run(|| contract(&mut IpSetTable::open().unwrap()))
        .unwrap();
}

#[test]
fn many_members_are_several_messages() {
    namespace()
        .run(|| {
            let mut sets = IpSetTable::open().unwrap();
            let (set, _) = examples().remove(6);
            sets.create(&set).unwrap();
            let member = |number: u16| {
                let port = port(6, &format!("10.96.0.1:{number}"));
                Member::AddressPortPrefix(port, "203.0.113.0/25".parse().unwrap())
            };
            let members: Vec<Member> = (1..=5_000).map(member).collect();
            TypedSets::add(&mut sets, &set.name, &members).unwrap();
            assert_eq!(TypedSets::members(&mut sets, &set).unwrap().len(), 5_000);
        })
        .unwrap();
}

#[test]
#[ignore = "needs the program ipset: make test-vm"]
fn ipset_prints_what_was_written() {
    namespace()
        .run(|| {
            let mut sets = IpSetTable::open().unwrap();
            for (set, members) in examples() {
                TypedSets::create(&mut sets, &set).unwrap();
                TypedSets::add(&mut sets, &set.name, &members).unwrap();
                let output = Command::new("ipset").args(["list", &set.name]).output();
                let text = String::from_utf8(output.expect("ipset").stdout).unwrap();
                let typed = format!("Type: {}\n", set.set_type.name());
                assert!(text.contains(&typed), "{text}");
                let (_, listed) = text.split_once("Members:\n").expect("members");
                let listed: BTreeSet<&str> = listed.lines().collect();
                let wanted: Vec<String> = members.iter().map(ToString::to_string).collect();
                assert_eq!(
                    listed,
                    wanted.iter().map(String::as_str).collect(),
                    "{text}"
                );
            }
        })
        .unwrap();
}
