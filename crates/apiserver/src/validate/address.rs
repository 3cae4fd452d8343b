//! Addresses and prefixes in objects.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

/// The text of `IsValidIP`.
pub(crate) const NOT_AN_ADDRESS: &str =
    "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";

/// The text of `IsValidCIDR`.
pub(crate) const NOT_A_PREFIX: &str =
    "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// An address as objects hold it. Kubernetes' own parser accepts leading zeros
/// and reads them as decimal; ambiguous spellings are refused here.
pub(crate) fn parse(text: &str) -> Option<IpAddr> {
    text.parse().ok()
}

/// A prefix; bits after its length may be set.
pub(crate) fn parse_prefix(text: &str) -> Option<IpNet> {
    text.contains('/').then(|| text.parse().ok()).flatten()
}

/// What an address that stands for an endpoint outside, or an external address
/// of a service, may not be: follows `ValidateNonSpecialIP`. One text for each
/// thing that is wrong.
pub(crate) fn special(address: IpAddr) -> Vec<&'static str> {
    let v4_link_local = |a: Ipv4Addr| a.is_link_local();
    let v4_link_local_multicast = |a: Ipv4Addr| a.octets()[..3] == [224, 0, 0];
    let (unspecified, loopback) = (address.is_unspecified(), address.is_loopback());
    let (link_local, link_local_multicast) = match address {
        IpAddr::V4(a) => (v4_link_local(a), v4_link_local_multicast(a)),
        IpAddr::V6(a) => (
            a.is_unicast_link_local(),
            a.segments()[0] & 0xff0f == 0xff02,
        ),
    };
    [
        (unspecified, "may not be unspecified (0.0.0.0)"),
        (
            loopback,
            "may not be in the loopback range (127.0.0.0/8, ::1/128)",
        ),
        (
            link_local,
            "may not be in the link-local range (169.254.0.0/16, fe80::/10)",
        ),
        (
            link_local_multicast,
            "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)",
        ),
    ]
    .into_iter()
    .filter_map(|(wrong, text)| wrong.then_some(text))
    .collect()
}
