//! What a ruleset makes of the first packet of a connection, without a kernel.
//!
//! The tracer interprets [`Ruleset`] values statement by statement, as
//! nf_tables would. Where a rule draws a random number it follows every number,
//! so the answer is every end that the packet can come to. It knows every
//! statement there is: a new one does not compile until it is here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use podway_kernel::nft::{
    BaseChain, Chain, ChainPolicy, ChainType, Comparison, Data, Destination, Element, Family,
    Field, Hook, MapData, MarkChange, Pattern, PrioritySource, Rule, Ruleset, SetAction, Statement,
    Value, Verdict,
};

/// The first packet of a connection.
#[derive(Debug, Clone)]
pub struct TracedPacket {
    /// Where it comes from.
    pub source: SocketAddr,
    /// Where it goes.
    pub destination: SocketAddr,
    /// IANA number of the transport protocol.
    pub protocol: u8,
    /// Where it enters and leaves; empty is nowhere.
    pub interfaces: [String; 2],
    /// The hooks that it passes, in order.
    pub hooks: Vec<Hook>,
}

/// An end that the packet can come to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct End {
    /// What became of it.
    pub fate: Fate,
    /// Where it goes in the end.
    pub destination: SocketAddr,
    /// Whether its source becomes the node's.
    pub masquerade: bool,
    /// Its mark.
    pub mark: u32,
    /// The port of the proxy that got it, where one did.
    pub steered: Option<u16>,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// It goes on.
    Pass,
    /// It is refused.
    Reject,
    /// It is gone.
    Drop,
}

/// A set's elements that packets wrote: set and key to data.
pub type Written = BTreeMap<(String, Vec<u8>), Vec<u8>>;

/// A node with rules.
#[derive(Debug, Default)]
pub struct Tracer<'r> {
    rulesets: Vec<&'r Ruleset>,
    local: BTreeSet<IpAddr>,
}

/// A packet on its way.
#[derive(Debug, Clone)]
struct State {
    packet: TracedPacket,
    mark: u32,
    priority: u32,
    translated: bool,
    masquerade: bool,
    steered: Option<u16>,
    written: Written,
}

/// Where a chain's evaluation stops.
enum Stop {
    /// The chain is at its end, or returned.
    End(State),
    /// Accepted, by a verdict or a translation.
    Accept(State),
    Refuse(State),
    Drop(State),
}

/// Where a statement leads.
enum Step {
    /// To the next statement.
    Next(State),
    /// To the next rule: it did not match.
    Miss(State),
    Verdict(State, Verdict),
    Accept(State),
    Refuse(State),
}

impl<'r> Tracer<'r> {
    /// A node with these tables and these addresses.
    #[must_use]
    pub fn new(
        rulesets: impl IntoIterator<Item = &'r Ruleset>,
        local: impl IntoIterator<Item = IpAddr>,
    ) -> Self {
        Self {
            rulesets: rulesets.into_iter().collect(),
            local: local.into_iter().collect(),
        }
    }

    /// Every end that the packet can come to, in order.
    #[must_use]
    pub fn trace(&self, packet: &TracedPacket) -> Vec<End> {
        self.trace_with(packet, &Written::new())
            .into_iter()
            .map(|(end, _)| end)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect()
    }

    /// The same where earlier packets wrote sets, with what has been written at
    /// each end.
    #[must_use]
    pub fn trace_with(&self, packet: &TracedPacket, written: &Written) -> Vec<(End, Written)> {
        let mut states = vec![State {
            packet: packet.clone(),
            mark: 0,
            priority: 0,
            translated: false,
            masquerade: false,
            steered: None,
            written: written.clone(),
        }];
        let mut ends = Vec::new();
        for hook in &packet.hooks {
            for (ruleset, chain, base) in self.base_chains(*hook) {
                let mut passed = Vec::new();
                for state in states {
                    self.enter(ruleset, chain, base, state, &mut passed, &mut ends);
                }
                states = passed;
            }
        }
        ends.extend(states.into_iter().map(|state| end(Fate::Pass, state)));
        ends
    }

    fn base_chains(&self, hook: Hook) -> Vec<(&'r Ruleset, &'r Chain, BaseChain)> {
        let mut chains: Vec<_> = self
            .rulesets
            .iter()
            .flat_map(|ruleset| {
                ruleset
                    .chains
                    .iter()
                    .map(move |(chain, _)| (*ruleset, chain))
            })
            .filter_map(|(ruleset, chain)| Some((ruleset, chain, chain.base?)))
            .filter(|(_, _, base)| base.hook == hook)
            .collect();
        chains.sort_by_key(|(_, _, base)| base.priority);
        chains
    }

