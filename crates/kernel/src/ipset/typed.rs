//! Sets of other types than `hash:ip`: ports, and addresses with ports and
//! peers, as rules compare them with several parts of a packet at once.

mod fake;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::{
    ADD, CREATE, DATA, DELETE, Error, FAMILY, IP, IpSetTable, IpSets, LINE, LIST, MAXIMUM, MEMBERS,
    NETWORK_ORDER, REVISION, SETNAME, TYPENAME, failed, header, put_address, read_address, request,
};
use crate::iptables::Family;
use crate::netlink::{Attribute, Attributes, FLAG_EXCLUSIVE, attributes};

pub use fake::FakeTypedSets;

const PORT: u16 = 4;
const PORT_TO: u16 = 5;
const PROTOCOL: u16 = 7;
const CREATE_FLAGS: u16 = 8;
const PEER: u16 = 20;
const PEER_LENGTH: u16 = 21;
const MARK: u16 = 27;

/// `IPSET_FLAG_WITH_SKBINFO`: members have marks.
const WITH_MARKS: u32 = 1 << 6;

/// A message must stay below 64 kB; a member takes at most 80 bytes.
const MEMBERS_AT_A_TIME: usize = 700;

/// What the members of a set are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SetType {
    /// `hash:ip`.
    Address,
    /// `bitmap:port`: every port there is.
    Port,
    /// `hash:ip,port`.
    AddressPort,
    /// `hash:ip,port` whose members have a mark for packets (`skbinfo`).
    AddressPortMark,
    /// `hash:ip,port,ip`.
    AddressPortAddress,
    /// `hash:ip,port,net`.
    AddressPortPrefix,
}

/// A set of some type.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TypedSet {
    /// Its name: at most `MAX_SET_NAME` bytes.
    pub name: String,
    /// What its members are.
    pub set_type: SetType,
    /// The family of its members; ports have none.
    pub family: Option<Family>,
    /// How many members it can have; of ports, always all of them.
    pub limit: u32,
}

/// A member of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Member {
    /// Of [`SetType::Address`].
    Address(IpAddr),
    /// Of [`SetType::Port`].
    Port(u16),
    /// Of [`SetType::AddressPort`].
    AddressPort(Port),
    /// Of [`SetType::AddressPortMark`], with the mark that a packet is given.
    AddressPortMark(Port, u32),
    /// Of [`SetType::AddressPortAddress`].
    AddressPortAddress(Port, IpAddr),
    /// Of [`SetType::AddressPortPrefix`]. No prefix can hold every address.
    AddressPortPrefix(Port, IpNet),
}

/// A port of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    /// IANA number: TCP, UDP, SCTP.
    pub protocol: u8,
    /// The address and port.
    pub address: SocketAddr,
}

/// Reads and writes sets of the types above.
pub trait TypedSets {
    /// Every set of these types, by name; others are left out.
    ///
    /// # Errors
    /// Failures of the socket; a kernel without IP sets.
    fn list(&mut self) -> Result<BTreeMap<String, TypedSet>, Error>;

    /// The members of a set.
    ///
    /// # Errors
    /// Where there is no such set.
    fn members(&mut self, set: &TypedSet) -> Result<BTreeSet<Member>, Error>;

    /// Makes a set. None of its name may exist.
    ///
    /// # Errors
    /// Where the name is taken, or the kernel lacks the type.
    fn create(&mut self, set: &TypedSet) -> Result<(), Error>;

    /// Removes a set; what is gone already is no error. False where a rule
    /// still refers to it.
    ///
    /// # Errors
    /// Failures of the socket.
    fn destroy(&mut self, name: &str) -> Result<bool, Error>;

    /// Removes every member.
    ///
    /// # Errors
    /// Where the set is gone.
    fn flush(&mut self, name: &str) -> Result<(), Error>;

    /// Adds members; those that are there stay, and take the mark given.
    ///
    /// # Errors
    /// Where the set is full or gone.
    fn add(&mut self, name: &str, members: &[Member]) -> Result<(), Error>;

    /// Removes members; those that are gone already are no error.
    ///
    /// # Errors
    /// Where the set is gone.
    fn remove(&mut self, name: &str, members: &[Member]) -> Result<(), Error>;
}

impl SetType {
    const ALL: [Self; 6] = [
        Self::Address,
        Self::Port,
        Self::AddressPort,
        Self::AddressPortMark,
        Self::AddressPortAddress,
        Self::AddressPortPrefix,
    ];

