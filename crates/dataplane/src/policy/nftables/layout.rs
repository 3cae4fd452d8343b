//! The part of the table that is the same whatever the policies: maps, and the
//! chains that ask them ([`chains`]).
//!
//! A new connection of an isolated pod costs a constant number of lookups in
//! each direction, however many policies and pods there are. Why it is so, and
//! what else was tried: `docs/decisions/0003-policy-layout.md`.

mod chains;

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

/// One of the sets and maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Map {
    /// Peer address -> the class of its group.
    Groups(IpFamily),
    /// List of ports, protocol, port -> the class of what it means.
    Ports,
    /// The isolated pods.
    Pods(Direction, IpFamily),
    /// Group of the peer, pod -> allowed ports.
    Peers(Direction, IpFamily),
    /// Pod, addresses of the peer -> allowed ports.
    Blocks(Direction, IpFamily),
    /// Pod -> ports that anybody is allowed.
    Anybody(Direction, IpFamily),
    /// The isolated pods again: counts the packets that are denied to each.
    Denied(Direction, IpFamily),
    /// Addresses whose connections are judged again.
    Suspects(IpFamily),
}

impl Map {
    /// Every one, in the order in which they are listed.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let of_direction = |direction, family| {
            [
                Self::Pods(direction, family),
                Self::Peers(direction, family),
                Self::Blocks(direction, family),
                Self::Anybody(direction, family),
                Self::Denied(direction, family),
            ]
        };
        let of_family = move |family| {
            let directions = Direction::ALL
                .into_iter()
                .flat_map(move |direction| of_direction(direction, family));
            [Self::Suspects(family), Self::Groups(family)]
                .into_iter()
                .chain(directions)
        };
        std::iter::once(Self::Ports).chain(IpFamily::ALL.into_iter().flat_map(of_family))
    }

    /// Its name: `ingress-peers4`.
    pub(super) fn name(self) -> String {
        let (what, direction, family) = match self {
            Self::Ports => return "ports".to_owned(),
            Self::Groups(family) => return format!("groups{}", digit(family)),
            Self::Suspects(family) => return format!("suspects{}", digit(family)),
            Self::Pods(direction, family) => ("pods", direction, family),
            Self::Peers(direction, family) => ("peers", direction, family),
            Self::Blocks(direction, family) => ("blocks", direction, family),
            Self::Anybody(direction, family) => ("anybody", direction, family),
            Self::Denied(direction, family) => ("denied", direction, family),
        };
        format!("{direction}-{what}{}", digit(family))
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
            Self::Ports => return None,
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
