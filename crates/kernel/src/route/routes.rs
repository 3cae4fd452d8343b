//! Routing table entries.

mod message;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netlink_packet_route::route::RouteProtocol;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::error::{ErrorKind, Result};
use super::link::{LinkIndex, found};
use super::socket::{Doing, Mode, Rtnetlink};
use message::to_message;

/// The table that `ip route` shows.
pub const MAIN_TABLE: u32 = 254;

/// What a route does with its packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteKind {
    /// Sends them on.
    Unicast,
    /// Takes them as this node's own.
    Local,
    /// Drops them.
    Blackhole,
    /// Answers that the host is unreachable.
    Unreachable,
    /// Anything else, by number (RTN_*).
    Other(u8),
}

/// How far the destination is. IPv6 knows only `Global`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Behind a gateway.
    Global,
    /// On the link.
    Link,
    /// This host.
    Host,
}

/// An entry of a routing table. What identifies it are destination, table,
/// metric and family; IPv6 adds gateway and link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route {
    /// Where to; the host bits are zero.
    pub destination: IpNet,
    /// The next router, of the same family.
    pub gateway: Option<IpAddr>,
    /// The interface.
    pub link: Option<LinkIndex>,
    /// The table; [`MAIN_TABLE`] is the usual one.
    pub table: u32,
    /// What it does.
    pub kind: RouteKind,
    /// How far.
    pub scope: Scope,
    /// The gateway is on the link although no route says so (RTNH_F_ONLINK).
    pub onlink: bool,
    /// The source address for connections that this host opens.
    pub source: Option<IpAddr>,
    /// Lower wins; `None` is the family's default (0, IPv6 1024).
    pub metric: Option<u32>,
    /// The largest packet, in bytes, where lower than the link's.
    pub mtu: Option<u32>,
    /// Who made it (RTPROT_*): 2 kernel, 3 boot, 4 static, and others by
    /// agreement.
    pub protocol: u8,
}

impl Route {
    /// A route made by an administrator (protocol static) in the main table.
    #[must_use]
    pub fn new(destination: IpNet) -> Self {
        Self {
            destination: destination.trunc(),
            gateway: None,
            link: None,
            table: MAIN_TABLE,
            kind: RouteKind::Unicast,
            scope: Scope::Global,
            onlink: false,
            source: None,
            metric: None,
            mtu: None,
            protocol: RouteProtocol::Static.into(),
        }
    }

    /// `0.0.0.0/0` or `::/0`, the family of the gateway's.
    #[must_use]
    pub fn default_via(gateway: IpAddr) -> Self {
        let any: IpAddr = match gateway {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let destination = IpNet::new_assert(any, 0);
        Self::new(destination).via(gateway)
    }

    /// Through this gateway.
    #[must_use]
    pub const fn via(mut self, gateway: IpAddr) -> Self {
        self.gateway = Some(gateway);
        self
    }

    /// Out of this interface.
    #[must_use]
    pub const fn dev(mut self, link: LinkIndex) -> Self {
        self.link = Some(link);
        self
    }

    /// With a gateway that no other route leads to.
    #[must_use]
    pub const fn onlink(mut self) -> Self {
        self.onlink = true;
        self
    }

    /// To neighbours on the link, without a gateway.
    #[must_use]
    pub const fn scope_link(mut self) -> Self {
        // The kernel has no scopes in IPv6 and reports every route as global.
        if let IpNet::V4(_) = self.destination {
            self.scope = Scope::Link;
        }
        self
    }

    /// In this table.
    #[must_use]
    pub const fn table(mut self, table: u32) -> Self {
        self.table = table;
        self
    }

    /// With this source address.
    #[must_use]
    pub const fn source(mut self, source: IpAddr) -> Self {
        self.source = Some(source);
        self
    }

    /// Made by this protocol (RTPROT_*).
    #[must_use]
    pub const fn protocol(mut self, protocol: u8) -> Self {
        self.protocol = protocol;
        self
    }

    /// Of this kind.
    #[must_use]
    pub const fn kind(mut self, kind: RouteKind) -> Self {
        self.kind = kind;
        self
    }
}

/// Which routes to list; the default lists all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RouteFilter {
    /// Only of this table.
    pub table: Option<u32>,
    /// Only out of this interface.
    pub link: Option<LinkIndex>,
    /// Only made by this protocol.
    pub protocol: Option<u8>,
}

impl Rtnetlink {
    /// Adds a route.
    ///
    /// # Errors
    /// Kind `Exists`; `Unreachable` where the gateway is on no connected
    /// network and the route not `onlink`; `NotFound` where the link is gone.
    pub fn add_route(&mut self, route: &Route) -> Result<()> {
        let doing = Doing {
            operation: "add route",
            object: route,
        };
        let message = RouteNetlinkMessage::NewRoute(to_message(route));
        self.change(doing, &message, Mode::Create)
    }

    /// Adds a route, or replaces the one with its destination, table and
    /// metric.
    ///
    /// # Errors
    /// As [`Rtnetlink::add_route`], without `Exists`.
    pub fn replace_route(&mut self, route: &Route) -> Result<()> {
        let doing = Doing {
            operation: "set route",
            object: route,
        };
        let message = RouteNetlinkMessage::NewRoute(to_message(route));
        self.change(doing, &message, Mode::Replace)
    }

    /// Deletes a route; what it names must match. Whether it was there.
    ///
    /// # Errors
    /// A socket's failure.
    pub fn delete_route(&mut self, route: &Route) -> Result<bool> {
        let doing = Doing {
            operation: "delete route",
            object: route,
        };
        let message = RouteNetlinkMessage::DelRoute(to_message(route));
        found(self.change(doing, &message, Mode::Existing))
    }

    /// Whether packets for this address end here.
    ///
    /// # Errors
    /// A socket's failure.
    pub fn is_local(&mut self, address: IpAddr) -> Result<bool> {
        let doing = Doing {
            operation: "look up route",
            object: &address,
        };
        let request = RouteNetlinkMessage::GetRoute(message::lookup(address));
        match self.ask(doing, &request) {
            Ok(answers) => Ok(answers.iter().any(message::is_local)),
            Err(error) if error.kind() == ErrorKind::Unreachable => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The routes of both families. Routes with several next hops and cached
    /// ones are left out: nothing here makes them.
    ///
    /// # Errors
    /// A socket's failure; a table or interface that does not exist has none.
    pub fn routes(&mut self, filter: RouteFilter) -> Result<Vec<Route>> {
        let mut routes = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let doing = Doing {
                operation: "list",
                object: &"routes",
            };
            let request = RouteNetlinkMessage::GetRoute(filter.message(family));
            match self.dump(doing, &request) {
                Ok(answers) => routes.extend(answers.iter().filter_map(Route::of_message)),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        // A kernel without NETLINK_GET_STRICT_CHK answers with everything.
        routes.retain(|route| filter.selects(route));
        Ok(routes)
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.destination)?;
        if let Some(gateway) = self.gateway {
            write!(f, " via {gateway}")?;
        }
        if let Some(link) = self.link {
            write!(f, " dev {}", link.0)?;
        }
        if self.table != MAIN_TABLE {
            write!(f, " table {}", self.table)?;
        }
        if self.onlink {
            write!(f, " onlink")?;
        }
        Ok(())
    }
}
