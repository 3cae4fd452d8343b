//! Network interfaces.

mod mac;
mod message;
mod removal;
mod request;

pub use mac::{Mac, MacError};
pub(super) use message::mac_of;
pub use request::{LinkChange, NewLink, VethPeer};

use std::fmt;
use std::net::IpAddr;

use netlink_packet_route::RouteNetlinkMessage;
use nix::errno::Errno;

use super::error::{Error, ErrorKind, Result};
use super::socket::{Doing, Mode, Rtnetlink};
use request::NewKind;

/// An interface's number within its namespace. Never given twice while the
/// namespace lives, unlike a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkIndex(pub u32);

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
    /// Whether packets that are sent are not thrown away (IFF_RUNNING). Comes
    /// after the carrier, by a kernel thread; since Linux 6.8 asking for the
    /// link does that thread's work first.
    pub running: bool,
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
    /// for one (RCU); see [`Rtnetlink::delete_group`] for many, and
    /// [`Rtnetlink::delete_link_and_leave`].
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
