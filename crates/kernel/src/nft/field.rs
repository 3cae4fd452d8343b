use std::fmt;

/// An IP family, as rules ask for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
}

impl Family {
    /// `NFPROTO_IPV4`, `NFPROTO_IPV6`.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Ip => 2,
            Self::Ip6 => 10,
        }
    }
}

/// The type of a field: how long it is and how it prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Type {
    /// `ipv4_addr`.
    Ipv4,
    /// `ipv6_addr`.
    Ipv6,
    /// `inet_proto`: a transport protocol.
    Protocol,
    /// `inet_service`: a port.
    Port,
    /// `mark`: a packet mark.
    Mark,
    /// `classid`: what `meta priority` holds.
    Class,
    /// `ifname`: an interface name.
    InterfaceName,
    /// `nf_proto`: an IP family.
    Family,
    /// `ct_state`.
    ConnectionState,
    /// `ct_status`.
    ConnectionStatus,
    /// `ct_dir`.
    Direction,
    /// `fib_addrtype`.
    AddressType,
    /// `icmpv6_type`.
    Icmp6Type,
    /// `devgroup`: a group of interfaces.
    InterfaceGroup,
    /// `boolean`.
    Boolean,
    /// A number of one byte without a name of its own.
    Octet,
    /// A number without a name of its own, which `typeof` must explain.
    Index,
}

/// What a rule asks of a packet or its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// `ip saddr`.
    IpSaddr,
    /// `ip daddr`.
    IpDaddr,
    /// `ip6 saddr`.
    Ip6Saddr,
    /// `ip6 daddr`.
    Ip6Daddr,
    /// `th sport`: TCP, UDP and SCTP have it in the same place.
    ThSport,
    /// `th dport`.
    ThDport,
    /// `icmpv6 type`.
    Icmp6Type,
    /// `meta l4proto`.
    L4Proto,
    /// `meta nfproto`.
    NfProto,
    /// `meta mark`.
    Mark,
    /// `meta priority`.
    Priority,
    /// `iifname`.
    IifName,
    /// `oifname`.
    OifName,
    /// `iifgroup`.
    IifGroup,
    /// `ct state`.
    CtState,
    /// `ct status`.
    CtStatus,
    /// `ct direction`.
    CtDirection,
    /// `ct mark`.
    CtMark,
    /// `fib saddr type`.
    FibSaddrType,
    /// `fib daddr type`.
    FibDaddrType,
    /// `fib saddr . iif oif`, asked with `exists` or `missing`: whether what is
    /// sent to the source would leave where the packet came in.
    FibSaddrIifOif,
    /// `socket transparent`: whether the socket that the packet belongs to may
    /// have addresses that are not the host's. Does not match where there is no
    /// socket.
    SocketTransparent,
    /// `socket wildcard`: whether that socket has no address of its own, as
    /// those have that listen everywhere.
    SocketWildcard,
    /// `numgen random mod N offset M`: a new number at each evaluation.
    NumgenRandom {
        /// How many numbers there are; not 0.
        modulus: u32,
        /// The least of them.
        offset: u32,
    },
}

/// Where the kernel finds a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// `base` is the header (1 network, 2 transport).
    Payload { base: u32, offset: u32 },
    /// `NFT_META_*`.
    Meta(u32),
    /// `NFT_CT_*`.
    Ct(u32),
    /// `NFTA_FIB_F_*`; the result is the address type.
    FibType(u32),
    /// `NFTA_FIB_F_*`; the result is whether there is an interface.
    FibPresent(u32),
    /// `NFT_SOCKET_*`.
    Socket(u32),
    /// A random number.
    Numgen { modulus: u32, offset: u32 },
}

impl Type {
    /// Bytes, without padding.
    #[must_use]
    pub const fn length(self) -> usize {
        match self {
            Self::Protocol | Self::Family | Self::Direction | Self::Icmp6Type | Self::Octet => 1,
            Self::Port => 2,
            Self::Ipv4
            | Self::Mark
            | Self::Class
            | Self::ConnectionState
            | Self::ConnectionStatus
            | Self::AddressType
            | Self::InterfaceGroup
            | Self::Boolean
            | Self::Index => 4,
            Self::Ipv6 | Self::InterfaceName => 16,
        }
    }

    /// nft's number of the type, 6 bits (nftables `datatype.h`).
    pub(super) const fn number(self) -> u32 {
        match self {
            Self::Family => 2,
            Self::Index | Self::Octet => 4,
            Self::Ipv4 => 7,
            Self::Ipv6 => 8,
            Self::Protocol => 12,
            Self::Port => 13,
            Self::Mark => 19,
            Self::Class => 23,
            Self::ConnectionState => 26,
            Self::Direction => 27,
            Self::ConnectionStatus => 28,
            Self::Icmp6Type => 29,
            Self::InterfaceGroup => 36,
            Self::AddressType => 38,
            Self::Boolean => 39,
            Self::InterfaceName => 41,
        }
    }

