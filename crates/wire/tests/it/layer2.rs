//! Which questions are answered, and when an address is announced.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use podway_wire::Moment;
use podway_wire::layer2::{
    ALL_NODES, Advertisement, Announcer, AnswerLimit, ArpOperation, ArpPacket, ETHERTYPE_ARP,
    ETHERTYPE_IPV6, EthernetFrame, FrameError, Interface, MacAddress, Solicitation, group_mac,
    solicited_node_group,
};
use proptest::prelude::*;

const OWN: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const CLIENT: MacAddress = MacAddress([2, 0, 0, 0, 0, 9]);
const V4: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 200);
const CLIENT_V4: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 250);
const V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x172, 0x16, 0, 0, 0, 0xab, 0xcdef);
const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9);

fn at(milliseconds: u64) -> Moment {
    Moment::after_origin(Duration::from_millis(milliseconds))
}

fn interface(index: u32) -> Interface {
    Interface {
        index,
        mac: OWN,
        ipv6: true,
        up: true,
    }
}

/// Announces both addresses on interface 1, and nothing on interface 2, for an hour.
fn announcer() -> Announcer {
    let mut announcer = Announcer::new(AnswerLimit::default());
    announcer.set_interfaces(&[interface(1), interface(2)], at(0));
    for address in [IpAddr::V4(V4), IpAddr::V6(V6)] {
        announcer.announce(address, Some(&BTreeSet::from([1])), at(3_600_000), at(0));
    }
    announcer
}

fn arp(destination: MacAddress, change: impl FnOnce(&mut ArpPacket)) -> Vec<u8> {
    let mut packet = ArpPacket {
        operation: ArpOperation::Request,
        sender_mac: CLIENT,
        sender: CLIENT_V4,
        target_mac: MacAddress::ZERO,
        target: V4,
    };
    change(&mut packet);
    ethernet(destination, ETHERTYPE_ARP, &packet.encode())
}

fn ethernet(destination: MacAddress, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    EthernetFrame {
        destination,
        source: CLIENT,
        ethertype,
        payload,
    }
    .encode()
}

fn solicitation(source: Ipv6Addr, source_mac: Option<MacAddress>) -> Vec<u8> {
    Solicitation {
        source,
        target: V6,
        source_mac,
    }
    .encode()
}

#[test]
fn an_arp_request_for_an_announced_address_is_answered_to_the_one_who_asked() {
    for destination in [MacAddress::BROADCAST, OWN] {
        let answer = announcer()
            .receive(1, &arp(destination, |_| {}), at(1))
            .expect("an answer");
        let frame = EthernetFrame::decode(&answer.frame).unwrap();
        assert_eq!((frame.destination, frame.source), (CLIENT, OWN));
        assert_eq!(answer.frame.len(), 60, "a short frame is padded");
        let expected = ArpPacket {
            operation: ArpOperation::Reply,
            sender_mac: OWN,
            sender: V4,
            target_mac: CLIENT,
            target: CLIENT_V4,
        };
        assert_eq!(ArpPacket::decode(frame.payload), Ok(expected));
    }
}

#[test]
fn everything_else_is_left_alone() {
    let ask = arp(MacAddress::BROADCAST, |_| {});
    let cases: Vec<(&str, u32, Vec<u8>, Moment)> = vec![
        ("an interface that was not chosen", 2, ask.clone(), at(1)),
        ("an interface that is not known", 7, ask.clone(), at(1)),
        ("the lease has ended", 1, ask.clone(), at(3_600_000)),
        ("to another station", 1, arp(CLIENT, |_| {}), at(1)),
        (
            "another address",
            1,
            arp(MacAddress::BROADCAST, |p| p.target = CLIENT_V4),
            at(1),
        ),
        (
            "a reply",
            1,
            arp(MacAddress::BROADCAST, |p| p.operation = ArpOperation::Reply),
            at(1),
        ),
        (
            "somebody announces the address",
            1,
            arp(MacAddress::BROADCAST, |p| p.sender = V4),
            at(1),
        ),
        ("cut short", 1, ask[..30].to_vec(), at(1)),
        (
            "IPv6 asked of another group",
            1,
            ethernet(
                group_mac(ALL_NODES),
                ETHERTYPE_IPV6,
                &solicitation(CLIENT_V6, Some(CLIENT)),
            ),
            at(1),
        ),
    ];
    for (name, index, frame, now) in cases {
        assert_eq!(announcer().receive(index, &frame, now), None, "{name}");
    }
}

