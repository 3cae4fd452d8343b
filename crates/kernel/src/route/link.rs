//! Network interfaces.

mod message;

pub(super) use message::mac_of;

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use netlink_packet_route::RouteNetlinkMessage;
use nix::errno::Errno;

use super::error::{Error, ErrorKind, Result};
use super::socket::{Doing, Mode, Rtnetlink};
use crate::netns::NetNs;

/// An interface's number within its namespace. Never given twice while the
/// namespace lives, unlike a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkIndex(pub u32);

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

/// An interface as the kernel describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub index: LinkIndex,
    /// Its name, at most 15 bytes.
    pub name: String,
    /// Its Ethernet address, where it has one of that length.
    pub mac: Option<Mac>,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Whether it is administratively up (IFF_UP).
    pub up: bool,
    /// Whether it can carry packets (IFF_LOWER_UP); a veth can when its peer is
    /// up as well.
    pub carrier: bool,
    /// Its group (IFLA_GROUP), 0 by default.
    pub group: u32,
    /// The bridge that it is a port of.
    pub master: Option<LinkIndex>,
    /// The interface below it, or a veth's peer (IFLA_LINK). For a peer in
    /// another namespace it is a number of that namespace.
    pub lower: Option<LinkIndex>,
    /// Its alias (`ip link set alias`).
    pub alias: Option<String>,
    /// What it is.
    pub detail: LinkDetail,
    /// Its settings as a bridge port, where it is one.
    pub port: Option<BridgePort>,
}

/// What an interface is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkDetail {
    /// A bridge.
    Bridge,
    /// One end of a veth pair.
    Veth,
    /// A VXLAN tunnel.
    Vxlan(Vxlan),
    /// Another kind by its name in rtnetlink (`tun`); empty for physical
    /// interfaces and `lo`.
    Other(String),
}

/// What decides where a VXLAN device sends and receives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vxlan {
    /// The network identifier, 24 bits.
    pub vni: u32,
    /// The UDP port, both ends.
    pub port: u16,
    /// The address that packets are sent from; decides the outer family.
    pub local: IpAddr,
    /// The interface that packets leave by.
    pub lower: Option<LinkIndex>,
    /// Whether forwarding entries are learnt from received packets.
    pub learning: bool,
}

/// The settings of a bridge port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BridgePort {
    /// Exchanges frames with the bridge itself and with ports that are not
    /// isolated, never with another isolated port.
    pub isolated: bool,
    /// May send a frame back to the port that it came from.
    pub hairpin: bool,
}

/// An interface to make.
#[derive(Debug, Clone)]
pub struct NewLink<'a> {
    pub(super) name: String,
    pub(super) kind: NewKind<'a>,
    pub(super) mac: Option<Mac>,
    pub(super) mtu: Option<u32>,
    pub(super) group: Option<u32>,
    pub(super) master: Option<LinkIndex>,
    pub(super) up: bool,
}

#[derive(Debug, Clone)]
pub(super) enum NewKind<'a> {
    Bridge,
    Veth(VethPeer<'a>),
    Vxlan(Vxlan),
}

/// The other end of a veth pair to make.
#[derive(Debug, Clone)]
pub struct VethPeer<'a> {
    pub(super) name: String,
    pub(super) mac: Option<Mac>,
    pub(super) mtu: Option<u32>,
    pub(super) up: bool,
    pub(super) namespace: Option<&'a NetNs>,
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

    /// Puts it into a group, for [`Rtnetlink::delete_group`].
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
    pub(super) name: Option<String>,
    pub(super) mac: Option<Mac>,
    pub(super) mtu: Option<u32>,
    pub(super) group: Option<u32>,
    pub(super) alias: Option<String>,
    pub(super) master: Option<Option<LinkIndex>>,
    pub(super) port: Option<BridgePort>,
    pub(super) up: Option<bool>,
    pub(super) namespace: Option<&'a NetNs>,
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

impl Rtnetlink {
    /// Makes an interface and returns its number.
    ///
    /// # Errors
    /// Kind `Exists` where the name is taken (of a veth pair also the peer's,
    /// in the peer's namespace), `Unsupported` where the kernel lacks the kind,
    /// [`Error::Name`] for a name that no interface can have.
    pub fn create_link(&mut self, link: &NewLink<'_>) -> Result<LinkIndex> {
        check_interface_name(&link.name)?;
        if let NewKind::Veth(peer) = &link.kind {
            check_interface_name(&peer.name)?;
        }
        let doing = Doing {
            operation: "create interface",
            object: &link.name,
        };
        let message = RouteNetlinkMessage::NewLink(message::create(link));
        self.change(doing, &message, Mode::Create)?;
        // Kernels before 6.2 do not say the number of what they made.
        let index = self.index_of(&link.name)?;
        match &link.kind {
            NewKind::Veth(peer) if peer.up => self.bring_up_peer(index, peer),
            _ => Ok(index),
        }
    }

