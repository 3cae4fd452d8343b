//! Sockets of a transparent proxy: they take connections that are addressed to
//! somebody else, and send with addresses that are somebody else's
//! (`IP_TRANSPARENT`, capability `CAP_NET_ADMIN`).
//!
//! All of them are non-blocking and close-on-exec. A socket belongs to the
//! network namespace of the thread that opened it, for as long as it lives.

mod pipe;
mod poll;
mod tcp;
pub mod tunnel;
mod udp;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, socket};

pub use pipe::Pipe;
pub use poll::{Event, Interest, Poller, Waker};
pub use tcp::{accept, connect, end, keep_alive, listen, outcome};
pub use udp::{Datagram, at, exchange, receive, take};

/// Why a socket that a proxy waits at could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open a {kind} socket at {address} (is CAP_NET_ADMIN there?)")]
pub struct Error {
    /// What kind of socket.
    pub kind: &'static str,
    /// Where.
    pub address: SocketAddr,
    /// The reason.
    #[source]
    pub source: io::Error,
}

impl Error {
    /// Whether the kernel does not have the address's family at all.
    #[must_use]
    pub fn is_family_missing(&self) -> bool {
        let missing = [libc::EAFNOSUPPORT, libc::EPROTONOSUPPORT];
        let errno = self.source.raw_os_error();
        errno.is_some_and(|errno| missing.contains(&errno))
    }
}

/// How a proxy's own connection to an endpoint begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// Who it seems to come from; `None` is the host, by the address that the
    /// route prefers. The port is kept where it is free.
    pub source: Option<SocketAddr>,
    /// The mark of its packets.
    pub mark: u32,
}

/// Lets the process have as many descriptors as it may, and says how many.
///
/// # Errors
/// What `setrlimit(2)` says.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: getrlimit writes to a struct that outlives the call.
    Errno::result(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: setrlimit reads a struct that outlives the call.
    Errno::result(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })?;
    Ok(limit.rlim_max)
}

/// A socket of an address's family.
fn open(address: IpAddr, kind: SockType) -> io::Result<OwnedFd> {
    let family = match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(family, kind, flags, None)?;
    if address.is_ipv6() {
        set(&socket, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
    }
    Ok(socket)
}

/// Every address of a family.
const fn everywhere(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

/// Addresses of others may be used as its own.
fn make_transparent(socket: &impl AsFd, family: IpAddr) -> io::Result<()> {
    match family {
        IpAddr::V4(_) => set(socket, libc::SOL_IP, libc::IP_TRANSPARENT, 1),
        IpAddr::V6(_) => set(socket, libc::SOL_IPV6, libc::IPV6_TRANSPARENT, 1),
    }
}

fn set(socket: &impl AsFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of_val(&value)).unwrap_or(4);
    // SAFETY: the option is an integer of this length, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            length,
        )
    };
    Errno::result(result).map(drop).map_err(io::Error::from)
}

fn bind_to(socket: &OwnedFd, address: SocketAddr) -> io::Result<()> {
    Ok(bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?)
}

/// A socket that is about to connect as an [`Origin`] says. With `keep_port`,
/// the source's port as well.
fn originate(
    origin: &Origin,
    to: SocketAddr,
    kind: SockType,
    keep_port: bool,
) -> io::Result<OwnedFd> {
    let socket = open(to.ip(), kind)?;
    let mark = i32::from_ne_bytes(origin.mark.to_ne_bytes());
    set(&socket, libc::SOL_SOCKET, libc::SO_MARK, mark)?;
    let Some(source) = origin.source else {
        return Ok(socket);
    };
    make_transparent(&socket, to.ip())?;
    set(&socket, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    if keep_port {
        bind_to(&socket, source)?;
    } else {
        // A port that is free towards this destination, chosen by connect(2):
        // one that is free towards everybody would soon be hard to find.
        set(&socket, libc::SOL_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1)?;
        bind_to(&socket, SocketAddr::new(source.ip(), 0))?;
    }
    Ok(socket)
}

/// Whether an address and port cannot be used because somebody uses them.
fn is_taken(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable
    )
}
