//! What a router says about a packet that it cannot send on.

use std::net::IpAddr;

use super::checksum;
use super::packet::{ICMP, ICMPV6, Ip, V4_HEADER, V6_HEADER, set_length};

/// As flannel's: a pod is near, also one of another node.
const HOPS: u8 = 8;

/// RFC 4443, 2.4 (c): not more than fits everywhere.
const MOST_V6: usize = 1280;

/// Why a packet goes no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// No node has its destination.
    NoRoute,
    /// It has passed too many routers.
    TimeExceeded,
}

/// The answer of the host `own` to a packet's sender; `None` where there must be
/// none: errors about errors, about pieces, about what has no single sender or
/// receiver (RFC 1122, 3.2.2; RFC 4443, 2.4 (e)).
///
/// As flannel's, it is not given to ICMP packets that no node has the
/// destination of.
pub(super) fn answer(packet: &[u8], ip: &Ip, own: IpAddr, reason: Reason) -> Option<Vec<u8>> {
    let is_one = |address: IpAddr| {
        let is_link_local = match address {
            IpAddr::V4(address) => address.is_broadcast(),
            IpAddr::V6(address) => address.is_unicast_link_local(),
        };
        !address.is_multicast() && !address.is_unspecified() && !is_link_local
    };
    let is_same_family = own.is_ipv4() == ip.is_v4();
    let is_answered = is_same_family
        && !ip.is_later_fragment
        && is_one(ip.source)
        && is_one(ip.destination)
        && !ip.source.is_loopback();
    if !is_answered || is_silenced(packet, ip, reason) {
        return None;
    }
    Some(match own {
        IpAddr::V4(_) => answer_v4(packet, ip, own, reason),
        IpAddr::V6(_) => answer_v6(packet, ip, own, reason),
    })
}

fn is_silenced(packet: &[u8], ip: &Ip, reason: Reason) -> bool {
    let kind = packet.get(ip.header).copied().unwrap_or(0);
    match (ip.protocol, reason) {
        (ICMP | ICMPV6, Reason::NoRoute) => true,
        // Questions are not errors: ping and traceroute want to know.
        (ICMP, Reason::TimeExceeded) => ip.is_v4() && kind != 8,
        (ICMPV6, Reason::TimeExceeded) => kind < 128,
        _ => false,
    }
}

fn answer_v4(packet: &[u8], ip: &Ip, own: IpAddr, reason: Reason) -> Vec<u8> {
    // RFC 792: the header and eight bytes.
    let quoted = &packet[..(ip.header + 8).min(ip.length)];
    let mut answer = vec![0; V4_HEADER + 8];
    answer.extend_from_slice(quoted);
    let length = answer.len();
    answer[0] = 0x45;
    // RFC 1812, 4.3.2.5: internetwork control.
    answer[1] = 0xc0;
    answer[8] = HOPS;
    answer[9] = ICMP;
    put(&mut answer, 12, own);
    put(&mut answer, 16, ip.source);
    set_length(&mut answer, true, length);
    let message = &mut answer[V4_HEADER..];
    message[0] = match reason {
        Reason::NoRoute => 3,
        Reason::TimeExceeded => 11,
    };
    let sum = checksum::add(0, message);
    checksum::write(message, 2, sum);
    answer
}

fn answer_v6(packet: &[u8], ip: &Ip, own: IpAddr, reason: Reason) -> Vec<u8> {
    let room = MOST_V6 - V6_HEADER - 8;
    let mut answer = vec![0; V6_HEADER + 8];
    answer.extend_from_slice(&packet[..ip.length.min(room)]);
    let length = answer.len();
    answer[0] = 0x60;
    answer[6] = ICMPV6;
    answer[7] = HOPS;
    put(&mut answer, 8, own);
    put(&mut answer, 24, ip.source);
    set_length(&mut answer, false, length);
    let message = &mut answer[V6_HEADER..];
    message[0] = match reason {
        Reason::NoRoute => 1,
        Reason::TimeExceeded => 3,
    };
    let sum = checksum::pseudo(own, ip.source, ICMPV6, message.len());
    let sum = checksum::add(sum, message);
    checksum::write(message, 2, sum);
    answer
}

fn put(bytes: &mut [u8], at: usize, address: IpAddr) {
    match address {
        IpAddr::V4(address) => bytes[at..at + 4].copy_from_slice(&address.octets()),
        IpAddr::V6(address) => bytes[at..at + 16].copy_from_slice(&address.octets()),
    }
}
