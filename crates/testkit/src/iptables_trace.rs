//! What rules of iptables make of the first packet of a connection, without a
//! kernel.
//!
//! The tracer reads the same words that the kernel's programs read. Where a
//! rule leaves something to chance it follows both ways, so the answer is every
//! end that the packet can come to. A word that it does not know panics: no
//! rule goes by unread.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use podway_kernel::ipset::{Member, Port};
use podway_kernel::iptables::{Chains, Family, Rule, Table};
use podway_kernel::ipvs::VirtualServer;

/// The first packet of a connection.
#[derive(Debug, Clone)]
pub struct TracedPacket {
    /// Where it comes from.
    pub source: SocketAddr,
    /// Where it goes.
    pub destination: SocketAddr,
    /// The transport protocol, as rules name it: `tcp`.
    pub protocol: &'static str,
    /// The interface that it comes in by; `None` where the node itself opens the
    /// connection.
    pub interface: Option<&'static str>,
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
    /// The sets that its source has joined.
    pub joined: BTreeSet<String>,
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

/// A node with rules of one family.
#[derive(Debug, Clone)]
pub struct Tracer<'r> {
    tables: &'r BTreeMap<Table, Chains>,
    local: BTreeSet<IpAddr>,
    sets: BTreeMap<String, BTreeSet<Member>>,
    servers: BTreeMap<VirtualServer, Vec<SocketAddr>>,
}

/// A packet on its way.
#[derive(Debug, Clone)]
struct State {
    packet: TracedPacket,
    mark: u32,
    translated: bool,
    /// Whether IPVS has sent it on.
    is_served: bool,
    masquerade: bool,
    joined: BTreeSet<String>,
    fate: Fate,
}

/// How a chain let go of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// At its end, or by RETURN: the chain before goes on.
    Return,
    /// The hook is done with it.
    Done,
}

impl<'r> Tracer<'r> {
    /// A node that has these addresses.
    #[must_use]
    pub fn new(
        tables: &'r BTreeMap<Table, Chains>,
        local: impl IntoIterator<Item = IpAddr>,
    ) -> Self {
        Self {
            tables,
            local: local.into_iter().collect(),
            sets: BTreeMap::new(),
            servers: BTreeMap::new(),
        }
    }

    /// Gives a set addresses. A set that was not named has none.
    #[must_use]
    pub fn with_set(self, name: &str, members: impl IntoIterator<Item = IpAddr>) -> Self {
        self.with_members(name, members.into_iter().map(Member::Address))
    }

    /// Gives a set members of any type.
    #[must_use]
    pub fn with_members(mut self, name: &str, members: impl IntoIterator<Item = Member>) -> Self {
        let set = self.sets.entry(name.to_owned()).or_default();
        set.extend(members);
        self
    }

    /// Gives the node a virtual server, which chooses among these.
    #[must_use]
    pub fn with_server(mut self, server: VirtualServer, reals: Vec<SocketAddr>) -> Self {
        self.servers.insert(server, reals);
        self
    }

    /// Every end, in order.
    #[must_use]
    pub fn trace(&self, packet: &TracedPacket) -> BTreeSet<End> {
        let state = State {
            packet: packet.clone(),
            mark: 0,
            translated: false,
            is_served: false,
            masquerade: false,
            joined: BTreeSet::new(),
            fate: Fate::Pass,
        };
        let states = match packet.interface {
            None => self.leaving(state),
            Some(_) => self.arriving(state),
        };
        let states = self.hook(states, Table::Nat, |_| Some("POSTROUTING"));
        let ends = states.into_iter().map(|state| End {
            fate: state.fate,
            destination: state.packet.destination,
            masquerade: state.masquerade,
            joined: state.joined,
        });
        ends.collect()
    }

    /// IPVS takes the node's own packets between translation and filters.
    fn leaving(&self, state: State) -> Vec<State> {
        let states = self.hook(vec![state], Table::Mangle, |_| Some("OUTPUT"));
        let states = self.hook(states, Table::Nat, |_| Some("OUTPUT"));
        let states = states.into_iter().flat_map(|state| self.serve(state));
        let states = self.hook(states.collect(), Table::Filter, |_| Some("OUTPUT"));
        // What is for the node itself comes in again.
        self.hook(states, Table::Filter, |state| {
            self.is_for_node(state).then_some("INPUT")
        })
    }

