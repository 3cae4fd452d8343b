//! Policy routing: packets with the mark are this host's, whatever their
//! destination.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use podway_kernel::route::{ErrorKind, Route, RouteKind, Rtnetlink, Rule, Scope};
use podway_model::IpFamily;

use super::ProxyError;
use crate::names::{PROXY_ROUTES, PROXY_RULE, STEERED_MARK};

/// Adds what is missing.
pub(super) fn ensure(
    socket: &mut Rtnetlink,
    families: impl Iterator<Item = IpFamily>,
) -> Result<(), ProxyError> {
    let Some(loopback) = socket.link("lo")? else {
        return Ok(());
    };
    let rules = socket.rules()?;
    for family in families {
        let route = Route {
            link: Some(loopback.index),
            ..route(family)
        };
        existing(socket.add_route(&route))?;
        let rule = rule(family);
        if !rules.contains(&rule) {
            existing(socket.add_rule(&rule))?;
        }
    }
    Ok(())
}

/// Takes all of it away.
pub(super) fn remove(socket: &mut Rtnetlink) {
    for family in IpFamily::ALL {
        // A family that the kernel does not have, has none of it.
        let _ = socket.delete_rule(&rule(family));
        let _ = socket.delete_route(&route(family));
    }
}

fn rule(family: IpFamily) -> Rule {
    Rule {
        mark: Some((STEERED_MARK, STEERED_MARK)),
        ..Rule::new(family == IpFamily::V6, PROXY_RULE, PROXY_ROUTES)
    }
}

fn route(family: IpFamily) -> Route {
    let everything: IpAddr = match family {
        IpFamily::V4 => Ipv4Addr::UNSPECIFIED.into(),
        IpFamily::V6 => Ipv6Addr::UNSPECIFIED.into(),
    };
    let everything = IpNet::new(everything, 0).expect("a length of 0 fits every family");
    Route {
        table: PROXY_ROUTES,
        kind: RouteKind::Local,
        scope: match family {
            IpFamily::V4 => Scope::Host,
            IpFamily::V6 => Scope::Global,
        },
        ..Route::new(everything)
    }
}

fn existing(outcome: podway_kernel::route::Result<()>) -> Result<(), ProxyError> {
    match outcome {
        Err(error) if error.kind() == ErrorKind::Exists => Ok(()),
        outcome => Ok(outcome?),
    }
}
