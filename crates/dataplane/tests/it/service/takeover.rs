//! Beside kube-proxy: taking over from its rules, and handing back to it. The rules
//! are what it would have for the service of these tests, in our own words.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};

use podway_dataplane::service::{
    BackendSpec, Removal, ServiceBackend as _, iptables, nftables, remove_kube_proxy, userspace,
};
use podway_kernel::netns::NetNs;

use super::served::{node_port, vip};
use super::site::{Connection, FAR, ONE, Reply, Site, TWO, connect};
use super::succession::{Load, Node};

/// Its mode `iptables`: a chain for the service, one for each endpoint, chance
/// between them.
fn iptables_rules() -> String {
    let mut text = String::from(
        "*nat
:KUBE-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-SVC-AAAAAAAAAAAAAAAA - [0:0]
:KUBE-EXT-AAAAAAAAAAAAAAAA - [0:0]
-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-A OUTPUT -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment \"kubernetes postrouting rules\" -j KUBE-POSTROUTING
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0
-A KUBE-POSTROUTING -j MASQUERADE --random-fully
-A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-AAAAAAAAAAAAAAAA
-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
-A KUBE-NODEPORTS -p tcp -m tcp --dport 30001 -j KUBE-EXT-AAAAAAAAAAAAAAAA
-A KUBE-EXT-AAAAAAAAAAAAAAAA -j KUBE-MARK-MASQ
-A KUBE-EXT-AAAAAAAAAAAAAAAA -j KUBE-SVC-AAAAAAAAAAAAAAAA
-A KUBE-SVC-AAAAAAAAAAAAAAAA ! -s 10.244.1.0/24 -d 10.96.0.1/32 -p tcp -m tcp --dport 80 -j KUBE-MARK-MASQ
",
    );
    let endpoints = [ONE[0], TWO[0], FAR[0]];
    for (index, endpoint) in endpoints.into_iter().enumerate() {
        let left = endpoints.len() - index;
        let chain = format!("KUBE-SEP-AAAAAAAAAAAAAAA{}", index + 1);
        let chance = match left {
            1 => String::new(),
            left => format!(
                "-m statistic --mode random --probability {:.10} ",
                1.0 / left as f64
            ),
        };
        text.push_str(&format!(
            ":{chain} - [0:0]
-A KUBE-SVC-AAAAAAAAAAAAAAAA {chance}-j {chain}
-A {chain} -s {endpoint}/32 -j KUBE-MARK-MASQ
-A {chain} -p tcp -m tcp -j DNAT --to-destination {endpoint}:8080
"
        ));
    }
    text.push_str(
        "COMMIT
*filter
:KUBE-FORWARD - [0:0]
-A FORWARD -m comment --comment \"kubernetes forwarding rules\" -j KUBE-FORWARD
-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
",
    );
    text
}

/// Its mode `nftables`: a map of frontends, a chain for the service.
fn nftables_rules() -> String {
    let [one, two, far] = [ONE[0], TWO[0], FAR[0]];
    format!(
        "table ip kube-proxy {{
  map service-ips {{
    type ipv4_addr . inet_proto . inet_service : verdict
    elements = {{ 10.96.0.1 . tcp . 80 : goto service-web }}
  }}
  map service-nodeports {{
    type inet_proto . inet_service : verdict
    elements = {{ tcp . 30001 : goto external-web }}
  }}
  chain nat-prerouting {{ type nat hook prerouting priority -100; jump services; }}
  chain nat-output {{ type nat hook output priority -100; jump services; }}
  chain nat-postrouting {{ type nat hook postrouting priority 100; jump masquerading; }}
  chain services {{
    ip daddr . meta l4proto . th dport vmap @service-ips
    fib daddr type local ip daddr != 127.0.0.0/8 meta l4proto . th dport vmap @service-nodeports
  }}
  chain masquerading {{
    ct status dnat ip saddr . ip daddr {{ {one} . {one}, {two} . {two} }} masquerade
    meta mark & 0x4000 == 0 return
    meta mark set meta mark ^ 0x4000
    masquerade fully-random
  }}
  chain mark-for-masquerade {{
    meta mark set meta mark | 0x4000
  }}
  chain external-web {{
    jump mark-for-masquerade
    goto service-web
  }}
  chain service-web {{
    ip daddr 10.96.0.1 ip saddr != 10.244.1.0/24 jump mark-for-masquerade
    meta l4proto tcp dnat to numgen random mod 3 map {{ 0 : {one} . 8080, 1 : {two} . 8080, 2 : {far} . 8080 }}
  }}
}}
"
    )
}