#[test]
fn a_down_interface_and_a_withdrawn_address_are_silent() {
    let mut announcer = announcer();
    let down = Interface {
        up: false,
        ..interface(1)
    };
    announcer.set_interfaces(&[down], at(1));
    let ask = arp(MacAddress::BROADCAST, |_| {});
    assert_eq!(announcer.receive(1, &ask, at(2)), None);
    assert_eq!(announcer.due(at(2)), []);
    announcer.set_interfaces(&[interface(1)], at(3));
    assert!(announcer.receive(1, &ask, at(4)).is_some());
    announcer.withdraw(IpAddr::V4(V4));
    assert_eq!(announcer.receive(1, &ask, at(5)), None);
}

#[test]
fn a_neighbour_solicitation_is_answered() {
    let group = group_mac(solicited_node_group(V6));
    assert_eq!(group.to_string(), "33:33:ff:ab:cd:ef");
    let cases = [
        (
            "of a host",
            solicitation(CLIENT_V6, Some(CLIENT)),
            (CLIENT, CLIENT_V6, true),
        ),
        (
            "without its link address",
            solicitation(CLIENT_V6, None),
            (CLIENT, CLIENT_V6, true),
        ),
        (
            "of one that wants the address for itself (RFC 4862)",
            solicitation(Ipv6Addr::UNSPECIFIED, None),
            (group_mac(ALL_NODES), ALL_NODES, false),
        ),
    ];
    for (name, packet, (mac, destination, solicited)) in cases {
        let frame = ethernet(group, ETHERTYPE_IPV6, &packet);
        let answer = announcer().receive(1, &frame, at(1)).expect(name);
        let answer = EthernetFrame::decode(&answer.frame).unwrap();
        let expected = Advertisement {
            source: V6,
            destination,
            target: V6,
            target_mac: OWN,
            solicited,
            overrides: true,
        };
        assert_eq!(answer.destination, mac, "{name}");
        assert_eq!(
            Advertisement::decode(answer.payload),
            Ok(expected),
            "{name}"
        );
    }
}

#[test]
fn what_rfc_4861_calls_void_is_refused() {
    let valid = solicitation(CLIENT_V6, Some(CLIENT));
    let with = |offset: usize, value: u8| {
        let mut packet = valid.clone();
        packet[offset] = value;
        packet
    };
    let cases = [
        ("passed a router", with(7, 254), FrameError::HopLimit(254)),
        ("a flipped bit", with(63, 0), FrameError::Checksum),
        ("not ICMPv6", with(6, 17), FrameError::NotNeighbourDiscovery),
        ("an echo", with(40, 128), FrameError::NotNeighbourDiscovery),
        ("short", valid[..50].to_vec(), FrameError::Truncated),
        (
            "a link address without a source",
            solicitation(Ipv6Addr::UNSPECIFIED, Some(CLIENT)),
            FrameError::Invalid("a link address without a source"),
        ),
        (
            "a group as target",
            Solicitation {
                source: CLIENT_V6,
                target: ALL_NODES,
                source_mac: None,
            }
            .encode(),
            FrameError::Invalid("its target is a group"),
        ),
    ];
    for (name, packet, error) in cases {
        assert_eq!(Solicitation::decode(&packet), Err(error), "{name}");
    }
}

/// Runs from one moment until another and says when anything was announced.
fn announced_at(announcer: &mut Announcer, until: Moment) -> Vec<u128> {
    let mut times = Vec::new();
    while let Some(now) = announcer.next_deadline().filter(|next| *next <= until) {
        if !announcer.due(now).is_empty() {
            times.push(now.since(at(0)).as_millis());
        }
    }
    times
}

#[test]
fn an_address_is_announced_in_a_burst_and_then_every_minute() {
    let burst = [0, 1_100, 2_200, 3_300, 4_400];
    let mut announcer = announcer();
    let times = announced_at(&mut announcer, at(130_000));
    assert_eq!(times[..5], burst);
    assert_eq!(times[5..], [64_400, 124_400]);
    announcer.link_up(1, at(150_000));
    let again = announced_at(&mut announcer, at(160_000));
    assert_eq!(
        again,
        burst.map(|time| time + 150_000),
        "the link came back"
    );
    let moved = Interface {
        mac: CLIENT,
        ..interface(1)
    };
    announcer.set_interfaces(&[moved], at(200_000));
    let frames = announcer.due(at(200_000));
    assert_eq!(frames.len(), 3, "a new link address: request, reply, NA");
    assert!(frames.iter().all(|f| f.frame[6..12] == CLIENT.0));
}

