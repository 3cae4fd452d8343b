//! Rules written and read through the host's programs, both variants.

use std::sync::Arc;

use ipnet::IpNet;
use podway_kernel::ipset::{IpSet, IpSetTable, IpSets as _};
use podway_kernel::iptables::{
    Chains, Error, Family, Iptables, Rule, Script, Table, Variant, Xtables,
};

use super::namespace;

/// A namespace of the test's own, for each variant.
fn each_variant(test: impl Fn(&mut Xtables) + Sync) {
    for variant in Variant::ALL {
        let run = || test(&mut Xtables::open_variant(variant).unwrap());
        namespace().run(run).unwrap();
    }
}

fn chain(name: &str) -> Arc<str> {
    name.into()
}

fn held(iptables: &mut Xtables, family: Family, table: Table) -> Chains {
    let mut tables = iptables.save(family).unwrap();
    tables.remove(&table).unwrap_or_default()
}

fn texts(chains: &Chains, chain: &str) -> Vec<String> {
    chains[chain].iter().map(ToString::to_string).collect()
}

/// A rule of every part that there is.
#[allow(clippy::too_many_lines, reason = "one of everything")]
fn every_part(family: Family) -> [(Table, Vec<Rule>); 2] {
    let (prefix, host, reject): (IpNet, IpNet, _) = match family {
        Family::V4 => (
            "10.244.1.0/24".parse().unwrap(),
            "10.96.0.10/32".parse().unwrap(),
            "REJECT --reject-with icmp-port-unreachable",
        ),
        Family::V6 => (
            "fd00:10:244:1::/64".parse().unwrap(),
            "fd00:10:96::a/128".parse().unwrap(),
            "REJECT --reject-with icmp6-port-unreachable",
        ),
    };
    let everything = match family {
        Family::V4 => "0.0.0.0/0".parse().unwrap(),
        Family::V6 => "::/0".parse().unwrap(),
    };
    let nat = vec![
        Rule::new()
            .not_source(prefix)
            .destination(host)
            .protocol("tcp")
            .comment("ns1/svc1:p80 cluster IP")
            .destination_port("tcp", 80)
            .jump("MARK --set-xmark 0x4000/0x4000"),
        Rule::new()
            .source(everything)
            .not_destination(prefix)
            .matching("addrtype --dst-type LOCAL")
            .jump("RETURN"),
        Rule::new()
            .comment("it's \"quoted\" \\ plain")
            .chance(1, 3)
            .jump("RETURN"),
        Rule::new()
            .matching("set --match-set KUBE-SET src")
            .chance(100, 701)
            .jump("RETURN"),
        Rule::new().jump("SET --add-set KUBE-SET src --exist --timeout 10800"),
        Rule::new()
            .protocol("sctp")
            .comment("plain")
            .transport("sctp")
            .translate(host.addr(), 8080),
        Rule::new().comment("a rule without a target"),
        Rule::new().source(prefix).input("veth+").jump("RETURN"),
        Rule::new()
            .destination(host)
            .not_input("cni0")
            .protocol("tcp")
            .jump("RETURN"),
    ];
    let filter = vec![
        Rule::new()
            .source(prefix)
            .destination(everything)
            .protocol("udp")
            .destination_port("udp", 53)
            .jump(reject),
        Rule::new()
            .matching("conntrack ! --ctstate DNAT")
            .matching("mark ! --mark 0x4000/0x4000")
            .jump("ACCEPT"),
    ];
    [(Table::Nat, nat), (Table::Filter, filter)]
}

#[test]
fn what_is_written_is_read() {
    each_variant(|iptables| {
        for family in Family::ALL {
            let mut sets = IpSetTable::open().unwrap();
            let set = IpSet {
                name: "KUBE-SET".into(),
                family,
                limit: 1024,
                timeout: Some(std::time::Duration::from_secs(60)),
            };
            sets.create(&set).unwrap();
            for (table, rules) in every_part(family) {
                let mut script = Script::new();
                script.chain(table, &chain("KUBE-X"), rules.clone());
                let written = iptables.restore(family, &[script]).unwrap();
                assert_eq!((written.runs, written.lines), (1, 1 + rules.len() as u64));
                let held = held(iptables, family, table);
                assert_eq!(held["KUBE-X"], rules, "{family:?} {:?}", iptables.variant());
            }
            // The name must be free for the other family.
            let mut script = Script::new();
            script.remove(Table::Nat, &chain("KUBE-X"));
            iptables.restore(family, &[script]).unwrap();
            while !sets.destroy("KUBE-SET").unwrap() {
                std::thread::yield_now();
            }
        }
    });
}