    /// The name, as `ipset` prints it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Address => super::TYPE,
            Self::Port => "bitmap:port",
            Self::AddressPort | Self::AddressPortMark => "hash:ip,port",
            Self::AddressPortAddress => "hash:ip,port,ip",
            Self::AddressPortPrefix => "hash:ip,port,net",
        }
    }

    /// The first revision of the type that can do what is asked here: SCTP
    /// since the second one, marks since the sixth.
    const fn revision(self) -> u8 {
        match self {
            Self::Address | Self::Port => 0,
            Self::AddressPort | Self::AddressPortAddress | Self::AddressPortPrefix => 1,
            Self::AddressPortMark => 5,
        }
    }
}

impl TypedSets for IpSetTable {
    fn list(&mut self) -> Result<BTreeMap<String, TypedSet>, Error> {
        let mut body = header();
        Attributes::new(&mut body).number(super::FLAGS, super::HEADERS_ONLY);
        let messages = self.socket.dump(LIST, &body);
        let messages = messages.map_err(failed("listing sets", ""))?;
        let sets = messages.iter().filter_map(|message| read_set(message.body));
        Ok(sets.map(|set| (set.name.clone(), set)).collect())
    }

    fn members(&mut self, set: &TypedSet) -> Result<BTreeSet<Member>, Error> {
        let messages = self.socket.dump(LIST, &request(&set.name));
        let messages = messages.map_err(failed("listing set", &set.name))?;
        let lists = messages.iter().flat_map(|message| {
            let found = attributes(message.body.get(4..).unwrap_or_default());
            found.filter(|attribute| attribute.kind == MEMBERS)
        });
        let members = lists.flat_map(|list| list.nest());
        Ok(members
            .filter_map(|member| read_member(set.set_type, &member))
            .collect())
    }

    fn create(&mut self, set: &TypedSet) -> Result<(), Error> {
        let family = match set.family {
            None => libc::AF_UNSPEC,
            Some(Family::V4) => libc::AF_INET,
            Some(Family::V6) => libc::AF_INET6,
        };
        let mut body = request(&set.name);
        Attributes::new(&mut body)
            .text(TYPENAME, set.set_type.name())
            .bytes(REVISION, &[set.set_type.revision()])
            .bytes(FAMILY, &[u8::try_from(family).unwrap_or(0)])
            .nest(DATA, |out| match set.set_type {
                SetType::Port => {
                    out.bytes(PORT | NETWORK_ORDER, &0_u16.to_be_bytes())
                        .bytes(PORT_TO | NETWORK_ORDER, &u16::MAX.to_be_bytes());
                }
                other => {
                    out.number(MAXIMUM | NETWORK_ORDER, set.limit);
                    if other == SetType::AddressPortMark {
                        out.number(CREATE_FLAGS | NETWORK_ORDER, WITH_MARKS);
                    }
                }
            });
        self.socket
            .request(CREATE, FLAG_EXCLUSIVE, &body)
            .map_err(failed("making set", &set.name))
    }

    fn destroy(&mut self, name: &str) -> Result<bool, Error> {
        IpSets::destroy(self, name)
    }

    fn flush(&mut self, name: &str) -> Result<(), Error> {
        IpSets::flush(self, name)
    }

    fn add(&mut self, name: &str, members: &[Member]) -> Result<(), Error> {
        self.exchange_typed(ADD, "adding to set", name, members)
    }

    fn remove(&mut self, name: &str, members: &[Member]) -> Result<(), Error> {
        self.exchange_typed(DELETE, "removing from set", name, members)
    }
}

impl IpSetTable {
    fn exchange_typed(
        &mut self,
        kind: u16,
        doing: &'static str,
        name: &str,
        members: &[Member],
    ) -> Result<(), Error> {
        for part in members.chunks(MEMBERS_AT_A_TIME) {
            let mut body = request(name);
            Attributes::new(&mut body)
                .number(LINE, 0)
                .nest(MEMBERS, |out| {
                    for member in part {
                        out.nest(DATA, |out| put_member(out, member));
                    }
                });
            self.socket
                .request(kind, 0, &body)
                .map_err(failed(doing, name))?;
        }
        Ok(())
    }
}

