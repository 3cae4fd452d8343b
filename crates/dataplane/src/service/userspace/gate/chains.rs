//! The chains, which are the same whatever the services are.

use podway_kernel::nft::{Chain, ChainType, Family, Field, Hook, Rule, Value, Verdict};
use podway_model::IpFamily;
use podway_plan::service::{Interfaces, Source};

use super::{Fate, Gate, Kind, Reach, SOURCES, SetId};
use crate::names::{MASQUERADE_MARK, PROXIED_MARK, STEERED_MARK};
use crate::service::parts::{Place, Scope, daddr, digit, loopback, nft_family, saddr, with};

/// After destinations have been translated (-100, by IPVS -98): what is a
/// translated connection's is no frontend's.
const AFTER_DSTNAT: i32 = -90;
/// `NF_IP_PRI_NAT_SRC`.
const SRCNAT: i32 = 100;

const REFUSE: &str = "refuse";
const STEER: &str = "steer";

const TCP: Value = Value::Protocol(6);
const UDP: Value = Value::Protocol(17);
const ICMP: Value = Value::Protocol(1);
const ICMP6: Value = Value::Protocol(58);

pub(super) fn all(gate: &Gate) -> Vec<(Chain, Vec<Rule>)> {
    let mut chains = vec![
        (
            Chain::regular(REFUSE),
            vec![
                Rule::new().priority(0),
                Rule::new().reject_tcp(),
                Rule::new().reject(),
            ],
        ),
        (Chain::regular(STEER), steer()),
    ];
    for family in IpFamily::ALL {
        for source in SOURCES {
            let rules = proxy(gate, family, source);
            chains.push((Chain::regular(proxied(family, source)), rules));
        }
        for place in [Place::Address, Place::Node] {
            let rules = judge(gate, Scope { family, place });
            chains.push((Chain::regular(judging(family, place)), rules));
        }
        chains.push((Chain::regular(entrance(family)), enter(gate, family)));
    }
    let filter = |name, hook, priority| Chain::base(name, ChainType::Filter, hook, priority);
    chains.push((
        filter("prerouting", Hook::Prerouting, AFTER_DSTNAT),
        prerouting(gate),
    ));
    if gate.reach == Reach::Everything {
        for family in IpFamily::ALL {
            chains.push((Chain::regular(leaving(family)), leave(family)));
        }
        let output = Chain::base("output", ChainType::Route, Hook::Output, AFTER_DSTNAT);
        chains.push((output, self::output(gate)));
        let postrouting = Chain::base("postrouting", ChainType::Nat, Hook::Postrouting, SRCNAT);
        chains.push((
            postrouting,
            vec![Rule::new().marked(MASQUERADE_MARK).masquerade()],
        ));
        chains.push((
            filter("departed", Hook::Postrouting, SRCNAT + 1),
            vec![
                Rule::new()
                    .marked(PROXIED_MARK)
                    .unmark(PROXIED_MARK | MASQUERADE_MARK),
            ],
        ));
    }
    chains
}

/// Where connections of a source go.
pub(super) fn verdict(family: IpFamily, source: Source, fate: Fate) -> Verdict {
    match fate {
        Fate::Proxied => Verdict::Goto(proxied(family, source).into()),
        Fate::Refused => Verdict::Goto(REFUSE.into()),
        Fate::Dropped => Verdict::Drop,
    }
}

fn proxied(family: IpFamily, source: Source) -> String {
    let source = match source {
        Source::Pod => "pods",
        Source::Node => "node",
        Source::Outside => "outside",
    };
    format!("proxy-{source}{}", digit(family))
}

fn judging(family: IpFamily, place: Place) -> String {
    let place = match place {
        Place::Address => "",
        Place::Node => "-node",
    };
    format!("judge{place}{}", digit(family))
}

fn entrance(family: IpFamily) -> String {
    format!("services{}", digit(family))
}

fn leaving(family: IpFamily) -> String {
    format!("leaving{}", digit(family))
}

/// The packet is this host's: a rule of policy routing sees the mark.
fn steer() -> Vec<Rule> {
    vec![Rule::new().priority(0).mark_or(STEERED_MARK).accept()]
}

/// To the proxy's port for a source. Where the proxy does not listen (it has
/// ended, or cannot do the protocol), refused.
fn proxy(gate: &Gate, family: IpFamily, source: Source) -> Vec<Rule> {
    let ports = [(TCP, &gate.ports.tcp), (UDP, &gate.ports.udp)];
    let mut rules: Vec<Rule> = ports
        .into_iter()
        .filter_map(|(protocol, ports)| {
            let port = *ports.get(&(family, source))?;
            let of_protocol = Rule::new()
                .is(Field::NfProto, Value::Family(nft_family(family)))
                .is(Field::L4Proto, protocol);
            // Whoever serves next leaves marked connections to the proxy.
            let marked = match gate.reach {
                Reach::Everything => of_protocol.connection_mark(STEERED_MARK),
                Reach::Loopback => of_protocol,
            };
            Some(marked.tproxy(nft_family(family), port).goto(STEER))
        })
        .collect();
    rules.push(Rule::new().goto(REFUSE));
    rules
}