    /// IPVS takes what is for the node after the filters, and sends it on.
    fn arriving(&self, state: State) -> Vec<State> {
        let states = self.hook(vec![state], Table::Nat, |_| Some("PREROUTING"));
        let input = |state: &State| self.is_for_node(state).then_some("INPUT");
        let states = self.hook(states, Table::Mangle, input);
        let states = self.hook(states, Table::Filter, |state| {
            input(state).or(Some("FORWARD"))
        });
        let serve = |state: State| match state.fate == Fate::Pass && self.is_for_node(&state) {
            true => self.serve(state),
            false => vec![state],
        };
        let states: Vec<State> = states.into_iter().flat_map(serve).collect();
        self.hook(states, Table::Filter, |state| {
            state.is_served.then_some("OUTPUT")
        })
    }

    fn is_for_node(&self, state: &State) -> bool {
        self.local.contains(&state.packet.destination.ip())
    }

    /// Every real server that IPVS may choose; the packet as it is where no
    /// virtual server is for it. A mark goes before an address.
    fn serve(&self, state: State) -> Vec<State> {
        let address = state.packet.destination;
        let family = match address.is_ipv4() {
            true => Family::V4,
            false => Family::V6,
        };
        let keys = [
            VirtualServer::Mark {
                family,
                mark: state.mark,
            },
            VirtualServer::Address {
                protocol: number(state.packet.protocol),
                address,
            },
        ];
        let mut found = keys.iter().filter_map(|key| self.servers.get(key));
        let Some(reals) = found.next().filter(|_| state.fate == Fate::Pass) else {
            return vec![state];
        };
        let to = |real: &SocketAddr| {
            let mut state = state.clone();
            state.packet.destination = *real;
            state.is_served = true;
            state
        };
        reals.iter().map(to).collect()
    }

    /// One table at one hook, for every packet that still goes on.
    fn hook(
        &self,
        states: Vec<State>,
        table: Table,
        chain: impl Fn(&State) -> Option<&'static str>,
    ) -> Vec<State> {
        if !self.tables.contains_key(&table) {
            return states;
        }
        let through = |state: State| match chain(&state) {
            Some(chain) if state.fate == Fate::Pass => {
                let ends = self.chain(table, chain, state);
                ends.into_iter().map(|(_, state)| state).collect()
            }
            _ => vec![state],
        };
        states.into_iter().flat_map(through).collect()
    }

    fn chain(&self, table: Table, chain: &str, state: State) -> Vec<(Stop, State)> {
        let chains = self.tables.get(&table);
        let rules = chains.and_then(|chains| chains.get(chain));
        let rules = rules.unwrap_or_else(|| panic!("no chain {chain} in table {table}"));
        let mut done = Vec::new();
        let mut going = vec![state];
        for rule in rules {
            let mut next = Vec::new();
            for state in going {
                for (matches, state) in self.matches(rule, state) {
                    if !matches {
                        next.push(state);
                        continue;
                    }
                    let steps = self.target(table, rule, state);
                    for (step, state) in steps {
                        match step {
                            Step::Next => next.push(state),
                            Step::Stop(stop) => done.push((stop, state)),
                        }
                    }
                }
            }
            going = next;
        }
        done.extend(going.into_iter().map(|state| (Stop::Return, state)));
        done
    }

    /// Whether the rule matches; both, where chance decides.
    fn matches(&self, rule: &Rule, state: State) -> Vec<(bool, State)> {
        let words = rule.words();
        let mut words = words.iter().map(String::as_str);
        let (mut all, mut by_chance, mut negated) = (true, false, false);
        while let Some(word) = words.next() {
            let mut argument = || words.next().unwrap_or_else(|| panic!("cut short: {rule}"));
            let holds = match word {
                "!" => {
                    negated = true;
                    continue;
                }
                "-j" => break,
                "-m" | "--comment" | "--mode" => {
                    argument();
                    continue;
                }
                "--probability" => {
                    by_chance = argument() != "1.00000000000";
                    continue;
                }
                "--match-set" => {
                    let (set, sides) = (argument().to_owned(), argument());
                    self.member(&set, sides, &state).is_some()
                }
                _ => self.holds(word, argument(), &state, rule),
            };
            all &= holds != std::mem::take(&mut negated);
        }
        match (all, by_chance) {
            (true, true) => vec![(true, state.clone()), (false, state)],
            (all, _) => vec![(all, state)],
        }
    }

