//! The part of the table that is the same whatever the policies: maps, and the
//! chains that ask them ([`chains`]).
//!
//! A new connection of an isolated pod costs a constant number of lookups in
//! each direction, however many policies and pods there are. Why it is so, and
//! what else was tried: `docs/decisions/0003-policy-layout.md`.

mod chains;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use podway_kernel::nft::{Element, Field, Set, Type, Value};
use podway_model::IpFamily;
use podway_plan::policy::Direction;

pub(super) use chains::{Way, chains, reason_of};

/// The table.
pub const TABLE: &str = crate::names::POLICY_TABLE;

/// The class that says: this connection is allowed.
pub(super) const ALLOWED: u32 = 1;
/// The class that says: it is denied.
pub(super) const DENIED: u32 = 2;
/// Classes from here on, up to the next, are lists of ports.
const LISTS: u32 = 0x4000_0000;
/// Classes from here on are groups of peers.
const GROUPS: u32 = 0x8000_0000;

/// The class of a list of ports.
pub(super) const fn list_class(number: u32) -> u32 {
    LISTS | number
}

/// The list that a class is.
pub(super) const fn list_of_class(class: u32) -> Option<u32> {
    if class >= LISTS && class < GROUPS {
        Some(class - LISTS)
    } else {
        None
    }
}

/// The class of a group of peers.
pub(super) const fn group_class(number: u32) -> u32 {
    GROUPS | number
}

/// The group of peers that a class is.
pub(super) const fn group_of_class(class: u32) -> Option<u32> {
    class.checked_sub(GROUPS)
}

/// Where a pod's connections are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Gate {
    /// Whether it only reports: it judges as if policies in audit mode were
    /// enforced.
    pub(super) is_audit: bool,
    /// Whether the pod is reached or reaches.
    pub(super) direction: Direction,
}

impl Gate {
    /// Every one.
    pub(super) const ALL: [Self; 4] = [
        Self::enforced(Direction::Ingress),
        Self::enforced(Direction::Egress),
        Self::audit(Direction::Ingress),
        Self::audit(Direction::Egress),
    ];

    /// What is enforced.
    pub(super) const fn enforced(direction: Direction) -> Self {
        let is_audit = false;
        Self {
            is_audit,
            direction,
        }
    }

    /// What only reports.
    pub(super) const fn audit(direction: Direction) -> Self {
        let is_audit = true;
        Self {
            is_audit,
            direction,
        }
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_audit {
            f.write_str("audit-")?;
        }
        self.direction.fmt(f)
    }
}

/// One of the sets and maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Map {
    /// Peer address -> the class of its group.
    Groups(IpFamily),
    /// List of ports, protocol, port -> the class of what it means.
    Ports,
    /// List of ports -> the class of what all others mean.
    OtherPorts,
    /// The pods that are judged.
    Pods(Gate, IpFamily),
    /// Group of the peer, pod -> allowed ports.
    Peers(Gate, IpFamily),
    /// Pod, addresses of the peer -> allowed ports.
    Blocks(Gate, IpFamily),
    /// Pod -> ports that anybody is allowed.
    Anybody(Gate, IpFamily),
    /// The same pods: counts the packets that are denied to each.
    Denied(Gate, IpFamily),
    /// Addresses whose connections are judged again.
    Suspects(IpFamily),
}

impl Map {
    /// Every one, in the order in which they are listed.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let of_gate = |gate, family| {
            [
                Self::Pods(gate, family),
                Self::Peers(gate, family),
                Self::Blocks(gate, family),
                Self::Anybody(gate, family),
                Self::Denied(gate, family),
            ]
        };
        let of_family = move |family| {
            let gates = Gate::ALL
                .into_iter()
                .flat_map(move |gate| of_gate(gate, family));
            [Self::Suspects(family), Self::Groups(family)]
                .into_iter()
                .chain(gates)
        };
        let lists = [Self::Ports, Self::OtherPorts].into_iter();
        lists.chain(IpFamily::ALL.into_iter().flat_map(of_family))
    }

    /// Its name: `ingress-peers4`.
    pub(super) fn name(self) -> String {
        let (what, gate, family) = match self {
            Self::Ports => return "ports".to_owned(),
            Self::OtherPorts => return "other-ports".to_owned(),
            Self::Groups(family) => return format!("groups{}", digit(family)),
            Self::Suspects(family) => return format!("suspects{}", digit(family)),
            Self::Pods(gate, family) => ("pods", gate, family),
            Self::Peers(gate, family) => ("peers", gate, family),
            Self::Blocks(gate, family) => ("blocks", gate, family),
            Self::Anybody(gate, family) => ("anybody", gate, family),
            Self::Denied(gate, family) => ("denied", gate, family),
        };
        format!("{gate}-{what}{}", digit(family))
    }

    /// The set as the kernel is told to make it.
    pub(super) fn set(self) -> Arc<Set> {
        let name = self.name();
        let class = vec![Field::Priority];
        Arc::new(match self {
            Self::Ports => Set::map(
                name,
                vec![Field::Priority, Field::L4Proto, Field::ThDport],
                class,
            )
            .interval(),
            Self::OtherPorts => Set::map(name, vec![Field::Priority], class),
            Self::Groups(family) => Set::map(name, vec![address(family)], class),
            Self::Suspects(family) => Set::keys(name, vec![address(family)]),
            Self::Pods(_, family) => Set::keys(name, vec![address(family)]),
            Self::Denied(_, family) => Set::keys(name, vec![address(family)]).counting(),
            Self::Peers(_, family) => Set::map(name, vec![Field::Priority, address(family)], class),
            Self::Blocks(_, family) => {
                Set::map(name, vec![address(family), address(family)], class).interval()
            }
            Self::Anybody(_, family) => Set::map(name, vec![address(family)], class),
        })
    }

    /// The address of the pod or peer that an element is about.
    pub(super) fn address_of(self, element: &Element) -> Option<IpAddr> {
        // The class comes first, in 4 bytes.
        let (family, at) = match self {
            Self::Ports | Self::OtherPorts => return None,
            Self::Peers(_, family) => (family, 4),
            Self::Groups(family)
            | Self::Suspects(family)
            | Self::Pods(_, family)
            | Self::Blocks(_, family)
            | Self::Anybody(_, family)
            | Self::Denied(_, family) => (family, 0),
        };
        let kind = match family {
            IpFamily::V4 => Type::Ipv4,
            IpFamily::V6 => Type::Ipv6,
        };
        match Value::decode(kind, element.key.get(at..)?)? {
            Value::Ip(address) => Some(address),
            _ => None,
        }
    }
}

/// A field of the family's addresses: as a set's key it stands for any.
const fn address(family: IpFamily) -> Field {
    match family {
        IpFamily::V4 => Field::IpSaddr,
        IpFamily::V6 => Field::Ip6Saddr,
    }
}

const fn digit(family: IpFamily) -> u8 {
    match family {
        IpFamily::V4 => 4,
        IpFamily::V6 => 6,
    }
}