#[test]
fn edits_go_where_they_should() {
    each_variant(|iptables| {
        let (family, table) = (Family::V6, Table::Nat);
        let listing = chain("KUBE-LIST");
        let rule = |name: &str| Rule::new().comment(name).jump("RETURN");
        let mut script = Script::new();
        script.chain(table, &listing, ["a", "b", "c"].map(rule));
        script.insert(table, &chain("PREROUTING"), Rule::new().jump("KUBE-LIST"));
        iptables.restore(family, &[script]).unwrap();
        let mut script = Script::new();
        script.insert(table, &listing, rule("first"));
        script.delete(table, &listing, rule("b"));
        script.append(table, &listing, rule("last"));
        iptables.restore(family, &[script, Script::new()]).unwrap();
        let held = held(iptables, family, table);
        let expected = ["first", "a", "c", "last"].map(|name| rule(name).to_string());
        assert_eq!(texts(&held, "KUBE-LIST"), expected);
        assert_eq!(texts(&held, "PREROUTING"), ["-j KUBE-LIST"]);
        assert_eq!(iptables.restore(family, &[]).unwrap().runs, 0);
    });
}

#[test]
fn a_refusal_says_what_and_changes_nothing() {
    each_variant(|iptables| {
        let mut script = Script::new();
        let to_nowhere = Rule::new().comment("x").jump("KUBE-NOWHERE");
        script.chain(Table::Filter, &chain("KUBE-X"), [Rule::new().jump("DROP")]);
        script.append(Table::Filter, &chain("INPUT"), to_nowhere);
        let error = iptables.restore(Family::V4, &[script]).unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{error:?}");
        // The nf_tables variant looks for chains when it commits.
        assert!(error.to_string().contains("KUBE-NOWHERE"), "{error}");
        let held = held(iptables, Family::V4, Table::Filter);
        assert!(!held.contains_key("KUBE-X"), "{held:?}");
    });
}

#[test]
fn a_long_text_is_written_whole() {
    const CHAINS: usize = 1_500;
    each_variant(|iptables| {
        let name = |number| chain(&format!("KUBE-SVC-{number}"));
        let scripts: Vec<Script> = (0..CHAINS)
            .map(|number| {
                let mut script = Script::new();
                let rules = [Rule::new().jump("RETURN"), Rule::new().jump("ACCEPT")];
                script.chain(Table::Nat, &name(number), rules);
                script
            })
            .collect();
        let written = iptables.restore(Family::V4, &scripts).unwrap();
        assert_eq!(written.lines, 3 * CHAINS as u64);
        let held = held(iptables, Family::V4, Table::Nat);
        let ours = held.keys().filter(|name| name.starts_with("KUBE-"));
        assert_eq!(ours.count(), CHAINS);
        assert!(held[&name(700)].len() == 2 && held[&name(1_499)].len() == 2);
    });
}

#[test]
fn reading_makes_no_table() {
    namespace()
        .run(|| {
            let mut legacy = Xtables::open_variant(Variant::Legacy).unwrap();
            assert_eq!(legacy.save(Family::V4).unwrap().len(), 0);
            assert_eq!(Xtables::open().unwrap().save(Family::V4).unwrap().len(), 0);
            let tables = std::fs::read_to_string("/proc/thread-self/net/ip_tables_names");
            assert_eq!(tables.unwrap(), "");
        })
        .unwrap();
}

#[test]
fn the_variant_with_rules_is_chosen() {
    for variant in Variant::ALL {
        let namespace = namespace();
        let open = || {
            namespace
                .run(|| Xtables::open().unwrap().variant())
                .unwrap()
        };
        let host_default = open();
        let mut script = Script::new();
        script.chain(Table::Mangle, &chain("KUBE-PROXY-CANARY"), []);
        namespace
            .run(|| {
                Xtables::open_variant(variant)
                    .unwrap()
                    .restore(Family::V6, &[script])
            })
            .unwrap()
            .unwrap();
        assert_eq!(open(), variant, "the default is {host_default}");
    }
}

/// An object opened in a namespace works there, whoever calls it.
#[test]
fn programs_run_in_the_namespace_of_the_opener() {
    let namespace = namespace();
    let mut iptables = namespace
        .run(|| Xtables::open_variant(Variant::Nft).unwrap())
        .unwrap();
    let mut script = Script::new();
    script.chain(Table::Filter, &chain("KUBE-PODWAY-TEST"), []);
    iptables.restore(Family::V4, &[script]).unwrap();
    let ours = held(&mut iptables, Family::V4, Table::Filter);
    assert!(ours.contains_key("KUBE-PODWAY-TEST"));
    let mut of_the_host = Xtables::open_variant(Variant::Nft).unwrap();
    let of_the_host = held(&mut of_the_host, Family::V4, Table::Filter);
    assert!(!of_the_host.contains_key("KUBE-PODWAY-TEST"));
}
