//! The fake and the kernel are asked the same.

use std::sync::Arc;

use podway_kernel::nft::{
    Chain, ChainType, Data, Element, Error, FakeNft, Field, Hook, Nft, Nftables, Operation, Rule,
    Ruleset, Set, Transaction, Value, Verdict, reconcile,
};

use super::{TABLE, ip, unwrap};
use crate::namespace;

/// Transactions on a table with chain `used` (map `m` leads there), base chain
/// `hook`, and set `s` with one element; and what the kernel says to them.
#[allow(clippy::too_many_lines, reason = "a table of cases")]
#[test]
fn the_fake_refuses_what_the_kernel_refuses() {
    let set = Arc::new(Set::keys("s", [Field::IpSaddr]));
    let map = Arc::new(Set::verdict_map("m", [Field::Mark]));
    let small = Arc::new(Set {
        size: Some(1),
        ..Set::keys("small", [Field::IpSaddr])
    });
    let goto = |mark, chain: &str| {
        Element::new(&[Value::Mark(mark)]).to(Data::Verdict(Verdict::Goto(chain.into())))
    };
    let held = Element::new(&[ip("10.0.0.1")]);
    let other = Element::new(&[ip("10.0.0.2")]);
    let add = |set: &Arc<Set>, elements: &[&Element]| Operation::AddElements {
        set: set.clone(),
        elements: elements.iter().copied().cloned().collect(),
    };
    let delete = |set: &Arc<Set>, elements: &[&Element]| Operation::DeleteElements {
        set: set.clone(),
        elements: elements.iter().copied().cloned().collect(),
    };
    let rule = |rule| Operation::AddRule {
        chain: "hook".into(),
        rule,
    };
    let mut before = Ruleset::new(TABLE);
    before.sets = vec![
        (set.clone(), vec![held.clone()]),
        (map.clone(), vec![goto(1, "used")]),
        (small.clone(), vec![]),
    ];
    let base = Chain::base("hook", ChainType::Filter, Hook::Input, 0);
    let by_mark = Rule::new().vmap([Field::Mark], "m");
    before.chains = vec![
        (
            Chain::regular("used"),
            vec![Rule::new().lookup([Field::IpSaddr], "s")],
        ),
        (base, vec![by_mark]),
    ];
    let cases: Vec<(&str, Vec<Operation>)> = vec![
        (
            "nothing wrong",
            vec![add(&set, &[&other]), delete(&set, &[&held])],
        ),
        ("a set twice", vec![Operation::AddSet(set.clone())]),
        (
            "a chain twice",
            vec![Operation::AddChain(Chain::regular("used"))],
        ),
        ("an element twice", vec![add(&set, &[&held])]),
        (
            "an element again after it went",
            vec![delete(&set, &[&held]), add(&set, &[&held])],
        ),
        (
            "an element that is not there",
            vec![delete(&set, &[&other])],
        ),
        (
            "a set that is in use",
            vec![Operation::DeleteSet("s".into())],
        ),
        (
            "a set that is not there",
            vec![Operation::DeleteSet("x".into())],
        ),
        (
            "a chain that is led to",
            vec![Operation::DeleteChain("used".into())],
        ),
        (
            "a chain that is no longer led to",
            vec![
                delete(&map, &[&goto(1, "used")]),
                Operation::DeleteChain("used".into()),
            ],
        ),
        (
            "a chain that is not there",
            vec![Operation::DeleteChain("x".into())],
        ),
        (
            "rules of a chain that is not there",
            vec![Operation::FlushChain("x".into())],
        ),
        (
            "to a chain that is not there",
            vec![rule(Rule::new().goto("x"))],
        ),
        ("to a base chain", vec![add(&map, &[&goto(2, "hook")])]),
        ("an element to no chain", vec![add(&map, &[&goto(2, "x")])]),
        (
            "in a set that is not there",
            vec![rule(Rule::new().lookup([Field::IpSaddr], "x"))],
        ),
        ("a full set", vec![add(&small, &[&held, &other])]),
        (
            "a key of another length",
            vec![add(&set, &[&Element::new(&[ip("::1")])])],
        ),
        (
            "no data in a map",
            vec![add(&map, &[&Element::new(&[Value::Mark(7)])])],
        ),
        (
            "the table, and then its set",
            vec![Operation::DeleteTable, Operation::AddSet(set.clone())],
        ),
        (
            "the table anew",
            vec![Operation::DeleteTable, Operation::AddTable],
        ),
    ];
    for (what, operations) in cases {
        let transaction = Transaction {
            table: TABLE.into(),
            operations,
        };
        let judge = |nftables: &mut dyn Nftables| {
            unwrap(nftables.apply(&reconcile(&before, None)));
            match nftables.apply(&transaction) {
                Ok(_) => None,
                Err(Error::Refused { index, .. }) => Some(index),
                Err(error) => panic!("{what}: {error:?}"),
            }
        };
        let kernel = namespace().run(|| judge(&mut unwrap(Nft::open()))).unwrap();
        assert_eq!(judge(&mut FakeNft::new()), kernel, "{what}:\n{transaction}");
    }
}
