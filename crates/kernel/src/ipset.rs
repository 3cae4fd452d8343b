//! IP sets over netlink, without the `ipset` program: sets of addresses that
//! rules of iptables look up (`-m set`) and that packets join (`-j SET`).
//!
//! [`IpSets`] are of type `hash:ip`; [`TypedSets`] of other types too. Members can
//! come and go without touching any rule, and a set that a rule names cannot be
//! removed.

mod fake;
mod typed;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use nix::errno::Errno;

use crate::iptables::Family;
use crate::netlink::{self, Attribute, Attributes, Bus, FLAG_EXCLUSIVE, Socket, attributes};

pub use fake::FakeIpSets;
pub use typed::{FakeTypedSets, Member, Port, SetType, TypedSet, TypedSets};

/// The longest name of a set, in bytes (`IPSET_MAXNAMELEN` less its zero).
pub const MAX_SET_NAME: usize = 31;

const SUBSYSTEM: u16 = 6 << 8;
const CREATE: u16 = SUBSYSTEM | 2;
const DESTROY: u16 = SUBSYSTEM | 3;
const FLUSH: u16 = SUBSYSTEM | 4;
const LIST: u16 = SUBSYSTEM | 7;
const ADD: u16 = SUBSYSTEM | 9;
const DELETE: u16 = SUBSYSTEM | 10;

const PROTOCOL: u16 = 1;
const SETNAME: u16 = 2;
const TYPENAME: u16 = 3;
const REVISION: u16 = 4;
const FAMILY: u16 = 5;
const FLAGS: u16 = 6;
const DATA: u16 = 7;
const MEMBERS: u16 = 8;
const LINE: u16 = 9;

const IP: u16 = 1;
const TIMEOUT: u16 = 6;
const MAXIMUM: u16 = 19;

/// Every number inside `DATA` must say that it is in network order.
const NETWORK_ORDER: u16 = 0x4000;
/// `IPSET_FLAG_LIST_HEADER`.
const HEADERS_ONLY: u32 = 4;
/// The protocol that kernels since 3.x speak.
const VERSION: u8 = 6;
const TYPE: &str = "hash:ip";
/// The revision that knows timeouts and nothing newer is needed: since 2.6.39.
const TYPE_REVISION: u8 = 0;
/// A message must stay below 64 kB; a member takes at most 28 bytes.
const MEMBERS_AT_A_TIME: usize = 2_000;

/// A set of addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IpSet {
    /// Its name: at most [`MAX_SET_NAME`] bytes.
    pub name: String,
    /// The family of its members.
    pub family: Family,
    /// How many members it can have. A packet that would join a full set goes
    /// on without joining.
    pub limit: u32,
    /// How long a member stays where nothing else is said; `None`: until it is
    /// removed, and no packet can say otherwise.
    pub timeout: Option<Duration>,
}

/// Why sets could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel did not do it.
    #[error("ipset: {doing}{} failed{}", about(name), likely(source))]
    Netlink {
        /// What was attempted.
        doing: &'static str,
        /// On which set; empty where on none.
        name: String,
        /// Why not.
        #[source]
        source: netlink::Error,
    },
}

/// Reads and writes sets.
pub trait IpSets {
    /// Every set, also those that are not of type `hash:ip`, by name.
    ///
    /// # Errors
    /// Failures of the socket; a kernel without IP sets.
    fn list(&mut self) -> Result<BTreeMap<String, IpSet>, Error>;

    /// The members of a set.
    ///
    /// # Errors
    /// Where there is no such set.
    fn members(&mut self, name: &str) -> Result<BTreeSet<IpAddr>, Error>;

    /// Makes a set. None of its name may exist.
    ///
    /// # Errors
    /// Where the name is taken, or the kernel has no room for another.
    fn create(&mut self, set: &IpSet) -> Result<(), Error>;

