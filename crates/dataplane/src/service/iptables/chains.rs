//! The chains of a service port, in kube-proxy's order and words.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use podway_kernel::iptables::Rule;
use podway_model::ServicePortName;
use podway_plan::service::{FrontendAddress, FrontendKind, Pool, PoolId, Reach, Route, Verdict};

use super::names::{self, MARK_MASQ};
use super::site::Site;
use super::unit::Said;

/// The endpoints that get connections and their weights, in the order of their
/// text, as kube-proxy has them.
pub(super) fn in_order(pool: &Pool) -> Vec<(SocketAddr, u32)> {
    let endpoints = pool.open();
    let mut endpoints: Vec<_> = endpoints
        .map(|(address, endpoint)| (*address, u32::from(endpoint.weight)))
        .collect();
    endpoints.sort_by_cached_key(|(address, _)| address.to_string());
    endpoints
}

/// KUBE-SVC and KUBE-SVL: whom to masquerade, who is remembered, and whom
/// chance decides.
pub(super) fn of_pool(said: &Said<'_>, reach: Reach, pool: &Pool, site: &Site) -> Vec<Rule> {
    let mut rules: Vec<Rule> = said
        .routes
        .iter()
        .filter(|(_, route)| route.kind == FrontendKind::ClusterIp)
        .filter(|(_, route)| forward(route).is_some_and(|pool| pool.reach == reach))
        .filter_map(|(frontend, route)| match frontend.address {
            FrontendAddress::Ip(address) => {
                let (begin, target) = masquerade(route, address, site)?;
                let protocol = frontend.protocol.name();
                let rule = begin
                    .protocol(protocol)
                    .comment(&format!("{} cluster IP", said.service))
                    .destination_port(protocol, frontend.port);
                Some(rule.jump(target))
            }
            FrontendAddress::Node(_) => None,
        })
        .collect();
    let endpoints = in_order(pool);
    let to_endpoint = |address: SocketAddr| {
        let rule = Rule::new().comment(&format!("{} -> {address}", said.service));
        (rule, names::endpoint(said.service, address))
    };
    if pool.affinity.is_some() {
        for (address, _) in &endpoints {
            let (rule, chain) = to_endpoint(*address);
            let known = rule.matching(&format!("set --match-set {chain} src"));
            rules.push(known.jump(&chain));
        }
    }
    // Of those that come this far, each takes its weight's part; where all
    // weigh the same, that is one in as many as are left.
    let mut rest: u32 = endpoints.iter().map(|(_, weight)| weight).sum();
    for (address, weight) in endpoints {
        let (rule, chain) = to_endpoint(address);
        let rule = if rest > weight {
            rule.chance(weight, rest)
        } else {
            rule
        };
        rest -= weight;
        rules.push(rule.jump(&chain));
    }
    rules
}

/// KUBE-SEP: an endpoint that talks to itself, the client's remembrance, and
/// the translation.
pub(super) fn of_endpoint(
    service: &ServicePortName,
    address: SocketAddr,
    pool: &Pool,
) -> Vec<Rule> {
    let comment = service.to_string();
    let protocol = service.protocol.name();
    let mut rules = vec![
        Rule::new()
            .source(address.ip().into())
            .comment(&comment)
            .jump(MARK_MASQ),
    ];
    if let Some(time) = pool.affinity {
        let set = names::endpoint(service, address);
        let seconds = time.as_secs();
        rules.push(Rule::new().comment(&comment).jump(&format!(
            "SET --add-set {set} src --exist --timeout {seconds}"
        )));
    }
    rules.push(
        Rule::new()
            .protocol(protocol)
            .comment(&comment)
            .transport(protocol)
            .translate(address.ip(), address.port()),
    );
    rules
}

