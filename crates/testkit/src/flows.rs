//! The flows that every judge judges: `flows/*.txt`, in the format of
//! [`scenario`], and each file once more in the other family.

use std::net::{IpAddr, Ipv6Addr};

use crate::scenario::{self, Case};

macro_rules! files {
    ($($file:literal),* $(,)?) => {
        /// Every file, by name.
        pub const FILES: &[(&str, &str)] = &[
            $(($file, include_str!(concat!("../flows/", $file)))),*
        ];
    };
}

files![
    "clashes.txt",
    "cluster_ip.txt",
    "conflicts.txt",
    "load_balancer.txt",
    "localhost.txt",
    "masquerade.txt",
    "no_endpoints.txt",
    "node_ports.txt",
    "terminating.txt",
    "topology.txt",
    "traffic_policy.txt",
    "unallocated.txt",
    "weights.txt",
];

/// IPv4 addresses end addresses of this prefix of 96 bits.
const TWINS: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 4, 0, 0, 0, 0, 0);

/// Flows to node ports at loopback addresses.
pub const LOOPBACK: &str = "localhost.txt";

/// Every file's cases, as written and then with each IPv4 address made IPv6.
///
/// # Panics
/// With file and line, where one cannot be read.
#[must_use]
pub fn all() -> Vec<(&'static str, Vec<Case>)> {
    let cases = |(file, text): &(&'static str, &str)| {
        let mut cases = scenario::parse(file, text);
        cases.extend(scenario::parse(file, &in_ipv6(text)));
        (*file, cases)
    };
    FILES.iter().map(cases).collect()
}

/// The cases of one file, as written.
///
/// # Panics
/// Where there is no such file.
#[must_use]
pub fn cases(file: &str) -> Vec<Case> {
    let text = FILES.iter().find(|(name, _)| *name == file);
    let (_, text) = text.unwrap_or_else(|| panic!("no flows {file}"));
    scenario::parse(file, text)
}

/// The same lines with IPv6 addresses in place of IPv4, and without what was
/// IPv6 before. A flow that only IPv4 has (a second loopback address) is left
/// out. Lines keep their numbers.
fn in_ipv6(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let line = line.split('#').next().unwrap_or_default();
        match line.strip_prefix("case ") {
            Some(title) => format!("case {title} (IPv6)"),
            None => translated_line(line),
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn translated_line(line: &str) -> String {
    let is_flow = line.starts_with("flow");
    let words = line
        .split_whitespace()
        .map(|word| match word.split_once('=') {
            Some((key, list)) if !list.is_empty() => {
                let list: Vec<String> = list.split(',').filter_map(translated).collect();
                (!list.is_empty()).then(|| format!("{key}={}", list.join(",")))
            }
            _ => translated(word),
        });
    let words: Vec<Option<String>> = words.collect();
    // What is left of a flow or an endpoint without its addresses is neither.
    if words.contains(&None) && (is_flow || line.starts_with("endpoint")) {
        return String::new();
    }
    words.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// A word with its address in the other family; none for an IPv6 address.
fn translated(word: &str) -> Option<String> {
    if word.starts_with('[') || word.parse::<Ipv6Addr>().is_ok() {
        return None;
    }
    let end = word.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (address, rest) = word.split_at(end.unwrap_or(word.len()));
    let Ok(IpAddr::V4(v4)) = address.parse::<IpAddr>() else {
        let is_prefix = word.contains("::") && word.contains('/');
        return (!is_prefix).then(|| word.to_owned());
    };
    let length = |digits: &str| digits.parse::<u8>().ok();
    let v6 = match v4.octets() {
        [127, 0, 0, 1] => "::1".to_owned(),
        [127, ..] => return None,
        [0, 0, 0, 0] => "::".to_owned(),
        _ => Ipv6Addr::from(TWINS.to_bits() | u128::from(v4.to_bits())).to_string(),
    };
    match rest.split_at_checked(1) {
        Some(("/", digits)) if length(digits) == Some(0) => Some(format!("{v6}/0")),
        Some(("/", digits)) => Some(format!("{v6}/{}", 96 + length(digits)?)),
        Some((":", _)) => Some(format!("[{v6}]{rest}")),
        _ => Some(format!("{v6}{rest}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_keeps_its_meaning_in_the_other_family() {
        for (line, expected) in [
            (
                "service a/b ip=172.30.0.41,fd00::41 port=p:80/tcp@3001 ranges=10.0.0.0/8,0.0.0.0/0",
                "service a/b ip=2001:db8:4::ac1e:29 port=p:80/tcp@3001 ranges=2001:db8:4::a00:0/104,::/0",
            ),
            ("endpoint a/b:p [fd00::1]:80 node1", ""),
            (
                "endpoint a/b:p 10.0.0.1:53/udp node1 weight=5",
                "endpoint a/b:p [2001:db8:4::a00:1]:53/udp node1 weight=5",
            ),
            (
                "flow@x outside 203.0.113.2 > 172.30.0.41:80 = 10.0.0.1:80* 10.0.0.2:80",
                "flow@x outside 2001:db8:4::cb00:7102 > [2001:db8:4::ac1e:29]:80 = \
                 [2001:db8:4::a00:1]:80* [2001:db8:4::a00:2]:80",
            ),
            ("flow pod fd00::9 > [fd00::41]:81 = REJECT", ""),
            (
                "on x node1 detector=10.0.0.0/8,fd00:10::/64 masquerade-all",
                "on x node1 detector=2001:db8:4::a00:0/104 masquerade-all",
            ),
            ("flow node 127.1.2.3 > 127.0.0.1:80 = PASS", ""),
        ] {
            assert_eq!(translated_line(line), expected, "{line}");
        }
    }

    #[test]
    fn no_file_is_without_flows_in_either_family() {
        for (file, cases) in all() {
            for is_ipv4 in [true, false] {
                let flows = cases.iter().flat_map(|case| &case.flows);
                let mut flows = flows.filter(|f| f.packet.destination.is_ipv4() == is_ipv4);
                assert!(flows.next().is_some(), "{file}, IPv4: {is_ipv4}");
            }
        }
    }
}