    /// An option with one argument.
    fn holds(&self, option: &str, argument: &str, state: &State, rule: &Rule) -> bool {
        let prefix = || -> IpNet {
            let prefix = argument.parse();
            prefix.unwrap_or_else(|_| panic!("not a prefix in `{rule}`"))
        };
        let is_local = |address: IpAddr| {
            assert_eq!(argument, "LOCAL", "in `{rule}`");
            self.local.contains(&address)
        };
        match option {
            "-s" => prefix().contains(&state.packet.source.ip()),
            "-d" => prefix().contains(&state.packet.destination.ip()),
            "-i" => {
                let interface = state.packet.interface.unwrap_or_default();
                let begin = argument.strip_suffix('+');
                begin.map_or(argument == interface, |begin| interface.starts_with(begin))
            }
            "-p" => argument == state.packet.protocol,
            "--dport" => argument == state.packet.destination.port().to_string(),
            "--src-type" => is_local(state.packet.source.ip()),
            "--dst-type" => is_local(state.packet.destination.ip()),
            "--ctstate" => argument
                .split(',')
                .any(|word| word == "NEW" || (word == "DNAT" && state.translated)),
            "--mark" => {
                let (value, mask) = value_and_mask(argument, rule);
                state.mark & mask == value
            }
            _ => panic!("the tracer does not know {option} in `{rule}`"),
        }
    }

    /// The member of a set that a packet is.
    fn member(&self, set: &str, sides: &str, state: &State) -> Option<&Member> {
        let first = match sides.split(',').next() {
            Some("src") => state.packet.source,
            Some("dst") => state.packet.destination,
            _ => panic!("the tracer does not know set dimensions {sides}"),
        };
        // Beyond address and port, sets here ask for the source.
        assert!(["src", "dst", "dst,dst", "dst,dst,src"].contains(&sides));
        let source = state.packet.source.ip();
        let protocol = number(state.packet.protocol);
        let is_port = |port: &Port| port.protocol == protocol && port.address == first;
        let mut members = self.sets.get(set)?.iter();
        members.find(|member| match member {
            Member::Address(address) => *address == first.ip(),
            Member::Port(port) => *port == first.port(),
            Member::AddressPort(port) | Member::AddressPortMark(port, _) => is_port(port),
            Member::AddressPortAddress(port, peer) => is_port(port) && *peer == source,
            Member::AddressPortPrefix(port, peer) => is_port(port) && peer.contains(&source),
        })
    }

    fn target(&self, table: Table, rule: &Rule, mut state: State) -> Vec<(Step, State)> {
        let words = rule.words();
        let mut words = words
            .iter()
            .map(String::as_str)
            .skip_while(|word| *word != "-j");
        let target = words.nth(1);
        let arguments: Vec<&str> = words.collect();
        let stop = Step::Stop(Stop::Done);
        let step = match (target, &arguments[..]) {
            (None, _) => Step::Next,
            (Some("ACCEPT"), []) => stop,
            (Some("RETURN"), []) => Step::Stop(Stop::Return),
            (Some("DROP"), []) => {
                state.fate = Fate::Drop;
                stop
            }
            (Some("REJECT"), ["--reject-with", _]) => {
                state.fate = Fate::Reject;
                stop
            }
            (Some("MARK"), ["--set-xmark", change]) => {
                let (value, mask) = value_and_mask(change, rule);
                state.mark = (state.mark & !mask) ^ value;
                Step::Next
            }
            (Some("SET"), ["--add-set", set, "src", "--exist", "--timeout", _]) => {
                state.joined.insert((*set).to_owned());
                Step::Next
            }
            (Some("SET"), ["--map-set", set, sides, "--map-mark"]) => {
                if let Some(Member::AddressPortMark(_, mark)) = self.member(set, sides, &state) {
                    state.mark = *mark;
                }
                Step::Next
            }
            (Some("DNAT"), ["--to-destination", to]) => {
                let to = to.parse();
                state.packet.destination = to.unwrap_or_else(|_| panic!("no address: {rule}"));
                state.translated = true;
                stop
            }
            (Some("MASQUERADE"), ["--random-fully"] | []) => {
                state.masquerade = true;
                stop
            }
            (Some(chain), []) => return self.jump(table, chain, state),
            _ => panic!("the tracer does not know the target of `{rule}`"),
        };
        vec![(step, state)]
    }

    fn jump(&self, table: Table, chain: &str, state: State) -> Vec<(Step, State)> {
        let ends = self.chain(table, chain, state).into_iter();
        ends.map(|(stop, state)| match stop {
            Stop::Return => (Step::Next, state),
            Stop::Done => (Step::Stop(Stop::Done), state),
        })
        .collect()
    }
}

/// What a rule that matches does to a packet's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Next,
    Stop(Stop),
}

/// IANA number.
fn number(protocol: &str) -> u8 {
    match protocol {
        "tcp" => 6,
        "udp" => 17,
        "sctp" => 132,
        _ => panic!("the tracer does not know protocol {protocol}"),
    }
}

