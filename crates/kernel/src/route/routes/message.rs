//! Routes to and from rtnetlink messages.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::{Route, RouteFilter, RouteKind, Scope};
use crate::route::LinkIndex;

/// The metric that the kernel gives an IPv6 route without one
/// (IP6_RT_PRIO_USER); read as "none", so that both families compare alike.
const IPV6_DEFAULT_METRIC: u32 = 1024;

impl RouteFilter {
    pub(super) fn message(self, family: AddressFamily) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header.address_family = family;
        if let Some(protocol) = self.protocol {
            message.header.protocol = protocol.into();
        }
        let attributes = &mut message.attributes;
        attributes.extend(self.table.map(RouteAttribute::Table));
        attributes.extend(self.link.map(|link| RouteAttribute::Oif(link.0)));
        message
    }

    pub(super) fn selects(self, route: &Route) -> bool {
        self.table.is_none_or(|table| route.table == table)
            && self.link.is_none_or(|link| route.link == Some(link))
            && self
                .protocol
                .is_none_or(|protocol| route.protocol == protocol)
    }
}

impl Route {
    /// Reads RTM_NEWROUTE and RTM_DELROUTE; `None` for what is no plain route.
    pub(in crate::route) fn of_message(message: &RouteNetlinkMessage) -> Option<Self> {
        let (RouteNetlinkMessage::NewRoute(message) | RouteNetlinkMessage::DelRoute(message)) =
            message
        else {
            return None;
        };
        let header = &message.header;
        let any: IpAddr = match header.address_family {
            AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
            AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
            _ => return None,
        };
        if header.flags.contains(RouteFlags::Cloned) {
            return None;
        }
        let mut route = Self {
            table: header.table.into(),
            kind: kind_of(header.kind),
            scope: scope_of(header.scope),
            onlink: header.flags.contains(RouteFlags::Onlink),
            protocol: header.protocol.into(),
            ..Self::new(IpNet::new(any, 0).ok()?)
        };
        let mut destination = any;
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::MultiPath(_) => return None,
                RouteAttribute::Destination(address) => destination = ip_of(address)?,
                _ => route.read(attribute),
            }
        }
        route.destination = IpNet::new(destination, header.destination_prefix_length).ok()?;
        Some(route)
    }

    fn read(&mut self, attribute: &RouteAttribute) {
        match attribute {
            RouteAttribute::Gateway(address) => self.gateway = ip_of(address),
            RouteAttribute::PrefSource(address) => self.source = ip_of(address),
            RouteAttribute::Oif(index) => self.link = Some(LinkIndex(*index)),
            RouteAttribute::Table(table) => self.table = *table,
            RouteAttribute::Priority(metric) => {
                let default = match self.destination {
                    IpNet::V4(_) => 0,
                    IpNet::V6(_) => IPV6_DEFAULT_METRIC,
                };
                self.metric = Some(*metric).filter(|metric| *metric != default);
            }
            RouteAttribute::Metrics(metrics) => {
                self.mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) => Some(*mtu),
                    _ => None,
                });
            }
            _ => {}
        }
    }
}

pub(super) fn to_message(route: &Route) -> RouteMessage {
    let mut message = RouteMessage::default();
    let header = &mut message.header;
    header.address_family = match route.destination {
        IpNet::V4(_) => AddressFamily::Inet,
        IpNet::V6(_) => AddressFamily::Inet6,
    };
    header.destination_prefix_length = route.destination.prefix_len();
    // RTA_TABLE carries the table; the header has room for eight bits.
    header.table = u8::try_from(route.table).unwrap_or(0);
    header.protocol = route.protocol.into();
    header.scope = match route.scope {
        Scope::Global => RouteScope::Universe,
        Scope::Link => RouteScope::Link,
        Scope::Host => RouteScope::Host,
    };
    header.kind = match route.kind {
        RouteKind::Unicast => RouteType::Unicast,
        RouteKind::Local => RouteType::Local,
        RouteKind::Blackhole => RouteType::BlackHole,
        RouteKind::Unreachable => RouteType::Unreachable,
        RouteKind::Other(number) => number.into(),
    };
    header.flags.set(RouteFlags::Onlink, route.onlink);
    let attributes = &mut message.attributes;
    if route.destination.prefix_len() > 0 {
        let address = route.destination.network().into();
        attributes.push(RouteAttribute::Destination(address));
    }
    attributes.push(RouteAttribute::Table(route.table));
    attributes.extend(route.gateway.map(|ip| RouteAttribute::Gateway(ip.into())));
    attributes.extend(route.link.map(|link| RouteAttribute::Oif(link.0)));
    attributes.extend(route.source.map(|ip| RouteAttribute::PrefSource(ip.into())));
    attributes.extend(route.metric.map(RouteAttribute::Priority));
    attributes.extend(
        route
            .mtu
            .map(|mtu| RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)])),
    );
    message
}

/// Asks which route a packet to this address would take.
pub(super) fn lookup(address: IpAddr) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    message.header.destination_prefix_length = IpNet::from(address).prefix_len();
    message
        .attributes
        .push(RouteAttribute::Destination(address.into()));
    message
}

/// Whether the answer to [`lookup`] is that it ends here.
pub(super) fn is_local(answer: &RouteNetlinkMessage) -> bool {
    matches!(answer, RouteNetlinkMessage::NewRoute(route) if route.header.kind == RouteType::Local)
}

fn kind_of(kind: RouteType) -> RouteKind {
    match kind {
        RouteType::Unicast => RouteKind::Unicast,
        RouteType::Local => RouteKind::Local,
        RouteType::BlackHole => RouteKind::Blackhole,
        RouteType::Unreachable => RouteKind::Unreachable,
        other => RouteKind::Other(other.into()),
    }
}

fn scope_of(scope: RouteScope) -> Scope {
    match scope {
        RouteScope::Host => Scope::Host,
        RouteScope::Link => Scope::Link,
        _ => Scope::Global,
    }
}

fn ip_of(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}