    fn enter(
        &self,
        ruleset: &Ruleset,
        chain: &Chain,
        base: BaseChain,
        state: State,
        passed: &mut Vec<State>,
        ends: &mut Vec<(End, Written)>,
    ) {
        // The kernel asks later nat chains of a hook only until one translated.
        let done = match base.hook {
            Hook::Prerouting | Hook::Output => state.translated,
            _ => state.masquerade,
        };
        if base.kind == ChainType::Nat && done {
            passed.push(state);
            return;
        }
        for stop in self.chain(ruleset, &chain.name, state) {
            match stop {
                Stop::Accept(state) => passed.push(state),
                Stop::Refuse(state) => ends.push(end(Fate::Reject, state)),
                Stop::Drop(state) => ends.push(end(Fate::Drop, state)),
                Stop::End(state) => match base.policy {
                    ChainPolicy::Accept => passed.push(state),
                    ChainPolicy::Drop => ends.push(end(Fate::Drop, state)),
                },
            }
        }
    }

    fn chain(&self, ruleset: &Ruleset, name: &str, state: State) -> Vec<Stop> {
        let rules = ruleset
            .chain(name)
            .unwrap_or_else(|| panic!("no chain {name} in\n{ruleset}"));
        let mut states = vec![state];
        let mut stops = Vec::new();
        for rule in rules {
            let mut next = Vec::new();
            for state in states {
                self.rule(ruleset, rule, state, &mut next, &mut stops);
            }
            states = next;
        }
        stops.extend(states.into_iter().map(Stop::End));
        stops
    }

    fn rule(
        &self,
        ruleset: &Ruleset,
        rule: &Rule,
        state: State,
        next: &mut Vec<State>,
        stops: &mut Vec<Stop>,
    ) {
        let mut states = vec![state];
        for statement in &rule.statements {
            let mut going = Vec::new();
            for step in states
                .into_iter()
                .flat_map(|state| self.statement(ruleset, statement, state))
            {
                match step {
                    Step::Next(state) => going.push(state),
                    Step::Miss(state) => next.push(state),
                    Step::Accept(state) => stops.push(Stop::Accept(state)),
                    Step::Refuse(state) => stops.push(Stop::Refuse(state)),
                    Step::Verdict(state, verdict) => {
                        self.verdict(ruleset, &verdict, state, next, stops);
                    }
                }
            }
            states = going;
        }
        next.extend(states);
    }

    fn verdict(
        &self,
        ruleset: &Ruleset,
        verdict: &Verdict,
        state: State,
        next: &mut Vec<State>,
        stops: &mut Vec<Stop>,
    ) {
        match verdict {
            Verdict::Accept => stops.push(Stop::Accept(state)),
            Verdict::Drop => stops.push(Stop::Drop(state)),
            Verdict::Return => stops.push(Stop::End(state)),
            // The end of that chain is the end of this one.
            Verdict::Goto(chain) => stops.extend(self.chain(ruleset, chain, state)),
            Verdict::Jump(chain) => {
                for stop in self.chain(ruleset, chain, state) {
                    match stop {
                        Stop::End(state) => next.push(state),
                        decided => stops.push(decided),
                    }
                }
            }
        }
    }

    fn statement(&self, ruleset: &Ruleset, statement: &Statement, state: State) -> Vec<Step> {
        match statement {
            Statement::Match {
                field,
                comparison,
                pattern,
            } => vec![self.compare(*field, *comparison, pattern, state)],
            Statement::Lookup {
                key,
                comparison,
                set,
            } => self.each_key(key, state, |state, key| {
                let found = find(ruleset, &state, set, &key).is_some();
                if found == (*comparison == Comparison::Is) {
                    Step::Next(state)
                } else {
                    Step::Miss(state)
                }
            }),
            Statement::Vmap { key, map } => self.each_key(key, state, |state, key| {
                match find(ruleset, &state, map, &key) {
                    Some(Found::Verdict(verdict)) => Step::Verdict(state, verdict),
                    // A map without an answer is no miss: the rule goes on.
                    _ => Step::Next(state),
                }
            }),
            Statement::Verdict(verdict) => vec![Step::Verdict(state, verdict.clone())],
            Statement::Dnat {
                family,
                to: Destination::Map { key, map },
            } => self.each_key(key, state, |state, key| {
                match find(ruleset, &state, map, &key) {
                    Some(Found::Values(bytes)) => Step::Accept(translate(state, *family, &bytes)),
                    _ => Step::Miss(state),
                }
            }),
            Statement::Masquerade { .. } => vec![Step::Accept(State {
                masquerade: true,
                ..state
            })],
            // Somebody listens on every port that rules name.
            Statement::Tproxy { port, .. } => vec![Step::Next(State {
                steered: Some(*port),
                ..state
            })],
            Statement::Reject(_) => vec![Step::Refuse(state)],
            // A limit is one that is not reached; a connection's first packet
            // finds no mark, and nothing reads the one that it leaves.
            Statement::Counter
            | Statement::Limit { .. }
            | Statement::Log { .. }
            | Statement::CtMark(_) => vec![Step::Next(state)],
            Statement::Mark(change) => {
                let mark = match change {
                    MarkChange::Or(bits) => state.mark | bits,
                    MarkChange::And(bits) => state.mark & bits,
                    MarkChange::Xor(bits) => state.mark ^ bits,
                    MarkChange::Value(value) => *value,
                };
                vec![Step::Next(State { mark, ..state })]
            }
            Statement::Priority(source) => self.priority(ruleset, source, state),
            Statement::Dynset { .. } => self.dynset(statement, state),
        }
    }

