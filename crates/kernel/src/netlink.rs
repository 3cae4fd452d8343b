//! A blocking netlink socket that checks what it reads: sequence numbers,
//! lengths, interrupted dumps, and the kernel's own words for an error.
//!
//! The kernel answers a netlink request inside `sendmsg(2)`: when the call
//! returns, every answer is queued already. So a request never waits, and a
//! missing answer is an error instead of a hang.

mod attribute;

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, getsockname,
    recv, send, setsockopt, socket, sockopt,
};

pub use attribute::{Attribute, Attributes, attributes};

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

const ERROR_MESSAGE: u16 = 1;

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
}

/// A netlink socket of the network namespace in which it was opened.
#[derive(Debug)]
pub struct Socket {
    descriptor: OwnedFd,
    port: u32,
    sequence: u32,
    buffer: Vec<u8>,
}

/// One message that the kernel sent.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// `nlmsg_type`.
    pub kind: u16,
    /// `nlmsg_flags`.
    pub flags: u16,
    /// `nlmsg_seq`.
    pub sequence: u32,
    /// `nlmsg_pid`: the port of the socket that caused it.
    pub port: u32,
    /// What follows the header.
    pub body: &'a [u8],
}

/// Messages of a dump or of a batch of notifications.
#[derive(Debug, Default)]
pub struct Messages {
    bytes: Vec<u8>,
}

/// What one message of a batch was answered with: `None` is success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The message's sequence number.
    pub sequence: u32,
    /// The error, with the kernel's explanation.
    pub error: Option<(Errno, Option<String>)>,
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
                    MESSAGE_DONE => {
                        // A listing that broke off says why in its last message.
                        let code = word(message.body, 0).unwrap_or(0);
                        let errno = i32::from_ne_bytes(code.to_ne_bytes()).saturating_neg();
                        if errno > 0 {
                            return Err(Error::Refused {
                                sequence,
                                errno: Errno::from_raw(errno),
                                reason: None,
                            });
                        }
                        return Ok((!interrupted).then_some(messages));
                    }
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

impl Messages {
    /// The messages in order.
    pub fn iter(&self) -> impl Iterator<Item = Message<'_>> {
        // Only whole messages were pushed.
        walk(&self.bytes).filter_map(Result::ok)
    }

    fn push(&mut self, message: &Message<'_>) {
        let start = self.bytes.len();
        put_message(
            &mut self.bytes,
            message.kind,
            message.flags,
            message.sequence,
            |out| out.extend_from_slice(message.body),
        );
        self.bytes[start + 6..start + 8].copy_from_slice(&message.flags.to_ne_bytes());
        self.bytes[start + 12..start + HEADER].copy_from_slice(&message.port.to_ne_bytes());
    }
}

/// Appends a request whose body `fill` writes.
pub fn put_message(
    out: &mut Vec<u8>,
    kind: u16,
    flags: u16,
    sequence: u32,
    fill: impl FnOnce(&mut Vec<u8>),
) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(&(flags | FLAG_REQUEST).to_ne_bytes());
    out.extend_from_slice(&sequence.to_ne_bytes());
    out.extend_from_slice(&[0; 4]);
    fill(out);
    let length = u32::try_from(out.len() - start).expect("a message is far below 4 GB");
    out[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    out.resize(out.len().next_multiple_of(4), 0);
}

fn walk(mut bytes: &[u8]) -> impl Iterator<Item = Result<Message<'_>, Error>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let length = word(bytes, 0).map_or(0, |length| length as usize);
        if length < HEADER || length > bytes.len() {
            bytes = &[];
            return Some(Err(Error::Malformed {
                what: "a message is longer than what was received",
            }));
        }
        let message = Message {
            kind: u16::from_ne_bytes([bytes[4], bytes[5]]),
            flags: u16::from_ne_bytes([bytes[6], bytes[7]]),
            sequence: word(bytes, 8).unwrap_or(0),
            port: word(bytes, 12).unwrap_or(0),
            body: &bytes[HEADER..length],
        };
        bytes = &bytes[length.next_multiple_of(4).min(bytes.len())..];
        Some(Ok(message))
    })
}

