//! The interfaces by which addresses are announced.

use std::collections::{BTreeMap, BTreeSet};

use podway_kernel::route::{Address, Link, LinkIndex, Result, Rtnetlink};
use podway_wire::layer2::{Interface, MacAddress};

/// Interfaces whose names begin so lead to pods, or into tunnels: nobody who
/// asks for an address of a load balancer is there.
pub const EXCLUDED: &[&str] = &[
    "lo",
    "podway",
    "veth",
    "docker",
    "cbr",
    "cni",
    "dummy",
    "virbr",
    "lxcbr",
    "lxc",
    "cali",
    "tunl",
    "flannel",
    "kube-ipvs",
    "nodelocaldns",
];

/// Those of the calling thread's network namespace, by name.
pub(super) fn list(
    route: &mut Rtnetlink,
    pod_group: Option<u32>,
) -> Result<BTreeMap<String, Interface>> {
    let links = route.links()?;
    let addresses = route.addresses(None)?;
    Ok(choose(&links, &addresses, pod_group))
}

/// Ethernet interfaces with an address of their own that is more than a
/// link-local one, no bridge's port, and no pod's.
fn choose(
    links: &[Link],
    addresses: &[Address],
    pod_group: Option<u32>,
) -> BTreeMap<String, Interface> {
    let wide = addresses.iter().filter(|address| !address.scope_link);
    let wide: BTreeSet<LinkIndex> = wide.map(|address| address.link).collect();
    // Every interface that speaks IPv6 has at least a link-local address.
    let ipv6 = addresses
        .iter()
        .filter(|address| address.address.addr().is_ipv6());
    let ipv6: BTreeSet<LinkIndex> = ipv6.map(|address| address.link).collect();
    let suits = |link: &&Link| {
        wide.contains(&link.index)
            && link.master.is_none()
            && Some(link.group) != pod_group
            && !EXCLUDED.iter().any(|prefix| link.name.starts_with(prefix))
    };
    let interface = |link: &Link| {
        let interface = Interface {
            index: link.index.0,
            mac: MacAddress(link.mac?.0),
            ipv6: ipv6.contains(&link.index),
            up: link.up && link.carrier,
        };
        Some((link.name.clone(), interface))
    };
    links.iter().filter(suits).filter_map(interface).collect()
}

#[cfg(test)]
mod tests {
    use podway_kernel::route::{LinkDetail, Mac};

    use super::*;

    fn link(index: u32, name: &str) -> Link {
        Link {
            index: LinkIndex(index),
            name: name.to_owned(),
            mac: Some(Mac([2, 0, 0, 0, 0, 1])),
            mtu: 1500,
            up: true,
            carrier: true,
            running: true,
            group: 0,
            master: None,
            lower: None,
            alias: None,
            detail: LinkDetail::Veth,
            port: None,
        }
    }

    fn address(link: u32, text: &str) -> Address {
        let address: ipnet::IpNet = text.parse().expect("an address");
        Address {
            link: LinkIndex(link),
            address,
            scope_link: text.starts_with("fe80"),
        }
    }

    #[test]
    fn those_with_an_address_that_lead_to_clients() {
        let links = [
            link(1, "lo"),
            link(2, "eth0"),
            Link {
                group: 7,
                ..link(3, "pod1")
            },
            link(4, "podway-vxlan"),
            Link {
                master: Some(LinkIndex(9)),
                ..link(5, "port")
            },
            link(6, "bare"),
            Link {
                mac: None,
                ..link(7, "ppp0")
            },
            Link {
                carrier: false,
                ..link(8, "eth1")
            },
        ];
        let mut addresses: Vec<Address> = (1..=8)
            .filter(|index| *index != 6)
            .map(|index| address(index, "192.0.2.1/24"))
            .collect();
        addresses.extend([address(2, "fe80::2/64"), address(6, "fe80::6/64")]);
        let chosen = choose(&links, &addresses, Some(7));
        let chosen: Vec<_> = chosen
            .iter()
            .map(|(name, i)| (name.as_str(), i.up, i.ipv6))
            .collect();
        let expected = [("eth0", true, true), ("eth1", false, false)];
        assert_eq!(chosen, expected);
    }
}
