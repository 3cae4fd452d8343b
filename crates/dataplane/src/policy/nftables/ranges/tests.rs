use podway_model::Protocol;
use podway_plan::policy::PortRange;
use proptest::prelude::*;

use super::*;

/// `block except,except port`, as text; the port is TCP, 0 every port.
fn blocks(text: &str) -> Vec<(Block, Ports)> {
    let net = |text: &str| text.parse::<IpNet>().expect("a prefix");
    text.split(';')
        .map(|block| {
            let words: Vec<&str> = block.split_whitespace().collect();
            let mut ports = Ports::default();
            let port: u16 = words[words.len() - 1].parse().expect("a port");
            ports.allow(&tcp(port));
            let block = Block {
                prefix: net(words[0]),
                except: words[1..words.len() - 1].iter().map(|w| net(w)).collect(),
            };
            (block, ports)
        })
        .collect()
}

/// Where blocks overlap, the ports of all.
fn united(blocks: &[(Block, Ports)], family: IpFamily) -> Vec<Range> {
    let blocks: Vec<(&Block, &Ports)> = blocks.iter().map(|(block, p)| (block, p)).collect();
    disjoint(&blocks, family, union)
}

fn union(ports: &[&Ports]) -> Ports {
    let mut all = Ports::default();
    for ports in ports {
        all.allow(ports.named());
    }
    all
}

fn tcp(port: u16) -> Vec<PortRange> {
    let range = PortRange {
        protocol: Protocol::Tcp,
        first: port,
        last: port,
    };
    if port == 0 { Vec::new() } else { vec![range] }
}

fn shown(ranges: &[Range]) -> Vec<String> {
    ranges
        .iter()
        .map(|(first, last, ports)| format!("{first}-{last} {}", names(ports)))
        .collect()
}

/// `tcp-80-81`: the ports of TCP.
fn names(ports: &Ports) -> String {
    let Ports::Some(ranges) = ports else {
        return "all".to_owned();
    };
    let name = |range: &PortRange| match (range.first, range.last) {
        (first, last) if first == last => format!("tcp-{first}"),
        (first, last) => format!("tcp-{first}-{last}"),
    };
    let names: Vec<String> = ranges.iter().map(name).collect();
    names.join(".")
}

#[test]
fn blocks_become_ranges_apart_from_each_other() {
    let cases: [(&str, &[&str]); 9] = [
        ("10.0.0.0/8 80", &["10.0.0.0-10.255.255.255 tcp-80"]),
        ("0.0.0.0/0 0", &["0.0.0.0-255.255.255.255 all"]),
        (
            "10.0.0.0/24 10.0.0.128/25 10.0.0.0/32 80",
            &["10.0.0.1-10.0.0.127 tcp-80"],
        ),
        (
            "10.0.0.0/24 80; 10.0.0.64/26 81",
            &[
                "10.0.0.0-10.0.0.63 tcp-80",
                "10.0.0.64-10.0.0.127 tcp-80-81",
                "10.0.0.128-10.0.0.255 tcp-80",
            ],
        ),
        (
            "10.0.0.0/25 80; 10.0.0.128/25 80",
            &["10.0.0.0-10.0.0.255 tcp-80"],
        ),
        (
            "10.0.0.0/24 10.0.0.7/32 80; 10.0.0.7/32 0",
            &[
                "10.0.0.0-10.0.0.6 tcp-80",
                "10.0.0.7-10.0.0.7 all",
                "10.0.0.8-10.0.0.255 tcp-80",
            ],
        ),
        ("10.0.0.0/24 10.0.0.0/24 80", &[]),
        ("10.0.0.0/24 0.0.0.0/0 80", &[]),
        ("fd00::/8 80", &[]),
    ];
    for (text, expected) in cases {
        let ranges = united(&blocks(text), IpFamily::V4);
        assert_eq!(shown(&ranges), expected, "{text}");
    }
}

#[test]
fn the_whole_of_ipv6_ends_at_its_last_address() {
    let ranges = united(&blocks("::/0 fd00::/8 80; ff00::/8 81"), IpFamily::V6);
    assert_eq!(
        shown(&ranges),
        [
            "::-fcff:ffff:ffff:ffff:ffff:ffff:ffff:ffff tcp-80",
            "fe00::-feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff tcp-80",
            "ff00::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff tcp-80-81",
        ],
    );
}

proptest! {
    /// Every address of a small world is in exactly the ranges that its blocks
    /// say, and the ranges are in order and apart.
    #[test]
    fn an_address_has_the_ports_of_its_blocks(
        raw in proptest::collection::vec((0..32_u8, 26..=32_u8, 0..32_u8, 27..=32_u8, 1..4_u16), 0..8)
    ) {
        let net = |host: u8, length: u8| {
            IpNet::new(Ipv4Addr::new(10, 0, 0, host * 8).into(), length).expect("a length").trunc()
        };
        let blocks: Vec<(Block, Ports)> = raw
            .iter()
            .map(|(host, length, except, except_length, port)| {
                let mut ports = Ports::default();
                ports.allow(&tcp(*port));
                let except = vec![net(*except, *except_length)];
                (Block { prefix: net(*host, *length), except }, ports)
            })
            .collect();
        let ranges = united(&blocks, IpFamily::V4);
        prop_assert!(ranges.windows(2).all(|pair| pair[0].1 < pair[1].0), "{ranges:?}");
        for last in 0..=u8::MAX {
            let address = IpAddr::from(Ipv4Addr::new(10, 0, 0, last));
            let covering = blocks.iter().filter(|(block, _)| block.contains(address));
            let expected = union(&covering.map(|(_, ports)| ports).collect::<Vec<_>>());
            let found = ranges.iter().find(|(first, last, _)| (*first..=*last).contains(&address));
            let found = found.map_or(Ports::None, |(.., ports)| ports.clone());
            prop_assert_eq!(found, expected, "{}", address);
        }
    }
}
