//! The part of the table that is the same whatever the policies: chains, their
//! rules, and the maps that the rules ask.
//!
//! A new connection of an isolated pod costs five lookups in each direction,
//! however many policies and pods there are. Why it is so, and what else was
//! tried: `docs/decisions/0003-policy-layout.md`.

use std::sync::Arc;

use podway_kernel::nft::{
    Chain, ChainType, Field, Hook, PrioritySource, Rule, Set, Statement, Value,
};
use podway_model::IpFamily;
use podway_plan::policy::Direction;

/// The table.
pub const TABLE: &str = "podway-policies";

/// Where a verdict leads that allows every port.
pub(super) const ACCEPTED: &str = "accepted";

const ICMP6: u8 = 58;
/// Router solicitation to redirect: RFC 4861 section 4.
const NEIGHBOUR_DISCOVERY: (u8, u8) = (133, 137);

/// One of the maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Map {
    /// Peer address -> its group, as a packet priority.
    Groups(IpFamily),
    /// Isolated pod -> the chain that judges it.
    Pods(Direction, IpFamily),
    /// Group of the peer, pod -> allowed ports.
    Peers(Direction, IpFamily),
    /// Pod, addresses of the peer -> allowed ports.
    Blocks(Direction, IpFamily),
    /// Pod -> ports that anybody is allowed.
    Anybody(Direction, IpFamily),
}

impl Map {
    /// Every map.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let of_direction = |direction, family| {
            [
                Self::Pods(direction, family),
                Self::Peers(direction, family),
                Self::Blocks(direction, family),
                Self::Anybody(direction, family),
            ]
        };
        IpFamily::ALL.into_iter().flat_map(move |family| {
            let directions = Direction::ALL
                .into_iter()
                .flat_map(move |direction| of_direction(direction, family));
            std::iter::once(Self::Groups(family)).chain(directions)
        })
    }

    /// Its name: `ingress-peers4`.
    pub(super) fn name(self) -> String {
        let (what, direction, family) = match self {
            Self::Groups(family) => return format!("groups{}", digit(family)),
            Self::Pods(direction, family) => ("pods", direction, family),
            Self::Peers(direction, family) => ("peers", direction, family),
            Self::Blocks(direction, family) => ("blocks", direction, family),
            Self::Anybody(direction, family) => ("anybody", direction, family),
        };
        format!("{direction}-{what}{}", digit(family))
    }

    /// The map as the kernel is told to make it.
    pub(super) fn set(self) -> Arc<Set> {
        let name = self.name();
        Arc::new(match self {
            Self::Groups(family) => {
                Set::map(name, [source(family)].to_vec(), [Field::Priority].to_vec())
            }
            Self::Pods(direction, family) | Self::Anybody(direction, family) => {
                Set::verdict_map(name, [pod(direction, family)].to_vec())
            }
            Self::Peers(direction, family) => {
                Set::verdict_map(name, [Field::Priority, pod(direction, family)].to_vec())
            }
            Self::Blocks(direction, family) => {
                let key = [pod(direction, family), peer(direction, family)];
                Set::verdict_map(name, key.to_vec()).interval()
            }
        })
    }
}

/// The chain that judges an isolated pod.
pub(super) fn judging(direction: Direction, family: IpFamily) -> String {
    format!("{direction}-isolated{}", digit(family))
}

/// The chains that never change. The order is that of a packet's way.
pub(super) fn chains() -> Vec<(Chain, Vec<Rule>)> {
    let base = |name, hook, priority| Chain::base(name, ChainType::Filter, hook, priority);
    let mut chains = vec![
        (
            base("egress-forward", Hook::Forward, 0),
            entry(Direction::Egress, None),
        ),
        (
            base("ingress-forward", Hook::Forward, 1),
            entry(Direction::Ingress, None),
        ),
        (
            base("egress-input", Hook::Input, 0),
            entry(Direction::Egress, Some(neighbour_discovery())),
        ),
    ];
    for direction in Direction::ALL {
        for family in IpFamily::ALL {
            let chain = Chain::regular(judging(direction, family));
            chains.push((chain, judge(direction, family)));
        }
    }
    let accepted = vec![Rule::new().priority(0).accept()];
    chains.push((Chain::regular(ACCEPTED), accepted));
    chains
}

/// Only a connection's first packet is judged; its replies, and ICMP errors
/// about it, pass with it.
fn entry(direction: Direction, first: Option<Rule>) -> Vec<Rule> {
    let established = Rule::new()
        .is(Field::CtState, Value::STATE_ESTABLISHED_RELATED)
        .accept();
    let mut rules = vec![established];
    rules.extend(first);
    for family in IpFamily::ALL {
        let map = Map::Pods(direction, family).name();
        rules.push(Rule::new().vmap([pod(direction, family)], &map));
    }
    rules
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

/// The packet's priority carries the peer's group from one map to the next: it
/// is the only register that nft's text has for it. It begins at 0, no group,
/// because a pod may set the priority of what it sends; who accepts sets it back.
fn judge(direction: Direction, family: IpFamily) -> Vec<Rule> {
    let (pod, peer) = (pod(direction, family), peer(direction, family));
    let group = Statement::Priority(PrioritySource::Map {
        key: vec![peer],
        map: Map::Groups(family).name().into(),
    });
    let load_group = Rule {
        statements: vec![group],
        comment: None,
    };
    vec![
        Rule::new().priority(0),
        load_group,
        Rule::new().vmap(
            [Field::Priority, pod],
            &Map::Peers(direction, family).name(),
        ),
        Rule::new().vmap([pod, peer], &Map::Blocks(direction, family).name()),
        Rule::new().vmap([pod], &Map::Anybody(direction, family).name()),
        Rule::new().counter().drop(),
    ]
}

/// The field of the side that policies isolate.
const fn pod(direction: Direction, family: IpFamily) -> Field {
    match direction {
        Direction::Ingress => destination(family),
        Direction::Egress => source(family),
    }
}

/// The field of the other side.
const fn peer(direction: Direction, family: IpFamily) -> Field {
    match direction {
        Direction::Ingress => source(family),
        Direction::Egress => destination(family),
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

const fn digit(family: IpFamily) -> u8 {
    match family {
        IpFamily::V4 => 4,
        IpFamily::V6 => 6,
    }
}
