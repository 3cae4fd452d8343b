//! The rules. They name sets, and so do not depend on the services: iptables is
//! not run when a service changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;
use podway_kernel::iptables::{Rule, Table};
use podway_model::IpFamily;

use super::names::{
    FILTER, FIREWALL, FORWARD, Kind, LOAD_BALANCER, MARK_MASQ, MARK_MASQ_REMOTE, NODE_PORT,
    OUT_FILTER, POSTROUTING, SERVICES, SHORT_CIRCUIT, SOURCE_RANGES, Set,
};
use super::site::{Site, clear_mark, set_mark};
use crate::names::MASQUERADE_MARK;

/// Our chains with their rules.
pub(super) type Chains = BTreeMap<(Table, Arc<str>), Vec<Rule>>;

/// Whose connections to cluster IPs are masqueraded. The same for all services,
/// as the node's context says it for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ClusterMasquerade {
    /// The node's own: they come from the cluster IP itself, which is local.
    Node,
    /// Everybody's but those of pods of this node.
    Remote,
    /// Everybody's.
    Everybody,
}

/// The matches that a rule needs to be of one kind of packets.
struct Sets(IpFamily);

impl Sets {
    fn of(&self, kind: Kind) -> String {
        Set::new(kind, self.0).matching()
    }

    /// A rule about the members of a set.
    fn rule(&self, kind: Kind) -> Rule {
        Rule::new().matching(&self.of(kind))
    }
}

/// The chains that should be there.
pub(super) fn chains(
    site: &Site,
    masquerade: ClusterMasquerade,
    service_prefixes: &BTreeSet<IpNet>,
) -> Chains {
    let mut chains = Chains::new();
    let mut put = |table, chain: &str, rules| chains.insert((table, chain.into()), rules);
    put(Table::Nat, SERVICES, services(site, masquerade));
    put(Table::Nat, LOAD_BALANCER, load_balancer(site));
    put(Table::Nat, NODE_PORT, node_port_masquerade(site));
    put(Table::Nat, POSTROUTING, postrouting(site));
    put(Table::Nat, MARK_MASQ, vec![Rule::new().jump(&set_mark())]);
    if masquerade == ClusterMasquerade::Remote && site.others().is_none() {
        let pods = site.pods().into_iter();
        let mut rules: Vec<Rule> = pods.map(|rule| rule.jump("RETURN")).collect();
        rules.push(Rule::new().jump(MARK_MASQ));
        put(Table::Nat, MARK_MASQ_REMOTE, rules);
    }
    put(Table::Filter, FORWARD, forward());
    put(Table::Filter, NODE_PORT, health_checks(site));
    put(Table::Filter, FILTER, filter(site));
    put(
        Table::Filter,
        OUT_FILTER,
        unallocated(site, service_prefixes),
    );
    put(Table::Mangle, OUT_FILTER, drops_of_node(site));
    // A connection of the node itself is translated before table filter.
    for table in [Table::Filter, Table::Mangle] {
        put(table, FIREWALL, firewall(site));
        put(table, SOURCE_RANGES, source_ranges(site));
    }
    put(Table::Mangle, SHORT_CIRCUIT, short_circuit(site));
    chains
}

/// The jumps from a built-in chain, in order. They stand before the rules of
/// others.
pub(super) fn jumps(table: Table, chain: &str, site: &Site) -> Vec<Rule> {
    let new = |comment| {
        Rule::new()
            .matching("conntrack --ctstate NEW")
            .comment(comment)
    };
    let begin = |comment| Rule::new().comment(comment);
    let firewall = || new("kube-proxy firewall rules").jump(FIREWALL);
    match (table, chain) {
        (Table::Nat, "PREROUTING" | "OUTPUT") => {
            vec![begin("kubernetes service portals").jump(SERVICES)]
        }
        (Table::Nat, "POSTROUTING") => {
            vec![begin("kubernetes postrouting rules").jump(POSTROUTING)]
        }
        (Table::Filter, "INPUT") => vec![
            firewall(),
            new("kubernetes ipvs access filter").jump(FILTER),
            begin("kubernetes health check rules").jump(NODE_PORT),
        ],
        (Table::Filter, "FORWARD") => vec![
            begin("kubernetes forwarding rules").jump(FORWARD),
            new("cluster IPs of no service").jump(OUT_FILTER),
        ],
        (Table::Filter, "OUTPUT") => vec![new("cluster IPs of no service").jump(OUT_FILTER)],
        (Table::Mangle, "INPUT") => {
            let pods = site.pods().into_iter();
            pods.map(|rule| {
                rule.matching("conntrack --ctstate NEW")
                    .comment("other endpoints for pods of this node")
                    .jump(SHORT_CIRCUIT)
            })
            .collect()
        }
        (Table::Mangle, "OUTPUT") => vec![
            firewall(),
            new("kubernetes ipvs access filter").jump(OUT_FILTER),
        ],
        _ => Vec::new(),
    }
}

