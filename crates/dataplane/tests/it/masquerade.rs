//! The masquerade's table: as text, what a change writes, and that the kernel
//! takes it. What it does to packets is in `overlay/traffic.rs`.

use podway_dataplane::masquerade::{Masquerade, render};
use podway_kernel::netns::NetNs;
use podway_kernel::nft::FakeNft;
use podway_plan::overlay::MasqueradeTable;
use podway_testkit::builders::prefixes;

fn table(cluster: &[&str]) -> MasqueradeTable {
    MasqueradeTable {
        pods: prefixes(&["10.244.1.0/24", "fd00:10:244:1::/64"])
            .into_iter()
            .collect(),
        cluster: prefixes(cluster).into_iter().collect(),
        unmasqueraded: prefixes(&["192.168.0.0/16", "fd00:5::/32"])
            .into_iter()
            .collect(),
    }
}

const TWO: [&str; 4] = [
    "10.244.1.0/24",
    "10.244.2.0/24",
    "fd00:10:244:1::/64",
    "fd00:10:244:2::/64",
];

#[test]
fn the_table_reads_like_this() {
    let text = render(&table(&TWO)).to_string();
    let expected = include_str!("masquerade.nft");
    assert_eq!(text, expected, "{text}");
}

#[test]
fn a_node_more_is_an_element_more_and_a_restart_writes_nothing() {
    let mut masquerade = Masquerade::new(FakeNft::default());
    let before = table(&TWO);
    assert!(masquerade.sync(&before, true).unwrap().writes > 0);
    assert_eq!(masquerade.sync(&before, true).unwrap().writes, 0, "in full");
    assert_eq!(masquerade.sync(&before, false).unwrap().writes, 0);

    let mut more = TWO.to_vec();
    more.push("10.244.3.0/24");
    let report = masquerade.sync(&table(&more), false).unwrap();
    assert_eq!(report.elements, 1, "{report:?}");
    let report = masquerade.sync(&before, false).unwrap();
    assert_eq!(report.elements, 1, "{report:?}");
    assert_eq!(masquerade.sync(&before, true).unwrap().writes, 0);
}

#[test]
fn the_kernel_holds_every_change_as_it_was_written() {
    let namespace = NetNs::anonymous().expect("tests against the kernel need root");
    let steps: [&[&str]; 7] = [
        &TWO,
        &[],
        &["10.244.1.0/24", "fd00:10:244:1::/64"],
        // One prefix takes the place of several inside it, and back.
        &["10.244.0.0/16", "fd00:10:244::/48"],
        &TWO,
        &["0.0.0.0/0", "::/0"],
        &["10.244.2.0/24", "10.244.3.0/24", "255.255.255.255/32"],
    ];
    let run = || {
        let mut masquerade = Masquerade::open().unwrap();
        for step in steps {
            let wanted = table(step);
            masquerade
                .sync(&wanted, false)
                .unwrap_or_else(|error| panic!("{step:?}: {error:?}"));
            let mut restarted = Masquerade::open().unwrap();
            let report = restarted.sync(&wanted, true).unwrap();
            assert_eq!(report.writes, 0, "{step:?} is there already");
        }
        masquerade.cleanup().unwrap();
        masquerade.cleanup().unwrap();
    };
    namespace.run(run).unwrap();
}
