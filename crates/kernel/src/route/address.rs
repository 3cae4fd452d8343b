//! Interface addresses.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::error::Result;
use super::link::{LinkIndex, found};
use super::socket::{Doing, Mode, Rtnetlink};

/// An address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The interface.
    pub link: LinkIndex,
    /// The address with the length of its network: `10.244.1.1/24`.
    pub address: IpNet,
    /// Whether it is valid only on its link or host: an IPv6 link-local
    /// address, the loopback's.
    pub scope_link: bool,
}

impl Rtnetlink {
    /// Gives an interface an address, unless it has it already. An IPv6 address
    /// is usable at once: without duplicate address detection (IFA_F_NODAD),
    /// because whoever calls this has made sure that it is unique. The network of
    /// the address gets a route, unless it is the address alone (/32, /128).
    ///
    /// # Errors
    /// Kind `NotFound` where the interface is gone, `Denied` where IPv6 is
    /// switched off there (`disable_ipv6`).
    pub fn add_address(&mut self, link: LinkIndex, address: IpNet) -> Result<()> {
        let object = OnLink(&address, link);
        let doing = Doing {
            operation: "add address",
            object: &object,
        };
        let message = RouteNetlinkMessage::NewAddress(to_message(link, address));
        self.change(doing, &message, Mode::Replace)
    }

    /// Takes an address from an interface. Whether it was there.
    ///
    /// # Errors
    /// A socket's failure.
    pub fn delete_address(&mut self, link: LinkIndex, address: IpNet) -> Result<bool> {
        let object = OnLink(&address, link);
        let doing = Doing {
            operation: "delete address",
            object: &object,
        };
        let message = RouteNetlinkMessage::DelAddress(to_message(link, address));
        found(self.change(doing, &message, Mode::Existing))
    }

    /// The addresses of one interface, or of all.
    ///
    /// # Errors
    /// A socket's failure; an interface that is gone has none.
    pub fn addresses(&mut self, link: Option<LinkIndex>) -> Result<Vec<Address>> {
        let mut request = AddressMessage::default();
        request.header.index = link.map_or(0, |link| link.0);
        let doing = Doing {
            operation: "list",
            object: &"addresses",
        };
        let answers = match self.dump(doing, &RouteNetlinkMessage::GetAddress(request)) {
            Err(error) if error.kind() == super::ErrorKind::NotFound => return Ok(Vec::new()),
            answers => answers?,
        };
        Ok(answers
            .iter()
            .filter_map(Address::of_message)
            .filter(|address| link.is_none_or(|link| address.link == link))
            .collect())
    }
}

impl Address {
    /// Reads RTM_NEWADDR and RTM_DELADDR; other messages are no address.
    pub(super) fn of_message(message: &RouteNetlinkMessage) -> Option<Self> {
        let (RouteNetlinkMessage::NewAddress(message) | RouteNetlinkMessage::DelAddress(message)) =
            message
        else {
            return None;
        };
        // IFA_LOCAL is the interface's own address where IFA_ADDRESS is the
        // peer's; IPv6 without a peer has only IFA_ADDRESS.
        let mut own: Option<IpAddr> = None;
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Local(address) => own = Some(*address),
                AddressAttribute::Address(address) => own = own.or(Some(*address)),
                _ => {}
            }
        }
        let prefix = IpNet::new(own?, message.header.prefix_len).ok()?;
        Some(Self {
            link: LinkIndex(message.header.index),
            address: prefix,
            scope_link: message.header.scope != AddressScope::Universe,
        })
    }
}

fn to_message(link: LinkIndex, address: IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = link.0;
    message.header.prefix_len = address.prefix_len();
    message
        .attributes
        .push(AddressAttribute::Local(address.addr()));
    match address {
        IpNet::V4(net) => {
            message.header.family = AddressFamily::Inet;
            message
                .attributes
                .push(AddressAttribute::Address(address.addr()));
            if net.prefix_len() < 31 {
                let broadcast = AddressAttribute::Broadcast(net.broadcast());
                message.attributes.push(broadcast);
            }
        }
        IpNet::V6(net) => {
            message.header.family = AddressFamily::Inet6;
            message.header.flags = AddressHeaderFlags::Nodad;
            let mut flags = AddressFlags::Nodad;
            // As in IPv4, where an address alone is no network to have a route to.
            flags.set(AddressFlags::Noprefixroute, net.prefix_len() == 128);
            message.attributes.push(AddressAttribute::Flags(flags));
        }
    }
    message
}

/// `10.0.0.1/24 on interface number 7`.
pub(super) struct OnLink<'a>(pub(super) &'a dyn fmt::Display, pub(super) LinkIndex);

impl fmt::Display for OnLink<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on interface {}", self.0, self.1)
    }
}
