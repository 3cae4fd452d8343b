//! The chains. The order is that of a packet's way.

use std::net::Ipv6Addr;

use ipnet::IpNet;
use podway_kernel::nft::{Chain, ChainType, Field, Hook, Rule, Value};
use podway_model::IpFamily;
use podway_plan::policy::Direction;

use super::{ALLOWED, Map, digit};
use crate::policy::{DenialReason, Established, PolicyOptions, SUSPECT_CONNECTION_MARK};

const ICMP6: u8 = 58;
/// Router solicitation to redirect: RFC 4861 section 4.
const NEIGHBOUR_DISCOVERY: (u8, u8) = (133, 137);

/// Where a connection goes on that is allowed.
const ACCEPTED: &str = "allowed";
/// Where packets go whose connection was allowed before.
const KNOWN: &str = "known";
/// How packets are logged that a pod sends from somebody else's address.
const FORGED: &str = "forged";
/// Where those go whose connection is judged again.
const AGAIN: &str = "again";

/// What is still in the input hook then is for the node itself.
const AFTER_IPVS: i32 = 110;

/// Which side of a connection a packet comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Way {
    /// From who opened it.
    There,
    /// The answers.
    Back,
}

/// Every chain.
pub(in super::super) fn chains(options: &PolicyOptions) -> Vec<(Chain, Vec<Rule>)> {
    let mut chains = hooks();
    let anti_spoofing = options.anti_spoofing.into_iter();
    chains.extend(anti_spoofing.flat_map(|group| from_pods(group, options.log)));
    chains.push(regular(KNOWN, known(options.established)));
    if options.established == Established::Cut {
        chains.push(regular(AGAIN, again()));
        chains.push(regular(&answers(AGAIN), again_answers()));
    }
    chains.extend(judging(Way::There, options.log));
    if options.established == Established::Cut {
        chains.extend(judging(Way::Back, options.log));
    }
    chains.push(regular(ACCEPTED, vec![Rule::new().priority(0)]));
    chains
}

fn regular(name: &str, rules: Vec<Rule>) -> (Chain, Vec<Rule>) {
    (Chain::regular(name), rules)
}

/// Only a connection's first packet is judged.
fn hooks() -> Vec<(Chain, Vec<Rule>)> {
    let known = || {
        Rule::new()
            .is(Field::CtState, Value::STATE_ESTABLISHED_RELATED)
            .goto(KNOWN)
    };
    let forward = vec![
        known(),
        Rule::new().jump(&entry(Direction::Egress, Way::There)),
        Rule::new().jump(&entry(Direction::Ingress, Way::There)),
    ];
    let input = vec![
        // What the node itself opened is not asked, and neither are its answers.
        Rule::new().is(Field::CtDirection, Value::REPLY).accept(),
        known(),
        neighbour_discovery(),
        Rule::new().jump(&entry(Direction::Egress, Way::There)),
    ];
    // A connection to a service of IPVS is addressed to the node. IPVS takes it
    // out of the input hook, at 99, and sends it on from the output hook.
    let translated = vec![
        Rule::new().is(Field::FibSaddrType, Value::LOCAL).accept(),
        known(),
        Rule::new().jump(&entry(Direction::Egress, Way::There)),
        Rule::new().jump(&entry(Direction::Ingress, Way::There)),
    ];
    let base = |name, hook, priority| Chain::base(name, ChainType::Filter, hook, priority);
    vec![
        (base("forward", Hook::Forward, 0), forward),
        (base("input", Hook::Input, AFTER_IPVS), input),
        (base("translated", Hook::Output, 0), translated),
    ]
}