    /// Removes a set; what is gone already is no error. False where a rule
    /// still refers to it: the kernel lets go of rules a moment after they are
    /// deleted.
    ///
    /// # Errors
    /// Failures of the socket.
    fn destroy(&mut self, name: &str) -> Result<bool, Error>;

    /// Removes every member.
    ///
    /// # Errors
    /// Where the set is gone.
    fn flush(&mut self, name: &str) -> Result<(), Error>;

    /// Adds members; those that are there stay.
    ///
    /// # Errors
    /// Where the set is full or gone.
    fn add(&mut self, name: &str, members: &[IpAddr]) -> Result<(), Error>;

    /// Removes members; those that are gone already are no error.
    ///
    /// # Errors
    /// Where the set is gone.
    fn remove(&mut self, name: &str, members: &[IpAddr]) -> Result<(), Error>;
}

/// The sets of the network namespace in which it was opened.
#[derive(Debug)]
pub struct IpSetTable {
    socket: Socket,
}

impl IpSetTable {
    /// Opens a socket in the calling thread's network namespace.
    ///
    /// # Errors
    /// Failures of the socket.
    pub fn open() -> Result<Self, Error> {
        let socket = Socket::open(Bus::Netfilter).map_err(failed("opening a socket", ""))?;
        Ok(Self { socket })
    }

    fn exchange(
        &mut self,
        kind: u16,
        doing: &'static str,
        name: &str,
        members: &[IpAddr],
    ) -> Result<(), Error> {
        for part in members.chunks(MEMBERS_AT_A_TIME) {
            let mut body = request(name);
            let mut out = Attributes::new(&mut body);
            out.number(LINE, 0).nest(MEMBERS, |out| {
                for member in part {
                    out.nest(DATA, |out| {
                        put_address(out, IP, *member);
                    });
                }
            });
            // Without FLAG_EXCLUSIVE, doing twice what is done is no error.
            self.socket
                .request(kind, 0, &body)
                .map_err(failed(doing, name))?;
        }
        Ok(())
    }
}

impl IpSets for IpSetTable {
    fn list(&mut self) -> Result<BTreeMap<String, IpSet>, Error> {
        let mut body = header();
        Attributes::new(&mut body).number(FLAGS, HEADERS_ONLY);
        let messages = self
            .socket
            .dump(LIST, &body)
            .map_err(failed("listing sets", ""))?;
        let sets = messages.iter().filter_map(|message| read_set(message.body));
        Ok(sets.map(|set| (set.name.clone(), set)).collect())
    }

    fn members(&mut self, name: &str) -> Result<BTreeSet<IpAddr>, Error> {
        let messages = self
            .socket
            .dump(LIST, &request(name))
            .map_err(failed("listing set", name))?;
        // A long listing comes in several messages.
        let members = messages.iter().flat_map(|message| {
            let lists = attributes(message.body.get(4..).unwrap_or_default());
            lists.filter(|list| list.kind == MEMBERS)
        });
        Ok(members
            .flat_map(|list| list.nest())
            .filter_map(|member| read_address(&member, IP))
            .collect())
    }

    fn create(&mut self, set: &IpSet) -> Result<(), Error> {
        let mut body = request(&set.name);
        let family = match set.family {
            Family::V4 => libc::AF_INET,
            Family::V6 => libc::AF_INET6,
        };
        Attributes::new(&mut body)
            .text(TYPENAME, TYPE)
            .bytes(REVISION, &[TYPE_REVISION])
            .bytes(FAMILY, &[u8::try_from(family).unwrap_or(0)])
            .nest(DATA, |out| {
                out.number(MAXIMUM | NETWORK_ORDER, set.limit);
                if let Some(timeout) = set.timeout {
                    let seconds = u32::try_from(timeout.as_secs()).unwrap_or(u32::MAX);
                    out.number(TIMEOUT | NETWORK_ORDER, seconds);
                }
            });
        self.socket
            .request(CREATE, FLAG_EXCLUSIVE, &body)
            .map_err(failed("making set", &set.name))
    }

