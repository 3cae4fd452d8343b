//! From statements to the kernel's expressions, in the order and registers
//! that nft itself uses, so that `nft list` finds its way back.

use super::expression::Expressions;
use super::field::{Family, Field, Origin, Type};
use super::rule::{
    Comparison, Destination, MarkChange, Pattern, PrioritySource, Reject, Rule, SetAction,
    Statement, Verdict,
};
use super::set::{milliseconds, total_length};
use super::value::Value;
use crate::netlink::Attributes;

/// A 32-bit word of the register file. The kernel names every fourth by the
/// 16-byte register that begins there, and reports it so.
#[derive(Clone, Copy)]
struct Register(u32);

impl Register {
    const FIRST: Self = Self(0);

    const fn number(self) -> u32 {
        if self.0.is_multiple_of(4) {
            1 + self.0 / 4
        } else {
            8 + self.0
        }
    }
}

const VERDICT_REGISTER: u32 = 0;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const PROTOCOL_ICMP6: u8 = 58;
/// `NF_NAT_RANGE_PROTO_RANDOM_FULLY`.
const FULLY_RANDOM: u32 = 1 << 4;

#[derive(Clone, Copy)]
enum Relation {
    Equal = 0,
    NotEqual = 1,
    AtMost = 3,
    AtLeast = 5,
}

impl Rule {
    /// What the kernel is given for the rule.
    #[must_use]
    pub fn expressions(&self) -> Expressions {
        let mut encoder = Encoder::default();
        for statement in &self.statements {
            encoder.statement(statement);
        }
        encoder.out
    }
}

#[derive(Default)]
struct Encoder {
    out: Expressions,
    family: Option<Family>,
    icmp6: bool,
}

impl Encoder {
    fn statement(&mut self, statement: &Statement) {
        match statement {
            Statement::Match {
                field,
                comparison,
                pattern,
            } => self.compare(*field, *comparison, pattern),
            Statement::Lookup {
                key,
                comparison,
                set,
            } => {
                self.load_key(key, Register::FIRST);
                self.lookup(set, None, *comparison);
            }
            Statement::Vmap { key, map } => {
                self.load_key(key, Register::FIRST);
                self.lookup(map, Some(VERDICT_REGISTER), Comparison::Is);
            }
            Statement::Verdict(verdict) => self.verdict(verdict),
            Statement::Dnat { family, to } => self.dnat(*family, to),
            Statement::Tproxy { family, port } => self.tproxy(*family, *port),
            Statement::Masquerade { fully_random } => self.out.push("masq", |data| {
                if *fully_random {
                    data.number(1, FULLY_RANDOM);
                }
            }),
            Statement::Reject(reject) => self.reject(*reject),
            Statement::Counter => self.out.push("counter", |_| {}),
            Statement::Limit { rate, burst } => self.limit(*rate, *burst),
            Statement::Log {
                prefix,
                group,
                length,
            } => self.out.push("log", |data| {
                data.text(2, prefix)
                    .bytes(1, &group.to_be_bytes())
                    .number(3, *length);
            }),
            Statement::Mark(change) => self.mark(Field::Mark, *change),
            Statement::CtMark(change) => self.mark(Field::CtMark, *change),
            Statement::Priority(source) => self.priority(source),
            Statement::Dynset { .. } => self.dynset(statement),
        }
    }

    /// nft leaves out of its text, and puts before a header's field, the check
    /// that the packet has that header.
    fn require(&mut self, field: Field) {
        if let Some(family) = field.family()
            && self.family != Some(family)
        {
            self.load(Field::NfProto, Register::FIRST);
            self.compare_register(Relation::Equal, &[family.number()]);
            self.family = Some(family);
        }
        if field == Field::Icmp6Type && !self.icmp6 {
            self.load(Field::L4Proto, Register::FIRST);
            self.compare_register(Relation::Equal, &[PROTOCOL_ICMP6]);
            self.icmp6 = true;
        }
    }

    /// Loads fields into consecutive words; gives the first free one.
    fn load_key(&mut self, key: &[Field], first: Register) -> Register {
        for field in key {
            self.require(*field);
        }
        let mut register = first;
        for field in key {
            self.load(*field, register);
            let length = total_length(&[*field]);
            register.0 += length.div_ceil(4);
        }
        register
    }

    /// Loads fields as a set of intervals compares them: numbers in network
    /// order.
    fn load_ordered_key(&mut self, key: &[Field]) {
        const TO_NETWORK: u32 = 1;
        const LENGTH: u32 = 4;
        for field in key {
            self.require(*field);
        }
        let mut register = Register::FIRST;
        for field in key {
            self.load(*field, register);
            if field.kind().is_number() {
                let number = register.number();
                self.out.push("byteorder", |data| {
                    data.number(1, number)
                        .number(2, number)
                        .number(3, TO_NETWORK)
                        .number(4, LENGTH)
                        .number(5, LENGTH);
                });
            }
            register.0 += total_length(&[*field]).div_ceil(4);
        }
    }

