//! The kernel's connection table: reading flows and ending single ones.
//!
//! A UDP "connection" lives as long as packets come, and keeps the translation
//! that its first packet was given. When its endpoint is gone, only deleting
//! the flow lets the next packet choose another.

mod mark;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nix::errno::Errno;

pub use mark::{BackgroundMarker, FakeMarker, FlowMarker};

use crate::netlink::{self, Attribute, Attributes, Bus, Socket, attributes};

const SUBSYSTEM: u16 = 1;
const NEW: u16 = SUBSYSTEM << 8;
const GET: u16 = SUBSYSTEM << 8 | 1;
const DELETE: u16 = SUBSYSTEM << 8 | 2;

const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const MARK: u16 = 8;
const ID: u16 = 12;
const ZONE: u16 = 18;
const NESTED: u16 = 0x8000;

/// One flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// What the client sends.
    pub original: Tuple,
    /// What comes back. Its source is the original destination, or what that
    /// was translated to.
    pub reply: Tuple,
    /// The connection's mark.
    pub mark: u32,
    /// `CTA_TUPLE_ORIG` as read: deleting echoes it.
    key: Vec<u8>,
    zone: Option<u16>,
    id: u32,
}

/// One direction of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuple {
    /// IANA number.
    pub protocol: u8,
    /// Where packets come from.
    pub source: SocketAddr,
    /// Where they go.
    pub destination: SocketAddr,
}

/// Why the connection table could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel did not do it.
    #[error("conntrack: {doing} failed (is nf_conntrack_netlink there, and CAP_NET_ADMIN?)")]
    Netlink {
        /// What was attempted.
        doing: &'static str,
        /// Why not.
        #[source]
        source: netlink::Error,
    },
    /// No thread to work in.
    #[error("conntrack: starting a thread failed")]
    Thread(#[source] std::io::Error),
}

/// Reads and ends flows.
pub trait Conntrack {
    /// Every flow of a transport protocol that has ports, both families.
    ///
    /// # Errors
    /// Failures of the socket.
    fn flows(&mut self, protocol: u8) -> Result<Vec<Flow>, Error>;

    /// Those of them that lead to an address, after translation. Of IPv4 the
    /// kernel looks for them itself (Linux 5.8).
    ///
    /// # Errors
    /// Failures of the socket.
    fn flows_to(&mut self, protocol: u8, endpoint: IpAddr) -> Result<Vec<Flow>, Error> {
        let mut flows = self.flows(protocol)?;
        flows.retain(|flow| flow.reply.source.ip() == endpoint);
        Ok(flows)
    }

    /// Ends a flow; false where it has ended by itself.
    ///
    /// # Errors
    /// Failures of the socket.
    fn delete(&mut self, flow: &Flow) -> Result<bool, Error>;
}

/// The connection table of the namespace in which it was opened.
#[derive(Debug)]
pub struct ConntrackTable {
    socket: Socket,
}

/// A connection table in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FakeConntrack {
    /// The flows.
    pub flows: Vec<Flow>,
}

impl ConntrackTable {
    /// Opens a socket in the calling thread's network namespace.
    ///
    /// # Errors
    /// Failures of the socket.
    pub fn open() -> Result<Self, Error> {
        let socket = Socket::open(Bus::Netfilter).map_err(failed("opening a socket"))?;
        Ok(Self { socket })
    }

    fn listed(&mut self, request: &[u8], protocol: u8) -> Result<Vec<Flow>, Error> {
        let messages = self
            .socket
            .dump(GET, request)
            .map_err(failed("reading flows"))?;
        Ok(messages
            .iter()
            .filter(|message| message.kind == NEW)
            .filter_map(|message| read_flow(message.body, protocol))
            .collect())
    }
}

impl Conntrack for ConntrackTable {
    fn flows(&mut self, protocol: u8) -> Result<Vec<Flow>, Error> {
        // struct nfgenmsg of no family: both.
        self.listed(&[0, 0, 0, 0], protocol)
    }

