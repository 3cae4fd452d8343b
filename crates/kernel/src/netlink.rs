//! A blocking netlink socket that checks what it reads: sequence numbers,
//! lengths, interrupted dumps, and the kernel's own words for an error.
//!
//! The kernel answers a netlink request inside `sendmsg(2)`: when the call
//! returns, every answer is queued already. So a request never waits, and a
//! missing answer is an error instead of a hang.

mod attribute;
mod message;
#[cfg(test)]
mod tests;

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, getsockname,
    recv, send, setsockopt, socket, sockopt,
};

pub use attribute::{Attribute, Attributes, attributes};
pub use message::{Answer, Message, Messages, put_message};
use message::{broken_off, read_answer, walk};

/// Length of `struct nlmsghdr`.
pub const HEADER: usize = 16;

/// Larger than any datagram of a dump (the kernel fills at most 32 kB), and
/// than an error that quotes one of our requests whole.
const RECEIVE_BUFFER: usize = 128 * 1024;

/// A dump that changed while it was read is read again, this often.
const DUMP_ATTEMPTS: u32 = 16;

/// Acknowledgements and errors of one batch must fit, and so must a burst of
/// notifications.
const RECEIVE_QUEUE: usize = 8 << 20;

const MESSAGE_ERROR: u16 = 2;
const MESSAGE_DONE: u16 = 3;
const FLAG_REQUEST: u16 = 0x1;
const FLAG_DUMP_INTERRUPTED: u16 = 0x10;
const FLAG_CAPPED: u16 = 0x100;
const FLAG_ATTRIBUTES: u16 = 0x200;
/// `NLM_F_ACK`: the kernel acknowledges the message.
pub const FLAG_ACK: u16 = 0x4;
/// `NLM_F_DUMP`.
pub const FLAG_DUMP: u16 = 0x300;
/// `NLM_F_CREATE`.
pub const FLAG_CREATE: u16 = 0x400;
/// `NLM_F_EXCL`.
pub const FLAG_EXCLUSIVE: u16 = 0x200;
/// `NLM_F_APPEND`.
pub const FLAG_APPEND: u16 = 0x800;

/// Why talking to the kernel failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call failed.
    #[error("netlink: {call} failed")]
    Call {
        /// The call.
        call: &'static str,
        /// Its error.
        #[source]
        errno: Errno,
    },
    /// The kernel refused a request.
    #[error("netlink: the kernel refused a request{}", hint(reason.as_deref()))]
    Refused {
        /// Sequence number of the message at fault.
        sequence: u32,
        /// The error.
        #[source]
        errno: Errno,
        /// The kernel's own explanation, where it gives one.
        reason: Option<String>,
    },
    /// The kernel answered less than it must.
    #[error("netlink: no answer to request {sequence}")]
    Silent {
        /// Sequence number of the request.
        sequence: u32,
    },
    /// What was read cannot be an answer.
    #[error("netlink: malformed answer: {what}")]
    Malformed {
        /// What is wrong with it.
        what: &'static str,
    },
    /// A dump kept changing while it was read.
    #[error("netlink: a listing changed {DUMP_ATTEMPTS} times while it was read")]
    Restless,
}

fn hint(reason: Option<&str>) -> String {
    reason.map_or_else(String::new, |reason| format!(": {reason}"))
}

/// Which part of the kernel a socket talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bus {
    /// Links, addresses, routes.
    Route,
    /// nf_tables, conntrack, ipset.
    Netfilter,
    /// Families that are found by name: see [`crate::genetlink`].
    Generic,
}