    fn load(&mut self, field: Field, register: Register) {
        let target = register.number();
        match field.origin() {
            Origin::Payload { base, offset } => self.out.push("payload", |data| {
                data.number(1, target)
                    .number(2, base)
                    .number(3, offset)
                    .number(4, total_length(&[field]));
            }),
            Origin::Meta(key) => self.out.push("meta", |data| {
                data.number(2, key).number(1, target);
            }),
            Origin::Ct(key) => self.out.push("ct", |data| {
                data.number(1, target).number(2, key);
            }),
            Origin::FibType(flags) => self.out.push("fib", |data| {
                const RESULT_ADDRESS_TYPE: u32 = 3;
                data.number(1, target)
                    .number(2, RESULT_ADDRESS_TYPE)
                    .number(3, flags);
            }),
            Origin::FibPresent(flags) => self.out.push("fib", |data| {
                const RESULT_OUT_INTERFACE: u32 = 1;
                data.number(1, target)
                    .number(2, RESULT_OUT_INTERFACE)
                    .number(3, flags);
            }),
            Origin::Socket(key) => self.out.push("socket", |data| {
                data.number(1, key).number(2, target);
            }),
            Origin::Numgen { modulus, offset } => self.out.push("numgen", |data| {
                const RANDOM: u32 = 1;
                data.number(1, target)
                    .number(2, modulus)
                    .number(3, RANDOM)
                    .number(4, offset);
            }),
        }
    }

    fn compare(&mut self, field: Field, comparison: Comparison, pattern: &Pattern) {
        self.require(field);
        self.load(field, Register::FIRST);
        let relation = match comparison {
            Comparison::Is => Relation::Equal,
            Comparison::IsNot => Relation::NotEqual,
        };
        match pattern {
            Pattern::Value(Value::ConnectionState(bits) | Value::ConnectionStatus(bits))
            | Pattern::Bits(bits) => {
                self.bitwise(&bits.to_ne_bytes(), &[0; 4]);
                let relation = match comparison {
                    Comparison::Is => Relation::NotEqual,
                    Comparison::IsNot => Relation::Equal,
                };
                self.compare_register(relation, &[0; 4]);
            }
            Pattern::Value(value) => {
                if field == Field::NfProto
                    && let (Value::Family(family), Comparison::Is) = (value, comparison)
                {
                    self.family = Some(*family);
                }
                self.compare_register(relation, &bytes(value));
            }
            Pattern::Prefix(prefix) => {
                let mask = bytes(&Value::Ip(prefix.netmask()));
                if prefix.prefix_len() < prefix.max_prefix_len() {
                    self.bitwise(&mask, &vec![0; mask.len()]);
                }
                self.compare_register(relation, &bytes(&Value::Ip(prefix.network())));
            }
            Pattern::Range(first, last) => self.range(comparison, &bytes(first), &bytes(last)),
        }
    }

    fn range(&mut self, comparison: Comparison, first: &[u8], last: &[u8]) {
        if comparison == Comparison::Is {
            self.compare_register(Relation::AtLeast, first);
            self.compare_register(Relation::AtMost, last);
            return;
        }
        self.out.push("range", |data| {
            data.number(1, Register::FIRST.number())
                .number(2, Relation::NotEqual as u32)
                .nest(3, |from| {
                    from.bytes(DATA_VALUE, first);
                })
                .nest(4, |to| {
                    to.bytes(DATA_VALUE, last);
                });
        });
    }

    fn compare_register(&mut self, relation: Relation, value: &[u8]) {
        self.out.push("cmp", |data| {
            data.number(1, Register::FIRST.number())
                .number(2, relation as u32)
                .nest(3, |nest| {
                    nest.bytes(DATA_VALUE, value);
                });
        });
    }

    fn bitwise(&mut self, mask: &[u8], xor: &[u8]) {
        let length = u32::try_from(mask.len()).expect("a mask is as long as a register");
        self.out.push("bitwise", |data| {
            data.number(1, Register::FIRST.number())
                .number(2, Register::FIRST.number())
                .number(3, length)
                .nest(4, |nest| {
                    nest.bytes(DATA_VALUE, mask);
                })
                .nest(5, |nest| {
                    nest.bytes(DATA_VALUE, xor);
                });
        });
    }

    fn lookup(&mut self, set: &str, target: Option<u32>, comparison: Comparison) {
        const INVERTED: u32 = 1;
        self.out.push("lookup", |data| {
            data.text(1, set).number(2, Register::FIRST.number());
            if let Some(target) = target {
                data.number(3, target);
            }
            if comparison == Comparison::IsNot {
                data.number(5, INVERTED);
            }
        });
    }

    fn verdict(&mut self, verdict: &Verdict) {
        self.out.push("immediate", |data| {
            data.number(1, VERDICT_REGISTER).nest(2, |nest| {
                put_verdict(nest, verdict);
            });
        });
    }

