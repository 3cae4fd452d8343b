//! nf_tables written natively, judged by the `nft` program.

mod fake;

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use podway_kernel::nft::{
    BaseChain, Chain, ChainPolicy, ChainType, Data, Element, Error, Family, Field, ForeignChange,
    Hook, Nft, NftMonitor, Nftables, Operation, Part, Rule, Ruleset, Set, SetAction, Transaction,
    Value, Verdict, Written, reconcile,
};

use super::namespace;

const TABLE: &str = "judged";

/// Runs nft in the calling thread's namespace: a child inherits it.
fn nft(arguments: &[&str], input: &str) -> Result<String, String> {
    let mut child = Command::new("nft")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the nft program is needed to judge");
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// nft breaks lists of elements where it likes, and orders them its own way.
fn normalized(listing: &str) -> String {
    let mut out = String::new();
    let mut words: Vec<String> = Vec::new();
    for line in listing.lines() {
        let line = line.trim();
        if let Some(elements) = line.strip_prefix("elements = {") {
            words.push(elements.trim().to_owned());
        } else if !words.is_empty() {
            words.push(line.to_owned());
        } else {
            out.push_str(line);
            out.push('\n');
        }
        if !words.is_empty() && line.ends_with('}') {
            let list = words.join(" ");
            let mut elements: Vec<&str> = list.trim_end_matches('}').split(',').collect();
            elements
                .iter_mut()
                .for_each(|element| *element = element.trim());
            elements.sort_unstable();
            out.push_str(&elements.join("\n"));
            out.push('\n');
            words.clear();
        }
    }
    out
}

fn ip(text: &str) -> Value {
    Value::Ip(text.parse().unwrap())
}

fn prefix(text: &str) -> Part {
    Part::Prefix(text.parse().unwrap())
}

fn one(value: Value) -> Part {
    Part::Value(value)
}

const TCP: Value = Value::Protocol(6);
const FRONTEND4: [Field; 3] = [Field::IpDaddr, Field::L4Proto, Field::ThDport];
const FRONTEND6: [Field; 3] = [Field::Ip6Daddr, Field::L4Proto, Field::ThDport];
const CLIENT4: [Field; 4] = [
    Field::IpSaddr,
    Field::IpDaddr,
    Field::L4Proto,
    Field::ThDport,
];
const CLIENT6: [Field; 4] = [
    Field::Ip6Saddr,
    Field::Ip6Daddr,
    Field::L4Proto,
    Field::ThDport,
];

const PORTS: [Field; 3] = [Field::Priority, Field::L4Proto, Field::ThDport];

fn with<const N: usize>(key: [Field; N], last: Field) -> Vec<Field> {
    let mut fields = key.to_vec();
    fields.push(last);
    fields
}

#[allow(clippy::too_many_lines, reason = "a table of cases")]
fn sets() -> Vec<(Arc<Set>, Vec<Element>)> {
    let random = Field::random(2);
    let hour = Duration::from_secs(3600);
    let mut affinity = Set::map("affinity4", CLIENT4, [Field::Priority]).dynamic(65536);
    affinity.timeout = Some(hour);
    let mut short = Set::keys("short", [Field::IpSaddr]);
    short.flags.timeout = true;
    let list = vec![
        (
            Set::verdict_map("verdicts4", FRONTEND4),
            vec![
                Element::new(&[ip("10.96.0.1"), TCP, Value::Port(443)])
                    .to(Data::Verdict(Verdict::Goto("served".into())))
                    .comment("default/kubernetes:https"),
                Element::new(&[ip("10.96.0.2"), Value::Protocol(132), Value::Port(1)])
                    .to(Data::Verdict(Verdict::Drop)),
                Element::new(&[ip("10.96.0.2"), Value::Protocol(17), Value::Port(53)])
                    .to(Data::Verdict(Verdict::Jump("served".into()))),
            ],
        ),
        (
            Set::map("classes6", FRONTEND6, [Field::Priority]),
            vec![
                Element::new(&[ip("fd00::1"), TCP, Value::Port(443)])
                    .to(Data::values(&[Value::Class(0x9c3f_12ab)])),
            ],
        ),
        (
            Set::map(
                "endpoints4",
                with(FRONTEND4, random),
                [Field::IpDaddr, Field::ThDport],
            ),
            vec![
                Element::new(&[ip("10.96.0.1"), TCP, Value::Port(443), Value::Index(1)])
                    .to(Data::values(&[ip("10.244.1.5"), Value::Port(6443)])),
            ],
        ),
        (
            Set::map(
                "endpoints6",
                with(FRONTEND6, random),
                [Field::Ip6Daddr, Field::ThDport],
            ),
            vec![
                Element::new(&[ip("fd00::1"), TCP, Value::Port(443), Value::Index(0)])
                    .to(Data::values(&[ip("fd00:10:244::5"), Value::Port(6443)])),
            ],
        ),
        (affinity, vec![]),
        (
            Set::map("affinity6", CLIENT6, [Field::Priority]).dynamic(1000),
            vec![],
        ),
        (
            Set::keys("nets4", [Field::IpSaddr]).interval(),
            vec![
                Element::interval(&[prefix("10.0.0.0/8")]),
                Element::interval(&[prefix("11.0.0.0/8")]),
                Element::interval(&[one(ip("192.0.2.1"))]),
                Element::interval(&[Part::Range(ip("198.51.100.3"), ip("198.51.100.9"))]),
                Element::interval(&[prefix("240.0.0.0/4")]),
            ],
        ),
        (
            Set::keys("nets6", [Field::Ip6Saddr]).interval(),
            vec![Element::interval(&[prefix("fd00:10:244::/48")]).comment("pods")],
        ),
        (
            Set::keys("allowed4", with(FRONTEND4, Field::IpSaddr)).interval(),
            vec![Element::interval(&[
                one(ip("192.0.2.7")),
                one(TCP),
                Part::Range(Value::Port(80), Value::Port(90)),
                prefix("10.0.0.0/9"),
            ])],
        ),
        (
            Set::keys("interfaces", [Field::IifName, Field::IpSaddr]),
            vec![Element::new(&[
                Value::InterfaceName("veth0".into()),
                ip("10.0.0.1"),
            ])],
        ),
        (
            Set::keys("marks", [Field::Mark]),
            vec![Element::new(&[Value::Mark(0x4000)])],
        ),
        (
            Set::verdict_map("protocols", [Field::L4Proto]),
            vec![Element::new(&[TCP]).to(Data::Verdict(Verdict::Accept))],
        ),
        (
            Set::map("ports", PORTS, [Field::Priority]).interval(),
            vec![
                Element::interval(&[
                    one(Value::Class(0x4000_0005)),
                    one(TCP),
                    Part::Range(Value::Port(80), Value::Port(90)),
                ])
                .to(Data::values(&[Value::Class(1)])),
            ],
        ),
        (
            Set::keys("counted4", [Field::IpSaddr]).counting(),
            vec![Element::new(&[ip("10.0.0.1")])],
        ),
        (short, vec![]),
    ];
    list.into_iter()
        .map(|(set, elements)| (Arc::new(set), elements))
        .collect()
}

#[allow(clippy::too_many_lines, reason = "a table of cases")]
fn every_rule() -> Vec<Rule> {
    let hour = Some(Duration::from_secs(3600));
    let net = |text: &str| text.parse().unwrap();
    vec![
        Rule::new()
            .is(Field::NfProto, Value::Family(Family::Ip))
            .goto("served"),
        Rule::new()
            .is(Field::NfProto, Value::Family(Family::Ip6))
            .jump("served"),
        Rule::new()
            .is(Field::CtState, Value::STATE_ESTABLISHED_RELATED)
            .accept(),
        Rule::new().is(Field::CtState, Value::STATE_INVALID).drop(),
        Rule::new()
            .is_not(Field::CtState, Value::STATE_NEW)
            .returns(),
        Rule::new().is(Field::CtStatus, Value::STATUS_DNAT).accept(),
        Rule::new().is(Field::CtDirection, Value::REPLY).accept(),
        Rule::new().is(Field::IpSaddr, ip("10.0.0.1")).counter(),
        Rule::new()
            .within(Field::IpSaddr, net("10.0.0.0/8"))
            .counter(),
        Rule::new()
            .not_within(Field::IpDaddr, net("127.0.0.0/12"))
            .counter(),
        Rule::new()
            .within(Field::Ip6Saddr, net("fd00::/61"))
            .counter(),
        Rule::new()
            .is_not(Field::Ip6Daddr, ip("::1"))
            .counter()
            .comment("not loopback"),
        Rule::new()
            .within(Field::IpSaddr, net("10.1.2.3/32"))
            .counter(),
        Rule::new().is(Field::L4Proto, TCP).counter(),
        Rule::new().is(Field::ThDport, Value::Port(80)).counter(),
        Rule::new()
            .between(Field::ThSport, Value::Port(1024), Value::Port(65535))
            .counter(),
        Rule::new()
            .is(Field::Icmp6Type, Value::Icmp6Type(135))
            .accept(),
        Rule::new()
            .is(Field::IifName, Value::InterfaceName("podway0".into()))
            .counter(),
        Rule::new()
            .is_not(Field::OifName, Value::InterfaceName("podway0".into()))
            .counter(),
        Rule::new().is(Field::FibDaddrType, Value::LOCAL).counter(),
        Rule::new()
            .is_not(Field::FibSaddrType, Value::LOCAL)
            .counter(),
        Rule::new().marked(0x4000).mark_xor(0x4000),
        Rule::new().mark_or(0x4000),
        Rule::new().mark(7),
        Rule::new().priority(0),
        Rule::new().priority_from(FRONTEND6, "classes6"),
        Rule::new().vmap(FRONTEND4, "verdicts4"),
        Rule::new().vmap([Field::L4Proto], "protocols"),
        Rule::new().lookup([Field::IpSaddr], "nets4").counter(),
        Rule::new().lookup_not([Field::Ip6Saddr], "nets6").counter(),
        Rule::new()
            .lookup_not(with(FRONTEND4, Field::IpSaddr), "allowed4")
            .drop(),
        Rule::new().lookup([Field::Mark], "marks").counter(),
        Rule::new().dynset(
            SetAction::Delete,
            "affinity4",
            CLIENT4,
            None,
            [Field::Priority],
        ),
        Rule::new().dynset(
            SetAction::Update,
            "affinity4",
            CLIENT4,
            hour,
            [Field::Priority],
        ),
        Rule::new().priority_from_ranges(PORTS, "ports"),
        Rule::new().connection_marked(0x2000).accept(),
        Rule::new().connection_mark(0x800),
        Rule::new()
            .is(Field::IifName, Value::InterfacePrefix("cali".into()))
            .counter(),
        Rule::new().connection_unmark(0x2000).accept(),
        Rule::new()
            .is(Field::IifGroup, Value::InterfaceGroup(28791))
            .is(Field::FibSaddrIifOif, Value::MISSING)
            .drop(),
        Rule::new().limit(10, 20).log("ingress", 5, 64),
        Rule::new().lookup([Field::IpSaddr], "counted4").drop(),
        Rule::new().reject_tcp(),
        Rule::new().reject(),
    ]
}

/// What the kernel takes and nft 1.0.6 prints, but dies of when it loads it: it
/// gives the key of a map that packets write one register, and IPv6 needs more.
fn rules_that_nft_cannot_load() -> Vec<Rule> {
    let halfday = Some(Duration::from_secs(43_230));
    let rule = |action, timeout| {
        Rule::new().dynset(action, "affinity6", CLIENT6, timeout, [Field::Priority])
    };
    vec![
        rule(SetAction::Add, halfday),
        rule(SetAction::Update, None),
        rule(SetAction::Delete, None),
    ]
}

/// What only prerouting takes.
fn steering() -> Vec<Rule> {
    let tcp = || Rule::new().is(Field::L4Proto, TCP);
    vec![
        tcp()
            .is(Field::SocketTransparent, Value::Octet(1))
            .is(Field::SocketWildcard, Value::Octet(0))
            .mark_or(0x400)
            .accept(),
        Rule::new()
            .is(Field::NfProto, Value::Family(Family::Ip))
            .is(Field::L4Proto, TCP)
            .tproxy(Family::Ip, 4000)
            .accept(),
        Rule::new()
            .is(Field::NfProto, Value::Family(Family::Ip6))
            .is(Field::L4Proto, Value::Protocol(17))
            .tproxy(Family::Ip6, 4001)
            .mark_or(0x400)
            .accept(),
    ]
}

fn ruleset() -> Ruleset {
    let dnat4 = Rule::new().dnat(Family::Ip, with(FRONTEND4, Field::random(2)), "endpoints4");
    let local = Field::NumgenRandom {
        modulus: 3,
        offset: 65536,
    };
    let dnat_local = Rule::new().dnat(Family::Ip, with(FRONTEND4, local), "endpoints4");
    let dnat6 =
        Rule::new()
            .priority(0)
            .dnat(Family::Ip6, with(FRONTEND6, Field::random(2)), "endpoints6");
    Ruleset {
        table: TABLE.into(),
        sets: sets(),
        chains: vec![
            (Chain::regular("served"), vec![]),
            (
                Chain::base("prerouting", ChainType::Nat, Hook::Prerouting, -100),
                vec![dnat4.clone(), dnat6, dnat_local],
            ),
            (
                Chain::base("steering", ChainType::Filter, Hook::Prerouting, -90),
                steering(),
            ),
            (
                Chain::base("output", ChainType::Nat, Hook::Output, -100),
                vec![dnat4],
            ),
            (
                Chain::base("postrouting", ChainType::Nat, Hook::Postrouting, 100),
                vec![Rule::new().marked(0x4000).masquerade()],
            ),
            (
                Chain {
                    name: "forward".into(),
                    base: Some(BaseChain {
                        kind: ChainType::Filter,
                        hook: Hook::Forward,
                        priority: -7,
                        policy: ChainPolicy::Drop,
                    }),
                },
                vec![],
            ),
            (
                Chain::base("input", ChainType::Filter, Hook::Input, 3),
                every_rule(),
            ),
            (
                Chain::base("raw", ChainType::Route, Hook::Output, -150),
                vec![],
            ),
        ],
    }
}

fn unwrap<T>(result: Result<T, Error>) -> T {
    result.unwrap_or_else(|error| panic!("{error}\n{error:?}"))
}

#[test]
fn what_is_written_prints_as_nft_prints_it_and_loads_again() {
    namespace()
        .run(|| {
            let wanted = ruleset();
            let mut kernel = unwrap(Nft::open());
            unwrap(kernel.apply(&reconcile(&wanted, None)));
            let listing = nft(&["-s", "list", "table", "inet", TABLE], "").unwrap();
            assert_eq!(
                normalized(&listing),
                normalized(&wanted.to_string()),
                "{listing}"
            );

            nft(&["-f", "-"], &format!("flush ruleset\n{listing}"))
                .unwrap_or_else(|error| panic!("nft does not load its own listing: {error}"));
            nft(&["-f", "-"], &format!("flush ruleset\n{wanted}"))
                .unwrap_or_else(|error| panic!("nft does not load our text: {error}"));
        })
        .unwrap();
}

#[test]
fn what_nft_cannot_load_prints_as_well() {
    namespace()
        .run(|| {
            let mut wanted = ruleset();
            let chain = Chain::regular("sticky6");
            wanted.chains.push((chain, rules_that_nft_cannot_load()));
            let mut kernel = unwrap(Nft::open());
            unwrap(kernel.apply(&reconcile(&wanted, None)));
            let listing = nft(&["-s", "list", "table", "inet", TABLE], "").unwrap();
            assert_eq!(normalized(&listing), normalized(&wanted.to_string()));
            let rest = reconcile(&wanted, unwrap(kernel.dump(TABLE)).as_ref());
            assert!(rest.is_empty(), "{rest}");
        })
        .unwrap();
}

#[test]
fn transactions_are_nft_scripts() {
    namespace()
        .run(|| {
            let text = reconcile(&ruleset(), None).to_string();
            nft(&["-f", "-"], &text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        })
        .unwrap();
}

#[test]
fn reading_back_finds_nothing_to_write() {
    namespace()
        .run(|| {
            let wanted = ruleset();
            let mut kernel = unwrap(Nft::open());
            unwrap(kernel.apply(&reconcile(&wanted, None)));
            let held = unwrap(kernel.dump(TABLE));
            let rest = reconcile(&wanted, held.as_ref());
            assert!(rest.is_empty(), "{rest}\n{held:#?}");
            assert_eq!(unwrap(kernel.apply(&rest)), Written::default());
            assert_eq!(unwrap(kernel.dump("another")), None);
        })
        .unwrap();
}

#[test]
fn whatever_differs_is_mended_in_place() {
    let spoils = [
        "flush chain inet judged input",
        "insert rule inet judged prerouting accept",
        "delete element inet judged verdicts4 { 10.96.0.1 . tcp . 443 }",
        "add element inet judged marks { 5 }",
        "add element inet judged nets4 { 12.0.0.0/8 }",
        "add chain inet judged strange; add set inet judged odd { type ipv4_addr; }; add rule inet judged strange ip saddr @odd drop",
        "delete table inet judged",
        "delete table inet judged; add table inet judged; add set inet judged marks { type ipv4_addr; }",
        "delete element inet judged endpoints4 { 10.96.0.1 . tcp . 443 . 1 }; add element inet judged endpoints4 { 10.96.0.1 . tcp . 443 . 1 : 10.244.1.6 . 6443 }",
    ];
    for spoil in spoils {
        namespace()
            .run(|| {
                let wanted = ruleset();
                let mut kernel = unwrap(Nft::open());
                unwrap(kernel.apply(&reconcile(&wanted, None)));
                nft(&["-f", "-"], spoil).unwrap_or_else(|error| panic!("{spoil}: {error}"));
                let mending = reconcile(&wanted, unwrap(kernel.dump(TABLE)).as_ref());
                assert!(!mending.is_empty(), "{spoil}");
                unwrap(kernel.apply(&mending));
                let rest = reconcile(&wanted, unwrap(kernel.dump(TABLE)).as_ref());
                assert!(rest.is_empty(), "{spoil}: {rest}");
            })
            .unwrap();
    }
}

#[test]
fn a_refusal_names_the_operation_and_leaves_nothing() {
    namespace()
        .run(|| {
            let mut kernel = unwrap(Nft::open());
            let mut transaction = Transaction::new(TABLE);
            transaction.push(Operation::AddTable);
            transaction.push(Operation::AddChain(Chain::regular("a")));
            transaction.push(Operation::AddRule {
                chain: "a".into(),
                rule: Rule::new().goto("nowhere"),
            });
            transaction.push(Operation::AddChain(Chain::regular("b")));
            match kernel.apply(&transaction) {
                Err(Error::Refused {
                    operation,
                    index: 2,
                    errno: Errno::ENOENT,
                    ..
                }) => {
                    assert_eq!(operation, "add rule inet judged a goto nowhere");
                }
                other => panic!("{other:?}"),
            }
            assert_eq!(unwrap(kernel.dump(TABLE)), None);
            assert_eq!(kernel.written(), Written::default());
        })
        .unwrap();
}

#[test]
fn a_loop_of_chains_is_refused() {
    namespace()
        .run(|| {
            let mut kernel = unwrap(Nft::open());
            let mut wanted = Ruleset::new(TABLE);
            let hook = Chain::base("input", ChainType::Filter, Hook::Input, 0);
            wanted.chains = vec![
                (hook, vec![Rule::new().jump("a")]),
                (Chain::regular("a"), vec![Rule::new().jump("b")]),
                (Chain::regular("b"), vec![Rule::new().jump("a")]),
            ];
            let error = kernel.apply(&reconcile(&wanted, None)).unwrap_err();
            assert!(error.to_string().contains(TABLE), "{error}");
            assert_eq!(unwrap(kernel.dump(TABLE)), None);
        })
        .unwrap();
}

#[test]
fn a_hundred_thousand_elements_are_one_transaction() {
    namespace()
        .run(|| {
            let mut wanted = Ruleset::new(TABLE);
            let set = Arc::new(Set::map(
                "endpoints4",
                FRONTEND4,
                [Field::IpDaddr, Field::ThDport],
            ));
            let elements = (0..100_000_u32)
                .map(|number| {
                    let address = Value::Ip(std::net::Ipv4Addr::from(0x0a00_0000 + number).into());
                    Element::new(&[address.clone(), TCP, Value::Port(80)])
                        .to(Data::values(&[address, Value::Port(8080)]))
                })
                .collect();
            wanted.sets.push((set, elements));
            let mut kernel = unwrap(Nft::open());
            let written = unwrap(kernel.apply(&reconcile(&wanted, None)));
            assert_eq!((written.transactions, written.elements), (1, 100_000));
            let held = unwrap(kernel.dump(TABLE));
            assert!(reconcile(&wanted, held.as_ref()).is_empty());
        })
        .unwrap();
}

#[test]
fn only_changes_of_others_are_noticed() {
    namespace()
        .run(|| {
            let mut kernel = unwrap(Nft::open());
            let mut monitor = unwrap(NftMonitor::open(&[TABLE], &[kernel.port()]));
            unwrap(kernel.apply(&reconcile(&ruleset(), None)));
            nft(&["add", "table", "inet", "foreign"], "").unwrap();
            assert_eq!(unwrap(monitor.changes()), []);

            nft(&["flush", "chain", "inet", TABLE, "input"], "").unwrap();
            let changes = unwrap(monitor.changes());
            let [
                ForeignChange {
                    table,
                    process,
                    pid,
                },
            ] = changes.as_slice()
            else {
                panic!("{changes:?}");
            };
            assert_eq!((table.as_str(), process.as_str()), (TABLE, "nft"));
            assert_ne!(*pid, 0);
            assert_eq!(unwrap(monitor.changes()), []);
        })
        .unwrap();
}
