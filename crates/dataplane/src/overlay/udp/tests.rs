//! What the kernel gives and takes in one piece, against what travels.

use std::net::IpAddr;

use proptest::prelude::*;

use super::checksum;
use super::icmp::{Reason, answer};
use super::merge::Merger;
use super::offload::{Kind, Offload, complete};
use super::packet::{Ip, TCP, UDP, set_length};
use super::split::split;

const ADDRESSES: [[&str; 2]; 2] = [
    ["10.244.1.5", "10.244.2.6"],
    ["fd00:10:244:1::5", "fd00:10:244:2::6"],
];

/// A packet without checksums: as the kernel leaves it to a device.
fn packet(is_v6: bool, protocol: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let [source, destination] = ADDRESSES[usize::from(is_v6)].map(|a| a.parse::<IpAddr>().unwrap());
    let transport: Vec<u8> = if protocol == TCP {
        let mut header = vec![0; 32];
        header[..14].copy_from_slice(&[0x9c, 0x40, 0, 80, 1, 2, 3, 4, 5, 6, 7, 8, 0x80, flags]);
        // A time stamp, as every stack's.
        header[20..24].copy_from_slice(&[1, 1, 8, 10]);
        header
    } else {
        let [high, low] = u16::try_from(8 + payload.len()).unwrap().to_be_bytes();
        vec![0x9c, 0x40, 0, 53, high, low, 0, 0]
    };
    let mut packet = if is_v6 {
        let mut header = vec![0x60, 0, 0, 0, 0, 0, protocol, 63];
        for address in [source, destination] {
            let IpAddr::V6(address) = address else {
                continue;
            };
            header.extend(address.octets());
        }
        header
    } else {
        let mut header = vec![0x45, 0, 0, 0, 0xff, 0xfe, 0x40, 0, 63, protocol, 0, 0];
        for address in [source, destination] {
            let IpAddr::V4(address) = address else {
                continue;
            };
            header.extend(address.octets());
        }
        header
    };
    packet.extend(transport);
    packet.extend(payload);
    let length = packet.len();
    set_length(&mut packet, !is_v6, length);
    packet
}

/// What is wrong with a packet that travels.
fn fault(packet: &[u8]) -> Option<&'static str> {
    let ip = Ip::read(packet)?;
    if ip.length != packet.len() {
        return Some("length");
    }
    let header = checksum::fold(checksum::add(0, &packet[..ip.header]));
    if ip.is_v4() && header != 0xffff {
        return Some("checksum of the header");
    }
    let own = &packet[ip.header..];
    let sum = checksum::pseudo(ip.source, ip.destination, ip.protocol, own.len());
    (checksum::fold(checksum::add(sum, own)) != 0xffff).then_some("checksum of the transport")
}

fn offload(is_v6: bool, protocol: u8, size: usize) -> Offload {
    let start = if is_v6 { 40 } else { 20 };
    let (kind, field) = match (protocol, is_v6) {
        (TCP, false) => (Kind::TcpV4, 16),
        (TCP, true) => (Kind::TcpV6, 16),
        _ => (Kind::Udp, 6),
    };
    Offload {
        checksum: Some((start, field)),
        split: Some((kind, size)),
    }
}

fn travel(packet: &[u8], offload: &Offload) -> Vec<Vec<u8>> {
    let ip = Ip::read(packet).unwrap();
    let mut headers = vec![0xaa; 3];
    let segments = split(packet, &ip, offload, &mut headers).unwrap();
    let ranges = segments.ranges();
    ranges
        .map(|(header, payload)| [&headers[header], &packet[payload]].concat())
        .collect()
}

/// The packets as they are given to the kernel, whole.
fn arrive(packets: &[Vec<u8>]) -> Vec<(Offload, Vec<u8>)> {
    let mut merger = Merger::new(true);
    for packet in packets {
        merger.take(packet, &Ip::read(packet).unwrap());
    }
    let pieces = merger.finish();
    pieces
        .map(|piece| {
            let (offload, header, payloads) = piece.parts();
            (offload, [header, &payloads.concat()].concat())
        })
        .collect()
}