    fn destroy(&mut self, name: &str) -> Result<bool, Error> {
        match self.socket.request(DESTROY, 0, &request(name)) {
            Ok(()) => Ok(true),
            Err(netlink::Error::Refused {
                errno: Errno::ENOENT,
                ..
            }) => Ok(true),
            // IPSET_ERR_BUSY, a number of ipset's own: nothing else of these is
            // said to a removal.
            Err(netlink::Error::Refused {
                errno: Errno::UnknownErrno,
                ..
            }) => Ok(false),
            Err(source) => Err(failed("removing set", name)(source)),
        }
    }

    fn flush(&mut self, name: &str) -> Result<(), Error> {
        self.socket
            .request(FLUSH, 0, &request(name))
            .map_err(failed("emptying set", name))
    }

    fn add(&mut self, name: &str, members: &[IpAddr]) -> Result<(), Error> {
        self.exchange(ADD, "adding to set", name, members)
    }

    fn remove(&mut self, name: &str, members: &[IpAddr]) -> Result<(), Error> {
        self.exchange(DELETE, "removing from set", name, members)
    }
}

/// `struct nfgenmsg` and the protocol's version.
fn header() -> Vec<u8> {
    let family = u8::try_from(libc::AF_INET).unwrap_or(0);
    let mut body = vec![family, 0, 0, 0];
    Attributes::new(&mut body).bytes(PROTOCOL, &[VERSION]);
    body
}

fn request(name: &str) -> Vec<u8> {
    let mut body = header();
    Attributes::new(&mut body).text(SETNAME, name);
    body
}

fn put_address(out: &mut Attributes<'_>, kind: u16, address: IpAddr) {
    out.nest(kind, |out| {
        match address {
            IpAddr::V4(address) => out.bytes(1 | NETWORK_ORDER, &address.octets()),
            IpAddr::V6(address) => out.bytes(2 | NETWORK_ORDER, &address.octets()),
        };
    });
}

fn read_address(member: &Attribute<'_>, kind: u16) -> Option<IpAddr> {
    let address = member.find(kind)?;
    let address = address.nest().next()?;
    match address.value.len() {
        4 => Some(Ipv4Addr::from(*address.value.first_chunk::<4>()?).into()),
        _ => Some(Ipv6Addr::from(*address.value.first_chunk::<16>()?).into()),
    }
}

fn read_set(body: &[u8]) -> Option<IpSet> {
    let body = body.get(4..)?;
    let find = |kind| attributes(body).find(|attribute| attribute.kind == kind);
    let family = find(FAMILY)?.value.first().copied()?;
    let data = find(DATA)?;
    Some(IpSet {
        name: find(SETNAME)?.text().to_owned(),
        family: match i32::from(family) {
            libc::AF_INET6 => Family::V6,
            _ => Family::V4,
        },
        limit: data.find(MAXIMUM).map_or(0, |limit| limit.number()),
        timeout: data
            .find(TIMEOUT)
            .map(|timeout| Duration::from_secs(timeout.number().into())),
    })
}

fn failed(doing: &'static str, name: &str) -> impl FnOnce(netlink::Error) -> Error {
    let name = name.to_owned();
    move |source| Error::Netlink {
        doing,
        name,
        source,
    }
}

fn about(name: &str) -> String {
    match name {
        "" => String::new(),
        name => format!(" {name}"),
    }
}

const fn likely(source: &netlink::Error) -> &'static str {
    match source {
        netlink::Error::Refused { errno, .. } => match errno {
            // ipset's own numbers: full, or no room for another set.
            Errno::UnknownErrno => " (is it full?)",
            Errno::EEXIST => " (it is there already)",
            Errno::ENOENT => " (it is not there)",
            Errno::EPERM => " (CAP_NET_ADMIN is needed)",
            Errno::EINVAL | Errno::EOPNOTSUPP => " (the kernel needs ip_set and ip_set_hash_ip)",
            _ => "",
        },
        _ => "",
    }
}