/// Who is masqueraded. What ends here goes to IPVS, or is refused in table
/// filter; a chain of others that translates comes too late, as it should.
fn services(site: &Site, masquerade: ClusterMasquerade) -> Vec<Rule> {
    let sets = Sets(site.family);
    let local = |kind| {
        Rule::new()
            .matching("addrtype --src-type LOCAL")
            .matching(&sets.of(kind))
    };
    let mut rules = vec![
        Rule::new().source(site.loopback()).jump("RETURN"),
        Rule::new()
            .comment("Kubernetes service lb portal")
            .matching(&sets.of(Kind::LoadBalancer))
            .jump(LOAD_BALANCER),
    ];
    rules.extend(cluster_masquerade(site, masquerade));
    rules.push(
        Rule::new()
            .comment("Kubernetes service external ip + port for masquerade and filter purpose")
            .matching(&sets.of(Kind::ExternalIp))
            .jump(MARK_MASQ),
    );
    rules.push(local(Kind::ExternalIpLocal).jump(MARK_MASQ));
    for kind in [
        Kind::ExternalIp,
        Kind::ExternalIpLocal,
        Kind::ClusterIp,
        Kind::LoadBalancer,
    ] {
        rules.push(sets.rule(kind).jump("ACCEPT"));
    }
    rules.push(
        Rule::new()
            .matching("addrtype --dst-type LOCAL")
            .jump(NODE_PORT),
    );
    rules
}

fn cluster_masquerade(site: &Site, masquerade: ClusterMasquerade) -> Vec<Rule> {
    let cluster_ips = |rule: Rule| {
        rule.comment("Kubernetes service cluster ip + port for masquerade purpose")
            .matching(&Set::new(Kind::ClusterIp, site.family).matching())
    };
    let of_node = cluster_ips(Rule::new())
        .matching("addrtype --src-type LOCAL")
        .jump(MARK_MASQ);
    match masquerade {
        ClusterMasquerade::Everybody => vec![cluster_ips(Rule::new()).jump(MARK_MASQ)],
        ClusterMasquerade::Node => vec![of_node],
        ClusterMasquerade::Remote => match site.others() {
            // The node's own source may lie within the pods' prefix.
            Some(rule) => vec![cluster_ips(rule).jump(MARK_MASQ), of_node],
            None => vec![cluster_ips(Rule::new()).jump(MARK_MASQ_REMOTE), of_node],
        },
    }
}

fn load_balancer(site: &Site) -> Vec<Rule> {
    let sets = Sets(site.family);
    vec![
        Rule::new()
            .matching("addrtype --src-type LOCAL")
            .jump(MARK_MASQ),
        Rule::new()
            .comment("Kubernetes service load balancer ip + port with externalTrafficPolicy=local")
            .matching(&sets.of(Kind::LoadBalancerLocal))
            .jump("RETURN"),
        Rule::new().jump(MARK_MASQ),
    ]
}

fn node_port_masquerade(site: &Site) -> Vec<Rule> {
    let mut rules = Vec::new();
    for (protocol, local, all) in [
        ("tcp", Kind::NodePortLocalTcp, Kind::NodePortTcp),
        ("udp", Kind::NodePortLocalUdp, Kind::NodePortUdp),
        ("sctp", Kind::NodePortLocalSctp, Kind::NodePortSctp),
    ] {
        let of = |kind| Set::new(kind, site.family).matching();
        rules.push(
            Rule::new()
                .protocol(protocol)
                .comment(&format!(
                    "Kubernetes nodeport {} port with externalTrafficPolicy=local",
                    protocol.to_uppercase()
                ))
                .matching(&of(local))
                .matching("addrtype ! --src-type LOCAL")
                .jump("RETURN"),
        );
        rules.push(
            Rule::new()
                .protocol(protocol)
                .comment(&format!(
                    "Kubernetes nodeport {} port for masquerade purpose",
                    protocol.to_uppercase()
                ))
                .matching(&of(all))
                .jump(MARK_MASQ),
        );
    }
    rules
}

