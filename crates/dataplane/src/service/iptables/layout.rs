//! What is there whatever the services are: chains, and the jumps to them from
//! the chains that are built in.

use std::collections::BTreeSet;

use ipnet::IpNet;
use podway_kernel::iptables::{Rule, Table};
use podway_model::IpFamily;

use super::names::{
    CANARY, CLUSTER_IPS, EXTERNAL_SERVICES, FIREWALL, FORWARD, MARK_MASQ, MARK_MASQ_REMOTE,
    NODE_PORTS, POSTROUTING, SERVICES, cluster_ip_set,
};
use super::site::{Site, clear_mark, set_mark};
use crate::names::MASQUERADE_MARK;

/// The chains that are not listings.
pub(super) fn chains(
    site: &Site,
    service_prefixes: &BTreeSet<IpNet>,
) -> Vec<(Table, &'static str, Vec<Rule>)> {
    let mut chains = vec![
        (Table::Nat, POSTROUTING, postrouting()),
        (Table::Nat, MARK_MASQ, vec![Rule::new().jump(&set_mark())]),
        (Table::Filter, FORWARD, forward(site)),
        (
            Table::Filter,
            CLUSTER_IPS,
            cluster_ips(site, service_prefixes),
        ),
    ];
    if let Some(prefixes) = site.several_prefixes() {
        let mut rules: Vec<Rule> = prefixes
            .iter()
            .map(|prefix| Rule::new().source(*prefix).jump("RETURN"))
            .collect();
        rules.push(Rule::new().jump(MARK_MASQ));
        chains.push((Table::Nat, MARK_MASQ_REMOTE, rules));
    }
    // Empty: when somebody flushes our tables, they are gone with the rest.
    chains.extend(Table::ALL.map(|table| (table, CANARY, Vec::new())));
    chains
}

/// The jumps from a built-in chain, in order. They stand before the rules of
/// others.
pub(super) fn jumps(table: Table, chain: &str) -> Vec<Rule> {
    let begin = |comment| Rule::new().comment(comment);
    let new = |comment| {
        Rule::new()
            .matching("conntrack --ctstate NEW")
            .comment(comment)
    };
    let firewall = || new("kubernetes load balancer firewall").jump(FIREWALL);
    let portals = || new("kubernetes service portals").jump(SERVICES);
    let external = || {
        let rule = new("kubernetes externally-visible service portals");
        rule.jump(EXTERNAL_SERVICES)
    };
    let unserved = || new("cluster IPs without this port").jump(CLUSTER_IPS);
    match (table, chain) {
        (Table::Nat, "PREROUTING" | "OUTPUT") => {
            vec![begin("kubernetes service portals").jump(SERVICES)]
        }
        (Table::Nat, "POSTROUTING") => {
            vec![begin("kubernetes postrouting rules").jump(POSTROUTING)]
        }
        (Table::Filter, "INPUT") => vec![
            firewall(),
            begin("kubernetes health check service ports").jump(NODE_PORTS),
            external(),
        ],
        (Table::Filter, "FORWARD") => vec![
            firewall(),
            begin("kubernetes forwarding rules").jump(FORWARD),
            portals(),
            external(),
            unserved(),
        ],
        (Table::Filter, "OUTPUT") => vec![firewall(), portals(), external(), unserved()],
        _ => Vec::new(),
    }
}

/// What no frontend takes: a cluster IP exists only for its ports, and what
/// nobody has of the service prefixes must not leave by the default route.
pub(super) fn cluster_ips(site: &Site, service_prefixes: &BTreeSet<IpNet>) -> Vec<Rule> {
    // An endpoint may be a cluster IP itself: what was translated to it goes on.
    let translated = || {
        Rule::new()
            .matching("conntrack --ctstate DNAT")
            .jump("RETURN")
    };
    let set = cluster_ip_set(site.family);
    let wrong_port = Rule::new().matching(&format!("set --match-set {set} dst"));
    let mut rules = vec![translated(), wrong_port.jump(site.reject())];
    let of_family = service_prefixes
        .iter()
        .filter(|prefix| IpFamily::of(&prefix.addr()) == site.family);
    rules.extend(of_family.map(|prefix| {
        let unallocated = Rule::new().destination(*prefix);
        unallocated
            .comment("no service has this address")
            .jump("DROP")
    }));
    rules
}

fn postrouting() -> Vec<Rule> {
    let mark = format!("{MASQUERADE_MARK:#x}/{MASQUERADE_MARK:#x}");
    vec![
        Rule::new()
            .matching(&format!("mark ! --mark {mark}"))
            .jump("RETURN"),
        // A tunnel's outer packet inherits the mark, and must not be
        // masqueraded a second time.
        Rule::new().jump(&clear_mark()),
        Rule::new()
            .comment("kubernetes service traffic requiring SNAT")
            .jump("MASQUERADE --random-fully"),
    ]
}

fn forward(site: &Site) -> Vec<Rule> {
    let mark = format!("mark --mark {MASQUERADE_MARK:#x}/{MASQUERADE_MARK:#x}");
    let mut rules = Vec::new();
    if site.drop_invalid {
        // An answer outside the window is not translated back, and the client
        // would reset its connection for a packet that it knows nothing of.
        let invalid = Rule::new().matching("conntrack --ctstate INVALID");
        rules.push(invalid.jump("DROP"));
    }
    rules.push(
        Rule::new()
            .comment("kubernetes forwarding rules")
            .matching(&mark)
            .jump("ACCEPT"),
    );
    rules.push(
        Rule::new()
            .comment("kubernetes forwarding conntrack rule")
            .matching("conntrack --ctstate RELATED,ESTABLISHED")
            .jump("ACCEPT"),
    );
    rules
}