/// A netlink socket of the network namespace in which it was opened.
#[derive(Debug)]
pub struct Socket {
    descriptor: OwnedFd,
    port: u32,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens a socket in the calling thread's network namespace.
    ///
    /// # Errors
    /// When the kernel lacks the bus, or descriptors run out.
    pub fn open(bus: Bus) -> Result<Self, Error> {
        let protocol = match bus {
            Bus::Route => SockProtocol::NetlinkRoute,
            Bus::Netfilter => SockProtocol::NetlinkNetFilter,
            Bus::Generic => SockProtocol::NetlinkGeneric,
        };
        let descriptor = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            protocol,
        )
        .map_err(call("socket"))?;
        for option in [libc::NETLINK_EXT_ACK, libc::NETLINK_CAP_ACK] {
            enable(&descriptor, option)?;
        }
        // Filters in requests for listings count, and wrong ones are errors.
        if bus == Bus::Route {
            enable(&descriptor, libc::NETLINK_GET_STRICT_CHK)?;
        }
        // Without CAP_NET_ADMIN the queue stays as it is, and so does what the
        // caller may do with it.
        let _ = setsockopt(&descriptor, sockopt::RcvBufForce, &RECEIVE_QUEUE);
        bind(descriptor.as_raw_fd(), &NetlinkAddr::new(0, 0)).map_err(call("bind"))?;
        let address: NetlinkAddr =
            getsockname(descriptor.as_raw_fd()).map_err(call("getsockname"))?;
        Ok(Self {
            descriptor,
            port: address.pid(),
            sequence: 0,
            buffer: vec![0; RECEIVE_BUFFER],
        })
    }

    /// The port that the kernel names as the origin of our changes.
    #[must_use]
    pub const fn port(&self) -> u32 {
        self.port
    }

    /// A fresh sequence number, and room for `following` more after it.
    pub const fn sequence(&mut self, following: u32) -> u32 {
        let first = self.sequence.wrapping_add(1);
        self.sequence = first.wrapping_add(following);
        first
    }

    /// Sends one request and waits for its acknowledgement.
    ///
    /// # Errors
    /// [`Error::Refused`] and failures of the socket.
    pub fn request(&mut self, kind: u16, flags: u16, body: &[u8]) -> Result<(), Error> {
        let sequence = self.sequence(0);
        let mut bytes = Vec::with_capacity(HEADER + body.len());
        put_message(&mut bytes, kind, flags | FLAG_ACK, sequence, |out| {
            out.extend_from_slice(body);
        });
        let answers = self.batch(&bytes)?;
        let answer = answers
            .into_iter()
            .find(|answer| answer.sequence == sequence)
            .ok_or(Error::Silent { sequence })?;
        match answer.error {
            None => Ok(()),
            Some((errno, reason)) => Err(Error::Refused {
                sequence,
                errno,
                reason,
            }),
        }
    }

    /// Sends one request and returns what the kernel sent before it
    /// acknowledged.
    ///
    /// # Errors
    /// [`Error::Refused`] and failures of the socket.
    pub fn ask(&mut self, kind: u16, body: &[u8]) -> Result<Messages, Error> {
        let sequence = self.sequence(0);
        let mut bytes = Vec::with_capacity(HEADER + body.len());
        put_message(&mut bytes, kind, FLAG_ACK, sequence, |out| {
            out.extend_from_slice(body);
        });
        self.send(&bytes)?;
        let mut messages = Messages::default();
        while let Some(length) = self.receive_now()? {
            for message in walk(&self.buffer[..length]) {
                let message = message?;
                match message.kind {
                    _ if message.sequence != sequence => {}
                    MESSAGE_ERROR => match read_answer(&message)?.error {
                        None => return Ok(messages),
                        Some((errno, reason)) => {
                            return Err(Error::Refused {
                                sequence,
                                errno,
                                reason,
                            });
                        }
                    },
                    _ => messages.push(&message),
                }
            }
        }
        Err(Error::Silent { sequence })
    }

    /// Sends messages, made with [`put_message`], in one system call and
    /// collects every acknowledgement and error.
    ///
    /// # Errors
    /// Failures of the socket; refusals are answers.
    pub fn batch(&mut self, bytes: &[u8]) -> Result<Vec<Answer>, Error> {
        self.send(bytes)?;
        let mut answers = Vec::new();
        while let Some(length) = self.receive_now()? {
            for message in walk(&self.buffer[..length]) {
                let message = message?;
                if message.kind == MESSAGE_ERROR {
                    answers.push(read_answer(&message)?);
                }
            }
        }
        Ok(answers)
    }

    /// Reads a whole listing, again where it changed while it was read.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Restless`] and failures of the socket.
    pub fn dump(&mut self, kind: u16, body: &[u8]) -> Result<Messages, Error> {
        for _ in 0..DUMP_ATTEMPTS {
            if let Some(messages) = self.dump_once(kind, body)? {
                return Ok(messages);
            }
        }
        Err(Error::Restless)
    }

    fn dump_once(&mut self, kind: u16, body: &[u8]) -> Result<Option<Messages>, Error> {
        let sequence = self.sequence(0);
        let mut bytes = Vec::with_capacity(HEADER + body.len());
        put_message(&mut bytes, kind, FLAG_DUMP, sequence, |out| {
            out.extend_from_slice(body);
        });
        self.send(&bytes)?;
        let mut messages = Messages::default();
        let mut interrupted = false;
        loop {
            let length = recv(
                self.descriptor.as_raw_fd(),
                &mut self.buffer,
                MsgFlags::empty(),
            )
            .map_err(call("recv"))?;
            for message in walk(&self.buffer[..length]) {
                let message = message?;
                if message.sequence != sequence {
                    // The rest of a listing that an earlier error gave up.
                    continue;
                }
                interrupted |= message.flags & FLAG_DUMP_INTERRUPTED != 0;
                match message.kind {
                    MESSAGE_DONE => match broken_off(&message) {
                        Some(errno) => {
                            return Err(Error::Refused {
                                sequence,
                                errno,
                                reason: None,
                            });
                        }
                        None => return Ok((!interrupted).then_some(messages)),
                    },
                    MESSAGE_ERROR => match read_answer(&message)?.error {
                        Some((Errno::EINTR | Errno::EAGAIN, _)) => return Ok(None),
                        Some((errno, reason)) => {
                            return Err(Error::Refused {
                                sequence,
                                errno,
                                reason,
                            });
                        }
                        None => return Ok(Some(messages)),
                    },
                    _ => messages.push(&message),
                }
            }
        }
    }

    /// Joins a multicast group: its notifications are read with
    /// [`Socket::notifications`].
    ///
    /// # Errors
    /// Where the group does not exist or privileges are missing.
    pub fn join(&self, group: u32) -> Result<(), Error> {
        set_option(&self.descriptor, libc::NETLINK_ADD_MEMBERSHIP, group)
    }

    /// What has been notified since the last call, without waiting. `None`
    /// where notifications were lost because too many waited.
    ///
    /// # Errors
    /// Failures of the socket.
    pub fn notifications(&mut self) -> Result<Option<Messages>, Error> {
        let mut messages = Messages::default();
        loop {
            match self.receive_now() {
                Ok(Some(length)) => {
                    for message in walk(&self.buffer[..length]) {
                        messages.push(&message?);
                    }
                }
                Ok(None) => return Ok(Some(messages)),
                Err(Error::Call {
                    errno: Errno::ENOBUFS,
                    ..
                }) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Error> {
        // A batch must arrive in one datagram, which the default buffer of
        // 208 kB would refuse with EMSGSIZE. The kernel doubles the value.
        if bytes.len() > 64 * 1024 {
            setsockopt(
                &self.descriptor,
                sockopt::SndBufForce,
                &(bytes.len() + 4096),
            )
            .map_err(call("setsockopt(SO_SNDBUFFORCE)"))?;
        }
        send(self.descriptor.as_raw_fd(), bytes, MsgFlags::empty()).map_err(call("send"))?;
        Ok(())
    }

    fn receive_now(&mut self) -> Result<Option<usize>, Error> {
        loop {
            let received = recv(
                self.descriptor.as_raw_fd(),
                &mut self.buffer,
                MsgFlags::MSG_DONTWAIT,
            );
            match received {
                Ok(length) => return Ok(Some(length)),
                Err(Errno::EAGAIN) => return Ok(None),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(call("recv")(errno)),
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

fn enable(descriptor: &OwnedFd, option: libc::c_int) -> Result<(), Error> {
    set_option(descriptor, option, 1)
}

fn set_option(descriptor: &OwnedFd, option: libc::c_int, value: u32) -> Result<(), Error> {
    // SAFETY: the descriptor is open, and the pointer and length describe
    // `value`, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            descriptor.as_raw_fd(),
            libc::SOL_NETLINK,
            option,
            (&raw const value).cast(),
            size_of::<u32>() as libc::socklen_t,
        )
    };
    Errno::result(result).map_err(call("setsockopt(SOL_NETLINK)"))?;
    Ok(())
}

const fn call(call: &'static str) -> impl Fn(Errno) -> Error {
    move |errno| Error::Call { call, errno }
}
