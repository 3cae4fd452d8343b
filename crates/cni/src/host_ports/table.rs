//! The table: `docs/cni.md` shows it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};
use podway_kernel::nft::{
    Chain, ChainType, Data, Element, Family, Field, Hook, Rule, Ruleset, Set, Value,
};

use super::Forward;
use crate::interface::LINK_GROUP;

/// nf_tables table (family inet) of the host ports.
pub const TABLE: &str = "podway-hostports";

/// Just behind the services, as in every other cluster.
const AFTER_DSTNAT: i32 = -99;
const SRCNAT: i32 = 100;
/// Before connection tracking, which gives replies back the address that they
/// must not come with.
const RAW: i32 = -300;

const LOOPBACK: IpNet = IpNet::V4(Ipv4Net::new_assert(
    std::net::Ipv4Addr::new(127, 0, 0, 0),
    8,
));

/// A family's fields, and the names of its sets.
struct Words {
    family: Family,
    saddr: Field,
    daddr: Field,
    digit: u8,
}

const WORDS: [Words; 2] = [
    Words {
        family: Family::Ip,
        saddr: Field::IpSaddr,
        daddr: Field::IpDaddr,
        digit: 4,
    },
    Words {
        family: Family::Ip6,
        saddr: Field::Ip6Saddr,
        daddr: Field::Ip6Daddr,
        digit: 6,
    },
];

/// The table for all host ports of a node.
pub(super) fn render(forwards: &[Forward]) -> Ruleset {
    let mut table = Ruleset::new(TABLE);
    let (mut translate, mut source) = (Vec::new(), Vec::new());
    for words in &WORDS {
        let own: Vec<&Forward> = forwards
            .iter()
            .filter(|forward| forward.to.is_ipv4() == (words.digit == 4))
            .collect();
        table.sets.extend(words.sets(&own));
        translate.extend(words.translate());
        source.push(
            Rule::new()
                .lookup([words.saddr, words.daddr], &words.name("hairpin"))
                .masquerade(),
        );
    }
    // A connection to 127.0.0.1 leaves the node: no pod could answer that.
    source.push(
        Rule::new()
            .is_not(Field::OifName, Value::InterfaceName("lo".into()))
            .within(Field::IpSaddr, LOOPBACK)
            .is(Field::CtStatus, Value::STATUS_DNAT)
            .masquerade(),
    );
    let local = || {
        vec![
            Rule::new()
                .is(Field::FibDaddrType, Value::LOCAL)
                .goto("translate"),
        ]
    };
    table.chains = vec![
        (
            Chain::base("guard", ChainType::Filter, Hook::Prerouting, RAW),
            guard(),
        ),
        (Chain::regular("translate"), translate),
        (
            Chain::base("prerouting", ChainType::Nat, Hook::Prerouting, AFTER_DSTNAT),
            local(),
        ),
        (
            Chain::base("output", ChainType::Nat, Hook::Output, AFTER_DSTNAT),
            local(),
        ),
        (
            Chain::base("postrouting", ChainType::Nat, Hook::Postrouting, SRCNAT),
            source,
        ),
    ];
    table
}

/// Interfaces with `route_localnet` would also let pods send to and from the
/// node's loopback.
fn guard() -> Vec<Rule> {
    let from_pods = || Rule::new().is(Field::IifGroup, Value::InterfaceGroup(LINK_GROUP));
    [Field::IpDaddr, Field::IpSaddr]
        .map(|field| from_pods().within(field, LOOPBACK).drop())
        .into()
}

impl Words {
    fn name(&self, what: &str) -> String {
        format!("{what}{}", self.digit)
    }

    fn sets(&self, forwards: &[&Forward]) -> Vec<(Arc<Set>, Vec<Element>)> {
        let target = [self.daddr, Field::ThDport];
        let at = [self.daddr, Field::L4Proto, Field::ThDport];
        let any = [Field::L4Proto, Field::ThDport];
        let elements = |specific: bool| {
            let some = forwards
                .iter()
                .filter(move |it| it.address.is_some() == specific);
            some.map(|forward| element(forward)).collect()
        };
        let pods: BTreeSet<IpAddr> = forwards.iter().map(|forward| forward.to.ip()).collect();
        let hairpin = Set::keys(self.name("hairpin"), [self.saddr, self.daddr]);
        let twice = |pod: IpAddr| Element::new(&[pod.into(), pod.into()]);
        vec![
            (Set::map(self.name("at"), at, target).into(), elements(true)),
            (
                Set::map(self.name("any"), any, target).into(),
                elements(false),
            ),
            (hairpin.into(), pods.into_iter().map(twice).collect()),
        ]
    }

    /// One address comes before all of them.
    fn translate(&self) -> [Rule; 2] {
        let family = || Rule::new().is(Field::NfProto, Value::Family(self.family));
        let at = [self.daddr, Field::L4Proto, Field::ThDport];
        let any = [Field::L4Proto, Field::ThDport];
        [
            family().dnat(self.family, at, &self.name("at")),
            family().dnat(self.family, any, &self.name("any")),
        ]
    }
}

fn element(forward: &Forward) -> Element {
    let mut key: Vec<Value> = forward.address.map(Value::Ip).into_iter().collect();
    key.push(Value::Protocol(forward.protocol.number()));
    key.push(Value::Port(forward.port));
    Element::new(&key)
        .to(Data::values(&[
            forward.to.ip().into(),
            Value::Port(forward.to.port()),
        ]))
        .comment(&forward.owner.to_string())
}
