//! A peer that takes every UPDATE has in the end what it should have.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use podway_wire::bgp::{Family, Message, NextHops, Path, RibOut, Update};
use proptest::collection::btree_map;
use proptest::prelude::*;

use super::codec::{ipv4_prefix, ipv6_prefix};

const HOPS: NextHops = NextHops {
    v4: Some(Ipv4Addr::new(192, 0, 2, 1)),
    v6: Some(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1)),
    link_local: Some(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1)),
};

/// A peer's side: what it has learned.
#[derive(Default)]
struct Learned(BTreeMap<IpNet, Path>);

impl Learned {
    fn take(&mut self, update: &Update) {
        let bytes = Message::Update(update.clone()).encode(true);
        assert!(bytes.len() <= 4096, "{} octets", bytes.len());
        for gone in &update.withdrawn {
            assert!(self.0.remove(gone).is_some(), "{gone} was not known");
        }
        for gone in update.attributes.unreach.iter().flat_map(|u| &u.prefixes) {
            assert!(self.0.remove(gone).is_some(), "{gone} was not known");
        }
        let path = Path {
            local_pref: update.attributes.local_pref,
            communities: update.attributes.communities.clone(),
            large_communities: update.attributes.large_communities.clone(),
        };
        let reach = update.attributes.reach.iter().flat_map(|r| &r.prefixes);
        for prefix in update.announced.iter().chain(reach) {
            let before = self.0.insert(*prefix, path.clone());
            assert_ne!(before.as_ref(), Some(&path), "{prefix} was told twice");
        }
    }
}

fn path() -> impl Strategy<Value = Path> {
    let communities = prop::collection::btree_set(0..3_u32, 0..3);
    (0..3_u32, communities).prop_map(|(preference, communities)| Path {
        local_pref: Some(preference),
        communities,
        large_communities: BTreeSet::new(),
    })
}

fn table() -> impl Strategy<Value = BTreeMap<IpNet, Path>> {
    let prefix = prop_oneof![ipv4_prefix(), ipv6_prefix()];
    btree_map(prefix, path(), 0..30)
}

proptest! {
    #[test]
    fn a_peer_has_what_it_should_have(tables in prop::collection::vec(table(), 1..6)) {
        let mut rib = RibOut::new(64_500, true, HOPS, Family::ALL.into());
        let mut learned = Learned::default();
        for wanted in tables {
            rib.sync(&wanted).iter().for_each(|update| learned.take(update));
            prop_assert_eq!(&learned.0, &wanted);
            prop_assert_eq!(rib.sync(&wanted), Vec::new());
            let mut anew = Learned::default();
            for family in Family::ALL {
                rib.refresh(family).iter().for_each(|update| anew.take(update));
            }
            prop_assert_eq!(&anew.0, &wanted);
        }
    }
}

#[test]
fn many_prefixes_are_split_over_messages() {
    let prefix = |n: u32| -> IpNet { format!("10.{}.{}.0/24", n / 256, n % 256).parse().unwrap() };
    let wanted: BTreeMap<IpNet, Path> = (0..10_000).map(|n| (prefix(n), Path::default())).collect();
    let mut rib = RibOut::new(64_500, true, HOPS, Family::ALL.into());
    let mut learned = Learned::default();
    let updates = rib.sync(&wanted);
    updates.iter().for_each(|update| learned.take(update));
    assert_eq!(learned.0.len(), 10_000);
    assert!(updates.len() < 25, "{} messages", updates.len());
    let gone = rib.sync(&BTreeMap::new());
    gone.iter().for_each(|update| learned.take(update));
    assert!(learned.0.is_empty() && gone.len() < 13, "{}", gone.len());
}

#[test]
fn only_what_the_peer_can_use_is_told() {
    let wanted: BTreeMap<IpNet, Path> = ["10.0.0.0/24", "fd00::/64"]
        .map(|prefix| (prefix.parse().unwrap(), Path::default()))
        .into();
    let no_v6 = NextHops { v6: None, ..HOPS };
    let no_v4 = NextHops { v4: None, ..HOPS };
    let v4: BTreeSet<Family> = [Family::Ipv4].into();
    let cases = [
        ("both", HOPS, Family::ALL.into(), 2),
        ("the peer speaks IPv4 only", HOPS, v4, 1),
        ("no IPv6 next hop", no_v6, Family::ALL.into(), 1),
        ("no IPv4 next hop", no_v4, Family::ALL.into(), 1),
    ];
    for (name, hops, families, expected) in cases {
        let mut rib = RibOut::new(64_500, true, hops, families);
        rib.sync(&wanted);
        assert_eq!(rib.len(), expected, "{name}");
    }
}

#[test]
fn outside_the_as_the_path_has_the_as_and_no_local_preference() {
    let wanted = BTreeMap::from([("10.0.0.0/24".parse().unwrap(), Path::default())]);
    for (internal, asns, preference) in [(false, vec![64_500], None), (true, vec![], Some(100))] {
        let mut rib = RibOut::new(64_500, internal, HOPS, Family::ALL.into());
        let update = rib.sync(&wanted).remove(0);
        let path = update.attributes.as_path.expect("a path");
        let found: Vec<u32> = path.into_iter().flat_map(|segment| segment.asns).collect();
        assert_eq!((found, update.attributes.local_pref), (asns, preference));
    }
}