fn payload(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 31 % 253) as u8).collect()
}

proptest! {
    #[test]
    fn what_is_split_travels_whole_and_arrives_as_it_was(
        is_v6: bool, is_tcp: bool, size in 1_usize..1400, count in 2_usize..40, cut in 0_usize..1400, push: bool,
    ) {
        let protocol = if is_tcp { TCP } else { UDP };
        let length = (size * count - cut.min(size - 1)).max(size + 1);
        let flags = if push { 0x18 } else { 0x10 };
        let large = packet(is_v6, protocol, flags, &payload(length));
        let offload = offload(is_v6, protocol, size);
        let travelling = travel(&large, &offload);
        prop_assert_eq!(travelling.len(), length.div_ceil(size));
        for packet in &travelling {
            prop_assert_eq!(fault(packet), None);
        }
        let arrived = arrive(&travelling);
        prop_assert_eq!(arrived.len(), 1);
        let (again, mut whole) = arrived.into_iter().next().unwrap();
        prop_assert_eq!(again, offload);
        // The kernel does the rest.
        complete(&mut whole, offload.checksum.unwrap()).unwrap();
        prop_assert_eq!(fault(&whole), None);
        let mut sent = large.clone();
        Ip::read(&large).unwrap().age(&mut sent);
        complete(&mut sent, offload.checksum.unwrap()).unwrap();
        let (start, field) = offload.checksum.unwrap();
        for packet in [&mut whole, &mut sent] {
            packet[start + field..start + field + 2].fill(0);
        }
        prop_assert_eq!(whole, sent);
    }

    #[test]
    fn what_comes_from_others_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), header: [u8; 10]) {
        let mut bytes = bytes;
        let Some(ip) = Ip::read(&bytes) else { return Ok(()) };
        let mut merger = Merger::new(true);
        merger.take(&bytes, &ip);
        merger.take(&bytes, &ip);
        prop_assert!(merger.finish().count() > 0);
        let own = "10.244.1.0".parse().unwrap();
        answer(&bytes, &ip, own, Reason::TimeExceeded);
        if let Ok(offload) = Offload::read(&header) {
            let _ = split(&bytes[..ip.length], &ip, &offload, &mut Vec::new());
            if let Some(field) = offload.checksum {
                let _ = complete(&mut bytes, field);
            }
        }
        ip.age(&mut bytes);
    }
}

#[test]
fn what_is_not_more_of_the_same_arrives_by_itself_and_in_order() {
    let size = 1000;
    let large = packet(false, TCP, 0x10, &payload(4 * size));
    let whole = || travel(&large, &offload(false, TCP, size));
    type Spoil = fn(&mut Vec<Vec<u8>>);
    let cases: [(&str, Spoil, usize); 6] = [
        ("as they are", |_| {}, 1),
        ("one is missing", |packets| drop(packets.remove(1)), 2),
        ("two are swapped", |packets| packets.swap(1, 2), 4),
        ("one has other hops", |packets| packets[2][8] = 9, 3),
        (
            "one is the last of its connection",
            |packets| packets[3][33] |= 1,
            2,
        ),
        ("one is spoiled", |packets| packets[1][100] ^= 1, 3),
    ];
    for (what, spoil, expected) in cases {
        let mut packets = whole();
        spoil(&mut packets);
        let arrived = arrive(&packets);
        let counts: Vec<usize> = arrived.iter().map(|(_, packet)| packet.len()).collect();
        assert_eq!(arrived.len(), expected, "{what}: {counts:?}");
        let sequence = |packet: &[u8]| packet[24..28].to_vec();
        let came: Vec<_> = arrived.iter().map(|(_, packet)| sequence(packet)).collect();
        let sent: Vec<_> = packets.iter().map(|packet| sequence(packet)).collect();
        let mut order = sent.iter();
        let in_order = came.iter().all(|one| order.any(|other| other == one));
        assert!(in_order, "{what}: {sent:?} came as {came:?}");
    }
}

