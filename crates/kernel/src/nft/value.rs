use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::field::{Family, Type};

/// One value of a field.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// An address.
    Ip(IpAddr),
    /// A transport protocol by IANA number.
    Protocol(u8),
    /// A port.
    Port(u16),
    /// A mark.
    Mark(u32),
    /// A class: 0 prints as `none`, others as `major:minor`.
    Class(u32),
    /// An interface name, at most 15 bytes.
    InterfaceName(String),
    /// Every interface name that begins so, at most 15 bytes. For matches only.
    InterfacePrefix(String),
    /// An IP family.
    Family(Family),
    /// Bits of `ct state`: see [`Value::STATE_NEW`] and its like.
    ConnectionState(u32),
    /// Bits of `ct status`: see [`Value::STATUS_DNAT`].
    ConnectionStatus(u32),
    /// `ct direction`: 0 original, 1 reply.
    Direction(u8),
    /// `RTN_*` of `linux/rtnetlink.h`: see [`Value::LOCAL`].
    AddressType(u32),
    /// An ICMPv6 type.
    Icmp6Type(u8),
    /// A group of interfaces.
    InterfaceGroup(u32),
    /// Whether something is there: see [`Value::MISSING`].
    Boolean(bool),
    /// A number of one byte.
    Octet(u8),
    /// A number.
    Index(u32),
}

const STATES: [(u32, &str); 5] = [
    (1, "invalid"),
    (2, "established"),
    (4, "related"),
    (8, "new"),
    (64, "untracked"),
];
const STATUSES: [(u32, &str); 6] = [
    (1, "expected"),
    (2, "seen-reply"),
    (4, "assured"),
    (8, "confirmed"),
    (16, "snat"),
    (32, "dnat"),
];
const ADDRESS_TYPES: [(u32, &str); 6] = [
    (0, "unspec"),
    (1, "unicast"),
    (2, "local"),
    (3, "broadcast"),
    (4, "anycast"),
    (5, "multicast"),
];
const ICMP6_TYPES: [(u8, &str); 14] = [
    (1, "destination-unreachable"),
    (2, "packet-too-big"),
    (3, "time-exceeded"),
    (4, "parameter-problem"),
    (128, "echo-request"),
    (129, "echo-reply"),
    (130, "mld-listener-query"),
    (131, "mld-listener-report"),
    (132, "mld-listener-done"),
    (133, "nd-router-solicit"),
    (134, "nd-router-advert"),
    (135, "nd-neighbor-solicit"),
    (136, "nd-neighbor-advert"),
    (137, "nd-redirect"),
];
/// As nft takes them from `/etc/protocols`.
const PROTOCOLS: [(u8, &str); 5] = [
    (1, "icmp"),
    (6, "tcp"),
    (17, "udp"),
    (58, "ipv6-icmp"),
    (132, "sctp"),
];

impl Value {
    /// `ct state invalid`.
    pub const STATE_INVALID: Self = Self::ConnectionState(1);
    /// `ct state established`.
    pub const STATE_ESTABLISHED: Self = Self::ConnectionState(2);
    /// `ct state established,related`.
    pub const STATE_ESTABLISHED_RELATED: Self = Self::ConnectionState(6);
    /// `ct state related`.
    pub const STATE_RELATED: Self = Self::ConnectionState(4);
    /// `ct state new`.
    pub const STATE_NEW: Self = Self::ConnectionState(8);
    /// `ct status dnat`.
    pub const STATUS_DNAT: Self = Self::ConnectionStatus(32);
    /// `ct direction original`.
    pub const ORIGINAL: Self = Self::Direction(0);
    /// `ct direction reply`.
    pub const REPLY: Self = Self::Direction(1);
    /// `fib … type local`.
    pub const LOCAL: Self = Self::AddressType(2);
    /// `fib … oif missing`.
    pub const MISSING: Self = Self::Boolean(false);

    /// The type of the value.
    #[must_use]
    pub const fn kind(&self) -> Type {
        match self {
            Self::Ip(IpAddr::V4(_)) => Type::Ipv4,
            Self::Ip(IpAddr::V6(_)) => Type::Ipv6,
            Self::Protocol(_) => Type::Protocol,
            Self::Port(_) => Type::Port,
            Self::Mark(_) => Type::Mark,
            Self::Class(_) => Type::Class,
            Self::InterfaceName(_) | Self::InterfacePrefix(_) => Type::InterfaceName,
            Self::Family(_) => Type::Family,
            Self::ConnectionState(_) => Type::ConnectionState,
            Self::ConnectionStatus(_) => Type::ConnectionStatus,
            Self::Direction(_) => Type::Direction,
            Self::AddressType(_) => Type::AddressType,
            Self::Icmp6Type(_) => Type::Icmp6Type,
            Self::InterfaceGroup(_) => Type::InterfaceGroup,
            Self::Boolean(_) => Type::Boolean,
            Self::Octet(_) => Type::Octet,
            Self::Index(_) => Type::Index,
        }
    }

