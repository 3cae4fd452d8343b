use std::fmt;

use netlink_packet_core::DecodeError;
use nix::errno::Errno;

use crate::{netlink, netns};

/// What an rtnetlink operation returns.
pub type Result<T> = std::result::Result<T, Error>;

/// Why an rtnetlink operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused the request.
    #[error("cannot {operation} {object}{}", Explanation(*errno, reason.as_deref()))]
    Refused {
        /// What was attempted: `create link`.
        operation: &'static str,
        /// On what: `veth1a2b`.
        object: String,
        /// The kernel's own explanation, where it gives one.
        reason: Option<String>,
        /// Its reason.
        #[source]
        errno: Errno,
    },
    /// The object named in a request is not there.
    #[error("cannot {operation} {object}: there is no such interface")]
    NoLink {
        /// What was attempted.
        operation: &'static str,
        /// The interface.
        object: String,
    },
    /// A name that no interface can have.
    #[error("invalid interface name {name:?}: {reason}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// No socket could be opened.
    #[error("cannot open an rtnetlink socket")]
    Open(#[source] netlink::Error),
    /// The socket failed.
    #[error("cannot {operation} {object}: talking to the kernel failed")]
    Socket {
        /// What was attempted.
        operation: &'static str,
        /// On what.
        object: String,
        /// The reason.
        #[source]
        source: netlink::Error,
    },
    /// Notifications cannot be read.
    #[error("cannot read the kernel's notifications")]
    Monitor(#[source] netlink::Error),
    /// The socket could not be opened in another namespace.
    #[error("cannot open an rtnetlink socket in another network namespace")]
    Namespace(#[source] netns::Error),
    /// The kernel's answer cannot be read.
    #[error("cannot read the kernel's answer to {operation} {object}")]
    Answer {
        /// What was attempted.
        operation: &'static str,
        /// On what.
        object: String,
        /// The reason.
        #[source]
        source: DecodeError,
    },
}

/// What kind of refusal it was, for callers that can live with some.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// It is there already (EEXIST).
    Exists,
    /// It is not there (ENODEV, ENOENT, ESRCH, EADDRNOTAVAIL).
    NotFound,
    /// Something else uses it (EBUSY, EADDRINUSE).
    Busy,
    /// Not root enough (EPERM, EACCES).
    Denied,
    /// The kernel cannot do it (EOPNOTSUPP, EAFNOSUPPORT).
    Unsupported,
    /// The kernel finds the request wrong (EINVAL, ERANGE).
    Invalid,
    /// The gateway is not reachable (ENETUNREACH, EHOSTUNREACH).
    Unreachable,
    /// Anything else.
    Other,
}

impl Error {
    /// What kind of refusal it was.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused { errno, .. } => kind_of(*errno),
            Self::NoLink { .. } => ErrorKind::NotFound,
            Self::Name { .. } => ErrorKind::Invalid,
            Self::Open(_)
            | Self::Socket { .. }
            | Self::Monitor(_)
            | Self::Namespace(_)
            | Self::Answer { .. } => ErrorKind::Other,
        }
    }
}

fn kind_of(errno: Errno) -> ErrorKind {
    match errno {
        Errno::EEXIST => ErrorKind::Exists,
        Errno::ENODEV | Errno::ENOENT | Errno::ESRCH | Errno::EADDRNOTAVAIL => ErrorKind::NotFound,
        Errno::EBUSY | Errno::EADDRINUSE => ErrorKind::Busy,
        Errno::EPERM | Errno::EACCES => ErrorKind::Denied,
        Errno::EOPNOTSUPP | Errno::EAFNOSUPPORT => ErrorKind::Unsupported,
        Errno::EINVAL | Errno::ERANGE => ErrorKind::Invalid,
        Errno::ENETUNREACH | Errno::EHOSTUNREACH => ErrorKind::Unreachable,
        _ => ErrorKind::Other,
    }
}

/// The kernel's own words, or else what the error number usually means here.
struct Explanation<'a>(Errno, Option<&'a str>);

impl fmt::Display for Explanation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(reason) = self.1 {
            return write!(f, ": the kernel says {reason:?}");
        }
        let usual = match kind_of(self.0) {
            ErrorKind::Denied => "CAP_NET_ADMIN is needed",
            ErrorKind::Unsupported => "this kernel cannot do it",
            ErrorKind::Unreachable => "the gateway is on no connected network, or the link is down",
            _ => return Ok(()),
        };
        write!(f, ": {usual}")
    }
}