    /// Whether the bytes are in the machine's order.
    pub(super) const fn is_host_order(self) -> bool {
        matches!(
            self,
            Self::Mark
                | Self::Class
                | Self::InterfaceName
                | Self::ConnectionState
                | Self::ConnectionStatus
                | Self::AddressType
                | Self::InterfaceGroup
                | Self::Boolean
                | Self::Index
        )
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipv4 => "ipv4_addr",
            Self::Ipv6 => "ipv6_addr",
            Self::Protocol => "inet_proto",
            Self::Port => "inet_service",
            Self::Mark => "mark",
            Self::Class => "classid",
            Self::InterfaceName => "ifname",
            Self::Family => "nf_proto",
            Self::ConnectionState => "ct_state",
            Self::ConnectionStatus => "ct_status",
            Self::Direction => "ct_dir",
            Self::AddressType => "fib_addrtype",
            Self::Icmp6Type => "icmpv6_type",
            Self::InterfaceGroup => "devgroup",
            Self::Boolean => "boolean",
            Self::Index | Self::Octet => "integer",
        })
    }
}

impl Type {
    /// Whether it is a number in the machine's order: a name is its bytes.
    pub(super) fn is_number(self) -> bool {
        self.is_host_order() && self != Self::InterfaceName
    }
}

impl Field {
    /// A random number from 0 to below `modulus`, which is not 0.
    #[must_use]
    pub const fn random(modulus: u32) -> Self {
        Self::NumgenRandom { modulus, offset: 0 }
    }

    /// The type of what it yields.
    #[must_use]
    pub const fn kind(self) -> Type {
        match self {
            Self::IpSaddr | Self::IpDaddr => Type::Ipv4,
            Self::Ip6Saddr | Self::Ip6Daddr => Type::Ipv6,
            Self::ThSport | Self::ThDport => Type::Port,
            Self::Icmp6Type => Type::Icmp6Type,
            Self::L4Proto => Type::Protocol,
            Self::NfProto => Type::Family,
            Self::Mark | Self::CtMark => Type::Mark,
            Self::Priority => Type::Class,
            Self::IifGroup => Type::InterfaceGroup,
            Self::IifName | Self::OifName => Type::InterfaceName,
            Self::CtState => Type::ConnectionState,
            Self::CtStatus => Type::ConnectionStatus,
            Self::CtDirection => Type::Direction,
            Self::FibSaddrType | Self::FibDaddrType => Type::AddressType,
            Self::FibSaddrIifOif => Type::Boolean,
            Self::SocketTransparent | Self::SocketWildcard => Type::Octet,
            Self::NumgenRandom { .. } => Type::Index,
        }
    }

    /// The IP family that a packet must have for the field to exist.
    #[must_use]
    pub const fn family(self) -> Option<Family> {
        match self {
            Self::IpSaddr | Self::IpDaddr => Some(Family::Ip),
            Self::Ip6Saddr | Self::Ip6Daddr | Self::Icmp6Type => Some(Family::Ip6),
            _ => None,
        }
    }

    pub(super) const fn origin(self) -> Origin {
        const NETWORK: u32 = 1;
        const TRANSPORT: u32 = 2;
        let (base, offset) = match self {
            Self::IpSaddr => (NETWORK, 12),
            Self::IpDaddr => (NETWORK, 16),
            Self::Ip6Saddr => (NETWORK, 8),
            Self::Ip6Daddr => (NETWORK, 24),
            Self::ThSport | Self::Icmp6Type => (TRANSPORT, 0),
            Self::ThDport => (TRANSPORT, 2),
            Self::Priority => return Origin::Meta(2),
            Self::Mark => return Origin::Meta(3),
            Self::IifName => return Origin::Meta(6),
            Self::OifName => return Origin::Meta(7),
            Self::NfProto => return Origin::Meta(15),
            Self::L4Proto => return Origin::Meta(16),
            Self::IifGroup => return Origin::Meta(21),
            Self::CtState => return Origin::Ct(0),
            Self::CtDirection => return Origin::Ct(1),
            Self::CtStatus => return Origin::Ct(2),
            Self::CtMark => return Origin::Ct(3),
            Self::FibSaddrType => return Origin::FibType(1),
            Self::FibDaddrType => return Origin::FibType(2),
            // NFTA_FIB_F_SADDR, …_IIF, …_PRESENT.
            Self::FibSaddrIifOif => return Origin::FibPresent(1 | 8 | 32),
            Self::SocketTransparent => return Origin::Socket(0),
            Self::SocketWildcard => return Origin::Socket(2),
            Self::NumgenRandom { modulus, offset } => return Origin::Numgen { modulus, offset },
        };
        Origin::Payload { base, offset }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IpSaddr => "ip saddr",
            Self::IpDaddr => "ip daddr",
            Self::Ip6Saddr => "ip6 saddr",
            Self::Ip6Daddr => "ip6 daddr",
            Self::ThSport => "th sport",
            Self::ThDport => "th dport",
            Self::Icmp6Type => "icmpv6 type",
            Self::L4Proto => "meta l4proto",
            Self::NfProto => "meta nfproto",
            Self::Mark => "meta mark",
            Self::Priority => "meta priority",
            Self::IifName => "iifname",
            Self::OifName => "oifname",
            Self::IifGroup => "iifgroup",
            Self::CtState => "ct state",
            Self::CtStatus => "ct status",
            Self::CtDirection => "ct direction",
            Self::CtMark => "ct mark",
            Self::FibSaddrType => "fib saddr type",
            Self::FibDaddrType => "fib daddr type",
            Self::FibSaddrIifOif => "fib saddr . iif oif",
            Self::SocketTransparent => "socket transparent",
            Self::SocketWildcard => "socket wildcard",
            Self::NumgenRandom { modulus, offset } => {
                write!(f, "numgen random mod {modulus}")?;
                return match offset {
                    0 => Ok(()),
                    _ => write!(f, " offset {offset}"),
                };
            }
        })
    }
}