/// KUBE-EXT. Every frontend outside the cluster network has the same verdicts:
/// the external traffic policy is the service's.
pub(super) fn external(route: &Route, site: &Site) -> Vec<Rule> {
    let destinations = format!("{} external destinations", route.service);
    let (pod, node, outside) = (&route.from_pod, &route.from_node, &route.from_outside);
    let mut rules = Vec::new();
    if pod != outside {
        for begin in site.pods_source() {
            let comment = format!("pod traffic for {destinations}");
            let sources = Sources {
                begin,
                kind: None,
                mark: &comment,
                go: Some(&comment),
            };
            rules.extend(sources.rules(pod));
        }
    }
    if node != outside {
        let sources = Sources {
            begin: Rule::new(),
            kind: Some("addrtype --src-type LOCAL"),
            mark: &format!("masquerade LOCAL traffic for {destinations}"),
            go: Some(&format!("route LOCAL traffic for {destinations}")),
        };
        rules.extend(sources.rules(node));
    }
    let sources = Sources {
        begin: Rule::new(),
        kind: None,
        mark: &format!("masquerade traffic for {destinations}"),
        go: None,
    };
    rules.extend(sources.rules(outside));
    rules
}

/// A kind of source in KUBE-EXT.
struct Sources<'c> {
    begin: Rule,
    kind: Option<&'c str>,
    /// The comment where it is masqueraded.
    mark: &'c str,
    /// The comment where it goes on.
    go: Option<&'c str>,
}

impl Sources<'_> {
    fn rules(&self, verdict: &Verdict) -> Vec<Rule> {
        match verdict {
            Verdict::Forward { pool, masquerade } => {
                let mark = masquerade.then(|| self.rule(Some(self.mark), MARK_MASQ));
                let chain = names::pool(&pool.service, pool.reach);
                mark.into_iter()
                    .chain([self.rule(self.go, &chain)])
                    .collect()
            }
            // It stays untranslated, so that filter finds and refuses it.
            Verdict::Reject | Verdict::Drop => {
                let comment = "refused by KUBE-EXTERNAL-SERVICES";
                vec![self.rule(Some(comment), "ACCEPT")]
            }
        }
    }

    fn rule(&self, comment: Option<&str>, target: &str) -> Rule {
        let mut rule = self.begin.clone();
        if let Some(comment) = comment {
            rule = rule.comment(comment);
        }
        if let Some(kind) = self.kind {
            rule = rule.matching(kind);
        }
        rule.jump(target)
    }
}

/// KUBE-FW in nat: who may.
pub(super) fn admission(route: &Route, prefixes: &[IpNet]) -> Vec<Rule> {
    let service = &route.service;
    let to = names::external(service);
    let admit = |prefix: &IpNet| {
        let rule = Rule::new().source(*prefix);
        rule.comment(&format!("{service} loadbalancer IP"))
            .jump(&to)
    };
    let mut rules: Vec<Rule> = prefixes.iter().map(admit).collect();
    let rest = format!("other traffic to {service} will be dropped by KUBE-PROXY-FIREWALL");
    rules.push(Rule::new().comment(&rest).jump("ACCEPT"));
    rules
}

/// KUBE-FW in filter: who may is told that there is no endpoint, by
/// KUBE-EXTERNAL-SERVICES.
pub(super) fn selection(route: &Route, prefixes: &[IpNet]) -> Vec<Rule> {
    let comment = format!("{} loadbalancer IP", route.service);
    let admit = |prefix: &IpNet| {
        let rule = Rule::new().source(*prefix);
        rule.comment(&comment).jump("RETURN")
    };
    let mut rules: Vec<Rule> = prefixes.iter().map(admit).collect();
    rules.push(Rule::new().comment(&comment).jump("DROP"));
    rules
}

/// The chain that a cluster IP leads to; `None` where it leads nowhere.
pub(super) fn internal(route: &Route) -> Option<Arc<str>> {
    forward(route).map(|pool| names::pool(&pool.service, pool.reach))
}

/// The pool of a cluster IP: the internal traffic policy knows no sources.
fn forward(route: &Route) -> Option<&PoolId> {
    match &route.from_outside {
        Verdict::Forward { pool, .. } => Some(pool),
        Verdict::Reject | Verdict::Drop => None,
    }
}

/// Who is masqueraded on the way to a cluster IP: how the rule begins, and
/// where it jumps.
fn masquerade(route: &Route, address: IpAddr, site: &Site) -> Option<(Rule, &'static str)> {
    let masqueraded = |verdict: &Verdict| {
        matches!(
            verdict,
            Verdict::Forward {
                masquerade: true,
                ..
            }
        )
    };
    if masqueraded(&route.from_pod) {
        return Some((Rule::new().destination(address.into()), MARK_MASQ));
    }
    masqueraded(&route.from_outside).then(|| site.remote(address))
}