    /// Appends the bytes that the kernel compares, without padding.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Ip(IpAddr::V4(address)) => out.extend_from_slice(&address.octets()),
            Self::Ip(IpAddr::V6(address)) => out.extend_from_slice(&address.octets()),
            Self::Protocol(byte)
            | Self::Direction(byte)
            | Self::Icmp6Type(byte)
            | Self::Octet(byte) => out.push(*byte),
            Self::Family(family) => out.push(family.number()),
            Self::Port(port) => out.extend_from_slice(&port.to_be_bytes()),
            Self::Mark(word)
            | Self::Class(word)
            | Self::ConnectionState(word)
            | Self::ConnectionStatus(word)
            | Self::AddressType(word)
            | Self::InterfaceGroup(word)
            | Self::Index(word) => out.extend_from_slice(&word.to_ne_bytes()),
            Self::Boolean(is) => out.extend_from_slice(&u32::from(*is).to_ne_bytes()),
            Self::InterfaceName(name) => {
                // IFNAMSIZ: 16 bytes with the zero at the end.
                let mut bytes = [0; 16];
                let length = name.len().min(15);
                bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
                out.extend_from_slice(&bytes);
            }
            // A comparison of fewer bytes, without the zero at the end.
            Self::InterfacePrefix(prefix) => {
                out.extend_from_slice(&prefix.as_bytes()[..prefix.len().min(15)]);
            }
        }
    }

    /// As [`Value::encode`], but numbers in network order: a set of intervals
    /// compares bytes from the first on, so there nft turns what is a number in
    /// the machine's order.
    pub fn encode_ordered(&self, out: &mut Vec<u8>) {
        let start = out.len();
        self.encode(out);
        if self.kind().is_number() {
            turn(&mut out[start..]);
        }
    }

    /// Reads what [`Value::encode_ordered`] writes.
    #[must_use]
    pub fn decode_ordered(kind: Type, bytes: &[u8]) -> Option<Self> {
        let mut bytes = bytes.get(..kind.length())?.to_vec();
        if kind.is_number() {
            turn(&mut bytes);
        }
        Self::decode(kind, &bytes)
    }

    /// Reads the bytes of a type; `None` where they are too few.
    #[must_use]
    pub fn decode(kind: Type, bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..kind.length())?;
        let word = || bytes.first_chunk().map(|word| u32::from_ne_bytes(*word));
        Some(match kind {
            Type::Ipv4 => Self::Ip(Ipv4Addr::from(*bytes.first_chunk::<4>()?).into()),
            Type::Ipv6 => Self::Ip(Ipv6Addr::from(*bytes.first_chunk::<16>()?).into()),
            Type::Protocol => Self::Protocol(bytes[0]),
            Type::Port => Self::Port(u16::from_be_bytes(*bytes.first_chunk()?)),
            Type::Mark => Self::Mark(word()?),
            Type::Class => Self::Class(word()?),
            Type::InterfaceName => {
                let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(16);
                Self::InterfaceName(String::from_utf8_lossy(&bytes[..end]).into_owned())
            }
            Type::Family => Self::Family(match bytes[0] {
                2 => Family::Ip,
                10 => Family::Ip6,
                _ => return None,
            }),
            Type::ConnectionState => Self::ConnectionState(word()?),
            Type::ConnectionStatus => Self::ConnectionStatus(word()?),
            Type::Direction => Self::Direction(bytes[0]),
            Type::AddressType => Self::AddressType(word()?),
            Type::Icmp6Type => Self::Icmp6Type(bytes[0]),
            Type::InterfaceGroup => Self::InterfaceGroup(word()?),
            Type::Boolean => Self::Boolean(word()? != 0),
            Type::Octet => Self::Octet(bytes[0]),
            Type::Index => Self::Index(word()?),
        })
    }
}

/// From the machine's order to the network's, or back.
fn turn(bytes: &mut [u8]) {
    if cfg!(target_endian = "little") {
        bytes.reverse();
    }
}

fn named<T: PartialEq + Copy>(names: &[(T, &'static str)], value: T) -> Option<&'static str> {
    names
        .iter()
        .find(|(number, _)| *number == value)
        .map(|(_, name)| *name)
}

fn bits(f: &mut fmt::Formatter<'_>, names: &[(u32, &str)], value: u32) -> fmt::Result {
    let set: Vec<&str> = names
        .iter()
        .filter(|(bit, _)| value & bit != 0)
        .map(|(_, name)| *name)
        .collect();
    f.write_str(&set.join(","))
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, number) = match self {
            Self::Ip(address) => return address.fmt(f),
            Self::Port(port) => return port.fmt(f),
            Self::Mark(mark) => return write!(f, "0x{mark:08x}"),
            Self::Class(0) => return f.write_str("none"),
            Self::Class(class) => return write!(f, "{:x}:{:x}", class >> 16, class & 0xffff),
            Self::InterfaceName(name) => return write!(f, "\"{name}\""),
            Self::InterfacePrefix(prefix) => return write!(f, "\"{prefix}*\""),
            Self::ConnectionState(state) => return bits(f, &STATES, *state),
            Self::ConnectionStatus(status) => return bits(f, &STATUSES, *status),
            Self::Index(index) | Self::InterfaceGroup(index) => return index.fmt(f),
            Self::Octet(number) => return number.fmt(f),
            Self::Boolean(true) => return f.write_str("exists"),
            Self::Boolean(false) => return f.write_str("missing"),
            Self::Protocol(protocol) => (named(&PROTOCOLS, *protocol), u32::from(*protocol)),
            Self::Family(Family::Ip) => (Some("ipv4"), 2),
            Self::Family(Family::Ip6) => (Some("ipv6"), 10),
            Self::Direction(0) => (Some("original"), 0),
            Self::Direction(direction) => (Some("reply"), u32::from(*direction)),
            Self::AddressType(kind) => (named(&ADDRESS_TYPES, *kind), *kind),
            Self::Icmp6Type(kind) => (named(&ICMP6_TYPES, *kind), u32::from(*kind)),
        };
        match name {
            Some(name) => f.write_str(name),
            None => number.fmt(f),
        }
    }
}

impl From<IpAddr> for Value {
    fn from(address: IpAddr) -> Self {
        Self::Ip(address)
    }
}
