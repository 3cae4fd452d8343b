//! What modes in nf_tables have in common: which maps a frontend is in (by the
//! family of its address, and by whether it is an address of its own or a port
//! of the node's addresses), and the fields and prefixes that they ask for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;
use podway_kernel::nft::{Data, Family, Field, Value};
use podway_model::IpFamily;
use podway_plan::service::{Frontend, FrontendAddress};

use super::ServiceSettings;

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

/// Prefixes without those inside others: intervals must not overlap.
pub(super) fn disjoint(prefixes: &Vec<IpNet>) -> Vec<IpNet> {
    IpNet::aggregate(prefixes)
}

/// What serves node ports where it is the node's.
pub(super) fn node_port_prefixes(settings: &ServiceSettings) -> Vec<IpNet> {
    let of_family = |family| {
        let of_family = |prefix: &&IpNet| IpFamily::of(&prefix.addr()) == family;
        let given = settings.node_port_prefixes.iter().filter(of_family);
        let given: Vec<IpNet> = given.copied().collect();
        if given.is_empty() {
            vec![everything(family)]
        } else {
            given
        }
    };
    disjoint(&IpFamily::ALL.into_iter().flat_map(of_family).collect())
}

fn everything(family: IpFamily) -> IpNet {
    let unspecified: IpAddr = match family {
        IpFamily::V4 => Ipv4Addr::UNSPECIFIED.into(),
        IpFamily::V6 => Ipv6Addr::UNSPECIFIED.into(),
    };
    IpNet::new(unspecified, 0).expect("a length of 0 fits every family")
}

/// Addresses that mean this host on every host.
pub(super) fn loopback(family: IpFamily) -> IpNet {
    let prefix = match family {
        IpFamily::V4 => IpNet::new(Ipv4Addr::LOCALHOST.into(), 8),
        IpFamily::V6 => IpNet::new(Ipv6Addr::LOCALHOST.into(), 128),
    };
    prefix.expect("lengths that fit their families").trunc()
}