    fn dnat(&mut self, family: Family, to: &Destination) {
        const TYPE_DNAT: u32 = 1;
        let Destination::Map { key, map } = to;
        self.load_key(key, Register::FIRST);
        self.lookup(map, Some(Register::FIRST.number()), Comparison::Is);
        let port = Register(match family {
            Family::Ip => 1,
            Family::Ip6 => 4,
        });
        self.out.push("nat", |data| {
            data.number(1, TYPE_DNAT)
                .number(2, u32::from(family.number()))
                .number(3, Register::FIRST.number())
                .number(5, port.number());
        });
    }

    fn tproxy(&mut self, family: Family, port: u16) {
        self.immediate(&port.to_be_bytes());
        self.out.push("tproxy", |data| {
            data.number(1, u32::from(family.number()))
                .number(3, Register::FIRST.number());
        });
    }

    fn reject(&mut self, reject: Reject) {
        self.out.push("reject", |data| {
            match reject {
                Reject::TcpReset => data.number(1, 1),
                // ICMPX: the code that means the same in both families.
                Reject::PortUnreachable => data.number(1, 2).bytes(2, &[1]),
            };
        });
    }

    /// The mark of the packet or of its connection.
    fn mark(&mut self, mark: Field, change: MarkChange) {
        let (mask, xor) = match change {
            MarkChange::Or(bits) => (!bits, bits),
            MarkChange::And(bits) => (bits, 0),
            MarkChange::Xor(bits) => (u32::MAX, bits),
            MarkChange::Value(value) => {
                self.immediate(&value.to_ne_bytes());
                return self.store(mark);
            }
        };
        self.load(mark, Register::FIRST);
        self.bitwise(&mask.to_ne_bytes(), &xor.to_ne_bytes());
        self.store(mark);
    }

    fn limit(&mut self, rate: u32, burst: u32) {
        const SECOND: u64 = 1;
        const PACKETS: u32 = 0;
        self.out.push("limit", |data| {
            data.long(1, rate.into())
                .long(2, SECOND)
                .number(3, burst)
                .number(4, PACKETS)
                .number(5, 0);
        });
    }

    fn priority(&mut self, source: &PrioritySource) {
        match source {
            PrioritySource::Value(class) => self.immediate(&class.to_ne_bytes()),
            PrioritySource::Map { key, map } => {
                self.load_key(key, Register::FIRST);
                self.lookup(map, Some(Register::FIRST.number()), Comparison::Is);
            }
            PrioritySource::Ranges { key, map } => {
                self.load_ordered_key(key);
                self.lookup(map, Some(Register::FIRST.number()), Comparison::Is);
            }
        }
        self.store(Field::Priority);
    }

    fn immediate(&mut self, value: &[u8]) {
        self.out.push("immediate", |data| {
            data.number(1, Register::FIRST.number()).nest(2, |nest| {
                nest.bytes(DATA_VALUE, value);
            });
        });
    }

    fn store(&mut self, field: Field) {
        let source = Register::FIRST.number();
        match field.origin() {
            Origin::Meta(key) => self.out.push("meta", |data| {
                data.number(2, key).number(3, source);
            }),
            Origin::Ct(key) => self.out.push("ct", |data| {
                data.number(2, key).number(4, source);
            }),
            _ => {}
        }
    }

    fn dynset(&mut self, statement: &Statement) {
        let Statement::Dynset {
            action,
            set,
            key,
            timeout,
            data,
        } = statement
        else {
            return;
        };
        let operation = match action {
            SetAction::Add => 0,
            SetAction::Update => 1,
            SetAction::Delete => 2,
        };
        let value = self.load_key(key, Register::FIRST);
        self.load_key(data, value);
        self.out.push("dynset", |attributes| {
            attributes
                .text(1, set)
                .number(3, operation)
                .number(4, Register::FIRST.number());
            if !data.is_empty() {
                attributes.number(5, value.number());
            }
            if let Some(timeout) = timeout {
                attributes.long(6, milliseconds(*timeout));
            }
        });
    }
}

/// `NFTA_DATA_VERDICT`, for rules and for elements.
pub(super) fn put_verdict(out: &mut Attributes<'_>, verdict: &Verdict) {
    const CODE: u16 = 1;
    const CHAIN: u16 = 2;
    let (code, chain) = match verdict {
        Verdict::Drop => (0, None),
        Verdict::Accept => (1, None),
        Verdict::Jump(chain) => (-3, Some(chain)),
        Verdict::Goto(chain) => (-4, Some(chain)),
        Verdict::Return => (-5, None),
    };
    out.nest(DATA_VERDICT, |nest| {
        nest.bytes(CODE, &i32::to_be_bytes(code));
        if let Some(chain) = chain {
            nest.text(CHAIN, chain);
        }
    });
}

fn bytes(value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(Type::Ipv6.length());
    value.encode(&mut out);
    out
}
