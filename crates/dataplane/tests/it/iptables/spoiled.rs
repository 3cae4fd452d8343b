//! Rules that somebody else changed, removed or left behind.

use podway_dataplane::service::ServiceBackend as _;
use podway_kernel::ipset::IpSets as _;
use podway_kernel::iptables::{FakeIptables, Family, Iptables as _, Rule, Table};
use podway_kernel::nft::Written;
use podway_model::ClusterState;

use super::clusters::{context, variety};
use super::{Fake, fake, plan, settings, sync};

fn text(backend: &mut Fake, family: Family) -> String {
    let mut text = String::new();
    for (table, chains) in backend.iptables_mut().save(family).unwrap() {
        for (chain, rules) in chains {
            // Tables that were made stay, with nothing in them.
            if rules.is_empty() && table.built_in().contains(&&*chain) {
                continue;
            }
            text += &format!("{table} {chain}\n");
            text.extend(rules.iter().map(|rule| format!("  {rule}\n")));
        }
    }
    text
}

/// What somebody else did, as text of a restore; empty where all rules are gone.
const SPOILS: &[(&str, &str)] = &[
    ("a listing is empty", "*nat\n:KUBE-SERVICES - [0:0]"),
    ("a chain is empty", "*nat\n:KUBE-MARK-MASQ - [0:0]"),
    ("a canary is gone", "*mangle\n-X KUBE-PROXY-CANARY"),
    (
        "a jump is gone",
        "*filter\n-D FORWARD -m comment --comment \"kubernetes forwarding rules\" \
         -j KUBE-FORWARD",
    ),
    (
        "another jump is there",
        "*filter\n-A INPUT -j KUBE-SERVICES",
    ),
    (
        "a jump is there twice",
        "*nat\n-A OUTPUT -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES",
    ),
    (
        "jumps are in another order",
        "*filter\n-D INPUT -m conntrack --ctstate NEW -m comment \
         --comment \"kubernetes load balancer firewall\" -j KUBE-PROXY-FIREWALL\n\
         -A INPUT -m conntrack --ctstate NEW -m comment \
         --comment \"kubernetes load balancer firewall\" -j KUBE-PROXY-FIREWALL",
    ),
    (
        "a rule follows the last one",
        "*nat\n-A KUBE-SERVICES -d 10.96.7.7/32 -j ACCEPT",
    ),
    (
        "a rule is before all others",
        "*nat\n-I KUBE-SERVICES -d 10.96.7.7/32 -j ACCEPT",
    ),
    (
        "remains of services that are gone",
        "*nat\n:KUBE-SVC-AAAAAAAAAAAAAAAA - [0:0]\n:KUBE-SEP-AAAAAAAAAAAAAAAA - [0:0]\n\
         :KUBE-XLB-AAAAAAAAAAAAAAAA - [0:0]\n\
         -A KUBE-XLB-AAAAAAAAAAAAAAAA -j KUBE-SVC-AAAAAAAAAAAAAAAA\n\
         -A KUBE-SVC-AAAAAAAAAAAAAAAA -j KUBE-SEP-AAAAAAAAAAAAAAAA\n\
         -I KUBE-SERVICES -j KUBE-XLB-AAAAAAAAAAAAAAAA",
    ),
    (
        "a node port is refused before an address is",
        "*filter\n-D KUBE-EXTERNAL-SERVICES ! -d 127.0.0.0/8 -p sctp -m comment \
         --comment \"ns/elsewhere:sig has no local endpoints\" -m addrtype --dst-type LOCAL \
         -m sctp --dport 30004 -j DROP\n\
         -I KUBE-EXTERNAL-SERVICES ! -d 127.0.0.0/8 -p sctp -m comment \
         --comment \"ns/elsewhere:sig has no local endpoints\" -m addrtype --dst-type LOCAL \
         -m sctp --dport 30004 -j DROP",
    ),
    ("everything is gone", ""),
];

#[test]
fn whatever_was_done_to_our_rules_is_mended() {
    let table = plan(&variety(), &context());
    for (what, spoil) in SPOILS {
        let mut backend = fake();
        sync(&mut backend, &table, None);
        let before = Family::ALL.map(|family| text(&mut backend, family));
        if spoil.is_empty() {
            *backend.iptables_mut() = FakeIptables::new();
        } else {
            let spoil = format!("{spoil}\nCOMMIT\n");
            let spoilt = backend.iptables_mut().restore_text(Family::V4, &spoil);
            spoilt.unwrap_or_else(|error| panic!("{what}: {error}"));
        }
        let report = sync(&mut backend, &table, None);
        assert!(report.written.transactions > 0, "{what}");
        let again = sync(&mut backend, &table, None);
        assert_eq!(again.written, Written::default(), "{what}");
        let after = Family::ALL.map(|family| sorted(&text(&mut backend, family)));
        assert_eq!(after, before.map(|text| sorted(&text)), "{what}");
    }
}