/// Has a program of the node take a text.
fn feed(node: &NetNs, program: &str, arguments: &[&str], text: &str) {
    let run = || {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        child
            .stdin
            .take()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        assert!(child.wait().unwrap().success(), "{program} {text}");
    };
    node.run(run).unwrap();
}

/// What kube-proxy's mode makes of the service.
fn kube_proxy(mode: &str, node: &NetNs) {
    match mode {
        "iptables" => feed(node, "iptables-restore", &["--noflush"], &iptables_rules()),
        _ => feed(node, "nft", &["-f", "-"], &nftables_rules()),
    }
}

/// How much of kube-proxy's mode is there.
fn listing(mode: &str, node: &NetNs) -> usize {
    let (program, arguments, word): (_, &[&str], _) = match mode {
        "iptables" => ("iptables-save", &[], "KUBE-SEP-AAAAAAAAAAAAAAA"),
        _ => ("nft", &["list", "ruleset"], "service-web"),
    };
    let output = node.run(|| Command::new(program).args(arguments).output());
    let text = String::from_utf8(output.unwrap().unwrap().stdout).unwrap();
    text.matches(word).count()
}

/// Connections of everybody in IPv4.
fn established(site: &Site) -> Vec<(String, Connection)> {
    let mut all = Vec::new();
    for to in [vip(1, 0, 80), node_port(1, 0)] {
        for (who, client) in [
            ("pod", &site.two),
            ("node", &site.node),
            ("outside", &site.client),
        ] {
            let what = format!("{who} to {to}");
            let connection = Connection::open(client, to);
            let connection = connection.unwrap_or_else(|reply| panic!("{what}: {reply:?}"));
            all.push((what, connection));
        }
    }
    all
}

fn load(site: &Site) -> Load {
    Load::on([
        (&site.client, node_port(1, 0)),
        (&site.two, vip(1, 0, 80)),
        (&site.node, vip(1, 0, 80)),
    ])
}

fn go_on(all: &mut [(String, Connection)], when: &str) {
    for (what, connection) in all {
        assert!(connection.echoes(when), "{when}: {what}");
    }
}

fn serves(site: &Site, when: &str) {
    for to in [vip(1, 0, 80), node_port(1, 0)] {
        let reply = connect(&site.client, to);
        assert!(
            matches!(reply, Reply::From { .. }),
            "{when}: {to}: {reply:?}"
        );
    }
}

fn each(test: impl Fn(&str, &'static BackendSpec)) {
    for theirs in ["iptables", "nftables"] {
        for ours in [&nftables::SPEC, &iptables::SPEC, &userspace::SPEC] {
            test(theirs, ours);
        }
    }
}

#[test]
fn a_node_of_kube_proxy_is_taken_over_and_its_objects_are_removed_when_asked() {
    each(|theirs, ours| {
        let what = format!("{theirs} of kube-proxy, {} of ours", ours.name);
        let site = Site::new();
        kube_proxy(theirs, &site.node);
        let mut connections = established(&site);
        let load = load(&site);
        let before = listing(theirs, &site.node);
        let mut node = Node::at(site, ours);
        go_on(&mut connections, &what);
        let adopts = theirs == ours.name && theirs == "iptables";
        if !adopts {
            assert_eq!(
                listing(theirs, &node.site.node),
                before,
                "{what}: nobody asked"
            );
        }
        let removed = node.site.node.run(remove_kube_proxy).unwrap().unwrap();
        let has_kept = removed.iter().any(|r| matches!(r, Removal::Kept(_)));
        assert_eq!(has_kept, ours.name == "iptables", "{what}: {removed:?}");
        assert_eq!(listing(theirs, &node.site.node), 0, "{what}: {removed:?}");
        go_on(&mut connections, &what);
        let (made, failed) = load.end();
        assert_eq!(failed, Vec::<String>::new(), "{what}: of {made}");
        node.serves(&what);
        node.settle();
    });
}

#[test]
fn a_node_is_handed_back_to_kube_proxy() {
    for theirs in ["iptables", "nftables"] {
        let mut node = Node::new(&nftables::SPEC);
        let mut connections = established(&node.site);
        let load = load(&node.site);
        kube_proxy(theirs, &node.site.node);
        let succession = &mut node.succession;
        node.site
            .node
            .run(|| succession.cleanup())
            .unwrap()
            .unwrap();
        let (made, failed) = load.end();
        assert_eq!(failed, Vec::<String>::new(), "to {theirs}: of {made}");
        go_on(&mut connections, theirs);
        serves(&node.site, theirs);
        assert_eq!(node.noted(), BTreeSet::new());
    }
}
