//! Rules as `nft list` prints them.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use super::field::{Family, Field};
use super::rule::{
    Comparison, Destination, MarkChange, Pattern, PrioritySource, Reject, Rule, SetAction,
    Statement, Verdict,
};
use super::value::Value;

/// Fields joined as a key: `ip daddr . th dport`.
pub(super) struct Key<'a>(pub(super) &'a [Field]);

impl Display for Key<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (index, field) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(" . ")?;
            }
            field.fmt(f)?;
        }
        Ok(())
    }
}

/// A duration as nft prints it: `1d2h3m4s5ms`.
pub(super) struct Span(pub(super) Duration);

impl Display for Span {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_millis();
        let mut written = false;
        for (unit, length) in [
            ("d", 86_400_000),
            ("h", 3_600_000),
            ("m", 60_000),
            ("s", 1000),
            ("ms", 1),
        ] {
            if rest >= length {
                write!(f, "{}{unit}", rest / length)?;
                rest %= length;
                written = true;
            }
        }
        if written { Ok(()) } else { f.write_str("0s") }
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept => f.write_str("accept"),
            Self::Drop => f.write_str("drop"),
            Self::Return => f.write_str("return"),
            Self::Jump(chain) => write!(f, "jump {chain}"),
            Self::Goto(chain) => write!(f, "goto {chain}"),
        }
    }
}

impl Display for Rule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (index, statement) in self.statements.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            statement.fmt(f)?;
        }
        match &self.comment {
            Some(comment) => write!(f, " comment \"{comment}\""),
            None => Ok(()),
        }
    }
}

impl Display for Statement {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Match {
                field,
                comparison,
                pattern,
            } => compare(f, *field, *comparison, pattern),
            Self::Lookup {
                key,
                comparison,
                set,
            } => write!(f, "{}{} @{set}", Key(key), not(*comparison)),
            Self::Vmap { key, map } => write!(f, "{} vmap @{map}", Key(key)),
            Self::Verdict(verdict) => verdict.fmt(f),
            Self::Dnat {
                family,
                to: Destination::Map { key, map },
            } => {
                let family = word(*family);
                write!(f, "dnat {family} to {} map @{map}", Key(key))
            }
            Self::Tproxy { family, port } => write!(f, "tproxy {} to :{port}", word(*family)),
            Self::Masquerade { fully_random } => f.write_str(if *fully_random {
                "masquerade fully-random"
            } else {
                "masquerade"
            }),
            Self::Reject(Reject::TcpReset) => f.write_str("reject with tcp reset"),
            Self::Reject(Reject::PortUnreachable) => f.write_str("reject"),
            Self::Counter => f.write_str("counter"),
            Self::Limit { rate, burst } => {
                write!(f, "limit rate {rate}/second burst {burst} packets")
            }
            Self::Log {
                prefix,
                group,
                length,
            } => write!(f, "log prefix \"{prefix}\" group {group} snaplen {length}"),
            Self::Mark(change) => mark(f, "meta mark", *change),
            Self::CtMark(change) => mark(f, "ct mark", *change),
            Self::Priority(PrioritySource::Value(class)) => {
                write!(f, "meta priority set {}", Value::Class(*class))
            }
            Self::Priority(
                PrioritySource::Map { key, map } | PrioritySource::Ranges { key, map },
            ) => {
                write!(f, "meta priority set {} map @{map}", Key(key))
            }
            Self::Dynset { .. } => self.write_dynset(f),
        }
    }
}

impl Statement {
    fn write_dynset(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self::Dynset {
            action,
            set,
            key,
            timeout,
            data,
        } = self
        else {
            return Ok(());
        };
        let action = match action {
            SetAction::Add => "add",
            SetAction::Update => "update",
            SetAction::Delete => "delete",
        };
        write!(f, "{action} @{set} {{ {}", Key(key))?;
        if let Some(timeout) = timeout {
            write!(f, " timeout {}", Span(*timeout))?;
        }
        if !data.is_empty() {
            write!(f, " : {}", Key(data))?;
        }
        f.write_str(" }")
    }
}

fn mark(f: &mut Formatter<'_>, mark: &str, change: MarkChange) -> fmt::Result {
    write!(f, "{mark} set ")?;
    match change {
        MarkChange::Or(bits) => write!(f, "{mark} | 0x{bits:08x}"),
        MarkChange::And(bits) => write!(f, "{mark} & 0x{bits:08x}"),
        MarkChange::Xor(bits) => write!(f, "{mark} ^ 0x{bits:08x}"),
        MarkChange::Value(value) => write!(f, "0x{value:08x}"),
    }
}

const fn word(family: Family) -> &'static str {
    match family {
        Family::Ip => "ip",
        Family::Ip6 => "ip6",
    }
}

const fn not(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Is => "",
        Comparison::IsNot => " !=",
    }
}

fn compare(
    f: &mut Formatter<'_>,
    field: Field,
    comparison: Comparison,
    pattern: &Pattern,
) -> fmt::Result {
    let not = not(comparison);
    match pattern {
        Pattern::Value(value @ (Value::ConnectionState(_) | Value::ConnectionStatus(_))) => {
            let none = match comparison {
                Comparison::Is => "",
                Comparison::IsNot => " !",
            };
            write!(f, "{field}{none} {value}")
        }
        Pattern::Value(value) => write!(f, "{field}{not} {value}"),
        Pattern::Prefix(prefix) if prefix.prefix_len() == prefix.max_prefix_len() => {
            write!(f, "{field}{not} {}", prefix.addr())
        }
        Pattern::Prefix(prefix) => write!(f, "{field}{not} {}", prefix.trunc()),
        Pattern::Range(first, last) => write!(f, "{field}{not} {first}-{last}"),
        Pattern::Bits(mask) => {
            let relation = match comparison {
                Comparison::Is => "!=",
                Comparison::IsNot => "==",
            };
            write!(f, "{field} & 0x{mask:08x} {relation} 0x00000000")
        }
    }
}
