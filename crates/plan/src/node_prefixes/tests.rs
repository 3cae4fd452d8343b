use super::*;

fn range(prefix: &str, length: u8) -> NodeRange {
    NodeRange::new(prefix.parse().unwrap(), length).unwrap()
}

fn dual() -> NodePrefixes {
    let ranges = [range("10.244.0.0/16", 24), range("fd00:10:244::/48", 64)];
    NodePrefixes::new(&ranges).unwrap()
}

fn name(node: &str) -> Arc<str> {
    Arc::from(node)
}

fn given(prefixes: &mut NodePrefixes, node: &str) -> Vec<String> {
    let given = prefixes.give(&name(node)).unwrap();
    given.iter().map(ToString::to_string).collect()
}

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn ranges_that_cannot_be_say_what_can() {
    for (prefix, length, words) in [
        ("10.244.0.0/16", 8, "choose /16 to /30"),
        ("10.244.0.0/16", 31, "choose /16 to /30"),
        ("fd00::/48", 127, "choose /48 to /126"),
        (
            "fd00::/48",
            65,
            "for more than 65536 nodes: choose at most /64",
        ),
        ("10.0.0.0/8", 25, "choose at most /24"),
    ] {
        let problem = NodeRange::new(prefix.parse().unwrap(), length).unwrap_err();
        assert!(problem.to_string().contains(words), "{problem}");
    }
    let (v4, v6) = (range("10.0.0.0/8", 24), range("fd00::/48", 64));
    for ranges in [&[v4, v4][..], &[v6, v6], &[v4, v6, v4]] {
        let problem = NodePrefixes::new(ranges).unwrap_err();
        assert!(matches!(problem, RangeProblem::SameFamily(..)), "{problem}");
    }
    assert_eq!(NodePrefixes::new(&[]).unwrap_err(), RangeProblem::None);
}

#[test]
fn each_node_gets_one_of_each_family_and_the_same_again() {
    let mut prefixes = dual();
    assert_eq!(
        given(&mut prefixes, "a"),
        ["10.244.0.0/24", "fd00:10:244::/64"]
    );
    assert_eq!(
        given(&mut prefixes, "b"),
        ["10.244.1.0/24", "fd00:10:244:1::/64"]
    );
    assert_eq!(given(&mut prefixes, "a")[0], "10.244.0.0/24");
    // The cluster does not know yet what it was given.
    assert_eq!(prefixes.tell(&name("a"), &[]), []);
    assert_eq!(given(&mut prefixes, "c")[0], "10.244.2.0/24");
    assert_eq!(given(&mut prefixes, "a")[0], "10.244.0.0/24");
}

#[test]
fn the_primary_family_comes_first() {
    let ranges = [range("fd00:10:244::/48", 64), range("10.244.0.0/16", 24)];
    let mut prefixes = NodePrefixes::new(&ranges).unwrap();
    assert_eq!(
        given(&mut prefixes, "a"),
        ["fd00:10:244::/64", "10.244.0.0/24"]
    );
}

#[test]
fn what_nodes_have_is_respected_whatever_its_length() {
    let mut prefixes = dual();
    for (node, has) in [
        // As long as ours, longer, shorter, outside, one family only.
        ("same", &["10.244.0.0/24", "fd00:10:244::/64"][..]),
        ("longer", &["10.244.1.128/25"]),
        ("shorter", &["10.244.2.0/23", "fd00:10:244:2::/63"]),
        ("outside", &["192.168.0.0/24"]),
    ] {
        assert_eq!(prefixes.tell(&name(node), &nets(has)), [], "{node}");
        assert_eq!(given(&mut prefixes, node), has, "nothing is added to it");
    }
    assert_eq!(
        given(&mut prefixes, "new"),
        ["10.244.4.0/24", "fd00:10:244:1::/64"]
    );
}

#[test]
fn two_nodes_with_addresses_in_common_are_named() {
    let mut prefixes = dual();
    prefixes.tell(&name("a"), &nets(&["10.244.0.0/24", "fd00:10:244::/64"]));
    let conflicts = prefixes.tell(&name("b"), &nets(&["10.244.0.128/25", "fd00:10:244::/64"]));
    let texts: Vec<String> = conflicts.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 2, "{texts:?}");
    let words = "podCIDR 10.244.0.128/25 of node b overlaps 10.244.0.0/24 of node a";
    assert!(texts[0].starts_with(words), "{texts:?}");
    // Told once; and it is taken until both are gone.
    let again = prefixes.tell(&name("b"), &nets(&["10.244.0.128/25", "fd00:10:244::/64"]));
    assert_eq!(again, []);
    prefixes.forget("a");
    prefixes.give(&name("c")).unwrap();
    assert_eq!(given(&mut prefixes, "c")[0], "10.244.1.0/24");
}

#[test]
fn prefixes_of_nodes_that_are_gone_are_the_last_to_be_given_again() {
    let ranges = [range("10.244.0.0/22", 24)];
    let mut prefixes = NodePrefixes::new(&ranges).unwrap();
    for node in ["a", "b", "c"] {
        given(&mut prefixes, node);
    }
    prefixes.keep_only(&["b", "c"].map(name).into());
    assert_eq!(given(&mut prefixes, "d"), ["10.244.3.0/24"]);
    assert_eq!(given(&mut prefixes, "e"), ["10.244.0.0/24"]);
    let full = prefixes.give(&name("f")).unwrap_err();
    let words = "no prefix of /24 is left in 10.244.0.0/22: all 4 are taken";
    assert!(full.to_string().starts_with(words), "{full}");
    prefixes.forget("c");
    assert_eq!(given(&mut prefixes, "f"), ["10.244.2.0/24"]);
}

#[test]
fn a_node_gets_both_families_or_none() {
    let ranges = [range("10.244.0.0/24", 24), range("fd00:10:244::/48", 64)];
    let mut prefixes = NodePrefixes::new(&ranges).unwrap();
    given(&mut prefixes, "a");
    prefixes.give(&name("b")).unwrap_err();
    prefixes.forget("a");
    assert_eq!(given(&mut prefixes, "b")[1], "fd00:10:244:1::/64");
}

#[test]
fn the_largest_ranges_work_to_their_ends() {
    for (prefix, length, last) in [
        ("10.0.0.0/8", 24, "10.255.255.0/24"),
        ("fd00:10:244::/48", 64, "fd00:10:244:ffff::/64"),
        ("fd00::/112", 126, "fd00::fffc/126"),
        ("10.1.2.0/24", 24, "10.1.2.0/24"),
    ] {
        let range = range(prefix, length);
        let net = range.nth(range.size() - 1);
        assert_eq!(net.to_string(), last);
        let place = range.size() - 1;
        assert_eq!(range.touched(net), Some((place, place)), "{last}");
        let all = range.touched("0.0.0.0/0".parse().unwrap());
        assert_eq!(all, is_ipv4(range.prefix).then_some((0, place)));
    }
}
