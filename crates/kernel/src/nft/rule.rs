use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::field::{Family, Field};
use super::value::Value;

/// A rule: statements that a packet passes from left to right, until one does
/// not match or decides.
///
/// It is written in the order of nft's text:
///
/// ```
/// use podway_kernel::nft::{Field, Rule};
///
/// let rule = Rule::new()
///     .lookup([Field::IpDaddr, Field::L4Proto, Field::ThDport], "frontends")
///     .goto("services");
/// assert_eq!(
///     rule.to_string(),
///     "ip daddr . meta l4proto . th dport @frontends goto services",
/// );
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    /// What it does.
    pub statements: Vec<Statement>,
    /// A comment, at most 127 bytes; nft prints it behind the rule.
    pub comment: Option<Arc<str>>,
}

/// One step of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    /// `ip saddr != 10.0.0.0/8`.
    Match {
        /// What is compared.
        field: Field,
        /// How.
        comparison: Comparison,
        /// With what.
        pattern: Pattern,
    },
    /// `ip saddr . th dport @set`, or `!= @set`.
    Lookup {
        /// The key, concatenated.
        key: Vec<Field>,
        /// Whether it must be there.
        comparison: Comparison,
        /// The set.
        set: Arc<str>,
    },
    /// `ip daddr . th dport vmap @map`: the verdict that the map holds; goes on
    /// where it holds none.
    Vmap {
        /// The key, concatenated.
        key: Vec<Field>,
        /// The verdict map.
        map: Arc<str>,
    },
    /// `accept`, `goto chain`, ….
    Verdict(Verdict),
    /// `dnat ip to …`: decides. Only in nat chains.
    Dnat {
        /// The family of the destination.
        family: Family,
        /// The destination.
        to: Destination,
    },
    /// `tproxy ip to :4000`: the packet belongs to the connection that it is of,
    /// or else to the transparent socket that listens on a port; its addresses
    /// stay. Does not decide: the packet must be accepted, and routed to this
    /// host. Where nobody listens, goes on with the next rule. The rule must
    /// have matched TCP or UDP, in a filter chain of hook prerouting.
    Tproxy {
        /// The family of the packets.
        family: Family,
        /// The port.
        port: u16,
    },
    /// `masquerade`: decides. Only in nat postrouting.
    Masquerade {
        /// A random source port instead of the own one where possible.
        fully_random: bool,
    },
    /// `reject`: decides.
    Reject(Reject),
    /// `counter`.
    Counter,
    /// `limit rate 10/second burst 20 packets`: matches no more often.
    Limit {
        /// Packets a second.
        rate: u32,
        /// How many more at once.
        burst: u32,
    },
    /// `log prefix "…" group 5 snaplen 64`: a copy of the packet's begin for
    /// whoever listens to the group ([`crate::nflog`]).
    Log {
        /// What the listener is told with it, at most 63 bytes.
        prefix: Arc<str>,
        /// The group of listeners.
        group: u16,
        /// How many bytes of the packet.
        length: u32,
    },
    /// `meta mark set meta mark | 0x4000`.
    Mark(MarkChange),
    /// `ct mark set ct mark | 0x2000`.
    CtMark(MarkChange),
    /// `meta priority set …`.
    Priority(PrioritySource),
    /// `update @set { key timeout 3h : data }`: the packet writes the set.
    Dynset {
        /// What it does.
        action: SetAction,
        /// A set with flag dynamic.
        set: Arc<str>,
        /// The key, concatenated.
        key: Vec<Field>,
        /// How long the element lives.
        timeout: Option<Duration>,
        /// For a map: the data, concatenated.
        data: Vec<Field>,
    },
}

/// Whether a pattern must match or must not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Comparison {
    /// It must.
    Is,
    /// It must not.
    IsNot,
}

/// What a field is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// This value. For `ct state` and `ct status`: any of the bits, or, with
    /// [`Comparison::IsNot`], none of them.
    Value(Value),
    /// An address in this prefix.
    Prefix(IpNet),
    /// First to last, both included. For values in network order only.
    Range(Value, Value),
    /// Some bit of the mask is set in the mark.
    Bits(u32),
}

/// What ends or redirects a packet's way through the rules.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Leaves this hook's chain; later chains still see it.
    Accept,
    /// Is gone.
    Drop,
    /// Goes on in the chain that led here.
    Return,
    /// Goes to a chain, and comes back from its end.
    Jump(Arc<str>),
    /// Goes to a chain for good.
    Goto(Arc<str>),
}