#[test]
fn a_spoiled_packet_stays_spoiled() {
    let large = packet(false, TCP, 0x10, &payload(3000));
    let mut packets = travel(&large, &offload(false, TCP, 1000));
    packets[1][100] ^= 1;
    let faults: Vec<_> = arrive(&packets)
        .into_iter()
        .map(|(offload, packet)| offload.checksum.is_none().then(|| fault(&packet)))
        .collect();
    assert_eq!(faults[1], Some(Some("checksum of the transport")));
}

#[test]
fn packets_of_two_connections_do_not_mix() {
    let large = packet(false, UDP, 0, &payload(2000));
    let one = travel(&large, &offload(false, UDP, 1000));
    let mut other = one.clone();
    for packet in &mut other {
        packet[21] ^= 1;
        let sum = u16::from_be_bytes([packet[26], packet[27]]) ^ 1;
        packet[26..28].copy_from_slice(&sum.to_be_bytes());
    }
    let mixed = [&one[0], &other[0], &one[1], &other[1]].map(Clone::clone);
    let arrived = arrive(&mixed);
    assert!(arrived.len() >= 2, "{}", arrived.len());
    for (_, packet) in &arrived {
        let first = &packet[28..38];
        assert!(first == &one[0][28..38] || first == &one[1][28..38]);
    }
}

#[test]
fn a_router_takes_one_hop_and_mends_the_checksum() {
    for hops in [2_u8, 64, 255] {
        let mut packet = packet(false, UDP, 0, b"x");
        packet[8] = hops;
        let length = packet.len();
        set_length(&mut packet, true, length);
        let ip = Ip::read(&packet).unwrap();
        assert!(ip.age(&mut packet));
        assert_eq!(packet[8], hops - 1);
        let sum = checksum::fold(checksum::add(0, &packet[..20]));
        assert_eq!(sum, 0xffff, "{hops} hops");
    }
}

#[test]
fn there_is_no_answer_where_there_must_be_none() {
    let own = ["10.244.1.0", "fd00:10:244:1::"].map(|own| own.parse::<IpAddr>().unwrap());
    type Change = fn(&mut Vec<u8>);
    let cases: [(&str, bool, Change, [bool; 2]); 9] = [
        ("a datagram", false, |_| {}, [true, true]),
        ("a datagram of IPv6", true, |_| {}, [true, true]),
        (
            "a question of ping",
            false,
            |p| (p[9], p[20]) = (1, 8),
            [false, true],
        ),
        (
            "an error",
            false,
            |p| (p[9], p[20]) = (1, 3),
            [false, false],
        ),
        (
            "a question of IPv6",
            true,
            |p| (p[6], p[40]) = (58, 128),
            [false, true],
        ),
        (
            "an error of IPv6",
            true,
            |p| (p[6], p[40]) = (58, 1),
            [false, false],
        ),
        ("a later piece", false, |p| p[7] = 1, [false, false]),
        ("to many", false, |p| p[16] = 224, [false, false]),
        ("from nobody", false, |p| p[12..16].fill(0), [false, false]),
    ];
    for (what, is_v6, change, expected) in cases {
        let mut packet = packet(is_v6, UDP, 0, b"some payload");
        change(&mut packet);
        let ip = Ip::read(&packet).unwrap();
        let own = own[usize::from(is_v6)];
        let answered = [Reason::NoRoute, Reason::TimeExceeded].map(|reason| {
            let answer = answer(&packet, &ip, own, reason)?;
            let own_ip = Ip::read(&answer).unwrap();
            assert_eq!(
                (own_ip.source, own_ip.destination),
                (own, ip.source),
                "{what}"
            );
            assert_eq!(own_ip.length, answer.len(), "{what}");
            Some(())
        });
        assert_eq!(answered.map(|answer| answer.is_some()), expected, "{what}");
    }
}