/// By class and source.
fn judge(gate: &Gate, scope: Scope) -> Vec<Rule> {
    let family = scope.family;
    let name = |kind| SetId { family, kind }.name();
    let fate = |rule: Rule, source| rule.vmap([Field::Priority], &name(Kind::Fates(source)));
    let of_pods = match &gate.settings.pod_interfaces {
        None => Rule::new().lookup([saddr(family)], &name(Kind::Pods)),
        Some(interfaces) => Rule::new().is(
            Field::IifName,
            match interfaces {
                Interfaces::Named(name) => Value::InterfaceName(name.to_string()),
                Interfaces::Prefixed(prefix) => Value::InterfacePrefix(prefix.to_string()),
            },
        ),
    };
    let allowed = with(scope.key(), saddr(family));
    vec![
        Rule::new()
            .lookup([Field::Priority], &name(Kind::Restricted))
            .lookup_not(allowed, &name(Kind::Allowed(scope.place)))
            .drop(),
        fate(
            Rule::new().is(Field::FibSaddrType, Value::LOCAL),
            Source::Node,
        ),
        fate(of_pods, Source::Pod),
        fate(Rule::new(), Source::Outside),
    ]
}

/// From a packet to the frontend that it is for.
fn enter(gate: &Gate, family: IpFamily) -> Vec<Rule> {
    let name = |kind| SetId { family, kind }.name();
    let to = |rule: Rule, place| {
        rule.priority_from(Scope { family, place }.key(), &name(Kind::Frontends(place)))
            .goto(&judging(family, place))
    };
    let at_loopback = to(
        Rule::new().within(daddr(family), loopback(family)),
        Place::Node,
    );
    if gate.reach == Reach::Loopback {
        return vec![at_loopback];
    }
    let to_node = Rule::new()
        .is(Field::FibDaddrType, Value::LOCAL)
        .not_within(daddr(family), loopback(family))
        .lookup([daddr(family)], &name(Kind::NodePortPrefixes));
    let mut rules = vec![to(Rule::new(), Place::Address)];
    if gate.settings.localhost_node_ports {
        rules.push(at_loopback);
    }
    rules.extend([
        to(to_node, Place::Node),
        Rule::new()
            .lookup([daddr(family)], &name(Kind::ClusterIps))
            .goto(REFUSE),
        Rule::new()
            .lookup([daddr(family)], &name(Kind::ServicePrefixes))
            .drop(),
    ]);
    rules
}

fn prerouting(gate: &Gate) -> Vec<Rule> {
    let enter = |begin: fn() -> Rule| {
        IpFamily::ALL.map(|family| {
            begin()
                .is(Field::NfProto, Value::Family(nft_family(family)))
                .jump(&entrance(family))
        })
    };
    if gate.reach == Reach::Loopback {
        return enter(Rule::new).to_vec();
    }
    // Of a connection that is there already: the proxy's, whoever it is from or
    // to. Replies of endpoints come so, and clients' packets whose service has
    // gone. Not that of a socket which listens everywhere.
    let known = |protocol| {
        Rule::new()
            .is(Field::L4Proto, protocol)
            .is(Field::SocketTransparent, Value::Octet(1))
            .is(Field::SocketWildcard, Value::Octet(0))
            .goto(STEER)
    };
    let mut rules = vec![
        // To an endpoint that is a process of this host.
        Rule::new().marked(PROXIED_MARK).accept(),
        // Another mode's, though the proxy may have a socket of the same
        // addresses: a client uses a port for several destinations at once, and
        // the proxy sends from that port.
        Rule::new().is(Field::CtStatus, Value::STATUS_DNAT).accept(),
        known(TCP),
        // Errors about its packets.
        known(ICMP),
        known(ICMP6),
    ];
    // The proxy's, whether it still knows of them or not.
    rules.extend(enter(|| Rule::new().connection_marked(STEERED_MARK)));
    if !gate.is_left {
        // What another mode has begun is not taken away from it.
        rules.extend(enter(|| {
            Rule::new().is_not(Field::CtState, Value::STATE_ESTABLISHED_RELATED)
        }));
    }
    // A datagram to a frontend has a socket as well, that only answers.
    rules.push(known(UDP));
    rules
}

/// What this host itself sends.
fn output(gate: &Gate) -> Vec<Rule> {
    let mut rules = vec![
        // The proxy's own. The connection is marked for the replies of an
        // endpoint that is a process of this host: they go to the client's
        // address, which is not this host's.
        Rule::new()
            .marked(PROXIED_MARK)
            .connection_mark(PROXIED_MARK)
            .accept(),
        Rule::new()
            .is(Field::CtDirection, Value::REPLY)
            .connection_marked(PROXIED_MARK)
            .goto(STEER),
        // Once steered, always: its service may go, the connection stays.
        Rule::new()
            .is(Field::CtDirection, Value::ORIGINAL)
            .connection_marked(STEERED_MARK)
            .goto(STEER),
    ];
    if gate.is_left {
        return rules;
    }
    // What another mode has begun is not taken away from it.
    rules.push(
        Rule::new()
            .is(Field::CtState, Value::STATE_ESTABLISHED_RELATED)
            .accept(),
    );
    for family in IpFamily::ALL {
        rules.push(
            Rule::new()
                .is(Field::NfProto, Value::Family(family_of(family)))
                .goto(&leaving(family)),
        );
    }
    rules
}

const fn family_of(family: IpFamily) -> Family {
    nft_family(family)
}

/// What is for a frontend's own address comes in again by the loopback
/// interface, and is judged there. What is for the node's does anyway.
fn leave(family: IpFamily) -> Vec<Rule> {
    let name = |kind| SetId { family, kind }.name();
    let place = Place::Address;
    let steer = |rule: Rule| rule.connection_mark(STEERED_MARK).goto(STEER);
    vec![
        steer(
            Rule::new().priority_from(Scope { family, place }.key(), &name(Kind::Frontends(place))),
        ),
        steer(Rule::new().lookup([daddr(family)], &name(Kind::ClusterIps))),
        steer(Rule::new().lookup([daddr(family)], &name(Kind::ServicePrefixes))),
    ]
}