/// Where a packet is redirected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// Address and port from a map.
    Map {
        /// The key, concatenated.
        key: Vec<Field>,
        /// A map to `addr . port`.
        map: Arc<str>,
    },
}

/// How a packet is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reject {
    /// A TCP reset. The rule must have matched TCP.
    TcpReset,
    /// ICMP port unreachable of the packet's family.
    PortUnreachable,
}

/// How the mark changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MarkChange {
    /// Sets these bits.
    Or(u32),
    /// Keeps these bits only.
    And(u32),
    /// Flips these bits.
    Xor(u32),
    /// Becomes this.
    Value(u32),
}

/// What the priority becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PrioritySource {
    /// This class; 0 is none.
    Value(u32),
    /// What a map to classes holds; goes on with the next rule where it holds
    /// nothing.
    Map {
        /// The key, concatenated.
        key: Vec<Field>,
        /// A map to classes.
        map: Arc<str>,
    },
    /// The same from a map of intervals.
    Ranges {
        /// The key, concatenated.
        key: Vec<Field>,
        /// A map of intervals to classes.
        map: Arc<str>,
    },
}

/// What a packet does to a dynamic set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SetAction {
    /// Adds an element, or leaves it as it is.
    Add,
    /// Adds an element, or renews the timeout of the one there is. Data that is
    /// there stays.
    Update,
    /// Removes an element.
    Delete,
}

