//! Which addresses a lab's parts have. Pure: a number in, addresses out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use podway_model::IpFamily;

/// The first segment's IPv4 prefix is 172.16.0.0/24, so that MetalLB's classic
/// pool 172.16.0.200-240 works unchanged; the second's is 172.16.1.0/24.
const UNDERLAY_V4: [u8; 2] = [172, 16];
/// The first segment's IPv6 prefix is fd00:172:16::/64, the second's
/// fd00:172:16:1::/64.
const UNDERLAY_V6: [u16; 3] = [0xfd00, 0x172, 0x16];
/// The host part of a segment's gateway: the underlay namespace itself.
const GATEWAY: u8 = 1;
/// Nodes count from 172.16.0.11, host part 11.
const BEFORE_NODES: u8 = 10;
/// The host part of the outside client.
const CLIENT: u8 = 250;

/// The port of the API server on the underlay.
pub(crate) const API_PORT: u16 = 6443;
/// The most segments: so many that there is something to decide.
pub(crate) const MOST_SEGMENTS: usize = 2;
/// The most nodes that fit below the pool at .200.
pub(crate) const MOST_NODES: usize = 150;

/// Where cluster IPs are taken from.
pub(crate) fn service_prefix(family: IpFamily) -> IpNet {
    match family {
        IpFamily::V4 => v4([10, 96, 0, 0], 16),
        IpFamily::V6 => v6([0xfd00, 0x10, 0x96, 0], 0, 112),
    }
}

/// The pods of the node with this index (from 1): 10.244.1.0/24 and
/// fd00:10:244:1::/64 for the first.
pub(crate) fn node_pod_prefix(index: usize, family: IpFamily) -> IpNet {
    let number = host_part(index);
    match family {
        IpFamily::V4 => v4([10, 244, number, 0], 24),
        IpFamily::V6 => v6([0xfd00, 0x10, 0x244, number.into()], 0, 64),
    }
}

/// A segment's gateway with the segment's prefix length. The segments are
/// counted from 0.
pub(crate) fn gateway(segment: usize, family: IpFamily) -> IpNet {
    on_underlay(segment, GATEWAY, family)
}

/// The segment that a node is on, of so many: nodes take turns, so that a lab
/// can grow.
pub(crate) const fn segment_of(index: usize, segments: usize) -> usize {
    match index.checked_sub(1) {
        Some(before) if segments > 1 => before % segments,
        _ => 0,
    }
}

/// A node's address on the underlay of so many segments, with its prefix length.
pub(crate) fn node(index: usize, segments: usize, family: IpFamily) -> IpNet {
    let segment = segment_of(index, segments);
    on_underlay(segment, BEFORE_NODES + host_part(index), family)
}

/// The outside client's address on the underlay, with its prefix length.
pub(crate) fn client(family: IpFamily) -> IpNet {
    on_underlay(0, CLIENT, family)
}

/// The addresses of one place in both families, IPv4 first.
pub(crate) fn both(address: impl Fn(IpFamily) -> IpNet) -> Vec<IpAddr> {
    IpFamily::ALL
        .into_iter()
        .map(|family| address(family).addr())
        .collect()
}

/// The host part is written as a decimal number in both families, so that .11
/// and ::11 are the same node to the eye.
fn on_underlay(segment: usize, host: u8, family: IpFamily) -> IpNet {
    let segment = u8::try_from(segment).unwrap_or(u8::MAX);
    match family {
        IpFamily::V4 => {
            let [a, b] = UNDERLAY_V4;
            v4([a, b, segment, host], 24)
        }
        IpFamily::V6 => {
            let [a, b, c] = UNDERLAY_V6;
            v6([a, b, c, segment.into()], as_it_reads(host), 64)
        }
    }
}

/// The number whose hexadecimal digits are the decimal digits of `number`.
fn as_it_reads(number: u8) -> u16 {
    let number = u16::from(number);
    ((number / 100) << 8) | ((number / 10 % 10) << 4) | (number % 10)
}

fn host_part(index: usize) -> u8 {
    // Settings refuse more than MOST_NODES; a name read back from a folder
    // beyond that is clamped to addresses that no node has.
    u8::try_from(index.min(MOST_NODES)).unwrap_or(u8::MAX)
}

fn v4(octets: [u8; 4], length: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::from(octets), length))
}

fn v6(high: [u16; 4], low: u16, length: u8) -> IpNet {
    let [a, b, c, d] = high;
    IpNet::V6(Ipv6Net::new_assert(
        Ipv6Addr::new(a, b, c, d, 0, 0, 0, low),
        length,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_addresses_are_those_of_the_design() {
        use IpFamily::{V4, V6};
        for (what, address, expected) in [
            ("gateway", gateway(0, V4), "172.16.0.1/24"),
            ("gateway", gateway(0, V6), "fd00:172:16::1/64"),
            ("second gateway", gateway(1, V4), "172.16.1.1/24"),
            ("second gateway", gateway(1, V6), "fd00:172:16:1::1/64"),
            ("node1", node(1, 1, V4), "172.16.0.11/24"),
            ("node1", node(1, 1, V6), "fd00:172:16::11/64"),
            ("node2 of two segments", node(2, 2, V4), "172.16.1.12/24"),
            (
                "node2 of two segments",
                node(2, 2, V6),
                "fd00:172:16:1::12/64",
            ),
            ("node3 of two segments", node(3, 2, V4), "172.16.0.13/24"),
            ("node150", node(150, 1, V4), "172.16.0.160/24"),
            ("node150", node(150, 1, V6), "fd00:172:16::160/64"),
            ("client", client(V4), "172.16.0.250/24"),
            ("client", client(V6), "fd00:172:16::250/64"),
            ("pods of node1", node_pod_prefix(1, V4), "10.244.1.0/24"),
            (
                "pods of node1",
                node_pod_prefix(1, V6),
                "fd00:10:244:1::/64",
            ),
            ("services", service_prefix(V4), "10.96.0.0/16"),
            ("services", service_prefix(V6), "fd00:10:96::/112"),
        ] {
            assert_eq!(address.to_string(), expected, "{what}");
        }
    }
}