/// Before connections are tracked, so that nothing forged is on record.
fn from_pods(interfaces: u32, log: Option<u16>) -> [(Chain, Vec<Rule>); 2] {
    const FROM_PODS: &str = "from-pods";
    // Before `raw`, where others may exempt packets from tracking.
    const BEFORE_RAW: i32 = -310;
    let arriving = Rule::new()
        .is(Field::IifGroup, Value::InterfaceGroup(interfaces))
        .goto(FROM_PODS);
    let hook = Chain::base("arriving", ChainType::Filter, Hook::Prerouting, BEFORE_RAW);
    let link_local = IpNet::new(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0).into(), 10);
    let mut rules = vec![
        neighbour_discovery(),
        // No policy knows these addresses, and the node has one as well.
        Rule::new()
            .within(
                Field::Ip6Saddr,
                link_local.expect("no prefix of IPv6 is longer than 128"),
            )
            .counter()
            .drop(),
    ];
    // Each pod has a route to its addresses, by its own interface.
    let forged = || Rule::new().is(Field::FibSaddrIifOif, Value::MISSING);
    rules.extend(log.map(|group| copy(forged(), FORGED, group)));
    rules.push(forged().counter().drop());
    [(hook, vec![arriving]), regular(FROM_PODS, rules)]
}

/// A pod must find the node's link address whatever it may reach.
fn neighbour_discovery() -> Rule {
    let (first, last) = NEIGHBOUR_DISCOVERY;
    Rule::new()
        .is(Field::L4Proto, Value::Protocol(ICMP6))
        .between(
            Field::Icmp6Type,
            Value::Icmp6Type(first),
            Value::Icmp6Type(last),
        )
        .accept()
}

/// A connection that was allowed stays so, unless a policy changed since that
/// one of its addresses depends on.
fn known(established: Established) -> Vec<Rule> {
    let mut rules = Vec::new();
    if established == Established::Cut {
        // An error about a connection follows from it and cannot carry one on.
        rules.push(
            Rule::new()
                .is(Field::CtState, Value::STATE_RELATED)
                .accept(),
        );
        rules.push(
            Rule::new()
                .connection_marked(SUSPECT_CONNECTION_MARK)
                .goto(AGAIN),
        );
        for family in IpFamily::ALL {
            for field in [source(family), destination(family)] {
                let suspects = Map::Suspects(family).name();
                rules.push(Rule::new().lookup([field], &suspects).goto(AGAIN));
            }
        }
    }
    rules.push(Rule::new().accept());
    rules
}

/// Whatever comes back from being judged is allowed.
fn again() -> Vec<Rule> {
    let mut rules = vec![
        Rule::new()
            .is(Field::CtDirection, Value::REPLY)
            .goto(&answers(AGAIN)),
    ];
    rules.extend(judge_again(Way::There));
    rules
}

fn again_answers() -> Vec<Rule> {
    judge_again(Way::Back)
}

fn judge_again(way: Way) -> Vec<Rule> {
    vec![
        Rule::new().jump(&entry(Direction::Egress, way)),
        Rule::new().jump(&entry(Direction::Ingress, way)),
        Rule::new()
            .connection_unmark(SUSPECT_CONNECTION_MARK)
            .accept(),
    ]
}

/// The chains that judge the packets of one way.
fn judging(way: Way, log: Option<u16>) -> Vec<(Chain, Vec<Rule>)> {
    let mut chains = Vec::new();
    for direction in Direction::ALL {
        let enter = IpFamily::ALL.map(|family| {
            Rule::new()
                .lookup(
                    [pod(direction, way, family)],
                    &Map::Pods(direction, family).name(),
                )
                .goto(&isolated(direction, way, family))
        });
        chains.push(regular(&entry(direction, way), enter.to_vec()));
        for family in IpFamily::ALL {
            let name = isolated(direction, way, family);
            let mut rules = judge(direction, way, family);
            rules.extend(log.map(|group| copy(Rule::new(), &entry(direction, way), group)));
            rules.extend(deny(direction, way, family));
            chains.push(regular(&name, rules));
        }
    }
    chains
}