    fn compare(
        &self,
        field: Field,
        comparison: Comparison,
        pattern: &Pattern,
        state: State,
    ) -> Step {
        let Some(value) = self.values(&state, field).pop() else {
            return Step::Miss(state);
        };
        let matches = match (pattern, &value) {
            (Pattern::Value(Value::ConnectionState(bits)), Value::ConnectionState(held))
            | (Pattern::Value(Value::ConnectionStatus(bits)), Value::ConnectionStatus(held))
            | (Pattern::Bits(bits), Value::Mark(held)) => held & bits != 0,
            (Pattern::Value(wanted), held) => wanted == held,
            (Pattern::Prefix(prefix), Value::Ip(address)) => prefix.contains(address),
            (Pattern::Range(first, last), held) => first <= held && held <= last,
            (Pattern::Prefix(_) | Pattern::Bits(_), _) => {
                panic!("{field} cannot be compared with {pattern:?}")
            }
        };
        if matches == (comparison == Comparison::Is) {
            Step::Next(state)
        } else {
            Step::Miss(state)
        }
    }

    fn priority(&self, ruleset: &Ruleset, source: &PrioritySource, state: State) -> Vec<Step> {
        match source {
            PrioritySource::Value(priority) => vec![Step::Next(State {
                priority: *priority,
                ..state
            })],
            PrioritySource::Map { key, map } | PrioritySource::Ranges { key, map } => {
                let encode = match source {
                    PrioritySource::Ranges { .. } => Value::encode_ordered,
                    _ => Value::encode,
                };
                let keys = self.keys(&state, key, encode);
                each(keys, state, |state, key| {
                    let found = find(ruleset, &state, map, &key);
                    let Some(Found::Values(bytes)) = found else {
                        return Step::Miss(state);
                    };
                    let priority = word(&bytes);
                    Step::Next(State { priority, ..state })
                })
            }
        }
    }

    fn dynset(&self, statement: &Statement, state: State) -> Vec<Step> {
        let Statement::Dynset {
            action,
            set,
            key,
            data,
            ..
        } = statement
        else {
            return Vec::new();
        };
        self.each_key(key, state, |mut state, key| {
            let data = self.keys(&state, data, Value::encode).pop();
            let data = data.unwrap_or_default();
            let entry = (set.to_string(), key);
            match action {
                // Data that is there stays.
                SetAction::Add | SetAction::Update => {
                    state.written.entry(entry).or_insert(data);
                }
                SetAction::Delete => {
                    state.written.remove(&entry);
                }
            }
            Step::Next(state)
        })
    }

    /// Goes on with every key that the fields can give; none is a miss.
    fn each_key(
        &self,
        fields: &[Field],
        state: State,
        go: impl Fn(State, Vec<u8>) -> Step,
    ) -> Vec<Step> {
        let keys = self.keys(&state, fields, Value::encode);
        each(keys, state, go)
    }

    fn keys(
        &self,
        state: &State,
        fields: &[Field],
        encode: fn(&Value, &mut Vec<u8>),
    ) -> Vec<Vec<u8>> {
        let mut keys = vec![Vec::new()];
        for field in fields {
            let values = self.values(state, *field);
            keys = keys
                .iter()
                .flat_map(|key| {
                    values.iter().map(move |value| {
                        let mut key: Vec<u8> = key.clone();
                        encode(value, &mut key);
                        if fields.len() > 1 {
                            key.resize(key.len().next_multiple_of(4), 0);
                        }
                        key
                    })
                })
                .collect();
        }
        keys
    }

