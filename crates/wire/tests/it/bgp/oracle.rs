//! What we write, another implementation reads as meant.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use podway_wire::bgp::{
    Event, Family, HEADER, LargeCommunity, Message, NextHops, Path, PeerAsn, RibOut, Session,
    SessionConfig, Side, Update,
};
use podway_wire::{Moment, bgp::Action};
use zettabgp::message::open::BgpOpenMessage;
use zettabgp::message::update::BgpUpdateMessage;
use zettabgp::prelude::*;

fn params() -> BgpSessionParams {
    let mut params = BgpSessionParams::new(
        64_500,
        90,
        BgpTransportMode::IPv4,
        Ipv4Addr::new(192, 0, 2, 1),
        Vec::new(),
    );
    params.fuzzy_pathid = false;
    params
}

fn read(update: &Update) -> BgpUpdateMessage {
    let bytes = Message::Update(update.clone()).encode(true);
    let mut theirs = BgpUpdateMessage::new();
    theirs
        .decode_from(&params(), &bytes[HEADER..])
        .unwrap_or_else(|error| panic!("{update:?}: {error:?}"));
    theirs
}

fn rib() -> RibOut {
    let hops = NextHops {
        v4: Some(Ipv4Addr::new(192, 0, 2, 1)),
        v6: Some(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
        link_local: None,
    };
    RibOut::new(4_200_000_001, false, hops, Family::ALL.into())
}

#[test]
fn an_open_is_read_as_meant() {
    let mut session = Session::new(SessionConfig {
        local_asn: 4_200_000_001,
        peer_asn: PeerAsn::External,
        router_id: Ipv4Addr::new(192, 0, 2, 7),
        hold_time: Duration::from_secs(90),
        keepalive_time: None,
        connect_retry: Duration::from_secs(10),
        passive: true,
        families: Family::ALL.into(),
        graceful_restart: Some(Duration::from_secs(120)),
        restarted: true,
    });
    session.step(Event::Start, Moment::default());
    let actions = session.step(Event::Connected(Side::Theirs), Moment::default());
    let [Action::Send(Side::Theirs, bytes)] = &actions[..] else {
        panic!("{actions:?}");
    };
    let mut open = BgpOpenMessage::new();
    open.decode_from(&params(), &bytes[HEADER..])
        .expect("an OPEN");
    assert_eq!(open.router_id, Ipv4Addr::new(192, 0, 2, 7));
    assert_eq!(open.hold_time, 90);
    let capabilities = format!("{:?}", open.caps);
    for expected in [
        "SafiIPv4u",
        "SafiIPv6u",
        "CapRR",
        "CapASN32(4200000001)",
        "CapGR",
    ] {
        assert!(
            capabilities.contains(expected),
            "{expected} in {capabilities}"
        );
    }
}

#[test]
fn announcements_are_read_as_meant() {
    let path = Path {
        local_pref: None,
        communities: BTreeSet::from([0xfbf4_0001, 0xffff_ff01]),
        large_communities: BTreeSet::from([LargeCommunity([1, 2, 3])]),
    };
    let prefixes = ["198.51.100.7/32", "203.0.113.0/24", "2001:db8:1::/48"];
    let wanted = prefixes.map(|p| (p.parse().unwrap(), path.clone()));
    let mut rib = rib();
    let updates = rib.sync(&BTreeMap::from(wanted));
    assert_eq!(updates.len(), 2, "one for each family: {updates:?}");
    let v4 = read(&updates[0]);
    let BgpAddrs::IPV4U(announced) = &v4.updates else {
        panic!("{v4:?}");
    };
    let announced: Vec<String> = announced.iter().map(ToString::to_string).collect();
    assert_eq!(announced, prefixes[..2]);
    let hop = v4.get_attr_nexthop().expect("a next hop").value;
    assert_eq!(hop.to_string(), "192.0.2.1");
    for update in [&v4, &read(&updates[1])] {
        let as_path = update.get_attr_aspath().expect("a path");
        assert_eq!(as_path.to_string(), "4200000001");
        let communities = &update.get_attr_communitylist().expect("communities").value;
        let communities: Vec<u32> = communities.iter().map(|c| c.value).collect();
        assert_eq!(communities, [0xfbf4_0001, 0xffff_ff01]);
        let large = &update.get_attr_largecommunitylist().expect("large").value;
        let large: Vec<[u32; 3]> = large.iter().map(|c| [c.ga, c.ldp1, c.ldp2]).collect();
        assert_eq!(large, [[1, 2, 3]]);
    }
    let v6 = read(&updates[1]);
    let reach = v6.get_mpupdates().expect("MP_REACH");
    assert_eq!(reach.nexthop, BgpAddr::V6("2001:db8::1".parse().unwrap()));
    let BgpAddrs::IPV6U(announced) = &reach.addrs else {
        panic!("{v6:?}");
    };
    assert_eq!(announced[0].to_string(), prefixes[2]);
    let gone: Vec<BgpUpdateMessage> = rib.sync(&BTreeMap::new()).iter().map(read).collect();
    assert!(matches!(&gone[0].withdraws, BgpAddrs::IPV4U(gone) if gone.len() == 2));
    let unreach = gone[1].get_mpwithdraws().expect("MP_UNREACH");
    assert!(matches!(&unreach.addrs, BgpAddrs::IPV6U(gone) if gone.len() == 1));
}
