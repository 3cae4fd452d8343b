//! What to make of an interface, or to change about it.

use super::{BridgePort, LinkIndex, Mac, Vxlan};
use crate::netns::NetNs;

/// An interface to make.
#[derive(Debug, Clone)]
pub struct NewLink<'a> {
    pub(in crate::route) name: String,
    pub(in crate::route) kind: NewKind<'a>,
    pub(in crate::route) mac: Option<Mac>,
    pub(in crate::route) mtu: Option<u32>,
    pub(in crate::route) group: Option<u32>,
    pub(in crate::route) master: Option<LinkIndex>,
    pub(in crate::route) up: bool,
}

#[derive(Debug, Clone)]
pub(in crate::route) enum NewKind<'a> {
    Bridge,
    Dummy,
    Ifb,
    Veth(VethPeer<'a>),
    Vxlan(Vxlan),
}

/// The other end of a veth pair to make.
#[derive(Debug, Clone)]
pub struct VethPeer<'a> {
    pub(in crate::route) name: String,
    pub(in crate::route) mac: Option<Mac>,
    pub(in crate::route) mtu: Option<u32>,
    pub(in crate::route) up: bool,
    pub(in crate::route) namespace: Option<&'a NetNs>,
}

impl<'a> VethPeer<'a> {
    /// A peer of this name in the same namespace as the first end.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            mac: None,
            mtu: None,
            up: false,
            namespace: None,
        }
    }

    /// Puts it into another namespace from the start: it is never seen here,
    /// and its name need only be free there.
    #[must_use]
    pub const fn in_namespace(mut self, namespace: &'a NetNs) -> Self {
        self.namespace = Some(namespace);
        self
    }

    /// Gives it an Ethernet address instead of a random one.
    #[must_use]
    pub const fn mac(mut self, mac: Mac) -> Self {
        self.mac = Some(mac);
        self
    }

    /// Sets its MTU.
    #[must_use]
    pub const fn mtu(mut self, mtu: u32) -> Self {
        self.mtu = Some(mtu);
        self
    }

    /// Brings it up once the pair is complete.
    #[must_use]
    pub const fn up(mut self) -> Self {
        self.up = true;
        self
    }
}

impl<'a> NewLink<'a> {
    /// A bridge.
    pub fn bridge(name: impl Into<String>) -> Self {
        Self::new(name, NewKind::Bridge)
    }

    /// A dummy: it has addresses, and no packet leaves by it.
    pub fn dummy(name: impl Into<String>) -> Self {
        Self::new(name, NewKind::Dummy)
    }

    /// An intermediate functional block, for `Rtnetlink::redirect_received`.
    pub fn ifb(name: impl Into<String>) -> Self {
        Self::new(name, NewKind::Ifb)
    }

    /// A veth pair; `name` is the end in the socket's namespace.
    pub fn veth(name: impl Into<String>, peer: VethPeer<'a>) -> Self {
        Self::new(name, NewKind::Veth(peer))
    }

    /// A VXLAN tunnel.
    pub fn vxlan(name: impl Into<String>, vxlan: Vxlan) -> Self {
        Self::new(name, NewKind::Vxlan(vxlan))
    }

    fn new(name: impl Into<String>, kind: NewKind<'a>) -> Self {
        Self {
            name: name.into(),
            kind,
            mac: None,
            mtu: None,
            group: None,
            master: None,
            up: false,
        }
    }

    /// Gives it an Ethernet address instead of a random one.
    #[must_use]
    pub const fn mac(mut self, mac: Mac) -> Self {
        self.mac = Some(mac);
        self
    }

    /// Sets its MTU.
    #[must_use]
    pub const fn mtu(mut self, mtu: u32) -> Self {
        self.mtu = Some(mtu);
        self
    }

    /// Puts it into a group, for `Rtnetlink::delete_group`.
    #[must_use]
    pub const fn group(mut self, group: u32) -> Self {
        self.group = Some(group);
        self
    }

    /// Makes it a port of a bridge.
    #[must_use]
    pub const fn master(mut self, bridge: LinkIndex) -> Self {
        self.master = Some(bridge);
        self
    }

    /// Brings it up at once.
    #[must_use]
    pub const fn up(mut self) -> Self {
        self.up = true;
        self
    }
}

/// What to change about an interface; what is not named stays.
#[derive(Debug, Clone, Default)]
pub struct LinkChange<'a> {
    pub(in crate::route) name: Option<String>,
    pub(in crate::route) mac: Option<Mac>,
    pub(in crate::route) mtu: Option<u32>,
    pub(in crate::route) group: Option<u32>,
    pub(in crate::route) alias: Option<String>,
    pub(in crate::route) master: Option<Option<LinkIndex>>,
    pub(in crate::route) port: Option<BridgePort>,
    pub(in crate::route) up: Option<bool>,
    pub(in crate::route) namespace: Option<&'a NetNs>,
}

impl<'a> LinkChange<'a> {
    /// Changes nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Renames it.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets its Ethernet address.
    #[must_use]
    pub const fn mac(mut self, mac: Mac) -> Self {
        self.mac = Some(mac);
        self
    }

    /// Sets its MTU.
    #[must_use]
    pub const fn mtu(mut self, mtu: u32) -> Self {
        self.mtu = Some(mtu);
        self
    }

    /// Puts it into a group.
    #[must_use]
    pub const fn group(mut self, group: u32) -> Self {
        self.group = Some(group);
        self
    }

    /// Sets its alias, at most 255 bytes.
    #[must_use]
    pub fn alias(mut self, alias: impl Into<String>) -> Self {
        self.alias = Some(alias.into());
        self
    }

    /// Makes it a port of a bridge, or of none.
    #[must_use]
    pub const fn master(mut self, bridge: Option<LinkIndex>) -> Self {
        self.master = Some(bridge);
        self
    }

    /// Sets its settings as a bridge port; it must be one already.
    #[must_use]
    pub const fn port(mut self, port: BridgePort) -> Self {
        self.port = Some(port);
        self
    }

    /// Brings it up.
    #[must_use]
    pub const fn up(mut self) -> Self {
        self.up = Some(true);
        self
    }

    /// Takes it down. This also removes its routes, and its IPv6 addresses.
    #[must_use]
    pub const fn down(mut self) -> Self {
        self.up = Some(false);
        self
    }

    /// Moves it to another namespace, where it is down.
    #[must_use]
    pub const fn move_to(mut self, namespace: &'a NetNs) -> Self {
        self.namespace = Some(namespace);
        self
    }
}
