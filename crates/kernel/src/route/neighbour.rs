//! Neighbours (ARP, NDP) and forwarding entries of a VXLAN device. Only
//! permanent ones are made and listed: the others are the kernel's own business.

use std::fmt;
use std::net::IpAddr;

use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::address::OnLink;
use super::error::{ErrorKind, Result};
use super::link::{LinkIndex, Mac, found, mac_of};
use super::socket::{Doing, Mode, Rtnetlink};

/// A permanent neighbour: no question for this address leaves the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Neighbour {
    /// The interface.
    pub link: LinkIndex,
    /// Whose Ethernet address it is.
    pub address: IpAddr,
    /// The Ethernet address.
    pub mac: Mac,
}

/// A permanent forwarding entry of a VXLAN device: frames for `mac` are sent to
/// the host `remote`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FdbEntry {
    /// The VXLAN device.
    pub link: LinkIndex,
    /// The inner Ethernet destination.
    pub mac: Mac,
    /// The outer destination.
    pub remote: IpAddr,
}

impl Rtnetlink {
    /// Adds a permanent neighbour, or replaces the one of that address.
    ///
    /// # Errors
    /// Kind `NotFound` where the interface is gone.
    pub fn replace_neighbour(&mut self, neighbour: &Neighbour) -> Result<()> {
        let doing = Doing {
            operation: "set neighbour",
            object: neighbour,
        };
        let message = RouteNetlinkMessage::NewNeighbour(neighbour.to_message());
        self.change(doing, &message, Mode::Replace)
    }

    /// Tells the kernel what it would have asked: the entry is as if the neighbour
    /// had just answered, and is asked for, changed and forgotten as such.
    ///
    /// # Errors
    /// Kind `NotFound` where the interface is gone.
    pub fn learn_neighbour(&mut self, neighbour: &Neighbour) -> Result<()> {
        let doing = Doing {
            operation: "set neighbour",
            object: neighbour,
        };
        let mut message = neighbour.to_message();
        message.header.state = NeighbourState::Reachable;
        let message = RouteNetlinkMessage::NewNeighbour(message);
        self.change(doing, &message, Mode::Replace)
    }

    /// Deletes the neighbour of that address. Whether it was there.
    ///
    /// # Errors
    /// A socket's failure.
    pub fn delete_neighbour(&mut self, neighbour: &Neighbour) -> Result<bool> {
        let doing = Doing {
            operation: "delete neighbour",
            object: neighbour,
        };
        let message = RouteNetlinkMessage::DelNeighbour(neighbour.to_message());
        found(self.change(doing, &message, Mode::Existing))
    }

    /// The permanent neighbours on an interface, both families.
    ///
    /// # Errors
    /// A socket's failure; an interface that is gone has none.
    pub fn neighbours(&mut self, link: LinkIndex) -> Result<Vec<Neighbour>> {
        let mut request = NeighbourMessage::default();
        request.attributes.push(NeighbourAttribute::IfIndex(link.0));
        let entries = self.dump_neighbours("neighbours", link, request)?;
        Ok(entries.iter().filter_map(Neighbour::of_message).collect())
    }

    /// Adds a permanent forwarding entry, or changes where it leads.
    ///
    /// # Errors
    /// Kind `NotFound` where the device is gone.
    pub fn replace_fdb(&mut self, entry: &FdbEntry) -> Result<()> {
        let doing = Doing {
            operation: "set forwarding entry",
            object: entry,
        };
        let message = RouteNetlinkMessage::NewNeighbour(entry.to_message());
        self.change(doing, &message, Mode::Replace)
    }

    /// Deletes a forwarding entry. Whether it was there.
    ///
    /// # Errors
    /// A socket's failure.
    pub fn delete_fdb(&mut self, entry: &FdbEntry) -> Result<bool> {
        let doing = Doing {
            operation: "delete forwarding entry",
            object: entry,
        };
        let message = RouteNetlinkMessage::DelNeighbour(entry.to_message());
        found(self.change(doing, &message, Mode::Existing))
    }

    /// The permanent forwarding entries of a VXLAN device.
    ///
    /// # Errors
    /// A socket's failure; a device that is gone has none.
    pub fn fdb(&mut self, link: LinkIndex) -> Result<Vec<FdbEntry>> {
        let mut request = NeighbourMessage::default();
        request.header.family = AddressFamily::Bridge;
        request.header.ifindex = link.0;
        let entries = self.dump_neighbours("forwarding entries", link, request)?;
        Ok(entries.iter().filter_map(FdbEntry::of_message).collect())
    }

