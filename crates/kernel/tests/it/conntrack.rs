//! Flows of a namespace of the test's own; the `conntrack` program makes them
//! and is the judge of what became of them.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use podway_kernel::conntrack::{BackgroundMarker, ConntrackTable, FlowMarker as _};

use super::namespace;

const BITS: u32 = 0x2000;

fn conntrack(arguments: &[&str]) -> String {
    let output = Command::new("conntrack").args(arguments).output();
    let output = output.expect("the conntrack program is needed to judge");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// A flow from the first address to the second, whose answers come from the
/// third.
fn add(from: &str, to: &str, translated: &str, port: u16, mark: &str) {
    let port = port.to_string();
    conntrack(&[
        "-I",
        "-p",
        "udp",
        "-t",
        "600",
        "--orig-src",
        from,
        "--orig-dst",
        to,
        "--reply-src",
        translated,
        "--reply-dst",
        from,
        "--sport",
        &port,
        "--dport",
        "80",
        "--reply-port-src",
        "80",
        "--reply-port-dst",
        &port,
        "--mark",
        mark,
    ]);
}

/// The marks of all flows by source port.
fn marks() -> Vec<(u16, u32)> {
    let mut marks: Vec<(u16, u32)> = Vec::new();
    for family in ["ipv4", "ipv6"] {
        for line in conntrack(&["-L", "-f", family]).lines() {
            let word = |name: &str| {
                let word = line.split_whitespace().find_map(|w| w.strip_prefix(name));
                word.and_then(|word| word.parse().ok()).unwrap_or_default()
            };
            let port = u16::try_from(word("sport=")).expect("a port");
            marks.push((port, word("mark=")));
        }
    }
    marks.sort_unstable();
    marks
}

fn addresses(texts: &[&str]) -> BTreeSet<IpAddr> {
    texts
        .iter()
        .map(|text| text.parse().expect("an address"))
        .collect()
}

fn flows() {
    add("10.0.0.1", "10.0.0.2", "10.0.0.2", 1, "1");
    add("10.0.0.2", "10.0.0.1", "10.0.0.1", 2, "0");
    // To a service that leads to 10.0.0.1.
    add("10.0.0.9", "10.96.0.1", "10.0.0.1", 3, "0");
    // To an address that leads elsewhere.
    add("10.0.0.9", "10.0.0.1", "10.0.0.8", 4, "0");
    add("fd00::1", "fd00::2", "fd00::2", 5, "0");
    add("fd00::2", "fd00::3", "fd00::3", 6, "0");
}

const EXPECTED: [(u16, u32); 6] = [
    (1, BITS | 1),
    (2, BITS),
    (3, BITS),
    (4, 0),
    (5, BITS),
    (6, 0),
];

#[test]
fn flows_are_marked_by_who_opened_them_and_where_they_lead() {
    let inside = || {
        flows();
        let mut table = ConntrackTable::open().expect("conntrack");
        let few = addresses(&["10.0.0.1", "fd00::1"]);
        table.mark(&few, BITS).expect("marked");
        assert_eq!(marks(), EXPECTED);
        // Many are looked for in one listing of everything.
        for (port, family) in [("1", "ipv4"), ("2", "ipv4"), ("3", "ipv4"), ("5", "ipv6")] {
            let mark = ["--sport", port, "--mark", "0/0x2000"];
            conntrack(&[&["-U", "-f", family, "-p", "udp"][..], &mark].concat());
        }
        let others = (10..20).map(|host| IpAddr::from([10, 1, 1, host]));
        let many: BTreeSet<IpAddr> = few.into_iter().chain(others).collect();
        assert_eq!(table.mark(&many, BITS).expect("marked"), 4);
        assert_eq!(marks(), EXPECTED);
    };
    namespace().run(inside).expect("the namespace");
}

#[test]
fn marking_goes_on_in_the_background() {
    let inside = || {
        flows();
        let mut marker = BackgroundMarker::open().expect("a marker");
        assert!(marker.finished().is_none());
        marker.begin(&addresses(&["10.0.0.1", "fd00::1"]), BITS);
        let deadline = Instant::now() + Duration::from_secs(10);
        let marked = loop {
            if let Some(result) = marker.finished() {
                break result.expect("marked");
            }
            assert!(Instant::now() < deadline, "never finished");
            std::thread::yield_now();
        };
        assert_eq!(marked, 4);
        assert_eq!(marks(), EXPECTED);
    };
    namespace().run(inside).expect("the namespace");
}

/// How long it takes among 100,000 flows; printed (`--nocapture`).
#[test]
fn few_are_found_among_many() {
    let inside = || {
        let mut file = String::new();
        for index in 0..100_000_u32 {
            let [_, a, b, c] = (0x0a00_0000 + index).to_be_bytes();
            writeln!(
                file,
                "-A -w 0 -p udp -t 600 -s 10.{a}.{b}.{c} -d 192.0.2.1 --sport 9 --dport 80"
            )
            .expect("a String takes every write");
        }
        let path = std::env::temp_dir().join(format!("podway-flows-{}", std::process::id()));
        std::fs::write(&path, file).expect("written");
        conntrack(&["-R", &path.display().to_string()]);
        std::fs::remove_file(&path).expect("removed");
        let mut table = ConntrackTable::open().expect("conntrack");
        for count in [1, 4, 5, 1000, 100_000] {
            let some =
                (0..count).map(|index| IpAddr::from((0x0a00_0000_u32 + index).to_be_bytes()));
            let start = Instant::now();
            let marked = table.mark(&some.collect(), BITS).expect("marked");
            eprintln!("{count} of 100,000 flows marked in {:?}", start.elapsed());
            assert_eq!(marked, u64::from(count));
        }
    };
    namespace().run(inside).expect("the namespace");
}
