//! Which maps a frontend is in: by the family of its address, and by whether
//! it is an address of its own or a port of the node's addresses.

use std::net::SocketAddr;

use podway_kernel::nft::{Data, Family, Field, Value};
use podway_model::IpFamily;
use podway_plan::service::{Frontend, FrontendAddress};

/// What a frontend is found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Place {
    /// Address, protocol and port.
    Address,
    /// Protocol and port, at any address of the node.
    Node,
}

/// Family and place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Scope {
    pub(super) family: IpFamily,
    pub(super) place: Place,
}

impl Scope {
    pub(super) const fn of(frontend: &Frontend) -> Self {
        match frontend.address {
            FrontendAddress::Ip(address) => Self {
                family: IpFamily::of(&address),
                place: Place::Address,
            },
            FrontendAddress::Node(family) => Self {
                family,
                place: Place::Node,
            },
        }
    }

    /// The fields of a packet that name a frontend.
    pub(super) fn key(self) -> Vec<Field> {
        match self.place {
            Place::Address => vec![daddr(self.family), Field::L4Proto, Field::ThDport],
            Place::Node => vec![Field::L4Proto, Field::ThDport],
        }
    }

    /// How chains of this scope begin: `ip4`, `node6`.
    pub(super) const fn prefix(self) -> &'static str {
        match (self.place, self.family) {
            (Place::Address, IpFamily::V4) => "ip4",
            (Place::Address, IpFamily::V6) => "ip6",
            (Place::Node, IpFamily::V4) => "node4",
            (Place::Node, IpFamily::V6) => "node6",
        }
    }
}

/// The values that name a frontend, in the order of [`Scope::key`].
pub(super) fn frontend_key(frontend: &Frontend) -> Vec<Value> {
    let address = match frontend.address {
        FrontendAddress::Ip(address) => Some(Value::Ip(address)),
        FrontendAddress::Node(_) => None,
    };
    let protocol = Value::Protocol(frontend.protocol.number());
    address
        .into_iter()
        .chain([protocol, Value::Port(frontend.port)])
        .collect()
}

pub(super) fn endpoint_data(endpoint: SocketAddr) -> Data {
    Data::values(&[Value::Ip(endpoint.ip()), Value::Port(endpoint.port())])
}

pub(super) const fn saddr(family: IpFamily) -> Field {
    match family {
        IpFamily::V4 => Field::IpSaddr,
        IpFamily::V6 => Field::Ip6Saddr,
    }
}

pub(super) const fn daddr(family: IpFamily) -> Field {
    match family {
        IpFamily::V4 => Field::IpDaddr,
        IpFamily::V6 => Field::Ip6Daddr,
    }
}

pub(super) const fn nft_family(family: IpFamily) -> Family {
    match family {
        IpFamily::V4 => Family::Ip,
        IpFamily::V6 => Family::Ip6,
    }
}

pub(super) const fn digit(family: IpFamily) -> char {
    match family {
        IpFamily::V4 => '4',
        IpFamily::V6 => '6',
    }
}

/// The fields of a key with one more.
pub(super) fn with(mut key: Vec<Field>, last: Field) -> Vec<Field> {
    key.push(last);
    key
}

/// What names a client of a frontend for session affinity: for node ports too
/// the address that the client used, so that one map serves all.
pub(super) fn client_key(family: IpFamily) -> Vec<Field> {
    vec![saddr(family), daddr(family), Field::L4Proto, Field::ThDport]
}