    fn flows_to(&mut self, protocol: u8, endpoint: IpAddr) -> Result<Vec<Flow>, Error> {
        let request = match endpoint {
            IpAddr::V4(_) => mark::with_source(endpoint, REPLY),
            // Of IPv6 the kernel lists all but those that it is asked for
            // (ctnetlink_filter_match_tuple, seen on Linux 6.18).
            IpAddr::V6(_) => vec![u8::try_from(libc::AF_INET6).unwrap_or(0), 0, 0, 0],
        };
        let mut flows = self.listed(&request, protocol)?;
        // Kernels that do not know the filter list everything.
        flows.retain(|flow| flow.reply.source.ip() == endpoint);
        Ok(flows)
    }

    fn delete(&mut self, flow: &Flow) -> Result<bool, Error> {
        let family = match flow.original.source {
            SocketAddr::V4(_) => libc::AF_INET,
            SocketAddr::V6(_) => libc::AF_INET6,
        };
        let mut body = vec![u8::try_from(family).unwrap_or(0), 0, 0, 0];
        let mut out = Attributes::new(&mut body);
        out.bytes(NESTED | ORIGINAL, &flow.key).number(ID, flow.id);
        if let Some(zone) = flow.zone {
            out.bytes(ZONE, &zone.to_be_bytes());
        }
        match self.socket.request(DELETE, 0, &body) {
            Ok(()) => Ok(true),
            Err(netlink::Error::Refused {
                errno: Errno::ENOENT,
                ..
            }) => Ok(false),
            Err(source) => Err(failed("deleting a flow")(source)),
        }
    }
}

impl Flow {
    /// A flow from its two directions.
    #[must_use]
    pub const fn new(original: Tuple, reply: Tuple) -> Self {
        Self {
            original,
            reply,
            mark: 0,
            key: Vec::new(),
            zone: None,
            id: 0,
        }
    }
}

impl Conntrack for FakeConntrack {
    fn flows(&mut self, protocol: u8) -> Result<Vec<Flow>, Error> {
        let of_protocol = |flow: &&Flow| flow.original.protocol == protocol;
        Ok(self.flows.iter().filter(of_protocol).cloned().collect())
    }

    fn delete(&mut self, flow: &Flow) -> Result<bool, Error> {
        let before = self.flows.len();
        self.flows.retain(|held| held != flow);
        Ok(self.flows.len() < before)
    }
}

const fn failed(doing: &'static str) -> impl Fn(netlink::Error) -> Error {
    move |source| Error::Netlink { doing, source }
}

fn read_flow(body: &[u8], protocol: u8) -> Option<Flow> {
    let body = body.get(4..)?;
    let find = |kind| attributes(body).find(|attribute| attribute.kind == kind);
    let key = find(ORIGINAL)?;
    let original = read_tuple(&key)?;
    if original.protocol != protocol {
        return None;
    }
    Some(Flow {
        original,
        reply: read_tuple(&find(REPLY)?)?,
        mark: find(MARK).map_or(0, |mark| mark.number()),
        key: key.value.to_vec(),
        zone: find(ZONE).and_then(|zone| Some(u16::from_be_bytes(*zone.value.first_chunk()?))),
        id: find(ID).map_or(0, |id| id.number()),
    })
}

fn read_tuple(attribute: &Attribute<'_>) -> Option<Tuple> {
    const ADDRESSES: u16 = 1;
    const TRANSPORT: u16 = 2;
    let addresses = attribute.find(ADDRESSES)?;
    let transport = attribute.find(TRANSPORT)?;
    let port = |kind| {
        Some(u16::from_be_bytes(
            *transport.find(kind)?.value.first_chunk()?,
        ))
    };
    Some(Tuple {
        protocol: *transport.find(1)?.value.first()?,
        source: SocketAddr::new(read_address(&addresses, 1, 3)?, port(2)?),
        destination: SocketAddr::new(read_address(&addresses, 2, 4)?, port(3)?),
    })
}

fn read_address(addresses: &Attribute<'_>, v4: u16, v6: u16) -> Option<IpAddr> {
    if let Some(found) = addresses.find(v4) {
        return Some(Ipv4Addr::from(*found.value.first_chunk::<4>()?).into());
    }
    Some(Ipv6Addr::from(*addresses.find(v6)?.value.first_chunk::<16>()?).into())
}