    /// The kernel cannot do this with the creation: a veth without its other end
    /// does not come up (ENOTCONN), and the peer is configured first.
    fn bring_up_peer(&mut self, index: LinkIndex, peer: &VethPeer<'_>) -> Result<LinkIndex> {
        let up = LinkChange::new().up();
        let result = match peer.namespace {
            None => self
                .index_of(&peer.name)
                .and_then(|peer| self.change_link(peer, &up)),
            Some(namespace) => Self::open_in(namespace).and_then(|mut there| {
                let peer = there.index_of(&peer.name)?;
                there.change_link(peer, &up)
            }),
        };
        if result.is_err() {
            self.delete_link(index)?;
        }
        result.map(|()| index)
    }

    fn index_of(&mut self, name: &str) -> Result<LinkIndex> {
        self.link(name)?
            .map(|link| link.index)
            .ok_or_else(|| Error::NoLink {
                operation: "look up interface",
                object: name.into(),
            })
    }

    /// Changes an interface.
    ///
    /// # Errors
    /// Kind `NotFound` where it is gone.
    pub fn change_link(&mut self, link: LinkIndex, change: &LinkChange<'_>) -> Result<()> {
        if let Some(name) = &change.name {
            check_interface_name(name)?;
        }
        let doing = Doing {
            operation: "change interface",
            object: &link,
        };
        let message = RouteNetlinkMessage::NewLink(message::change(link, change));
        self.change(doing, &message, Mode::Existing)
    }

    /// Deletes an interface, a veth with its peer. Takes the kernel 20-30 ms
    /// for one (RCU); see [`Rtnetlink::delete_group`] for many.
    ///
    /// # Errors
    /// Kind `NotFound` where it is gone.
    pub fn delete_link(&mut self, link: LinkIndex) -> Result<()> {
        let doing = Doing {
            operation: "delete interface",
            object: &link,
        };
        let message = RouteNetlinkMessage::DelLink(message::of_index(link));
        self.change(doing, &message, Mode::Existing)
    }

    /// Deletes every interface of a group at once, in the time of one. Whether
    /// there was any.
    ///
    /// # Errors
    /// What the kernel refuses: a group with an interface that cannot be
    /// deleted is not touched. Group 0 is every interface's and refused here.
    pub fn delete_group(&mut self, group: u32) -> Result<bool> {
        let object = format!("group {group}");
        let doing = Doing {
            operation: "delete interfaces of",
            object: &object,
        };
        if group == 0 {
            return Err(Error::Refused {
                operation: doing.operation,
                object,
                reason: Some("group 0 holds every interface".into()),
                errno: Errno::EINVAL,
            });
        }
        let message = RouteNetlinkMessage::DelLink(message::of_group(group));
        found(self.change(doing, &message, Mode::Existing))
    }

    /// The interface of this name.
    ///
    /// # Errors
    /// [`Error::Name`], or a socket's failure; an interface that is not there
    /// is `None`.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>> {
        check_interface_name(name)?;
        self.ask_link(&name, message::of_name(name))
    }

    /// The interface of this number.
    ///
    /// # Errors
    /// A socket's failure; an interface that is not there is `None`.
    pub fn link_at(&mut self, index: LinkIndex) -> Result<Option<Link>> {
        self.ask_link(&index, message::of_index(index))
    }

    /// Every interface of the namespace, by number.
    ///
    /// # Errors
    /// A socket's failure.
    pub fn links(&mut self) -> Result<Vec<Link>> {
        let doing = Doing {
            operation: "list",
            object: &"interfaces",
        };
        let answers = self.dump(doing, &RouteNetlinkMessage::GetLink(Default::default()))?;
        Ok(answers.iter().filter_map(Link::of_message).collect())
    }

    fn ask_link(
        &mut self,
        object: &dyn fmt::Display,
        message: netlink_packet_route::link::LinkMessage,
    ) -> Result<Option<Link>> {
        let doing = Doing {
            operation: "look up interface",
            object,
        };
        match self.ask(doing, &RouteNetlinkMessage::GetLink(message)) {
            Ok(answers) => Ok(answers.iter().find_map(Link::of_message)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Whether what a request names was there.
pub(super) fn found(result: Result<()>) -> Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether an interface can have this name: 1 to 15 bytes, not `.` or `..`, no
/// slash, colon or white space (`dev_valid_name` of the kernel).
///
/// # Errors
/// [`Error::Name`] says what is wrong with it.
pub fn check_interface_name(name: &str) -> Result<()> {
    let reason = match name {
        "" => "it is empty",
        "." | ".." => "it is a directory name",
        _ if name.len() > 15 => "it is longer than 15 bytes",
        _ if name.contains(['/', ':', '\0']) => "it contains a slash, a colon or a zero byte",
        _ if name.contains(char::is_whitespace) => "it contains white space",
        _ => return Ok(()),
    };
    Err(Error::Name {
        name: name.into(),
        reason,
    })
}

impl fmt::Display for LinkIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "number {}", self.0)
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is no Ethernet address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an Ethernet address (six pairs of hexadecimal digits, as 12:c6:65:89:b4:e3)")]
pub struct MacError(String);

impl FromStr for Mac {
    type Err = MacError;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        let invalid = || MacError(text.to_owned());
        let mut bytes = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2);
            *byte = part
                .and_then(|part| u8::from_str_radix(part, 16).ok())
                .ok_or_else(invalid)?;
        }
        match parts.next() {
            None => Ok(Self(bytes)),
            Some(_) => Err(invalid()),
        }
    }
}
