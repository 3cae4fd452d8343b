use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Reads an address as old Kubernetes objects may hold it: decimal numbers of
/// an IPv4 address may have leading zeros ("172.30.0.041" is 172.30.0.41), and
/// an IPv4 address written as IPv6 is that IPv4 address.
pub(super) fn parse_address(text: &str) -> Result<IpAddr, String> {
    let address = if text.contains(':') {
        text.parse::<Ipv6Addr>().ok().map(|address| {
            address
                .to_ipv4_mapped()
                .map_or(IpAddr::V6(address), IpAddr::V4)
        })
    } else {
        parse_ipv4(text).map(IpAddr::V4)
    };
    address.ok_or_else(|| format!("{text:?} is not an IP address"))
}

/// Reads `address/length`, white space around it aside, and masks host bits.
pub(super) fn parse_prefix(text: &str) -> Result<IpNet, String> {
    let wrong =
        || format!("{text:?} is not a prefix: expected address/length, as 10.0.0.0/8 or fd00::/64");
    let (address, length) = text.trim().split_once('/').ok_or_else(wrong)?;
    let address = parse_address(address).map_err(|_| wrong())?;
    let digits = length.bytes().all(|byte| byte.is_ascii_digit());
    let length = length.parse().ok().filter(|_| digits).ok_or_else(wrong)?;
    IpNet::new(address, length)
        .map(|prefix| prefix.trunc())
        .map_err(|_| wrong())
}

fn parse_ipv4(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0u8; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next()?;
        let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let significant = part.trim_start_matches('0');
        *octet = match (digits, significant.is_empty()) {
            (false, _) => return None,
            (true, true) => 0,
            (true, false) => significant.parse().ok()?,
        };
    }
    parts.next().is_none().then(|| octets.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_sloppily() {
        for (text, expected) in [
            ("10.0.0.1", Some("10.0.0.1")),
            ("172.30.0.041", Some("172.30.0.41")),
            ("010.000.0.00", Some("10.0.0.0")),
            ("fd00::1", Some("fd00::1")),
            ("::ffff:10.0.0.1", Some("10.0.0.1")),
            ("10.0.0.256", None),
            ("10.0.0", None),
            ("10.0.0.1.2", None),
            ("10.0.0.+1", None),
            ("10.0..1", None),
            (" 10.0.0.1", None),
            ("fe80::1%eth0", None),
            ("None", None),
            ("", None),
        ] {
            let read = parse_address(text).ok();
            assert_eq!(read, expected.map(|e| e.parse().unwrap()), "{text:?}");
        }
    }

    #[test]
    fn prefixes_are_trimmed_and_masked() {
        for (text, expected) in [
            ("10.1.2.3/8", Some("10.0.0.0/8")),
            (" 010.1.0.0/16\t", Some("10.1.0.0/16")),
            ("fd00::1/64", Some("fd00::/64")),
            ("0.0.0.0/0", Some("0.0.0.0/0")),
            ("10.0.0.0/33", None),
            ("10.0.0.0/+8", None),
            ("10.0.0.0", None),
            ("10.0.0.0/", None),
            ("10.0.0.0/8/8", None),
        ] {
            let read = parse_prefix(text).ok();
            assert_eq!(read, expected.map(|e| e.parse().unwrap()), "{text:?}");
        }
    }
}