/// Reads `struct nlmsgerr`: the error, the quoted request, attributes.
fn read_answer(message: &Message<'_>) -> Result<Answer, Error> {
    let body = message.body;
    let code = word(body, 0).ok_or(Error::Malformed {
        what: "an acknowledgement without a code",
    })?;
    let quoted = word(body, 4).unwrap_or(0) as usize;
    let sequence = word(body, 12).unwrap_or(message.sequence);
    let quoted = if message.flags & FLAG_CAPPED != 0 {
        HEADER
    } else {
        quoted.next_multiple_of(4)
    };
    let reason = (message.flags & FLAG_ATTRIBUTES != 0)
        .then(|| body.get(4 + quoted..))
        .flatten()
        .and_then(|rest| attributes(rest).find(|attribute| attribute.kind == ERROR_MESSAGE))
        .map(|attribute| attribute.text().to_owned());
    let errno = i32::from_ne_bytes(code.to_ne_bytes()).saturating_neg();
    Ok(Answer {
        sequence,
        error: (errno != 0).then(|| (Errno::from_raw(errno), reason)),
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn acknowledgement(flags: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_message(&mut bytes, MESSAGE_ERROR, flags, 7, |out| {
            out.extend_from_slice(body);
        });
        bytes
    }

    /// `struct nlmsgerr`: code, and the header of the request.
    fn quoted(code: i32, length: u32) -> Vec<u8> {
        let mut body = code.to_ne_bytes().to_vec();
        body.extend(length.to_ne_bytes());
        body.extend([0; 4]);
        body.extend(9_u32.to_ne_bytes());
        body.extend([0; 4]);
        body
    }

    fn answers(bytes: &[u8]) -> Vec<Result<Answer, String>> {
        walk(bytes)
            .map(|message| message.and_then(|message| read_answer(&message)))
            .map(|answer| answer.map_err(|error| error.to_string()))
            .collect()
    }

    #[test]
    fn an_acknowledgement_names_the_request_and_the_reason() {
        let success = acknowledgement(FLAG_CAPPED, &quoted(0, 16));
        let ok = Answer {
            sequence: 9,
            error: None,
        };
        assert_eq!(answers(&success), [Ok(ok)]);

        let mut body = quoted(-2, 400);
        Attributes::new(&mut body).text(ERROR_MESSAGE, "no such chain");
        let refusal = acknowledgement(FLAG_CAPPED | FLAG_ATTRIBUTES, &body);
        let error = Answer {
            sequence: 9,
            error: Some((Errno::ENOENT, Some("no such chain".to_owned()))),
        };
        assert_eq!(answers(&refusal), [Ok(error)]);
    }

    #[test]
    fn what_is_cut_short_is_an_error_and_nothing_worse() {
        let whole = acknowledgement(FLAG_ATTRIBUTES, &quoted(-2, 16));
        for length in 1..whole.len() {
            for answer in answers(&whole[..length]) {
                assert!(answer.is_err(), "{length} bytes: {answer:?}");
            }
        }
        let mut lying = whole.clone();
        lying[0] = 3;
        assert!(answers(&lying)[0].is_err());
        // A quoted request longer than the message has no attributes.
        let overlong = acknowledgement(FLAG_ATTRIBUTES, &quoted(-2, u32::MAX - 8));
        assert_eq!(answers(&overlong).len(), 1);
    }

    #[test]
    fn attributes_are_read_as_they_were_written() {
        let mut bytes = Vec::new();
        Attributes::new(&mut bytes).text(1, "abc").nest(2, |nest| {
            nest.number(3, 70_000).long(4, 1 << 40);
        });
        let read: Vec<Attribute<'_>> = attributes(&bytes).collect();
        assert_eq!((read[0].kind, read[0].text()), (1, "abc"));
        assert_eq!(read[1].find(3).map(|found| found.number()), Some(70_000));
        assert_eq!(read[1].find(4).map(|found| found.long()), Some(1 << 40));
        for length in 0..bytes.len() {
            let cut = attributes(&bytes[..length]).count();
            assert!(cut < 2, "{length} bytes hold {cut} attributes");
        }
    }
}