/// The packet's priority carries the peer's group from one map to the next, and
/// the list of ports behind it: it is the only register that nft's text has. It
/// begins at 0, no class, because a pod may set the priority of what it sends.
///
/// A map without an answer ends its rule and leaves the class as it was; then
/// the rules that follow find nothing either, for groups, lists and what they
/// mean are classes apart.
fn judge(direction: Direction, way: Way, family: IpFamily) -> Vec<Rule> {
    let (pod, peer) = (pod(direction, way, family), peer(direction, way, family));
    let name = |map: Map| map.name();
    let mut rules = vec![
        Rule::new().priority(0),
        Rule::new().priority_from([peer], &name(Map::Groups(family))),
        Rule::new().priority_from([Field::Priority, pod], &name(Map::Peers(direction, family))),
    ];
    rules.extend(ask_ports(way));
    rules.push(Rule::new().priority_from([pod, peer], &name(Map::Blocks(direction, family))));
    rules.extend(ask_ports(way));
    rules.push(Rule::new().priority_from([pod], &name(Map::Anybody(direction, family))));
    rules.extend(ask_ports(way));
    rules
}

/// The first counts for the pod.
fn deny(direction: Direction, way: Way, family: IpFamily) -> [Rule; 2] {
    let pod = pod(direction, way, family);
    let count = Rule::new().lookup([pod], &Map::Denied(direction, family).name());
    [count.drop(), Rule::new().drop()]
}

/// A copy of the packet's headers for whoever reads the log, of many packets
/// only some.
fn copy(rule: Rule, prefix: &str, group: u16) -> Rule {
    const EACH_SECOND: u32 = 10;
    const BURST: u32 = 20;
    const HEADERS: u32 = 128;
    rule.limit(EACH_SECOND, BURST).log(prefix, group, HEADERS)
}

/// What is logged with a packet says who denied it.
pub(in super::super) fn reason_of(prefix: &str) -> Option<(DenialReason, Way)> {
    if prefix == FORGED {
        return Some((DenialReason::Forged, Way::There));
    }
    let ways = [Way::There, Way::Back];
    let entries = Direction::ALL
        .into_iter()
        .flat_map(|direction| ways.map(|way| (direction, way)));
    entries
        .filter(|(direction, way)| entry(*direction, *way) == prefix)
        .map(|(direction, way)| (DenialReason::Policies(direction), way))
        .next()
}

fn ask_ports(way: Way) -> [Rule; 2] {
    let port = match way {
        Way::There => Field::ThDport,
        Way::Back => Field::ThSport,
    };
    [
        Rule::new()
            .priority_from_ranges([Field::Priority, Field::L4Proto, port], &Map::Ports.name()),
        Rule::new()
            .is(Field::Priority, Value::Class(ALLOWED))
            .goto(ACCEPTED),
    ]
}

/// The chain that finds out whether a pod is isolated.
fn entry(direction: Direction, way: Way) -> String {
    named(direction.to_string(), way)
}

/// The chain that judges an isolated pod.
fn isolated(direction: Direction, way: Way, family: IpFamily) -> String {
    named(format!("{direction}-isolated{}", digit(family)), way)
}

fn named(name: String, way: Way) -> String {
    match way {
        Way::There => name,
        Way::Back => answers(&name),
    }
}

fn answers(name: &str) -> String {
    format!("{name}-answers")
}

/// The field of the side that policies isolate.
const fn pod(direction: Direction, way: Way, family: IpFamily) -> Field {
    match (direction, way) {
        (Direction::Ingress, Way::There) | (Direction::Egress, Way::Back) => destination(family),
        (Direction::Egress, Way::There) | (Direction::Ingress, Way::Back) => source(family),
    }
}

/// The field of the other side.
const fn peer(direction: Direction, way: Way, family: IpFamily) -> Field {
    match (direction, way) {
        (Direction::Ingress, Way::There) | (Direction::Egress, Way::Back) => source(family),
        (Direction::Egress, Way::There) | (Direction::Ingress, Way::Back) => destination(family),
    }
}

const fn source(family: IpFamily) -> Field {
    match family {
        IpFamily::V4 => Field::IpSaddr,
        IpFamily::V6 => Field::Ip6Saddr,
    }
}

const fn destination(family: IpFamily) -> Field {
    match family {
        IpFamily::V4 => Field::IpDaddr,
        IpFamily::V6 => Field::Ip6Daddr,
    }
}