    fn dump_neighbours(
        &mut self,
        what: &'static str,
        link: LinkIndex,
        request: NeighbourMessage,
    ) -> Result<Vec<NeighbourMessage>> {
        let object = OnLink(&what, link);
        let doing = Doing {
            operation: "list",
            object: &object,
        };
        let answers = match self.dump(doing, &RouteNetlinkMessage::GetNeighbour(request)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            answers => answers?,
        };
        Ok(answers
            .into_iter()
            .filter_map(|answer| match answer {
                RouteNetlinkMessage::NewNeighbour(entry) => Some(entry),
                _ => None,
            })
            .filter(|entry| entry.header.ifindex == link.0)
            .collect())
    }
}

impl Neighbour {
    fn to_message(self) -> NeighbourMessage {
        let family = match self.address {
            IpAddr::V4(_) => AddressFamily::Inet,
            IpAddr::V6(_) => AddressFamily::Inet6,
        };
        permanent(family, self.link, self.address, self.mac)
    }

    /// A permanent neighbour; `None` for learnt ones and forwarding entries.
    pub(super) fn of_message(message: &NeighbourMessage) -> Option<Self> {
        if message.header.family == AddressFamily::Bridge {
            return None;
        }
        let (address, mac) = permanent_parts(message)?;
        Some(Self {
            link: LinkIndex(message.header.ifindex),
            address,
            mac,
        })
    }
}

impl FdbEntry {
    fn to_message(self) -> NeighbourMessage {
        let mut message = permanent(AddressFamily::Bridge, self.link, self.remote, self.mac);
        // NTF_SELF: the device's own table, not that of a bridge above it.
        message.header.flags = NeighbourFlags::Own;
        message
    }

    /// A permanent entry with a destination; `None` for anything else.
    pub(super) fn of_message(message: &NeighbourMessage) -> Option<Self> {
        if message.header.family != AddressFamily::Bridge {
            return None;
        }
        let (remote, mac) = permanent_parts(message)?;
        Some(Self {
            link: LinkIndex(message.header.ifindex),
            mac,
            remote,
        })
    }
}

fn permanent(family: AddressFamily, link: LinkIndex, ip: IpAddr, mac: Mac) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family;
    message.header.ifindex = link.0;
    message.header.state = NeighbourState::Permanent;
    let destination = match ip {
        IpAddr::V4(ip) => NeighbourAddress::Inet(ip),
        IpAddr::V6(ip) => NeighbourAddress::Inet6(ip),
    };
    message.attributes = vec![
        NeighbourAttribute::Destination(destination),
        NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()),
    ];
    message
}

fn permanent_parts(message: &NeighbourMessage) -> Option<(IpAddr, Mac)> {
    // `bridge fdb add` sets NUD_NOARP besides.
    if u16::from(message.header.state) & u16::from(NeighbourState::Permanent) == 0 {
        return None;
    }
    let (mut ip, mut mac) = (None, None);
    for attribute in &message.attributes {
        ip = ip.or_else(|| destination_of(attribute));
        if let NeighbourAttribute::LinkLayerAddress(bytes) = attribute {
            mac = mac_of(bytes);
        }
    }
    ip.zip(mac)
}

/// NDA_DST.
pub(super) fn destination_of(attribute: &NeighbourAttribute) -> Option<IpAddr> {
    match attribute {
        NeighbourAttribute::Destination(address) => ip_of(address),
        _ => None,
    }
}

/// In an AF_BRIDGE entry the destination has no family but its length.
fn ip_of(address: &NeighbourAddress) -> Option<IpAddr> {
    match address {
        NeighbourAddress::Inet(ip) => Some((*ip).into()),
        NeighbourAddress::Inet6(ip) => Some((*ip).into()),
        NeighbourAddress::Other(bytes) => <[u8; 4]>::try_from(bytes.as_slice())
            .map(IpAddr::from)
            .or_else(|_| <[u8; 16]>::try_from(bytes.as_slice()).map(IpAddr::from))
            .ok(),
        _ => None,
    }
}

impl fmt::Display for Neighbour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {} dev {}", self.address, self.mac, self.link.0)
    }
}

impl fmt::Display for FdbEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {} dev {}", self.mac, self.remote, self.link.0)
    }
}