fn value_and_mask(text: &str, rule: &Rule) -> (u32, u32) {
    let number = |text: &str| {
        let digits = text.strip_prefix("0x");
        let number = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        number.unwrap_or_else(|| panic!("not a mark in `{rule}`"))
    };
    let parts = text.split_once('/');
    let (value, mask) = parts.unwrap_or_else(|| panic!("a mark without mask in `{rule}`"));
    (number(value), number(mask))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builders::{ip, socket};

    const NODE: &str = "192.168.0.2";

    fn tables(nat: &[(&str, &[&str])], filter: &[(&str, &[&str])]) -> BTreeMap<Table, Chains> {
        let mut tables = BTreeMap::<Table, Chains>::new();
        for (table, chains) in [(Table::Nat, nat), (Table::Filter, filter)] {
            let all = tables.entry(table).or_default();
            let built_in = table.built_in().iter();
            all.extend(built_in.map(|chain| ((*chain).into(), Vec::new())));
            for (chain, rules) in chains {
                let rules = rules.iter().map(|rule| Rule::parse(rule));
                all.insert((*chain).into(), rules.collect());
            }
        }
        tables
    }

    fn packet(source: &str, destination: &str) -> TracedPacket {
        TracedPacket {
            source: socket(source),
            destination: socket(destination),
            protocol: "tcp",
            interface: (!source.starts_with(NODE)).then_some("eth0"),
        }
    }

    /// How ends are written below: fate, destination, whether masqueraded.
    fn ends(tables: &BTreeMap<Table, Chains>, packet: &TracedPacket) -> Vec<String> {
        let tracer = Tracer::new(tables, [ip(NODE)]).with_set("VIPS", [ip("10.96.0.1")]);
        let ends = tracer.trace(packet).into_iter();
        ends.map(|end| format!("{:?} {} {}", end.fate, end.destination, end.masquerade))
            .collect()
    }

    #[test]
    fn packets_go_through_hooks_chains_and_chance() {
        let nat: &[(&str, &[&str])] = &[
            ("PREROUTING", &["-p udp -j X", "-j X"]),
            (
                "X",
                &[
                    "-s 10.0.0.1/32 -j RETURN",
                    "! -s 10.0.0.0/8 -m comment --comment \"a -j b\" -j MARK --set-xmark 0x4000/0x4000",
                    "-d 10.96.0.1/32 -p tcp -m tcp --dport 80 -m statistic --mode random \
                 --probability 0.50000000000 -j DNAT --to-destination 10.1.0.1:8080",
                    "-d 10.96.0.1/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.1.0.2:8080",
                ],
            ),
            (
                "POSTROUTING",
                &[
                    "-m mark ! --mark 0x4000/0x4000 -j RETURN",
                    "-j MASQUERADE --random-fully",
                ],
            ),
        ];
        let filter: &[(&str, &[&str])] = &[
            (
                "FORWARD",
                &[
                    "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
                    "-m set --match-set VIPS dst -m conntrack ! --ctstate DNAT -j REJECT --reject-with x",
                ],
            ),
            (
                "INPUT",
                &["-m addrtype --src-type LOCAL -j ACCEPT", "-j DROP"],
            ),
        ];
        let tables = tables(nat, filter);
        let both = |masquerade| {
            let ends = ["10.1.0.1:8080", "10.1.0.2:8080"];
            ends.map(|end| format!("Pass {end} {masquerade}")).to_vec()
        };
        let one = |end: &str| vec![format!("{end} false")];
        for (source, destination, expected) in [
            ("10.0.0.9:1", "10.96.0.1:80", both(false)),
            ("203.0.113.1:1", "10.96.0.1:80", both(true)),
            ("10.0.0.1:1", "10.96.0.1:80", one("Reject 10.96.0.1:80")),
            ("10.0.0.9:1", "10.96.0.1:81", one("Reject 10.96.0.1:81")),
            ("10.0.0.9:1", "10.96.0.2:80", one("Pass 10.96.0.2:80")),
            ("10.0.0.9:1", "192.168.0.2:80", one("Drop 192.168.0.2:80")),
            (
                "192.168.0.2:1",
                "192.168.0.2:80",
                one("Pass 192.168.0.2:80"),
            ),
        ] {
            let found = ends(&tables, &packet(source, destination));
            assert_eq!(found, expected, "{source} > {destination}");
        }
    }

    #[test]
    #[should_panic(expected = "the tracer does not know --ttl")]
    fn an_unknown_match_is_no_match_but_a_mistake() {
        let tables = tables(&[("PREROUTING", &["-m ttl --ttl 3 -j ACCEPT"])], &[]);
        let _ = ends(&tables, &packet("10.0.0.9:1", "10.96.0.1:80"));
    }
}