    /// Every value that a field can have; none where the packet lacks it.
    fn values(&self, state: &State, field: Field) -> Vec<Value> {
        let packet = &state.packet;
        let (source, destination) = (packet.source, packet.destination);
        let family = if destination.is_ipv4() {
            Family::Ip
        } else {
            Family::Ip6
        };
        if field.family().is_some_and(|needed| needed != family) {
            return Vec::new();
        }
        let address_type = |address: IpAddr| {
            const UNICAST: u32 = 1;
            if self.local.contains(&address) {
                Value::LOCAL
            } else {
                Value::AddressType(UNICAST)
            }
        };
        let name = |index: usize| Value::InterfaceName(packet.interfaces[index].clone());
        vec![match field {
            Field::IpSaddr | Field::Ip6Saddr => Value::Ip(source.ip()),
            Field::IpDaddr | Field::Ip6Daddr => Value::Ip(destination.ip()),
            Field::ThSport => Value::Port(source.port()),
            Field::ThDport => Value::Port(destination.port()),
            Field::Icmp6Type => return Vec::new(),
            Field::L4Proto => Value::Protocol(packet.protocol),
            Field::NfProto => Value::Family(family),
            Field::Mark => Value::Mark(state.mark),
            Field::Priority => Value::Class(state.priority),
            Field::IifName => name(0),
            Field::OifName => name(1),
            // Nobody's: a tracer's interfaces have names only.
            Field::IifGroup => Value::InterfaceGroup(0),
            // What comes in comes from where its answers go.
            Field::FibSaddrIifOif => Value::Boolean(true),
            Field::CtState => Value::STATE_NEW,
            Field::CtStatus => Value::ConnectionStatus(if state.translated { 32 } else { 0 }),
            Field::CtDirection => Value::ORIGINAL,
            Field::CtMark => Value::Mark(0),
            // The first packet of a connection has no socket yet.
            Field::SocketTransparent | Field::SocketWildcard => return Vec::new(),
            Field::FibSaddrType => address_type(source.ip()),
            Field::FibDaddrType => address_type(destination.ip()),
            Field::NumgenRandom { modulus, offset } => {
                return (offset..offset + modulus).map(Value::Index).collect();
            }
        }]
    }
}

/// Goes on with every key; none is a miss.
fn each(keys: Vec<Vec<u8>>, state: State, go: impl Fn(State, Vec<u8>) -> Step) -> Vec<Step> {
    if keys.is_empty() {
        return vec![Step::Miss(state)];
    }
    keys.into_iter().map(|key| go(state.clone(), key)).collect()
}

/// What a set holds for a key.
enum Found {
    Member,
    Values(Vec<u8>),
    Verdict(Verdict),
}

fn find(ruleset: &Ruleset, state: &State, name: &str, key: &[u8]) -> Option<Found> {
    let (set, elements) = ruleset
        .set(name)
        .unwrap_or_else(|| panic!("no set {name} in\n{ruleset}"));
    if let Some(data) = state.written.get(&(name.to_owned(), key.to_vec())) {
        return Some(match set.data {
            Some(MapData::Fields(_)) => Found::Values(data.clone()),
            _ => Found::Member,
        });
    }
    let lengths: Vec<usize> = set.key.iter().map(|field| field.kind().length()).collect();
    let element = elements
        .iter()
        .find(|element| contains(element, &lengths, key))?;
    Some(match &element.data {
        None => Found::Member,
        Some(Data::Values(bytes)) => Found::Values(bytes.to_vec()),
        Some(Data::Verdict(verdict)) => Found::Verdict(verdict.clone()),
    })
}

/// Each field of the key must lie between the element's ends.
fn contains(element: &Element, lengths: &[usize], key: &[u8]) -> bool {
    let Some(last) = &element.key_end else {
        return *element.key == *key;
    };
    let mut at = 0;
    lengths.iter().all(|length| {
        let field = at..at + length;
        at += length.next_multiple_of(4);
        element.key[field.clone()] <= key[field.clone()] && key[field.clone()] <= last[field]
    })
}

fn translate(mut state: State, family: Family, bytes: &[u8]) -> State {
    let (kind, port) = match family {
        Family::Ip => (Field::IpDaddr, 4),
        Family::Ip6 => (Field::Ip6Daddr, 16),
    };
    let Some(Value::Ip(address)) = Value::decode(kind.kind(), bytes) else {
        panic!("{bytes:?} is no address of {family:?}");
    };
    let port = u16::from_be_bytes([bytes[port], bytes[port + 1]]);
    state.packet.destination = SocketAddr::new(address, port);
    state.translated = true;
    state
}

fn word(bytes: &[u8]) -> u32 {
    bytes
        .first_chunk()
        .map_or(0, |word| u32::from_ne_bytes(*word))
}

fn end(fate: Fate, state: State) -> (End, Written) {
    let end = End {
        fate,
        destination: state.packet.destination,
        masquerade: state.masquerade,
        mark: state.mark,
        steered: state.steered,
    };
    (end, state.written)
}