fn put_member(out: &mut Attributes<'_>, member: &Member) {
    match member {
        Member::Address(address) => put_address(out, IP, *address),
        Member::Port(port) => put_number(out, *port),
        Member::AddressPort(port) => put_port(out, port),
        Member::AddressPortMark(port, mark) => {
            put_port(out, port);
            // The mark and, below it, which of its bits count: all of them.
            let both = u64::from(*mark) << 32 | u64::from(u32::MAX);
            out.long(MARK | NETWORK_ORDER, both);
        }
        Member::AddressPortAddress(port, peer) => {
            put_port(out, port);
            put_address(out, PEER, *peer);
        }
        Member::AddressPortPrefix(port, peer) => {
            put_port(out, port);
            put_address(out, PEER, peer.network());
            out.bytes(PEER_LENGTH, &[peer.prefix_len()]);
        }
    }
}

fn put_port(out: &mut Attributes<'_>, port: &Port) {
    put_address(out, IP, port.address.ip());
    put_number(out, port.address.port());
    out.bytes(PROTOCOL, &[port.protocol]);
}

fn put_number(out: &mut Attributes<'_>, port: u16) {
    out.bytes(PORT | NETWORK_ORDER, &port.to_be_bytes());
}

fn read_member(set_type: SetType, member: &Attribute<'_>) -> Option<Member> {
    let number = || {
        let found = member.find(PORT)?;
        Some(u16::from_be_bytes(*found.value.first_chunk()?))
    };
    let port = || {
        Some(Port {
            protocol: *member.find(PROTOCOL)?.value.first()?,
            address: SocketAddr::new(read_address(member, IP)?, number()?),
        })
    };
    Some(match set_type {
        SetType::Address => Member::Address(read_address(member, IP)?),
        SetType::Port => Member::Port(number()?),
        SetType::AddressPort => Member::AddressPort(port()?),
        SetType::AddressPortMark => {
            let mark = member.find(MARK).map_or(0, |both| both.long() >> 32);
            Member::AddressPortMark(port()?, u32::try_from(mark).ok()?)
        }
        SetType::AddressPortAddress => {
            Member::AddressPortAddress(port()?, read_address(member, PEER)?)
        }
        SetType::AddressPortPrefix => {
            let peer = read_address(member, PEER)?;
            let length = match member.find(PEER_LENGTH) {
                Some(length) => *length.value.first()?,
                None => IpNet::from(peer).prefix_len(),
            };
            Member::AddressPortPrefix(port()?, IpNet::new(peer, length).ok()?)
        }
    })
}

fn read_set(body: &[u8]) -> Option<TypedSet> {
    let body = body.get(4..)?;
    let find = |kind| attributes(body).find(|attribute| attribute.kind == kind);
    let name = find(TYPENAME)?.text();
    let data = find(DATA)?;
    let flags = data.find(CREATE_FLAGS).map_or(0, |flags| flags.number());
    let has_marks = flags & WITH_MARKS != 0;
    let set_type = SetType::ALL.into_iter().find(|set_type| {
        set_type.name() == name && (*set_type == SetType::AddressPortMark) == has_marks
    })?;
    Some(TypedSet {
        name: find(SETNAME)?.text().to_owned(),
        set_type,
        family: match i32::from(*find(FAMILY)?.value.first()?) {
            libc::AF_INET => Some(Family::V4),
            libc::AF_INET6 => Some(Family::V6),
            _ => None,
        },
        limit: data.find(MAXIMUM).map_or(0, |limit| limit.number()),
    })
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (address, port) = (self.address.ip(), self.address.port());
        match i32::from(self.protocol) {
            libc::IPPROTO_TCP => write!(f, "{address},tcp:{port}"),
            libc::IPPROTO_UDP => write!(f, "{address},udp:{port}"),
            libc::IPPROTO_SCTP => write!(f, "{address},sctp:{port}"),
            protocol => write!(f, "{address},{protocol}:{port}"),
        }
    }
}

impl fmt::Display for Member {
    /// As `ipset list` prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Port(port) => write!(f, "{port}"),
            Self::AddressPort(port) => write!(f, "{port}"),
            Self::AddressPortMark(port, mark) => write!(f, "{port} skbmark {mark:#x}"),
            Self::AddressPortAddress(port, peer) => write!(f, "{port},{peer}"),
            Self::AddressPortPrefix(port, peer) if peer.addr() == peer.broadcast() => {
                write!(f, "{port},{}", peer.addr())
            }
            Self::AddressPortPrefix(port, peer) => write!(f, "{port},{peer}"),
        }
    }
}