/// The order of rules in listings depends on how they came about.
fn sorted(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// The kubelet's, a CNI plugin's, kube-proxy's userspace mode's, an operator's.
const FOREIGN: &str = "*nat\n:CNI-HOSTPORT-SETMARK - [0:0]\n:KUBE-KUBELET-CANARY - [0:0]\n\
    :KUBE-PORTALS-CONTAINER - [0:0]\n\
    -A CNI-HOSTPORT-SETMARK -j KUBE-MARK-MASQ\n\
    -A PREROUTING -m comment --comment mine -j KUBE-MARK-MASQ\n\
    -A PREROUTING -j KUBE-PORTALS-CONTAINER\nCOMMIT\n\
    *filter\n:KUBE-FIREWALL - [0:0]\n-A INPUT -j KUBE-FIREWALL\n\
    -A INPUT -m comment --comment \"operator's\" -j DROP\nCOMMIT\n";

#[test]
fn cleanup_takes_ours_and_nothing_else() {
    let table = plan(&variety(), &context());
    let mut backend = fake();
    backend.cleanup().unwrap();
    assert_eq!(backend.iptables_mut().written().runs, 0);
    sync(&mut backend, &table, None);
    let foreign = backend.iptables_mut().restore_text(Family::V4, FOREIGN);
    foreign.unwrap();
    sync(&mut backend, &table, None);
    let others = podway_kernel::ipset::IpSet {
        name: "KUBE-LOOP-BACK".into(),
        family: Family::V4,
        limit: 64,
        timeout: None,
    };
    backend.sets_mut().create(&others).unwrap();
    backend.cleanup().unwrap();

    let left = text(&mut backend, Family::V4);
    let mut expected = fake();
    let mut foreign = FOREIGN.to_owned();
    // Others lead there, and need it as it is.
    let mark = "*nat\n:KUBE-MARK-MASQ - [0:0]\n\
                -A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000\nCOMMIT\n";
    foreign.insert_str(0, mark);
    let restored = expected.iptables_mut().restore_text(Family::V4, &foreign);
    restored.unwrap();
    assert_eq!(left, text(&mut expected, Family::V4));
    assert_eq!(
        text(&mut backend, Family::V6),
        text(&mut expected, Family::V6)
    );
    let sets = backend.sets_mut().list().unwrap();
    assert_eq!(sets.into_keys().collect::<Vec<_>>(), ["KUBE-LOOP-BACK"]);
    backend.cleanup().unwrap();
}

/// The nf_tables variant writes a long text in parts: every script must be right
/// by itself, after those before it.
#[test]
fn what_is_written_in_parts_is_right_at_every_step() {
    let table = plan(&variety(), &context());
    let empty = plan(&ClusterState::default(), &context());
    let mut backend = fake();
    backend.iptables_mut().write_apart();
    for table in [&table, &empty, &table] {
        // By comparison each time: a change writes one script a service.
        backend.configure(settings(&context()));
        sync(&mut backend, table, None);
        assert_eq!(sync(&mut backend, table, None).written, Written::default());
    }
    backend.cleanup().unwrap();
    assert_eq!(text(&mut backend, Family::V4), "");
}

#[test]
fn foreign_rules_stay_where_they_are() {
    let table = plan(&variety(), &context());
    let mut backend = fake();
    let foreign = FOREIGN.replace("KUBE-MARK-MASQ", "ACCEPT");
    backend
        .iptables_mut()
        .restore_text(Family::V4, &foreign)
        .unwrap();
    sync(&mut backend, &table, None);
    let tables = backend.iptables_mut().save(Family::V4).unwrap();
    let chains = &tables[&Table::Filter];
    let input: Vec<Option<String>> = chains["INPUT"].iter().map(Rule::target).collect();
    let input: Vec<&str> = input.iter().flatten().map(String::as_str).collect();
    assert_eq!(
        input,
        [
            "KUBE-PROXY-FIREWALL",
            "KUBE-NODEPORTS",
            "KUBE-EXTERNAL-SERVICES",
            "KUBE-FIREWALL",
            "DROP"
        ]
    );
    // Somebody comes between ours: their order among themselves is right.
    let between = "*filter\n-I INPUT -j KUBE-FIREWALL\nCOMMIT\n";
    let restored = backend.iptables_mut().restore_text(Family::V4, between);
    restored.unwrap();
    assert_eq!(sync(&mut backend, &table, None).written, Written::default());
}

/// A set that rules named until a moment ago is busy: it goes later, and who is
/// in it is forgotten at once.
#[test]
fn a_busy_set_goes_at_the_next_occasion() {
    let mut backend = fake();
    let table = plan(&variety(), &context());
    sync(&mut backend, &table, None);
    let sets = backend.sets_mut();
    let names: Vec<String> = sets.list().unwrap().into_keys().collect();
    let clients: Vec<&String> = names
        .iter()
        .filter(|n| n.starts_with("KUBE-SEP-"))
        .collect();
    assert_eq!(
        clients.len(),
        8,
        "2 ports, 2 families, 2 endpoints: {names:?}"
    );
    sets.busy.extend(clients.into_iter().cloned());
    let client = podway_testkit::builders::ip("10.244.1.9");
    for name in sets.busy.clone() {
        sets.add(&name, &[client]).unwrap();
    }

    let empty = plan(&ClusterState::default(), &context());
    let change = podway_plan::service::diff(&table, &empty);
    sync(&mut backend, &empty, Some(&change));
    let sets = backend.sets_mut();
    for name in std::mem::take(&mut sets.busy) {
        assert!(sets.members(&name).unwrap().is_empty(), "{name}");
    }
    let nothing = podway_plan::service::ServiceChange::default();
    sync(&mut backend, &empty, Some(&nothing));
    let left = backend.sets_mut().list().unwrap();
    let left: Vec<String> = left.into_keys().collect();
    assert_eq!(left, ["KUBE-6-CLUSTER-IPS", "KUBE-CLUSTER-IPS"]);
}