#[test]
fn extending_a_lease_announces_nothing_and_a_lapse_does() {
    let mut announcer = Announcer::new(AnswerLimit::default());
    announcer.set_interfaces(&[interface(1)], at(0));
    let address = IpAddr::V4(V4);
    announcer.announce(address, None, at(400), at(0));
    assert_eq!(announcer.due(at(0)).len(), 2);
    announcer.announce(address, None, at(800), at(300));
    assert_eq!(announcer.due(at(300)), []);
    assert_eq!(announcer.due(at(800)), [], "it has ended");
    assert_eq!(announcer.next_deadline(), None);
    announcer.announce(address, None, at(1_300), at(900));
    assert_eq!(announcer.due(at(900)).len(), 2);
}

#[test]
fn both_kinds_of_gratuitous_arp_name_the_address_as_sender_and_target() {
    let mut announcer = announcer();
    let frames = announcer.due(at(0));
    let arps: Vec<ArpPacket> = frames
        .iter()
        .map(|outgoing| EthernetFrame::decode(&outgoing.frame).unwrap())
        .filter(|frame| frame.destination == MacAddress::BROADCAST)
        .map(|frame| ArpPacket::decode(frame.payload).unwrap())
        .collect();
    let operations: Vec<ArpOperation> = arps.iter().map(|packet| packet.operation).collect();
    assert_eq!(operations, [ArpOperation::Request, ArpOperation::Reply]);
    for packet in arps {
        assert_eq!(
            (packet.sender, packet.target, packet.sender_mac),
            (V4, V4, OWN)
        );
    }
    let expected = BTreeSet::from([solicited_node_group(V6)]);
    assert_eq!(announcer.groups(1), expected);
    assert_eq!(announcer.groups(2), BTreeSet::new());
}

#[test]
fn a_storm_of_questions_is_answered_in_part_and_then_again() {
    let mut announcer = Announcer::new(AnswerLimit {
        per_second: 10,
        burst: 3,
    });
    announcer.set_interfaces(&[interface(1)], at(0));
    announcer.announce(IpAddr::V4(V4), None, at(10_000), at(0));
    let ask = arp(MacAddress::BROADCAST, |_| {});
    let mut answers = |now, count| {
        (0..count)
            .filter(|_| announcer.receive(1, &ask, now).is_some())
            .count()
    };
    assert_eq!(answers(at(1), 1_000), 3);
    assert_eq!(answers(at(202), 1_000), 2);
    assert_eq!(answers(at(9_000), 1_000), 3);
}

proptest! {
    #[test]
    fn no_bytes_panic_and_none_are_answered_but_questions(
        bytes in proptest::collection::vec(any::<u8>(), 0..120),
        ethertype in prop_oneof![Just(ETHERTYPE_ARP), Just(ETHERTYPE_IPV6), any::<u16>()],
    ) {
        let frame = ethernet(MacAddress::BROADCAST, ethertype, &bytes);
        let answer = announcer().receive(1, &frame, at(1));
        let asked = ArpPacket::decode(&bytes).is_ok_and(|packet| packet.target == V4);
        prop_assert!(answer.is_none() || asked);
        let _ = Solicitation::decode(&bytes);
        let _ = Advertisement::decode(&bytes);
        prop_assert!(announcer().receive(1, &bytes, at(1)).is_none());
    }

    #[test]
    fn packets_survive_their_bytes(
        macs: [[u8; 6]; 2], addresses: [u32; 2], reply: bool, target: u128, source: u128,
        flags: [bool; 2],
    ) {
        let arp = ArpPacket {
            operation: if reply { ArpOperation::Reply } else { ArpOperation::Request },
            sender_mac: MacAddress(macs[0]),
            sender: addresses[0].into(),
            target_mac: MacAddress(macs[1]),
            target: addresses[1].into(),
        };
        prop_assert_eq!(ArpPacket::decode(&arp.encode()), Ok(arp));
        let target = Ipv6Addr::from(target >> 1);
        let source = Ipv6Addr::from(source | 1);
        let ns = Solicitation { source, target, source_mac: Some(MacAddress(macs[0])) };
        prop_assert_eq!(Solicitation::decode(&ns.encode()), Ok(ns));
        let na = Advertisement {
            source, destination: ALL_NODES, target, target_mac: MacAddress(macs[1]),
            solicited: flags[0], overrides: flags[1],
        };
        prop_assert_eq!(Advertisement::decode(&na.encode()), Ok(na));
    }
}