fn postrouting(site: &Site) -> Vec<Rule> {
    let mark = format!("{MASQUERADE_MARK:#x}/{MASQUERADE_MARK:#x}");
    vec![
        Rule::new()
            .comment("Kubernetes endpoints dst ip:port, source ip for solving hairpin purpose")
            .matching(&Set::new(Kind::LoopBack, site.family).matching())
            .jump("MASQUERADE"),
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

fn forward() -> Vec<Rule> {
    let mark = format!("mark --mark {MASQUERADE_MARK:#x}/{MASQUERADE_MARK:#x}");
    vec![
        Rule::new()
            .comment("kubernetes forwarding rules")
            .matching(&mark)
            .jump("ACCEPT"),
        Rule::new()
            .comment("kubernetes forwarding conntrack rule")
            .matching("conntrack --ctstate RELATED,ESTABLISHED")
            .jump("ACCEPT"),
    ]
}

fn health_checks(site: &Site) -> Vec<Rule> {
    let rule = Rule::new().comment("Kubernetes health check node port");
    let checks = Set::new(Kind::HealthCheck, site.family).matching();
    vec![rule.matching(&checks).jump("ACCEPT")]
}

/// What IPVS must not see, or does not serve. The node's own connections have
/// been judged before (see [`drops_of_node`]), if IPVS took them.
fn filter(site: &Site) -> Vec<Rule> {
    let sets = Sets(site.family);
    let mut rules = vec![];
    for pods in site.pods() {
        let dropped = pods.clone().matching(&sets.of(Kind::DropPod));
        rules.push(dropped.jump("DROP"));
    }
    // Pods have a set of their own, where they can be told from others.
    let outside = || {
        Rule::new()
            .matching("addrtype ! --src-type LOCAL")
            .matching(&sets.of(Kind::DropOutside))
    };
    match (site.pods().is_empty(), site.others()) {
        (true, _) => rules.push(outside().jump("DROP")),
        (false, Some(rule)) => rules.push(
            rule.matching("addrtype ! --src-type LOCAL")
                .matching(&sets.of(Kind::DropOutside))
                .jump("DROP"),
        ),
        (false, None) => {
            let pods = site.pods().into_iter();
            rules
                .extend(pods.map(|rule| rule.matching(&sets.of(Kind::DropOutside)).jump("RETURN")));
            rules.push(outside().jump("DROP"));
        }
    }
    for kind in [
        Kind::LoadBalancer,
        Kind::ClusterIp,
        Kind::ExternalIp,
        Kind::ExternalIpLocal,
        Kind::HealthCheck,
    ] {
        rules.push(sets.rule(kind).jump("RETURN"));
    }
    for kind in [Kind::Reject, Kind::Addresses] {
        rules.push(sets.rule(kind).jump(site.reject()));
    }
    rules
}

/// What the node itself must not reach. IPVS takes its connections in the hook
/// of locally made packets, before table filter sees them.
fn drops_of_node(site: &Site) -> Vec<Rule> {
    let sets = Sets(site.family);
    let short_circuit = format!(
        "SET --map-set {} dst,dst --map-mark",
        Set::new(Kind::ShortCircuitNode, site.family)
    );
    vec![
        sets.rule(Kind::DropNode).jump("DROP"),
        sets.rule(Kind::ShortCircuitNode).jump(&short_circuit),
    ]
}

fn short_circuit(site: &Site) -> Vec<Rule> {
    let set = Set::new(Kind::ShortCircuitPod, site.family);
    let rule = Rule::new().matching(&set.matching());
    vec![rule.jump(&format!("SET --map-set {set} dst,dst --map-mark"))]
}

fn firewall(site: &Site) -> Vec<Rule> {
    let rule = Rule::new()
        .comment("Kubernetes service load balancer ip + port for load balancer with sourceRange");
    let set = Set::new(Kind::LoadBalancerFirewall, site.family);
    vec![rule.matching(&set.matching()).jump(SOURCE_RANGES)]
}

fn source_ranges(site: &Site) -> Vec<Rule> {
    let sets = Sets(site.family);
    vec![
        sets.rule(Kind::LoadBalancerSourcePrefix).jump("RETURN"),
        sets.rule(Kind::LoadBalancerSourceIp).jump("RETURN"),
        Rule::new().jump("DROP"),
    ]
}

/// What nobody has of the service prefixes must not leave by the default route.
/// Cluster IPs that a service has are local, and so never forwarded.
fn unallocated(site: &Site, service_prefixes: &BTreeSet<IpNet>) -> Vec<Rule> {
    let known = Set::new(Kind::Addresses, site.family);
    let of_family = service_prefixes
        .iter()
        .filter(|prefix| IpFamily::of(&prefix.addr()) == site.family);
    of_family
        .map(|prefix| {
            Rule::new()
                .destination(*prefix)
                .comment("no service has this address")
                .matching(&format!("set ! --match-set {known} dst"))
                .jump("DROP")
        })
        .collect()
}