impl Rule {
    /// A rule that matches everything and does nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn with(mut self, statement: Statement) -> Self {
        self.statements.push(statement);
        self
    }

    /// A comment. nft takes at most 127 bytes: the rest is cut.
    #[must_use]
    pub fn comment(mut self, text: &str) -> Self {
        self.comment = Some(super::set::comment(text));
        self
    }

    fn matches(self, field: Field, comparison: Comparison, pattern: Pattern) -> Self {
        self.with(Statement::Match {
            field,
            comparison,
            pattern,
        })
    }

    /// `field value`.
    #[must_use]
    pub fn is(self, field: Field, value: Value) -> Self {
        self.matches(field, Comparison::Is, Pattern::Value(value))
    }

    /// `field != value`.
    #[must_use]
    pub fn is_not(self, field: Field, value: Value) -> Self {
        self.matches(field, Comparison::IsNot, Pattern::Value(value))
    }

    /// `field prefix`.
    #[must_use]
    pub fn within(self, field: Field, prefix: IpNet) -> Self {
        self.matches(field, Comparison::Is, Pattern::Prefix(prefix))
    }

    /// `field != prefix`.
    #[must_use]
    pub fn not_within(self, field: Field, prefix: IpNet) -> Self {
        self.matches(field, Comparison::IsNot, Pattern::Prefix(prefix))
    }

    /// `field first-last`.
    #[must_use]
    pub fn between(self, field: Field, first: Value, last: Value) -> Self {
        self.matches(field, Comparison::Is, Pattern::Range(first, last))
    }

    /// `meta mark & mask != 0`.
    #[must_use]
    pub fn marked(self, mask: u32) -> Self {
        self.matches(Field::Mark, Comparison::Is, Pattern::Bits(mask))
    }

    /// `key @set`.
    #[must_use]
    pub fn lookup(self, key: impl Into<Vec<Field>>, set: &str) -> Self {
        self.with(Statement::Lookup {
            key: key.into(),
            comparison: Comparison::Is,
            set: set.into(),
        })
    }

    /// `key != @set`.
    #[must_use]
    pub fn lookup_not(self, key: impl Into<Vec<Field>>, set: &str) -> Self {
        self.with(Statement::Lookup {
            key: key.into(),
            comparison: Comparison::IsNot,
            set: set.into(),
        })
    }

    /// `key vmap @map`.
    #[must_use]
    pub fn vmap(self, key: impl Into<Vec<Field>>, map: &str) -> Self {
        self.with(Statement::Vmap {
            key: key.into(),
            map: map.into(),
        })
    }

    /// `accept`.
    #[must_use]
    pub fn accept(self) -> Self {
        self.with(Statement::Verdict(Verdict::Accept))
    }

    /// `drop`.
    #[must_use]
    pub fn drop(self) -> Self {
        self.with(Statement::Verdict(Verdict::Drop))
    }

    /// `return`.
    #[must_use]
    pub fn returns(self) -> Self {
        self.with(Statement::Verdict(Verdict::Return))
    }

    /// `jump chain`.
    #[must_use]
    pub fn jump(self, chain: &str) -> Self {
        self.with(Statement::Verdict(Verdict::Jump(chain.into())))
    }

    /// `goto chain`.
    #[must_use]
    pub fn goto(self, chain: &str) -> Self {
        self.with(Statement::Verdict(Verdict::Goto(chain.into())))
    }

    /// `counter`.
    #[must_use]
    pub fn counter(self) -> Self {
        self.with(Statement::Counter)
    }

    /// `limit rate N/second burst M packets`.
    #[must_use]
    pub fn limit(self, rate: u32, burst: u32) -> Self {
        self.with(Statement::Limit { rate, burst })
    }

    /// `log prefix "…" group N snaplen L`.
    #[must_use]
    pub fn log(self, prefix: &str, group: u16, length: u32) -> Self {
        self.with(Statement::Log {
            prefix: prefix.into(),
            group,
            length,
        })
    }

    /// `dnat FAMILY to key map @map`.
    #[must_use]
    pub fn dnat(self, family: Family, key: impl Into<Vec<Field>>, map: &str) -> Self {
        self.with(Statement::Dnat {
            family,
            to: Destination::Map {
                key: key.into(),
                map: map.into(),
            },
        })
    }

    /// `tproxy FAMILY to :port`.
    #[must_use]
    pub fn tproxy(self, family: Family, port: u16) -> Self {
        self.with(Statement::Tproxy { family, port })
    }

    /// `masquerade fully-random`.
    #[must_use]
    pub fn masquerade(self) -> Self {
        self.with(Statement::Masquerade { fully_random: true })
    }

    /// `meta l4proto tcp reject with tcp reset`.
    #[must_use]
    pub fn reject_tcp(self) -> Self {
        self.is(Field::L4Proto, Value::Protocol(6))
            .with(Statement::Reject(Reject::TcpReset))
    }

    /// `reject`: ICMP port unreachable.
    #[must_use]
    pub fn reject(self) -> Self {
        self.with(Statement::Reject(Reject::PortUnreachable))
    }

    /// `meta mark set meta mark | bits`.
    #[must_use]
    pub fn mark_or(self, bits: u32) -> Self {
        self.with(Statement::Mark(MarkChange::Or(bits)))
    }

    /// `meta mark set meta mark ^ bits`.
    #[must_use]
    pub fn mark_xor(self, bits: u32) -> Self {
        self.with(Statement::Mark(MarkChange::Xor(bits)))
    }

    /// `meta mark set value`.
    #[must_use]
    pub fn mark(self, value: u32) -> Self {
        self.with(Statement::Mark(MarkChange::Value(value)))
    }

    /// `meta mark set meta mark & ~bits`.
    #[must_use]
    pub fn unmark(self, bits: u32) -> Self {
        self.with(Statement::Mark(MarkChange::And(!bits)))
    }

    /// `ct mark set ct mark | bits`.
    #[must_use]
    pub fn connection_mark(self, bits: u32) -> Self {
        self.with(Statement::CtMark(MarkChange::Or(bits)))
    }

    /// `ct mark & mask != 0`.
    #[must_use]
    pub fn connection_marked(self, mask: u32) -> Self {
        self.matches(Field::CtMark, Comparison::Is, Pattern::Bits(mask))
    }

    /// `ct mark set ct mark & ~bits`.
    #[must_use]
    pub fn connection_unmark(self, bits: u32) -> Self {
        self.with(Statement::CtMark(MarkChange::And(!bits)))
    }

    /// `meta priority set class`.
    #[must_use]
    pub fn priority(self, class: u32) -> Self {
        self.with(Statement::Priority(PrioritySource::Value(class)))
    }

    /// `meta priority set key map @map`.
    #[must_use]
    pub fn priority_from(self, key: impl Into<Vec<Field>>, map: &str) -> Self {
        self.with(Statement::Priority(PrioritySource::Map {
            key: key.into(),
            map: map.into(),
        }))
    }

    /// `meta priority set key map @map`, where the map has intervals.
    #[must_use]
    pub fn priority_from_ranges(self, key: impl Into<Vec<Field>>, map: &str) -> Self {
        self.with(Statement::Priority(PrioritySource::Ranges {
            key: key.into(),
            map: map.into(),
        }))
    }

    /// `update @map { key timeout T : data }`.
    #[must_use]
    pub fn dynset(
        self,
        action: SetAction,
        set: &str,
        key: impl Into<Vec<Field>>,
        timeout: Option<Duration>,
        data: impl Into<Vec<Field>>,
    ) -> Self {
        self.with(Statement::Dynset {
            action,
            set: set.into(),
            key: key.into(),
            timeout,
            data: data.into(),
        })
    }
}
