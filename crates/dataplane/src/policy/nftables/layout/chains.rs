//! The chains. The order is that of a packet's way.

use std::net::Ipv6Addr;

use ipnet::IpNet;
use podway_kernel::nft::{Chain, ChainType, Field, Hook, Rule, Value};
use podway_model::IpFamily;
use podway_plan::policy::Direction;

use super::{ALLOWED, DENIED, Gate, Map, digit};
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

/// A packet leaves a pod before it arrives at one.
const ENFORCED: [Gate; 2] = [
    Gate::enforced(Direction::Egress),
    Gate::enforced(Direction::Ingress),
];
const AUDIT: [Gate; 2] = [
    Gate::audit(Direction::Egress),
    Gate::audit(Direction::Ingress),
];

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
    let mut judges: Vec<Judge> = ENFORCED.map(|gate| Judge::new(gate, Way::There)).into();
    if options.established == Established::Cut {
        judges.extend(ENFORCED.map(|gate| Judge::new(gate, Way::Back)));
    }
    judges.extend(AUDIT.map(|gate| Judge::new(gate, Way::There)));
    chains.extend(judges.iter().flat_map(|judge| judge.chains(options.log)));
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
    let jump = |gate| Rule::new().jump(&Judge::new(gate, Way::There).entry());
    // What passes is asked about once more, for those who only want to know.
    let judged = || ENFORCED.into_iter().chain(AUDIT).map(jump);
    let forward = [known()].into_iter().chain(judged()).collect();
    let input = vec![
        // What the node itself opened is not asked, and neither are its answers.
        Rule::new().is(Field::CtDirection, Value::REPLY).accept(),
        known(),
        neighbour_discovery(),
        jump(Gate::enforced(Direction::Egress)),
        jump(Gate::audit(Direction::Egress)),
    ];
    // A connection to a service of IPVS is addressed to the node. IPVS takes it
    // out of the input hook, at 99, and sends it on from the output hook.
    let own = Rule::new().is(Field::FibSaddrType, Value::LOCAL).accept();
    let translated = [own, known()].into_iter().chain(judged()).collect();
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
    let jump = |gate| Rule::new().jump(&Judge::new(gate, way).entry());
    let allowed = Rule::new()
        .connection_unmark(SUSPECT_CONNECTION_MARK)
        .accept();
    ENFORCED.into_iter().map(jump).chain([allowed]).collect()
}

/// Judges the packets of one way at one gate.
#[derive(Debug, Clone, Copy)]
struct Judge {
    gate: Gate,
    way: Way,
}

impl Judge {
    const fn new(gate: Gate, way: Way) -> Self {
        Self { gate, way }
    }

    fn chains(&self, log: Option<u16>) -> Vec<(Chain, Vec<Rule>)> {
        let enter = IpFamily::ALL.map(|family| {
            Rule::new()
                .lookup([self.pod(family)], &Map::Pods(self.gate, family).name())
                .goto(&self.chain("isolated", family))
        });
        let mut chains = vec![regular(&self.entry(), enter.to_vec())];
        for family in IpFamily::ALL {
            chains.push(regular(&self.chain("isolated", family), self.judge(family)));
            let mut denied: Vec<Rule> = log
                .map(|group| copy(Rule::new(), &self.entry(), group))
                .into_iter()
                .collect();
            denied.extend(self.deny(family));
            chains.push(regular(&self.chain("denied", family), denied));
        }
        chains
    }

    /// The packet's priority carries the peer's group from one map to the next,
    /// and the list of ports behind it: it is the only register that nft's text
    /// has. It begins at 0, no class, because a pod may set the priority of what
    /// it sends.
    ///
    /// A map without an answer ends its rule and leaves the class as it was; then
    /// the rules that follow find nothing either, for groups, lists and what they
    /// mean are classes apart.
    fn judge(&self, family: IpFamily) -> Vec<Rule> {
        let (pod, peer, gate) = (self.pod(family), self.peer(family), self.gate);
        let name = |map: Map| map.name();
        let steps = [
            vec![
                Rule::new().priority(0),
                Rule::new().priority_from([peer], &name(Map::Groups(family))),
                Rule::new().priority_from([Field::Priority, pod], &name(Map::Peers(gate, family))),
            ],
            vec![Rule::new().priority_from([pod, peer], &name(Map::Blocks(gate, family)))],
            vec![Rule::new().priority_from([pod], &name(Map::Anybody(gate, family)))],
        ];
        let mut rules = Vec::new();
        for step in steps {
            rules.extend(step);
            rules.extend(self.ask_ports(family));
        }
        rules.push(Rule::new().goto(&self.chain("denied", family)));
        rules
    }

    /// What the list of ports says, or the whole list says of all others.
    fn ask_ports(&self, family: IpFamily) -> [Rule; 4] {
        let port = match self.way {
            Way::There => Field::ThDport,
            Way::Back => Field::ThSport,
        };
        let is = |class| Rule::new().is(Field::Priority, Value::Class(class));
        [
            Rule::new()
                .priority_from_ranges([Field::Priority, Field::L4Proto, port], &Map::Ports.name()),
            Rule::new().priority_from([Field::Priority], &Map::OtherPorts.name()),
            is(ALLOWED).goto(ACCEPTED),
            is(DENIED).goto(&self.chain("denied", family)),
        ]
    }

    /// The first counts for the pod. Who only wants to know lets it pass.
    fn deny(&self, family: IpFamily) -> [Rule; 2] {
        let denied = Map::Denied(self.gate, family).name();
        let count = Rule::new().lookup([self.pod(family)], &denied);
        if self.gate.is_audit {
            [count, Rule::new().priority(0)]
        } else {
            [count.drop(), Rule::new().drop()]
        }
    }

    /// The chain that finds out whether a pod is judged.
    fn entry(&self) -> String {
        self.named(self.gate.to_string())
    }

    fn chain(&self, what: &str, family: IpFamily) -> String {
        self.named(format!("{}-{what}{}", self.gate, digit(family)))
    }

    fn named(&self, name: String) -> String {
        match self.way {
            Way::There => name,
            Way::Back => answers(&name),
        }
    }

    /// The field of the side that policies isolate.
    const fn pod(&self, family: IpFamily) -> Field {
        match (self.gate.direction, self.way) {
            (Direction::Ingress, Way::There) | (Direction::Egress, Way::Back) => {
                destination(family)
            }
            (Direction::Egress, Way::There) | (Direction::Ingress, Way::Back) => source(family),
        }
    }

    /// The field of the other side.
    const fn peer(&self, family: IpFamily) -> Field {
        match (self.gate.direction, self.way) {
            (Direction::Ingress, Way::There) | (Direction::Egress, Way::Back) => source(family),
            (Direction::Egress, Way::There) | (Direction::Ingress, Way::Back) => {
                destination(family)
            }
        }
    }
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
    let gates = Gate::ALL.into_iter();
    let judges = gates.flat_map(|gate| [Way::There, Way::Back].map(|way| Judge::new(gate, way)));
    let Judge { gate, way } = judges.into_iter().find(|judge| judge.entry() == prefix)?;
    let reason = if gate.is_audit {
        DenialReason::Audit(gate.direction)
    } else {
        DenialReason::Policies(gate.direction)
    };
    Some((reason, way))
}

fn answers(name: &str) -> String {
    format!("{name}-answers")
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
